//! SNS's topics: what is published becomes a delivery for each subscription that wants it. Called by the gateway, which
//! keeps the rows, and by [`crate::deliveries`] for what is sent to a topic.
//!
//! | table | key | value |
//! |---|---|---|
//! | `sns_topics` | ARN | [`Topic`] |
//! | `sns_subscriptions` | ARN | [`Subscription`] |

use crate::{
    deliveries::{Delivery, Patience, Sender},
    patterns::Pattern,
    queues::{Attribute, AttributeValue},
};
use dayfly_store::{Error as StoreError, Store};
use dayfly_types::{AccountId, FunctionArn, Region, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, str::FromStr};
use uuid::Uuid;

/// Table of the topics.
pub const TOPICS: &str = "sns_topics";
/// Table of the subscriptions.
pub const SUBSCRIPTIONS: &str = "sns_subscriptions";
/// Most subscriptions of a topic: what is published is one commit for all of them.
pub const SUBSCRIPTIONS_MAX: usize = 500;
/// SNS, in policies.
const SERVICE: &str = "sns.amazonaws.com";
/// SNS gives up on a function or a queue after 23 days.
const PATIENCE: Patience = Patience { retries_max: 100_015, age_s_max: 23 * 24 * 3600 };

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// What tells it from all others.
    pub name: TopicName,
    /// Kept and returned: `DisplayName`, `Policy`, `DeliveryPolicy`.
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// `arn:aws:sns:REGION:ACCOUNT:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicName {
    /// Where it is.
    pub region: Region,
    /// Whose it is.
    pub account: AccountId,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for TopicName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "arn:aws:sns:{}:{}:{}", self.region, self.account, self.name)
    }
}

impl FromStr for TopicName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.strip_prefix("arn:aws:sns:").ok_or(())?.split(':');
        let (Some(region), Some(account), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        if !valid_name(name) {
            return Err(());
        }
        let (region, account) = (region.parse().map_err(|_| ())?, account.parse().map_err(|_| ())?);
        Ok(Self { region, account, name: name.to_owned() })
    }
}

/// Whether SNS would take `name` for a standard topic.
pub fn valid_name(name: &str) -> bool {
    (1..=256).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Who gets what is published to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The topic's ARN, and an id.
    pub arn: String,
    /// The topic.
    pub topic: TopicName,
    /// ARN of a function or a queue.
    pub endpoint: String,
    /// A queue gets the message without what SNS writes around it.
    pub raw: bool,
    /// What it wants.
    pub filter: Option<String>,
    /// The filter is for the message, not its attributes.
    pub filters_body: bool,
    /// ARN of the queue for what cannot be delivered.
    pub dead_letters: Option<String>,
}

impl Subscription {
    /// `lambda` or `sqs`.
    pub fn protocol(&self) -> &'static str {
        if self.endpoint.parse::<FunctionArn>().is_ok() { "lambda" } else { "sqs" }
    }

    fn wants(&self, message: &Message) -> bool {
        let Some(pattern) = self.filter.as_ref().and_then(|filter| Pattern::parse(filter).ok()) else { return true };
        if self.filters_body {
            return serde_json::from_str(&message.text).is_ok_and(|body| pattern.matches(&body));
        }
        pattern.matches(&Value::Object(message.attributes.iter().filter_map(comparable).collect()))
    }
}

/// An attribute as filters see it; none sees bytes.
fn comparable((name, attribute): (&String, &Attribute)) -> Option<(String, Value)> {
    let AttributeValue::Text(text) = &attribute.value else { return None };
    let value = match attribute.data_type.as_str() {
        "Number" => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        "String.Array" => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        _ => json!(text),
    };
    Some((name.clone(), value))
}

/// What is published.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// Its subject.
    pub subject: Option<String>,
    /// The message.
    pub text: String,
    /// Another message for a protocol.
    pub by_protocol: BTreeMap<String, String>,
    /// Its attributes.
    pub attributes: BTreeMap<String, Attribute>,
    /// Trace header of whoever published.
    pub trace: Option<String>,
}

/// A delivery of `message` for each subscription of `topic` that wants it. `None` when there is no such topic.
pub async fn publish(
    store: &Store,
    topic: &TopicName,
    message: &Message,
    now: Timestamp,
) -> Result<Option<Vec<Delivery>>, StoreError> {
    let arn = topic.to_string();
    if store.tables.get(TOPICS, arn.as_bytes()).await?.is_none() {
        return Ok(None);
    }
    let (from, to) = (format!("{arn}:").into_bytes(), format!("{arn};").into_bytes());
    let rows = store.tables.scan(SUBSCRIPTIONS, &from, &to, SUBSCRIPTIONS_MAX, false).await?;
    let mut deliveries = Vec::new();
    for row in rows {
        let subscription: Subscription = serde_json::from_slice(&row.value)
            .map_err(|error| StoreError::Engine(format!("a subscription cannot be read: {error}")))?;
        if subscription.wants(message) {
            deliveries.push(delivery(&subscription, message, now));
        }
    }
    Ok(Some(deliveries))
}

