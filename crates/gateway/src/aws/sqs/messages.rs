//! Operations on messages, one at a time and in batches.

use super::{
    Call, dto,
    error::{Error, Failure, invalid, missing},
    validate,
};
use dayfly_triggers::queues::{
    self, Attribute, AttributeValue, Configuration, Message, NewMessage, Receive, Received, Sent, attributes_md5,
    body_md5,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Longest batch, all its messages together.
const BATCH_BYTES_MAX: usize = 1 << 20;

pub async fn send_message(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::SendMessage = call.input()?;
    let queue = call.queue().await?;
    let settings = queue.configuration().await?;
    let (mut message, bytes) = validate::message(dto, &sender(call))?;
    fits(&message, bytes, &settings)?;
    let digests = Digests::of(&message);
    message.trace_header = message.trace_header.or_else(|| trace(call));
    let sent = call.gateway.options.queues.send(&queue, vec![message]).await?;
    let sent = sent.first().ok_or_else(|| Error::new("InternalServerError", "no message was sent"))?;
    Ok(digests.shown(sent))
}

pub async fn send_message_batch(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Entries<dto::SendMessage> = call.input()?;
    let queue = call.queue().await?;
    let settings = queue.configuration().await?;
    let ids = validate::batch(dto.entries.iter().map(|entry| entry.id.as_ref()))?;
    let sender = sender(call);
    let mut answer = BatchAnswer::default();
    let (mut messages, mut shown, mut total) = (Vec::new(), Vec::new(), 0);
    for (id, entry) in ids.into_iter().zip(dto.entries) {
        let checked = validate::message(entry, &sender).and_then(|(message, bytes)| {
            total += bytes;
            fits(&message, bytes, &settings).map(|()| message)
        });
        match checked {
            Ok(mut message) => {
                shown.push((id, Digests::of(&message)));
                message.trace_header = message.trace_header.or_else(|| trace(call));
                messages.push(message);
            }
            Err(error) => answer.failed(&id, &error),
        }
    }
    if total > BATCH_BYTES_MAX {
        let message =
            format!("Batch requests cannot be longer than {BATCH_BYTES_MAX} bytes. You have sent {total} bytes.");
        return Err(Error::new("BatchRequestTooLong", message).into());
    }
    let sent = call.gateway.options.queues.send(&queue, messages).await?;
    for ((id, digests), sent) in shown.into_iter().zip(&sent) {
        let mut entry = digests.shown(sent);
        entry["Id"] = json!(id);
        answer.successful.push(entry);
    }
    Ok(answer.shown())
}

pub async fn receive_message(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::ReceiveMessage = call.input()?;
    let queue = call.queue().await?;
    let messages_max = validate::number(dto.max_number_of_messages, "MaxNumberOfMessages", 1..=10)?;
    let wait = validate::number(dto.wait_time_seconds, "WaitTimeSeconds", 0..=20)?;
    let receive = Receive {
        messages_max: messages_max.unwrap_or(1) as usize,
        visibility_s: visibility(dto.visibility_timeout)?,
        wait: wait.map(|seconds| Duration::from_secs(seconds.into())),
    };
    let mut asked = dto.attribute_names;
    asked.extend(dto.message_system_attribute_names);
    let received = call.gateway.options.queues.receive(&queue, receive).await?;
    if received.is_empty() {
        return Ok(json!({}));
    }
    let shown = received.iter().map(|received| shown(received, &asked, &dto.message_attribute_names));
    Ok(json!({"Messages": shown.collect::<Vec<_>>()}))
}

pub async fn delete_message(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Receipt = call.input()?;
    let queue = call.queue().await?;
    let handle = dto.receipt_handle.ok_or_else(|| missing("ReceiptHandle"))?;
    let results = call.gateway.options.queues.remove(&queue, &[handle]).await?;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(json!({}))
}

pub async fn delete_message_batch(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Entries<dto::Receipt> = call.input()?;
    let queue = call.queue().await?;
    let ids = validate::batch(dto.entries.iter().map(|entry| entry.id.as_ref()))?;
    let handles: Option<Vec<String>> = dto.entries.into_iter().map(|entry| entry.receipt_handle).collect();
    let handles = handles.ok_or_else(|| missing("ReceiptHandle"))?;
    let results = call.gateway.options.queues.remove(&queue, &handles).await?;
    Ok(BatchAnswer::of(ids, results).shown())
}

pub async fn change_message_visibility(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Receipt = call.input()?;
    let queue = call.queue().await?;
    let results = call.gateway.options.queues.hide(&queue, &[hidden(dto)?]).await?;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(json!({}))
}

pub async fn change_message_visibility_batch(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Entries<dto::Receipt> = call.input()?;
    let queue = call.queue().await?;
    let ids = validate::batch(dto.entries.iter().map(|entry| entry.id.as_ref()))?;
    let handles = dto.entries.into_iter().map(hidden).collect::<Result<Vec<_>, _>>()?;
    let results = call.gateway.options.queues.hide(&queue, &handles).await?;
    Ok(BatchAnswer::of(ids, results).shown())
}

fn hidden(dto: dto::Receipt) -> Result<(String, u32), Error> {
    let handle = dto.receipt_handle.ok_or_else(|| missing("ReceiptHandle"))?;
    let seconds = visibility(dto.visibility_timeout)?.ok_or_else(|| missing("VisibilityTimeout"))?;
    Ok((handle, seconds))
}

fn visibility(seconds: Option<i64>) -> Result<Option<u32>, Error> {
    validate::number(seconds, "VisibilityTimeout", 0..=i64::from(queues::VISIBILITY_S_MAX))
}

/// Trace header of a function that sends: what it leads to can be told from it.
fn trace(call: &Call<'_>) -> Option<String> {
    call.request.header("x-amzn-trace-id").filter(|trace| trace.len() <= 1024).map(str::to_owned)
}

fn sender(call: &Call<'_>) -> String {
    call.request.principal.id()
}

/// What this queue asks of a message.
fn fits(message: &NewMessage, bytes: usize, queue: &Configuration) -> Result<(), Error> {
    let limit = queue.settings.message_bytes_max;
    if bytes > limit as usize {
        return Err(invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
        )));
    }
    let Some(fifo) = &queue.settings.fifo else {
        if message.deduplication.is_some() {
            return Err(invalid(
                "The request includes a parameter that is not valid for this queue type: MessageDeduplicationId",
            ));
        }
        return Ok(());
    };
    if message.group.is_none() {
        return Err(missing("MessageGroupId"));
    }
    if message.delay_s.is_some_and(|seconds| seconds > 0) {
        return Err(super::error::invalid_value(
            message.delay_s.unwrap_or_default(),
            "DelaySeconds",
            "The request include parameter that is not valid for this queue type.",
        ));
    }
    if message.deduplication.is_none() && !fifo.content_based {
        return Err(invalid(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
        ));
    }
    Ok(())
}

