//! A call's answer as messages of AWS's event-stream format.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dayfly_types::FunctionError;
use serde_json::{Map, Value, json};

/// Bytes of the answer in one `PayloadChunk`.
const CHUNK_BYTES: usize = 64 << 10;

/// `PayloadChunk`s, none for a function that failed, and `InvokeComplete`.
pub fn answer(result: Result<Bytes, FunctionError>, log_tail: Option<&[u8]>) -> Bytes {
    let mut body = Vec::new();
    let mut complete = Map::new();
    match result {
        Ok(mut payload) => {
            while !payload.is_empty() {
                let chunk = payload.split_to(CHUNK_BYTES.min(payload.len()));
                put(&mut body, "PayloadChunk", "application/octet-stream", chunk);
            }
        }
        Err(error) => {
            let said: Value = serde_json::from_slice(&error.payload).unwrap_or_default();
            complete.insert("ErrorCode".to_owned(), json!(said["errorType"].as_str().unwrap_or("Unhandled")));
            complete.insert("ErrorDetails".to_owned(), json!(String::from_utf8_lossy(&error.payload)));
        }
    }
    if let Some(tail) = log_tail {
        complete.insert("LogResult".to_owned(), json!(STANDARD.encode(tail)));
    }
    put(&mut body, "InvokeComplete", "application/json", Value::Object(complete).to_string().into());
    body.into()
}

fn put(body: &mut Vec<u8>, event: &'static str, content_type: &'static str, payload: Bytes) {
    let message = [(":message-type", "event"), (":event-type", event), (":content-type", content_type)]
        .into_iter()
        .fold(Message::new(payload), |message, (name, value)| {
            message.add_header(Header::new(name, HeaderValue::String(value.into())))
        });
    if let Err(error) = write_message_to(&message, body) {
        // Neither headers nor payload come near the format's limits.
        tracing::error!(%error, event, "a message of an event stream was not written");
    }
}
