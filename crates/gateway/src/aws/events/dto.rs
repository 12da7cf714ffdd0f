//! Shapes of EventBridge's requests, with AWS's names. Unknown fields are ignored.

use dayfly_triggers::events::Target;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PutRule {
    pub name: Option<String>,
    pub schedule_expression: Option<String>,
    pub event_pattern: Option<String>,
    pub state: Option<String>,
    pub description: Option<String>,
    pub role_arn: Option<String>,
    pub tags: Vec<Tag>,
    pub event_bus_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Named {
    pub name: Option<String>,
    pub event_bus_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct List {
    pub name_prefix: Option<String>,
    pub target_arn: Option<String>,
    pub event_bus_name: Option<String>,
    pub next_token: Option<String>,
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Tagged {
    #[serde(rename = "ResourceARN")]
    pub resource_arn: String,
    pub tags: Vec<Tag>,
    pub tag_keys: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Targets {
    pub rule: Option<String>,
    pub event_bus_name: Option<String>,
    pub targets: Vec<Value>,
    pub ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PutEvents {
    pub entries: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Entry {
    pub time: Option<f64>,
    pub source: Option<String>,
    pub resources: Vec<String>,
    pub detail_type: Option<String>,
    pub detail: Option<String>,
    pub event_bus_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TestEventPattern {
    pub event_pattern: String,
    pub event: String,
}

/// A target, when all that it asks for is there.
pub fn target(value: Value) -> Result<Target, String> {
    const KNOWN: [&str; 9] = [
        "Id",
        "Arn",
        "RoleArn",
        "Input",
        "InputPath",
        "InputTransformer",
        "SqsParameters",
        "DeadLetterConfig",
        "RetryPolicy",
    ];
    let set = |value: &Value| !value.is_null();
    let other = value
        .as_object()
        .and_then(|object| object.iter().find(|(name, value)| !KNOWN.contains(&name.as_str()) && set(value)));
    if let Some((name, _)) = other {
        return Err(format!("Dayfly does not support {name} yet"));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}