/// What the sender compares with what it sent.
struct Digests {
    body: String,
    attributes: Option<String>,
    system: Option<String>,
}

impl Digests {
    fn of(message: &NewMessage) -> Self {
        let trace = message.trace_header.as_ref().map(|text| {
            let value = AttributeValue::Text(text.clone());
            BTreeMap::from([("AWSTraceHeader".to_owned(), Attribute { data_type: "String".to_owned(), value })])
        });
        Self {
            body: body_md5(&message.body),
            attributes: attributes_md5(&message.attributes),
            system: trace.and_then(|trace| attributes_md5(&trace)),
        }
    }

    fn shown(self, sent: &Sent) -> Value {
        let mut answer = json!({"MessageId": sent.id, "MD5OfMessageBody": self.body});
        if let Some(digest) = self.attributes {
            answer["MD5OfMessageAttributes"] = json!(digest);
        }
        if let Some(digest) = self.system {
            answer["MD5OfMessageSystemAttributes"] = json!(digest);
        }
        if let Some(number) = sent.sequence {
            answer["SequenceNumber"] = json!(format!("{number:020}"));
        }
        answer
    }
}

/// A message as its receiver sees it.
fn shown(received: &Received, attributes: &[String], message_attributes: &[String]) -> Value {
    let message: &Message = &received.message;
    let mut answer = Map::new();
    answer.insert("MessageId".to_owned(), json!(message.id));
    answer.insert("ReceiptHandle".to_owned(), json!(received.handle));
    answer.insert("MD5OfBody".to_owned(), json!(body_md5(&message.body)));
    answer.insert("Body".to_owned(), json!(message.body));
    let asked = |name: &str| attributes.iter().any(|asked| asked == "All" || asked == name);
    let system: Map<String, Value> = message
        .system_attributes()
        .into_iter()
        .filter(|(name, _)| asked(name))
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    if !system.is_empty() {
        answer.insert("Attributes".to_owned(), Value::Object(system));
    }
    let wanted = |name: &str| {
        message_attributes.iter().any(|asked| {
            let prefix = asked.strip_suffix(".*").or_else(|| asked.strip_suffix('*'));
            asked == "All" || asked == name || prefix.is_some_and(|prefix| name.starts_with(prefix))
        })
    };
    let own: BTreeMap<&String, &Attribute> = message.attributes.iter().filter(|(name, _)| wanted(name)).collect();
    if let Some(digest) = attributes_md5(own.iter().map(|(name, attribute)| (*name, *attribute))) {
        answer.insert("MD5OfMessageAttributes".to_owned(), json!(digest));
        let own = own.into_iter().map(|(name, attribute)| {
            let value = match &attribute.value {
                AttributeValue::Text(text) => json!({"DataType": attribute.data_type, "StringValue": text}),
                AttributeValue::Binary(text) => json!({"DataType": attribute.data_type, "BinaryValue": text}),
            };
            (name.clone(), value)
        });
        answer.insert("MessageAttributes".to_owned(), Value::Object(own.collect()));
    }
    Value::Object(answer)
}

/// What became of each entry.
#[derive(Default)]
struct BatchAnswer {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl BatchAnswer {
    fn of(ids: Vec<String>, results: Vec<Result<(), queues::Error>>) -> Self {
        let mut answer = Self::default();
        for (id, result) in ids.into_iter().zip(results) {
            match result {
                Ok(()) => answer.successful.push(json!({"Id": id})),
                Err(error) => answer.failed(&id, &error.into()),
            }
        }
        answer
    }

    fn failed(&mut self, id: &str, error: &Error) {
        let fault = error.status.is_client_error();
        self.failed.push(json!({"Id": id, "SenderFault": fault, "Code": error.code, "Message": error.message}));
    }

    fn shown(self) -> Value {
        let mut answer = json!({"Successful": self.successful});
        if !self.failed.is_empty() {
            answer["Failed"] = json!(self.failed);
        }
        answer
    }
}
