//! What SQS asks of names and messages.

use super::{
    dto,
    error::{Error, invalid, invalid_value, missing},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_triggers::queues::{Attribute, AttributeValue, NewMessage};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Most attributes of a message.
const ATTRIBUTES_MAX: usize = 10;

/// A queue's name.
pub fn queue_name(name: &str) -> Result<(), Error> {
    let plain = name.strip_suffix(".fifo").unwrap_or(name);
    let word = plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if word && !plain.is_empty() && name.len() <= 80 {
        return Ok(());
    }
    Err(invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"))
}

/// A number that may be left out.
pub fn number(value: Option<i64>, parameter: &str, range: RangeInclusive<i64>) -> Result<Option<u32>, Error> {
    match value {
        None => Ok(None),
        Some(number) => u32::try_from(number).ok().filter(|_| range.contains(&number)).map(Some).ok_or_else(|| {
            let reason = format!("Must be between {} and {}, if provided.", range.start(), range.end());
            invalid_value(number, parameter, &reason)
        }),
    }
}

/// The message that is sent, and its length as SQS counts it.
pub fn message(dto: dto::SendMessage, sender: &str) -> Result<(NewMessage, usize), Error> {
    let body = dto.message_body.filter(|body| !body.is_empty()).ok_or_else(|| missing("MessageBody"))?;
    if !body.chars().all(in_xml) {
        return Err(Error::new("InvalidMessageContents", "Message contains invalid characters."));
    }
    if dto.message_attributes.len() > ATTRIBUTES_MAX {
        return Err(invalid(format!("Number of message attributes exceeds the allowed maximum [{ATTRIBUTES_MAX}].")));
    }
    let mut bytes = body.len();
    let mut attributes = BTreeMap::new();
    for (name, given) in dto.message_attributes {
        attribute_name(&name)?;
        let (attribute, length) = attribute(&name, given)?;
        bytes += name.len() + attribute.data_type.len() + length;
        attributes.insert(name, attribute);
    }
    let mut trace_header = None;
    for (name, given) in dto.message_system_attributes {
        match attribute(&name, given)? {
            (Attribute { value: AttributeValue::Text(text), data_type }, _)
                if name == "AWSTraceHeader" && data_type == "String" =>
            {
                trace_header = Some(text);
            }
            _ => return Err(invalid(format!("Message system attribute name '{name}' is invalid."))),
        }
    }
    for (id, parameter) in
        [(&dto.message_group_id, "MessageGroupId"), (&dto.message_deduplication_id, "MessageDeduplicationId")]
    {
        if let Some(id) = id
            && !((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let reason =
                format!("{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
            return Err(invalid_value(id, parameter, &reason));
        }
    }
    let message = NewMessage {
        body,
        attributes,
        trace_header,
        sender: sender.to_owned(),
        delay_s: number(dto.delay_seconds, "DelaySeconds", 0..=900)?,
        group: dto.message_group_id,
        deduplication: dto.message_deduplication_id,
    };
    Ok((message, bytes))
}

fn attribute_name(name: &str) -> Result<(), Error> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    let lower = name.to_ascii_lowercase();
    if !plain
        || dots
        || name.is_empty()
        || name.len() > 256
        || lower.starts_with("aws.")
        || lower.starts_with("amazon.")
    {
        let name: String = name.chars().take(256).collect();
        return Err(invalid(format!("Message (user) attribute name '{name}' is invalid.")));
    }
    Ok(())
}

/// The attribute, and the length of its value.
fn attribute(name: &str, given: dto::Attribute) -> Result<(Attribute, usize), Error> {
    let data_type = given.data_type.filter(|kind| !kind.is_empty()).ok_or_else(|| {
        invalid(format!("The message attribute '{name}' must contain a non-empty message attribute type."))
    })?;
    let empty = || invalid(format!("The message attribute '{name}' must contain a non-empty message attribute value."));
    let kind = data_type.split('.').next().unwrap_or_default();
    match (kind, given.string_value, given.binary_value) {
        ("String" | "Number", Some(text), None) if !text.is_empty() => {
            let number = || text.parse::<f64>().is_ok_and(f64::is_finite);
            if !text.chars().all(in_xml) || data_type.len() > 256 || (kind == "Number" && !number()) {
                return Err(invalid(format!("Can't cast the value of message (user) attribute '{name}' to {kind}.")));
            }
            let length = text.len();
            Ok((Attribute { data_type, value: AttributeValue::Text(text) }, length))
        }
        ("Binary", None, Some(text)) if !text.is_empty() && data_type.len() <= 256 => {
            let bytes = STANDARD.decode(&text).map_err(|_| empty())?;
            Ok((Attribute { data_type, value: AttributeValue::Binary(text) }, bytes.len()))
        }
        ("String" | "Number" | "Binary", ..) => Err(empty()),
        _ => Err(invalid(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes \
             is Binary, Number, and String."
        ))),
    }
}

/// The ids of a batch: there are some, not too many, well-formed, and each once.
pub fn batch<'a>(ids: impl Iterator<Item = Option<&'a String>>) -> Result<Vec<String>, Error> {
    let mut seen: Vec<String> = Vec::new();
    for id in ids {
        let id = id.ok_or_else(|| missing("Id"))?;
        let word = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !word || !(1..=80).contains(&id.len()) {
            return Err(Error::new(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most \
                 80 letters long.",
            ));
        }
        if seen.contains(id) {
            return Err(Error::new("BatchEntryIdsNotDistinct", format!("Id {id} repeated.")));
        }
        seen.push(id.clone());
        if seen.len() > 10 {
            let message = "Maximum number of entries per request are 10. You have sent more.";
            return Err(Error::new("TooManyEntriesInBatchRequest", message));
        }
    }
    if seen.is_empty() {
        return Err(Error::new("EmptyBatchRequest", "There should be at least one entry in the request."));
    }
    Ok(seen)
}

/// What SQS takes: the characters that XML can hold.
fn in_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(body: &str) -> dto::SendMessage {
        dto::SendMessage { message_body: Some(body.to_owned()), ..dto::SendMessage::default() }
    }

    #[test]
    fn names_are_words() {
        for good in ["q", "a-b_C9", "x.fifo", &"n".repeat(80)] {
            assert!(queue_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".fifo", "a.b", "ä", "a b", "a/b", &"n".repeat(81), "a.fifo.fifo"] {
            assert!(queue_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn messages_hold_what_xml_can() {
        assert_eq!(message(sent("ä\t😀"), "s").unwrap().1, 7);
        assert_eq!(message(sent(""), "s").unwrap_err().code, "MissingParameter");
        for bad in ["\0", "a\u{b}", "\u{ffff}"] {
            assert_eq!(message(sent(bad), "s").unwrap_err().name, "InvalidMessageContents");
        }
    }

    #[test]
    fn attributes_have_a_type_and_a_value() {
        let with = |name: &str, kind: &str, text: Option<&str>, binary: Option<&str>| {
            let attribute = dto::Attribute {
                data_type: Some(kind.to_owned()),
                string_value: text.map(str::to_owned),
                binary_value: binary.map(str::to_owned),
            };
            let attributes = BTreeMap::from([(name.to_owned(), attribute)]);
            message(dto::SendMessage { message_attributes: attributes, ..sent("b") }, "s").map(|(_, bytes)| bytes)
        };
        assert_eq!(with("n", "String", Some("abc"), None).unwrap(), 1 + 1 + 6 + 3);
        assert_eq!(with("n", "Number.int", Some("-1.5e3"), None).unwrap(), 1 + 1 + 10 + 6);
        assert_eq!(with("n", "Binary", None, Some("AQI=")).unwrap(), 1 + 1 + 6 + 2);
        for (name, kind, text, binary) in [
            ("n", "String", Some(""), None),
            ("n", "String", None, Some("AQI=")),
            ("n", "Number", Some("ten"), None),
            ("n", "Number", Some("inf"), None),
            ("n", "Binary", None, Some("%")),
            ("n", "", Some("a"), None),
            ("n", "Text", Some("a"), None),
            ("aws.n", "String", Some("a"), None),
            ("a..b", "String", Some("a"), None),
            ("", "String", Some("a"), None),
        ] {
            assert!(with(name, kind, text, binary).is_err(), "{name} {kind}");
        }
    }

    #[test]
    fn a_batch_has_one_to_ten_entries_each_once() {
        let ids = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            batch(ids.iter().map(Some)).map_err(|error| error.name)
        };
        assert!(ids(&["a", "b"]).is_ok());
        assert_eq!(ids(&[]), Err("EmptyBatchRequest"));
        assert_eq!(ids(&["a", "a"]), Err("BatchEntryIdsNotDistinct"));
        assert_eq!(ids(&["a b"]), Err("InvalidBatchEntryId"));
        assert_eq!(ids(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]), Err("TooManyEntriesInBatchRequest"));
    }
}
