//! Shapes of SQS's requests, with AWS's names. Numbers come as text in the query protocol. Unknown fields are ignored.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateQueue {
    pub queue_name: Option<String>,
    pub attributes: BTreeMap<String, String>,
    #[serde(alias = "tags")]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GetQueueUrl {
    pub queue_name: Option<String>,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    pub owner: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ListQueues {
    pub queue_name_prefix: Option<String>,
    pub next_token: Option<String>,
    #[serde(deserialize_with = "number")]
    pub max_results: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueueAttributes {
    pub attributes: BTreeMap<String, String>,
    pub attribute_names: Vec<String>,
    #[serde(alias = "tags")]
    pub tags: BTreeMap<String, String>,
    pub tag_keys: Vec<String>,
}

/// SendMessage, and an entry of SendMessageBatch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SendMessage {
    pub id: Option<String>,
    pub message_body: Option<String>,
    #[serde(deserialize_with = "number")]
    pub delay_seconds: Option<i64>,
    pub message_attributes: BTreeMap<String, Attribute>,
    pub message_system_attributes: BTreeMap<String, Attribute>,
    pub message_group_id: Option<String>,
    pub message_deduplication_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attribute {
    pub data_type: Option<String>,
    pub string_value: Option<String>,
    pub binary_value: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReceiveMessage {
    pub attribute_names: Vec<String>,
    pub message_system_attribute_names: Vec<String>,
    pub message_attribute_names: Vec<String>,
    #[serde(deserialize_with = "number")]
    pub max_number_of_messages: Option<i64>,
    #[serde(deserialize_with = "number")]
    pub visibility_timeout: Option<i64>,
    #[serde(deserialize_with = "number")]
    pub wait_time_seconds: Option<i64>,
    pub receive_request_attempt_id: Option<String>,
}

/// DeleteMessage and ChangeMessageVisibility, and an entry of their batches.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Receipt {
    pub id: Option<String>,
    pub receipt_handle: Option<String>,
    #[serde(deserialize_with = "number")]
    pub visibility_timeout: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entries<T> {
    #[serde(default = "Vec::new")]
    pub entries: Vec<T>,
}

/// A number, or the text of one.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(text) => text.parse().map(Some).map_err(|_| D::Error::custom("a number was expected")),
        other => other.as_i64().map(Some).ok_or_else(|| D::Error::custom("a whole number was expected")),
    }
}
