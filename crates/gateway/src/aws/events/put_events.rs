//! PutEvents and TestEventPattern.

use super::{Call, dto, only_default, validation};
use crate::aws::{Error, Response, response};
use dayfly_triggers::{
    events::{self, Fields},
    patterns::Pattern,
};
use dayfly_types::Timestamp;
use http::StatusCode;
use serde_json::{Value, json};

/// Most entries of a request.
const ENTRIES_MAX: usize = 10;
/// Longest request, its entries together.
const BYTES_MAX: usize = 1 << 20;

pub async fn put_events(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::PutEvents = call.read()?;
    if !(1..=ENTRIES_MAX).contains(&dto.entries.len()) {
        return Err(validation(format!("Entries must have between 1 and {ENTRIES_MAX} members.")));
    }
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let bytes = |entry: &dto::Entry| length(&entry.detail) + length(&entry.source) + length(&entry.detail_type);
    if dto.entries.iter().map(bytes).sum::<usize>() > BYTES_MAX {
        return Err(validation("Total size of the entries in the request is over the limit."));
    }
    let (mut events, mut answers, mut failed) = (Vec::new(), Vec::new(), 0);
    for entry in dto.entries {
        match event(call, entry) {
            Ok(event) => {
                answers.push(json!({"EventId": event["id"]}));
                events.push(event);
            }
            Err((code, message)) => {
                failed += 1;
                answers.push(json!({"ErrorCode": code, "ErrorMessage": message}));
            }
        }
    }
    call.events().accept(call.account(), call.region(), &events).await?;
    Ok(response::json(StatusCode::OK, &json!({"FailedEntryCount": failed, "Entries": answers})))
}

pub fn test_event_pattern(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::TestEventPattern = call.read()?;
    let pattern = Pattern::parse(&dto.event_pattern).map_err(events::Error::from)?;
    let event: Value = serde_json::from_str(&dto.event).map_err(|_| validation("Parameter Event is not valid."))?;
    Ok(response::json(StatusCode::OK, &json!({"Result": pattern.matches(&event)})))
}

fn event(call: &Call<'_>, entry: dto::Entry) -> Result<Value, (&'static str, String)> {
    let required = |value: Option<String>, name: &str| {
        let reason = format!("Parameter {name} is not valid. Reason: {name} is a required argument.");
        value.filter(|value| !value.is_empty()).ok_or(("InvalidArgument", reason))
    };
    let source = required(entry.source, "Source")?;
    let detail_type = required(entry.detail_type, "DetailType")?;
    let detail = required(entry.detail, "Detail")?;
    if source.starts_with("aws.") {
        return Err(("NotAuthorizedForSourceException", "Not authorized for the source.".to_owned()));
    }
    only_default(call, entry.event_bus_name.as_deref()).map_err(|error| ("InvalidArgument", error.message))?;
    let malformed = || ("MalformedDetail", "Detail is malformed.".to_owned());
    let detail: Value = serde_json::from_str(&detail).map_err(|_| malformed())?;
    if !detail.is_object() {
        return Err(malformed());
    }
    let at = match entry.time {
        Some(seconds) => Timestamp::from_second(seconds as i64)
            .map_err(|_| ("InvalidArgument", "Parameter Time is not valid.".to_owned()))?,
        None => call.gateway.options.clock.now(),
    };
    let fields = Fields { source: &source, detail_type: &detail_type, resources: json!(entry.resources), detail };
    Ok(events::event(call.account(), call.region(), at, fields))
}
