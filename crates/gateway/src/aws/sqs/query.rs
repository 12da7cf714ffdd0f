//! SQS's older protocol: parameters with dotted names become the JSON of the newer one, and answers in JSON become XML.

use crate::aws::response::xml_text;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Lists: name in a parameter, name in JSON.
const LISTS: [(&str, &str); 7] = [
    ("AttributeName", "AttributeNames"),
    ("MessageAttributeName", "MessageAttributeNames"),
    ("MessageSystemAttributeName", "MessageSystemAttributeNames"),
    ("TagKey", "TagKeys"),
    ("SendMessageBatchRequestEntry", "Entries"),
    ("DeleteMessageBatchRequestEntry", "Entries"),
    ("ChangeMessageVisibilityBatchRequestEntry", "Entries"),
];
/// Maps: name in a parameter or element, name in JSON, names of key and value.
const MAPS: [(&str, &str, &str, &str); 4] = [
    ("Attribute", "Attributes", "Name", "Value"),
    ("MessageAttribute", "MessageAttributes", "Name", "Value"),
    ("MessageSystemAttribute", "MessageSystemAttributes", "Name", "Value"),
    ("Tag", "Tags", "Key", "Value"),
];
/// Deepest name that there is: `SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue`.
const DEPTH_MAX: usize = 6;

/// A parameter's value, or parameters whose names begin alike.
enum Node {
    Leaf(String),
    Branch(BTreeMap<String, Node>),
}

/// The request in JSON. Names that are too deep are left out: no operation has them.
pub fn to_json(parameters: Vec<(String, String)>) -> Value {
    let mut root = BTreeMap::new();
    for (name, value) in parameters {
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() <= DEPTH_MAX {
            insert(&mut root, &parts, value);
        }
    }
    object(root)
}

fn insert(into: &mut BTreeMap<String, Node>, name: &[&str], value: String) {
    match name {
        [] => {}
        [last] => {
            into.insert((*last).to_owned(), Node::Leaf(value));
        }
        [first, rest @ ..] => {
            let branch = into.entry((*first).to_owned()).or_insert_with(|| Node::Branch(BTreeMap::new()));
            if let Node::Branch(branch) = branch {
                insert(branch, rest, value);
            }
        }
    }
}

fn object(branch: BTreeMap<String, Node>) -> Value {
    let mut members = Map::new();
    for (name, node) in branch {
        let (name, value) = match node {
            Node::Leaf(value) => (name, Value::String(value)),
            Node::Branch(branch) => {
                if let Some((_, plural)) = LISTS.iter().find(|(one, _)| *one == name) {
                    ((*plural).to_owned(), Value::Array(numbered(branch)))
                } else if let Some((_, plural, key, value)) = MAPS.iter().find(|(one, ..)| *one == name) {
                    ((*plural).to_owned(), map(numbered(branch), key, value))
                } else {
                    (name, object(branch))
                }
            }
        };
        members.insert(name, value);
    }
    Value::Object(members)
}

/// The values in the order of their numbers.
fn numbered(branch: BTreeMap<String, Node>) -> Vec<Value> {
    let mut all: Vec<(u64, Value)> = branch
        .into_iter()
        .filter_map(|(number, node)| {
            let value = match node {
                Node::Leaf(text) => Value::String(text),
                Node::Branch(branch) => object(branch),
            };
            Some((number.parse().ok()?, value))
        })
        .collect();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, value)| value).collect()
}

fn map(pairs: Vec<Value>, key: &str, value: &str) -> Value {
    let pairs = pairs.into_iter().filter_map(|mut pair| {
        let name = pair.get(key)?.as_str()?.to_owned();
        Some((name, pair.get_mut(value)?.take()))
    });
    Value::Object(pairs.collect())
}

/// The answer of `operation` in XML.
pub fn to_xml(operation: &str, answer: Option<&Value>, id: impl std::fmt::Display) -> String {
    let mut result = String::new();
    if let Some(answer) = answer {
        element_of(operation, &format!("{operation}Result"), answer, &mut result);
    }
    format!(
        "<?xml version=\"1.0\"?><{operation}Response xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">{result}\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
    )
}

fn members(operation: &str, value: &Value, out: &mut String) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let map = MAPS.iter().find(|(_, plural, ..)| plural == name);
        match (map, value) {
            (Some((element, _, key, inner)), Value::Object(map)) => {
                for (entry, value) in map {
                    out.push_str(&format!("<{element}><{key}>{}</{key}>", xml_text(entry)));
                    element_of(operation, inner, value, out);
                    out.push_str(&format!("</{element}>"));
                }
            }
            (_, Value::Array(items)) => {
                let element = match name.as_str() {
                    "Messages" => "Message".to_owned(),
                    "QueueUrls" | "queueUrls" => "QueueUrl".to_owned(),
                    "Successful" => format!("{operation}ResultEntry"),
                    _ => "BatchResultErrorEntry".to_owned(),
                };
                items.iter().for_each(|item| element_of(operation, &element, item, out));
            }
            (_, value) => element_of(operation, name, value, out),
        }
    }
}

fn element_of(operation: &str, name: &str, value: &Value, out: &mut String) {
    out.push_str(&format!("<{name}>"));
    match value {
        Value::Object(_) => members(operation, value, out),
        Value::String(text) => out.push_str(&xml_text(text)),
        Value::Null => {}
        other => out.push_str(&other.to_string()),
    }
    out.push_str(&format!("</{name}>"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_become_json() {
        let parameters = [
            ("QueueUrl", "u"),
            ("SendMessageBatchRequestEntry.2.Id", "b"),
            ("SendMessageBatchRequestEntry.10.Id", "c"),
            ("SendMessageBatchRequestEntry.1.Id", "a"),
            ("SendMessageBatchRequestEntry.1.MessageAttribute.1.Name", "n"),
            ("SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue", "v"),
            ("Attribute.1.Name", "DelaySeconds"),
            ("Attribute.1.Value", "5"),
            ("AttributeName.1", "All"),
            ("a.b.c.d.e.f.g", "too deep"),
            ("QueueUrl.x", "a leaf has no leaves"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            to_json(parameters.into()),
            json!({
                "QueueUrl": "u", "Attributes": {"DelaySeconds": "5"}, "AttributeNames": ["All"],
                "Entries": [
                    {"Id": "a", "MessageAttributes": {"n": {"StringValue": "v"}}}, {"Id": "b"}, {"Id": "c"},
                ],
            })
        );
    }

    #[test]
    fn answers_become_xml() {
        let answer = json!({"Messages": [{"Body": "<a>", "Attributes": {"SenderId": "x"}}]});
        let xml = to_xml("ReceiveMessage", Some(&answer), "ID");
        let message =
            "<Message><Attribute><Name>SenderId</Name><Value>x</Value></Attribute><Body>&lt;a&gt;</Body></Message>";
        assert!(xml.contains(&format!("<ReceiveMessageResult>{message}</ReceiveMessageResult>")), "{xml}");
        assert!(!to_xml("DeleteMessage", None, "ID").contains("Result>"));
    }
}
