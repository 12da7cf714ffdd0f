//! GetLogEvents and FilterLogEvents.

use super::{
    dto::{self, group_name},
    error::{invalid_parameter, no_group, no_stream},
    read,
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_meter::{EventPage, EventQuery, LogEvent};
use dayfly_types::Timestamp;
use http::StatusCode;
use serde_json::json;

const EVENTS_MAX: usize = 10_000;

pub async fn get_log_events(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::GetLogEvents = read(request, "GetLogEvents")?;
    let group = required_group(dto.log_group_name, dto.log_group_identifier)?;
    let stream = dto.log_stream_name.ok_or_else(|| invalid_parameter("logStreamName must be given."))?;
    require_streams(gateway, request, &group, std::slice::from_ref(&stream)).await?;
    // A token's letter says which way it goes, whatever startFromHead says.
    let (token, newest_first) = match dto.next_token.as_deref() {
        None => (None, !dto.start_from_head),
        Some(token) => match token.split_once('/') {
            Some(("f", place)) => (Some(place.to_owned()), false),
            Some(("b", place)) => (Some(place.to_owned()), true),
            _ => return Err(invalid_parameter("The specified nextToken is invalid.")),
        },
    };
    let query = EventQuery {
        streams: vec![stream],
        from: time(dto.start_time)?,
        to: time(dto.end_time)?,
        pattern: None,
        token,
        newest_first,
        limit: page_size(dto.limit)?,
    };
    let page = events(gateway, request, &group, &query).await?;
    let show = |event: &LogEvent| {
        json!({
            "timestamp": event.at.as_millisecond(),
            "message": event.message,
            "ingestionTime": event.ingested_at.as_millisecond(),
        })
    };
    Ok(response::json(
        StatusCode::OK,
        &json!({
            "events": page.events.iter().map(show).collect::<Vec<_>>(),
            "nextForwardToken": format!("f/{}", page.forward),
            "nextBackwardToken": format!("b/{}", page.backward),
        }),
    ))
}

pub async fn filter_log_events(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::FilterLogEvents = read(request, "FilterLogEvents")?;
    let group = required_group(dto.log_group_name, dto.log_group_identifier)?;
    let streams = match (dto.log_stream_names, dto.log_stream_name_prefix) {
        (Some(_), Some(_)) => {
            return Err(invalid_parameter("logStreamNames and logStreamNamePrefix are mutually exclusive."));
        }
        (Some(names), None) => {
            if !(1..=100).contains(&names.len()) {
                return Err(invalid_parameter("logStreamNames must have between 1 and 100 names."));
            }
            require_streams(gateway, request, &group, &names).await?;
            names
        }
        (None, Some(prefix)) => {
            let names = streams(gateway, request, &group, &prefix).await?;
            if names.is_empty() {
                return Ok(response::json(StatusCode::OK, &json!({"events": [], "searchedLogStreams": []})));
            }
            names
        }
        (None, None) => Vec::new(),
    };
    let query = EventQuery {
        streams,
        from: time(dto.start_time)?,
        to: time(dto.end_time)?,
        pattern: dto.filter_pattern.filter(|pattern| !pattern.trim().is_empty()),
        token: dto.next_token,
        newest_first: false,
        limit: page_size(dto.limit)?,
    };
    let page = events(gateway, request, &group, &query).await?;
    let show = |event: &LogEvent| {
        json!({
            "logStreamName": event.stream,
            "timestamp": event.at.as_millisecond(),
            "message": event.message,
            "ingestionTime": event.ingested_at.as_millisecond(),
            "eventId": event.id,
        })
    };
    let mut body = json!({
        "events": page.events.iter().map(show).collect::<Vec<_>>(),
        "searchedLogStreams": [],
    });
    if page.more {
        body["nextToken"] = json!(page.forward);
    }
    Ok(response::json(StatusCode::OK, &body))
}

async fn events(gateway: &Gateway, request: &Request, group: &str, query: &EventQuery) -> Result<EventPage, Error> {
    let account = request.principal.account();
    let page = gateway.options.meter.log_events(account, &request.region, group, query).await;
    page?.ok_or_else(no_group)
}

async fn streams(gateway: &Gateway, request: &Request, group: &str, prefix: &str) -> Result<Vec<String>, Error> {
    let account = request.principal.account();
    let found = gateway.options.meter.log_streams(account, &request.region, group, prefix).await;
    let found = found.map_err(Error::internal)?.ok_or_else(no_group)?;
    Ok(found.into_iter().map(|stream| stream.name).collect())
}

async fn require_streams(gateway: &Gateway, request: &Request, group: &str, names: &[String]) -> Result<(), Error> {
    for name in names {
        if !streams(gateway, request, group, name).await?.contains(name) {
            return Err(no_stream());
        }
    }
    Ok(())
}

fn required_group(name: Option<String>, identifier: Option<String>) -> Result<String, Error> {
    group_name(name, identifier)
        .ok_or_else(|| invalid_parameter("Either logGroupName or logGroupIdentifier must be given."))
}

fn time(milliseconds: Option<i64>) -> Result<Option<Timestamp>, Error> {
    let Some(milliseconds) = milliseconds else { return Ok(None) };
    if milliseconds < 0 {
        return Err(invalid_parameter("Times must not be negative."));
    }
    // A time beyond the calendar is later than everything.
    Ok(Some(Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)))
}

fn page_size(limit: Option<i64>) -> Result<usize, Error> {
    match limit {
        None => Ok(EVENTS_MAX),
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=EVENTS_MAX).contains(limit))
            .ok_or_else(|| invalid_parameter(format!("limit must be between 1 and {EVENTS_MAX}."))),
    }
}
