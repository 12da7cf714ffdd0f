//! What a receiver sees of a message beside its body: AWS's attributes, and the digests by which clients check what they got.

use super::message::{Attribute, AttributeValue, Message};
use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use std::collections::BTreeMap;

impl Message {
    /// The attributes that the queue knows, by AWS's names.
    pub fn system_attributes(&self) -> BTreeMap<&'static str, String> {
        let mut all = BTreeMap::from([
            ("SenderId", self.sender.clone()),
            ("SentTimestamp", self.sent_ms.to_string()),
            ("ApproximateReceiveCount", self.received.to_string()),
            ("ApproximateFirstReceiveTimestamp", self.first_received_ms.unwrap_or(self.sent_ms).to_string()),
        ]);
        let more = [
            ("AWSTraceHeader", self.trace_header.clone()),
            ("DeadLetterQueueSourceArn", self.source.clone()),
            ("MessageGroupId", self.group.clone()),
            ("MessageDeduplicationId", self.deduplication.clone()),
            ("SequenceNumber", self.sequence.map(|number| format!("{number:020}"))),
        ];
        all.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
        all
    }
}

/// `MD5OfMessageBody`.
pub fn body_md5(body: &str) -> String {
    hex::encode(Md5::digest(body))
}

/// `MD5OfMessageAttributes`: over name, type and value of each, with their lengths, in order of name.
pub fn attributes_md5<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>) -> Option<String> {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    if sorted.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in sorted {
        update(&mut digest, name.as_bytes());
        update(&mut digest, attribute.data_type.as_bytes());
        match &attribute.value {
            AttributeValue::Text(text) => {
                digest.update([1]);
                update(&mut digest, text.as_bytes());
            }
            AttributeValue::Binary(text) => {
                digest.update([2]);
                update(&mut digest, &STANDARD.decode(text).unwrap_or_default());
            }
        }
    }
    Some(hex::encode(digest.finalize()))
}

fn update(digest: &mut Md5, bytes: &[u8]) {
    digest.update((bytes.len() as u32).to_be_bytes());
    digest.update(bytes);
}
