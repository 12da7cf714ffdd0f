//! The event that a function gets for messages of a queue, in Lambda's shape.

use crate::{
    patterns::Pattern,
    queues::{Attribute, AttributeValue, QueueName, Received, attributes_md5, body_md5},
};
use serde_json::{Map, Value, json};

/// One record.
pub fn record(source: &QueueName, received: &Received) -> Value {
    let message = &received.message;
    let mut record = json!({
        "messageId": message.id,
        "receiptHandle": received.handle,
        "body": message.body,
        "attributes": message.system_attributes(),
        "messageAttributes": message
            .attributes
            .iter()
            .map(|(name, attribute)| (name.clone(), shown(attribute)))
            .collect::<Map<_, _>>(),
        "md5OfBody": body_md5(&message.body),
        "eventSource": "aws:sqs",
        "eventSourceARN": source.to_string(),
        "awsRegion": source.region,
    });
    if let Some(digest) = attributes_md5(&message.attributes) {
        record["md5OfMessageAttributes"] = json!(digest);
    }
    record
}

/// Whether one of `filters` takes the record. A body that is JSON is looked into; without filters, all is taken.
pub fn passes(filters: &[Pattern], record: &Value) -> bool {
    if filters.is_empty() {
        return true;
    }
    let mut seen = record.clone();
    let inside = seen["body"].as_str().and_then(|body| serde_json::from_str::<Value>(body).ok());
    if let Some(inside @ (Value::Object(_) | Value::Array(_))) = inside {
        seen["body"] = inside;
    }
    filters.iter().any(|filter| filter.matches(&seen))
}

/// Which messages the function says it could not handle: its `batchItemFailures`. `Err` when that cannot be understood,
/// which means all of them.
pub fn failures(answer: &[u8]) -> Result<Vec<String>, ()> {
    let answer: Value = if answer.is_empty() { Value::Null } else { serde_json::from_slice(answer).map_err(drop)? };
    match answer.get("batchItemFailures") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item["itemIdentifier"].as_str().filter(|id| !id.is_empty()).map(str::to_owned).ok_or(()))
            .collect(),
        Some(_) => Err(()),
    }
}

fn shown(attribute: &Attribute) -> Value {
    let value = match &attribute.value {
        AttributeValue::Text(text) => ("stringValue", text),
        AttributeValue::Binary(text) => ("binaryValue", text),
    };
    json!({value.0: value.1, "stringListValues": [], "binaryListValues": [], "dataType": attribute.data_type})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_look_into_a_body_that_is_json() {
        let filters = [Pattern::parse(r#"{"body": {"n": [{"numeric": [">", 5]}]}}"#).unwrap()];
        assert!(passes(&filters, &json!({"body": "{\"n\": 6}"})));
        for body in ["{\"n\": 5}", "n", "6", ""] {
            assert!(!passes(&filters, &json!({"body": body})), "{body}");
        }
        assert!(passes(&[Pattern::parse(r#"{"body": ["plain"]}"#).unwrap()], &json!({"body": "plain"})));
        assert!(passes(&[], &json!({"body": "x"})));
    }

    #[test]
    fn an_answer_names_what_failed_or_all_did() {
        for none in ["", "null", "{}", "7", "{\"batchItemFailures\": []}", "{\"batchItemFailures\": null}"] {
            assert_eq!(failures(none.as_bytes()), Ok(Vec::new()), "{none}");
        }
        let some = br#"{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}"#;
        assert_eq!(failures(some), Ok(vec!["a".to_owned(), "b".to_owned()]));
        for all in [
            "{\"batchItemFailures\": 1}",
            "{\"batchItemFailures\": [{}]}",
            "{\"batchItemFailures\": [{\"itemIdentifier\": \"\"}]}",
            "not json",
        ] {
            assert_eq!(failures(all.as_bytes()), Err(()), "{all}");
        }
    }
}
