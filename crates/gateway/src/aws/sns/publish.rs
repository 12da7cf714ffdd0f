//! Publish and PublishBatch: answered when there is a delivery on disk for each subscription.

use super::{Call, invalid, not_found};
use crate::aws::{Error, Response, query::Parameters};
use dayfly_store::Batch;
use dayfly_triggers::{
    queues::{Attribute, AttributeValue},
    topics::{self, Message, TopicName},
};
use dayfly_types::RequestId;
use http::StatusCode;
use std::collections::BTreeMap;

/// Longest message, or batch of them, with its attributes; SNS's.
const BYTES_MAX: usize = 256 << 10;
/// Longest subject, SNS's.
const SUBJECT_CHARACTERS_MAX: usize = 100;
/// Most messages of a batch, SNS's.
const BATCH_MAX: usize = 10;

pub async fn publish(call: &Call<'_>) -> Result<Response, Error> {
    if call.parameters.get("PhoneNumber").is_some() {
        return Err(Error::unsupported("text messages to phones"));
    }
    let parameter = if call.parameters.get("TopicArn").is_some() { "TopicArn" } else { "TargetArn" };
    let topic = call.topic(parameter)?;
    let (message, bytes) = message(call, "")?;
    if bytes > BYTES_MAX {
        return Err(invalid("Message too long"));
    }
    let id = message.id;
    send(call, &topic, &[message]).await?;
    Ok(call.answer(|xml| {
        xml.text("MessageId", id);
    }))
}

pub async fn publish_batch(call: &Call<'_>) -> Result<Response, Error> {
    let topic = call.topic("TopicArn")?;
    let (mut ids, mut bytes) = (Vec::new(), 0);
    let (mut messages, mut sent, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(id) = call.parameters.get(&format!("PublishBatchRequestEntries.member.{}.Id", ids.len() + 1)) {
        if ids.len() == BATCH_MAX {
            let message = "The batch request contains more entries than permissible.";
            return Err(Error::bad_request("TooManyEntriesInBatchRequest", message));
        }
        if ids.contains(&id) {
            let message = "Two or more batch entries in the request have the same Id.";
            return Err(Error::bad_request("BatchEntryIdsNotDistinct", message));
        }
        ids.push(id);
        match message(call, &format!("PublishBatchRequestEntries.member.{}.", ids.len())) {
            Ok((message, length)) => {
                bytes += length;
                sent.push((id, message.id));
                messages.push(message);
            }
            Err(error) => failed.push((id, error)),
        }
    }
    if ids.is_empty() {
        return Err(Error::bad_request("EmptyBatchRequest", "The batch request doesn't contain any entries."));
    }
    if bytes > BYTES_MAX {
        let message = "The length of all the batch messages put together is more than the limit.";
        return Err(Error::bad_request("BatchRequestTooLong", message));
    }
    send(call, &topic, &messages).await?;
    Ok(call.answer(|xml| {
        xml.element("Successful", |xml| {
            for (id, message) in sent {
                xml.element("member", |xml| {
                    xml.text("Id", id).text("MessageId", message);
                });
            }
        });
        xml.element("Failed", |xml| {
            for (id, error) in failed {
                xml.element("member", |xml| {
                    xml.text("Id", id).text("Code", &error.code).text("Message", &error.message);
                    xml.text("SenderFault", error.status != StatusCode::INTERNAL_SERVER_ERROR);
                });
            }
        });
    }))
}

async fn send(call: &Call<'_>, topic: &TopicName, messages: &[Message]) -> Result<(), Error> {
    let options = &call.gateway.options;
    let mut batch = Batch::new();
    for message in messages {
        let deliveries = topics::publish(&options.store, topic, message, options.clock.now()).await?;
        for delivery in deliveries.ok_or_else(|| not_found("Topic"))? {
            batch = options.deliveries.post(batch, delivery);
        }
    }
    if !batch.writes.is_empty() {
        options.store.tables.commit(batch).await?;
        options.deliveries.posted();
    }
    Ok(())
}

/// The message whose parameters begin with `prefix`, and its length.
fn message(call: &Call<'_>, prefix: &str) -> Result<(Message, usize), Error> {
    let parameters = &call.parameters;
    let given = |name: &str| parameters.get(&format!("{prefix}{name}"));
    let text = given("Message").filter(|text| !text.is_empty()).ok_or_else(|| invalid("Empty message"))?;
    let subject = given("Subject").map(str::to_owned);
    if subject.as_ref().is_some_and(|subject| {
        subject.is_empty() || subject.chars().count() > SUBJECT_CHARACTERS_MAX || subject.chars().any(char::is_control)
    }) {
        return Err(invalid("Subject"));
    }
    let by_protocol = match given("MessageStructure") {
        None | Some("") => BTreeMap::new(),
        Some("json") => by_protocol(text)?,
        Some(_) => return Err(invalid("Message Structure - must be json or null")),
    };
    let text = by_protocol.get("default").map_or(text, String::as_str).to_owned();
    let (attributes, bytes) = attributes(parameters, prefix)?;
    let longest = by_protocol.values().map(String::len).max().unwrap_or_default().max(text.len());
    let trace = call.request.header("x-amzn-trace-id").map(str::to_owned);
    Ok((Message { id: RequestId::random().0, subject, text, by_protocol, attributes, trace }, bytes + longest))
}

/// A message for each protocol, of which there must be a default.
fn by_protocol(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let all: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| invalid("Message Structure - JSON message body failed to parse"))?;
    let texts = all.into_iter().filter_map(|(protocol, value)| Some((protocol, value.as_str()?.to_owned())));
    let texts: BTreeMap<_, _> = texts.collect();
    if !texts.contains_key("default") {
        return Err(invalid("Message Structure - No default entry in JSON message body"));
    }
    Ok(texts)
}

fn attributes(parameters: &Parameters, prefix: &str) -> Result<(BTreeMap<String, Attribute>, usize), Error> {
    let (mut all, mut bytes) = (BTreeMap::new(), 0);
    for number in 1.. {
        let field = |name: &str| parameters.get(&format!("{prefix}MessageAttributes.entry.{number}.{name}"));
        let Some(name) = field("Name") else { break };
        let wrong = |reason: &str| {
            let message = format!("The message attribute '{name}' {reason}");
            Error::bad_request("ParameterValueInvalid", message)
        };
        let data_type = field("Value.DataType").unwrap_or_default();
        let text = || field("Value.StringValue").filter(|text| !text.is_empty());
        let value = match data_type.split('.').next().unwrap_or_default() {
            "String" => text().map(|text| AttributeValue::Text(text.to_owned())),
            "Number" => {
                let number = text().filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
                number.map(|text| AttributeValue::Text(text.to_owned()))
            }
            "Binary" => field("Value.BinaryValue").map(|bytes| AttributeValue::Binary(bytes.to_owned())),
            _ => {
                return Err(wrong(
                    "has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.",
                ));
            }
        };
        let value = value.ok_or_else(|| wrong("has no value of its type."))?;
        let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !word || !(1..=256).contains(&name.len()) {
            return Err(wrong("has a name that is not valid."));
        }
        let (AttributeValue::Text(text) | AttributeValue::Binary(text)) = &value;
        bytes += name.len() + data_type.len() + text.len();
        all.insert(name.to_owned(), Attribute { data_type: data_type.to_owned(), value });
    }
    Ok((all, bytes))
}