fn delivery(subscription: &Subscription, message: &Message, now: Timestamp) -> Delivery {
    let protocol = subscription.protocol();
    let text = message.by_protocol.get(protocol).unwrap_or(&message.text);
    let shown = shown(subscription, message, text, now);
    let (text, attributes) = match protocol {
        "lambda" => (lambda(subscription, shown), BTreeMap::new()),
        _ if subscription.raw => (text.clone(), message.attributes.clone()),
        _ => (Value::Object(shown).to_string(), BTreeMap::new()),
    };
    let topic = &subscription.topic;
    let sender =
        Sender { service: SERVICE.to_owned(), arn: topic.to_string(), account: topic.account.clone(), by_role: false };
    let mut delivery = Delivery::new(sender, subscription.endpoint.clone(), text);
    delivery.attributes = attributes;
    delivery.dead_letters.clone_from(&subscription.dead_letters);
    delivery.trace.clone_from(&message.trace);
    delivery.patience = PATIENCE;
    delivery
}

/// The message as SNS writes it. Nobody signs it: the fields of a signature are there and empty.
fn shown(subscription: &Subscription, message: &Message, text: &str, now: Timestamp) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
    put("Type", json!("Notification"));
    put("MessageId", json!(message.id));
    put("TopicArn", json!(subscription.topic.to_string()));
    if let Some(subject) = &message.subject {
        put("Subject", json!(subject));
    }
    put("Message", json!(text));
    put("Timestamp", json!(now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()));
    for name in ["SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL"] {
        put(name, json!(""));
    }
    if !message.attributes.is_empty() {
        let attribute = |attribute: &Attribute| {
            let (AttributeValue::Text(value) | AttributeValue::Binary(value)) = &attribute.value;
            json!({"Type": attribute.data_type, "Value": value})
        };
        let attributes: Map<String, Value> =
            message.attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
        put("MessageAttributes", Value::Object(attributes));
    }
    all
}

/// The event of a function: other names for two fields, and fields that are always there.
fn lambda(subscription: &Subscription, mut shown: Map<String, Value>) -> String {
    for (old, new) in [("SigningCertURL", "SigningCertUrl"), ("UnsubscribeURL", "UnsubscribeUrl")] {
        let value = shown.remove(old).unwrap_or_default();
        shown.insert(new.to_owned(), value);
    }
    shown.entry("Subject").or_insert(Value::Null);
    shown.entry("MessageAttributes").or_insert_with(|| json!({}));
    let record = json!({
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": subscription.arn,
        "Sns": shown,
    });
    json!({"Records": [record]}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(endpoint: &str, filter: Option<&str>) -> Subscription {
        let topic: TopicName = "arn:aws:sns:us-east-1:000000000000:news".parse().unwrap();
        Subscription {
            arn: format!("{topic}:1"),
            topic,
            endpoint: endpoint.to_owned(),
            raw: false,
            filter: filter.map(str::to_owned),
            filters_body: false,
            dead_letters: None,
        }
    }

    fn message(attributes: &[(&str, &str, &str)]) -> Message {
        let attribute = |(name, kind, text): &(&str, &str, &str)| {
            let value = AttributeValue::Text((*text).to_owned());
            ((*name).to_owned(), Attribute { data_type: (*kind).to_owned(), value })
        };
        let attributes = attributes.iter().map(attribute).collect();
        Message { text: "{\"a\": {\"b\": 1}}".to_owned(), attributes, ..Message::default() }
    }

    #[test]
    fn filters_look_at_attributes_or_at_the_message() {
        let queue = "arn:aws:sqs:us-east-1:000000000000:q";
        let wants = |filter: &str, message: &Message| subscription(queue, Some(filter)).wants(message);
        let cats =
            message(&[("kind", "String", "cat"), ("age", "Number", "7"), ("tags", "String.Array", "[\"x\", \"y\"]")]);
        assert!(subscription(queue, None).wants(&cats));
        assert!(wants(r#"{"kind": ["dog", "cat"], "age": [{"numeric": [">", 5]}], "tags": ["y"]}"#, &cats));
        assert!(!wants(r#"{"kind": ["dog"]}"#, &cats) && !wants(r#"{"kind": [{"anything-but": ["cat"]}]}"#, &cats));
        assert!(wants(r#"{"name": [{"exists": false}]}"#, &cats) && !wants(r#"{"name": [{"exists": true}]}"#, &cats));
        let body = Subscription { filters_body: true, ..subscription(queue, Some(r#"{"a": {"b": [1]}}"#)) };
        assert!(body.wants(&cats) && !body.wants(&Message { text: "no json".to_owned(), ..cats }));
    }

    #[test]
    fn functions_and_queues_get_their_own_forms() {
        let queue = subscription("arn:aws:sqs:us-east-1:000000000000:q", None);
        let mut sent = message(&[("kind", "String", "cat")]);
        sent.by_protocol.insert("lambda".to_owned(), "for functions".to_owned());
        let text = |subscription: &Subscription| delivery(subscription, &sent, Timestamp::UNIX_EPOCH).text;
        let got: Value = serde_json::from_str(&text(&queue)).unwrap();
        assert_eq!((&got["Message"], &got["Timestamp"]), (&json!(sent.text), &json!("1970-01-01T00:00:00.000Z")));
        assert_eq!(got["MessageAttributes"], json!({"kind": {"Type": "String", "Value": "cat"}}));
        let raw = delivery(&Subscription { raw: true, ..queue }, &sent, Timestamp::UNIX_EPOCH);
        assert_eq!((raw.text, raw.attributes), (sent.text.clone(), sent.attributes.clone()));
        let function = subscription("arn:aws:lambda:us-east-1:000000000000:function:f", None);
        let event: Value = serde_json::from_str(&text(&function)).unwrap();
        assert_eq!(event["Records"][0]["Sns"]["Message"], "for functions");
        assert_eq!(event["Records"][0]["EventSubscriptionArn"], "arn:aws:sns:us-east-1:000000000000:news:1");
    }
}
