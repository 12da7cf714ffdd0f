//! What destinations and dead-letter queues are told of events that ended: an outbox. A letter is written in the commit
//! that ends its event, and stays until `dayfly_triggers::destinations` has taken it over in a commit of its own.
//!
//! | table | key | value |
//! |---|---|---|
//! | `async_letters` | microseconds of the end, 8 bytes big-endian, the request id, 16 bytes, and a number | [`Letter`] as JSON |

use super::{
    attempt::Answer,
    outcomes::{AsyncOutcome, Conclusion, time_key},
};
use crate::functions::Resolved;
use dayfly_store::{Batch, Error, Store};
use dayfly_types::{FunctionArn, Invocation, Qualifier, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

const LETTERS: &str = "async_letters";
/// The longest message of an error in a dead letter; Lambda's.
const ERROR_BYTES_MAX: usize = 1024;

/// What somebody is told of an event that ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    /// The function that was called, qualified.
    pub function: FunctionArn,
    /// ARN of whom.
    pub target: String,
    /// What as.
    pub kind: Kind,
    /// The record of the call for a destination, the event for a dead-letter queue: JSON either way.
    pub text: String,
    /// The trace header of the event.
    pub trace: Option<String>,
    /// When the event ended.
    pub at: Timestamp,
}

/// What a letter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// For `OnSuccess`.
    Success,
    /// For `OnFailure`.
    Failure,
    /// For the dead-letter queue.
    DeadLetter {
        /// `RequestID`.
        request_id: String,
        /// `ErrorCode`: the status of the last attempt's answer.
        code: u16,
        /// `ErrorMessage`.
        message: String,
    },
}

/// Where letters of a function's events go.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    on_success: Option<String>,
    on_failure: Option<String>,
    dead_letters: Option<String>,
}

impl Addresses {
    pub(super) fn of(resolved: &Resolved) -> Self {
        let asked = resolved.event_invoke.as_deref();
        let dead_letters = resolved.function.other.get("DeadLetterConfig").and_then(|config| config.get("TargetArn"));
        Self {
            on_success: asked.and_then(|asked| asked.on_success.clone()),
            on_failure: asked.and_then(|asked| asked.on_failure.clone()),
            dead_letters: dead_letters.and_then(Value::as_str).map(str::to_owned),
        }
    }

    /// The letters of an event that ended like this.
    pub(super) fn letters(&self, invocation: &Invocation, end: &AsyncOutcome, answer: Option<&Answer>) -> Vec<Letter> {
        let function = end.function.qualified(end.function.qualifier.clone().unwrap_or(Qualifier::Latest));
        let condition = match &end.conclusion {
            Conclusion::Succeeded => "Success",
            Conclusion::Failed { .. } => "RetriesExhausted",
            Conclusion::Expired => "EventAgeExceeded",
            Conclusion::NoConcurrency => "ZeroReservedConcurrency",
            Conclusion::FunctionDeleted => return Vec::new(),
        };
        let letter = |target: &Option<String>, kind: Kind, text: &dyn Fn() -> String| {
            target.clone().map(|target| Letter {
                function: function.clone(),
                target,
                kind,
                text: text(),
                trace: invocation.trace_header.clone(),
                at: end.concluded_at,
            })
        };
        let record = || record(&function, condition, invocation, end, answer);
        if end.conclusion == Conclusion::Succeeded {
            return letter(&self.on_success, Kind::Success, &record).into_iter().collect();
        }
        let (code, message) = match answer {
            Some(Answer { result: Err(error), .. }) => (200, error_message(&error.payload)),
            _ => (429, condition.to_owned()),
        };
        let dead = Kind::DeadLetter { request_id: end.request_id.to_string(), code, message };
        let event = || String::from_utf8_lossy(&invocation.payload).into_owned();
        let both = [letter(&self.on_failure, Kind::Failure, &record), letter(&self.dead_letters, dead, &event)];
        both.into_iter().flatten().collect()
    }
}

/// The record of a call, as Lambda writes it for destinations. Payloads are in it as they were.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'a str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<Option<&'a RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: RequestId,
    function_arn: &'a FunctionArn,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'a str>,
}

fn record(
    function: &FunctionArn,
    condition: &str,
    invocation: &Invocation,
    end: &AsyncOutcome,
    answer: Option<&Answer>,
) -> String {
    let record = Record {
        version: "1.0",
        timestamp: end.concluded_at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        request_context: RequestContext {
            request_id: end.request_id,
            function_arn: function,
            condition,
            approximate_invoke_count: end.attempts,
        },
        request_payload: parsed(&invocation.payload),
        response_context: answer.map(|answer| ResponseContext {
            status_code: 200,
            executed_version: &answer.version,
            function_error: answer.result.is_err().then_some("Unhandled"),
        }),
        response_payload: answer.map(|answer| match &answer.result {
            Ok(payload) => parsed(payload),
            Err(error) => parsed(&error.payload),
        }),
    };
    serde_json::to_string(&record).expect("a record is JSON")
}

/// JSON; nothing for what is none.
fn parsed(payload: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(payload).ok()
}

fn error_message(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said<'a> {
        #[serde(borrow)]
        error_message: &'a RawValue,
    }
    let said = serde_json::from_slice::<Said<'_>>(payload).ok();
    let text = said.map(|said| serde_json::from_str(said.error_message.get()).unwrap_or_default());
    let mut text: String = text.unwrap_or_default();
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}

/// The letters of one event.
pub(super) fn write(batch: Batch, end: &AsyncOutcome, letters: &[Letter]) -> Batch {
    letters.iter().zip(0_u8..).fold(batch, |batch, (letter, number)| {
        let mut key = time_key(letter.at, end.request_id.0);
        key.push(number);
        batch.put(LETTERS, key, serde_json::to_vec(letter).expect("a letter is JSON"))
    })
}

/// At most `limit` letters, the oldest first, with their keys.
pub(crate) async fn waiting(store: &Store, limit: usize) -> Result<Vec<(Vec<u8>, Letter)>, Error> {
    let rows = store.tables.scan(LETTERS, &[], &[0xff; 26], limit, false).await?;
    let read = |row: dayfly_store::Row| {
        let letter = serde_json::from_slice(&row.value)
            .map_err(|error| Error::Engine(format!("unreadable row of {LETTERS}: {error}")))?;
        Ok((row.key.to_vec(), letter))
    };
    rows.into_iter().map(read).collect()
}

/// Adds to a batch that a letter was taken.
pub(crate) fn taken(batch: Batch, key: Vec<u8>) -> Batch {
    batch.delete(LETTERS, key)
}
