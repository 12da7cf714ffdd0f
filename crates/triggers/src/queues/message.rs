//! A message, its place in its queue, and the handle that a receive gives out.

use super::Error;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dayfly_store::Error as StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `MessageId`.
    pub id: Uuid,
    /// The body.
    pub body: String,
    /// Attributes that the sender gave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// `AWSTraceHeader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_header: Option<String>,
    /// `SenderId`.
    pub sender: String,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: i64,
    /// How often it was received.
    #[serde(default)]
    pub received: u32,
    /// When it was received first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_received_ms: Option<i64>,
    /// When it was received last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_received_ms: Option<i64>,
    /// The queue that it came from, in a dead-letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its place is not the one that its first handle tells.
    #[serde(default)]
    pub(super) moved: bool,
    /// `MessageGroupId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `MessageDeduplicationId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<String>,
    /// `SequenceNumber`, in a FIFO queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with a label after a dot perhaps.
    pub data_type: String,
    /// The text, or the bytes in base64.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// Of `String` and `Number`.
    Text(String),
    /// Of `Binary`, in base64.
    Binary(String),
}

/// What is sent.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    /// The body.
    pub body: String,
    /// Attributes.
    pub attributes: BTreeMap<String, Attribute>,
    /// `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// `SenderId`.
    pub sender: String,
    /// How long it is hidden, in seconds; otherwise as the queue says.
    pub delay_s: Option<u32>,
    /// `MessageGroupId`.
    pub group: Option<String>,
    /// `MessageDeduplicationId`.
    pub deduplication: Option<String>,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// `MessageId`.
    pub id: Uuid,
    /// `SequenceNumber`, in a FIFO queue.
    pub sequence: Option<u64>,
}

/// What was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// `ReceiptHandle`.
    pub handle: String,
    /// The message.
    pub message: Message,
}

/// All that belongs together: a queue's id and epoch.
pub(super) type Range = [u8; 20];

/// The start of the keys of a queue's messages.
pub(super) fn range(id: Uuid, epoch: u32) -> Range {
    let mut key = [0; 20];
    key[..16].copy_from_slice(id.as_bytes());
    key[16..].copy_from_slice(&epoch.to_be_bytes());
    key
}

/// A place in the order of visibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// From when on it can be received, in microseconds since 1970.
    pub visible_us: i64,
    /// Number of the message; later ones have higher ones.
    pub sequence: u64,
}

impl Place {
    pub fn key(&self, range: &Range) -> Bytes {
        let mut key = Vec::with_capacity(36);
        key.extend_from_slice(range);
        key.extend_from_slice(&self.visible_us.max(0).to_be_bytes());
        key.extend_from_slice(&self.sequence.to_be_bytes());
        key.into()
    }

    pub fn of_key(key: &[u8]) -> Result<Self, Error> {
        let parts = key.get(20..28).zip(key.get(28..36));
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
        parts
            .and_then(|(visible, sequence)| {
                Some(Self { visible_us: i64::try_from(number(visible)?).ok()?, sequence: number(sequence)? })
            })
            .ok_or_else(|| damaged("a message's key"))
    }
}

/// What a receipt handle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    pub range: Range,
    pub place: Place,
    /// Which receive of the message gave it out.
    pub received: u32,
    /// In a FIFO queue.
    pub group: String,
}

const HANDLE_BYTES: usize = 41;
const HANDLE_FORM: u8 = 1;

impl Handle {
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(HANDLE_BYTES + self.group.len());
        bytes.push(HANDLE_FORM);
        bytes.extend_from_slice(&self.place.key(&self.range));
        bytes.extend_from_slice(&self.received.to_be_bytes());
        bytes.extend_from_slice(self.group.as_bytes());
        STANDARD.encode(bytes)
    }

    /// `None` when it is not one of ours.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let (fixed, group) = bytes.split_at_checked(HANDLE_BYTES)?;
        let (form, rest) = fixed.split_first()?;
        let (key, received) = rest.split_at_checked(36)?;
        (*form == HANDLE_FORM).then_some(())?;
        Some(Self {
            range: key[..20].try_into().ok()?,
            place: Place::of_key(key).ok()?,
            received: u32::from_be_bytes(received.try_into().ok()?),
            group: String::from_utf8(group.to_vec()).ok()?,
        })
    }
}

/// A row that this program did not write.
pub(super) fn damaged(what: &str) -> Error {
    Error::Store(StoreError::Engine(format!("{what} cannot be read: the file is damaged")))
}

pub(super) fn to_json(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value).map(Into::into).map_err(|_| damaged("a value"))
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|_| damaged(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_survives_its_text_and_others_do_not() {
        let handle = Handle {
            range: range(Uuid::new_v4(), 7),
            place: Place { visible_us: 1_700_000_000_000_000, sequence: 42 },
            received: 3,
            group: "a group".to_owned(),
        };
        assert_eq!(Handle::decode(&handle.encode()), Some(handle));
        for bad in ["", "abc", "AQ==", &STANDARD.encode([1; 40]), &STANDARD.encode([2; 41]), "äöü"] {
            assert_eq!(Handle::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_are_in_the_order_of_visibility() {
        let range = range(Uuid::nil(), 0);
        let key = |visible_us, sequence| Place { visible_us, sequence }.key(&range);
        assert!(key(1, 9) < key(2, 0) && key(2, 0) < key(2, 1) && key(255, 0) < key(256, 0));
        let place = Place { visible_us: 77, sequence: 5 };
        assert_eq!(Place::of_key(&place.key(&range)).unwrap(), place);
    }
}
