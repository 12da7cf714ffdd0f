//! DescribeLogGroups and DescribeLogStreams.

use super::{
    dto::{self, group_name},
    error::{invalid_parameter, no_group},
    read,
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_meter::{LogGroup, LogStream};
use http::StatusCode;
use serde_json::{Value, json};

const PAGE_MAX: usize = 50;

pub async fn describe_log_groups(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::DescribeLogGroups = read(request, "DescribeLogGroups")?;
    if dto.log_group_name_prefix.is_some() && dto.log_group_name_pattern.is_some() {
        return Err(invalid_parameter(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    if dto.log_group_name_pattern.is_some() {
        return Err(invalid_parameter("Dayfly does not support logGroupNamePattern yet: use logGroupNamePrefix"));
    }
    let limit = page_size(dto.limit)?;
    let prefix = dto.log_group_name_prefix.unwrap_or_default();
    let after = dto.next_token.as_deref().map(read_token).transpose()?;
    let account = request.principal.account();
    let meter = &gateway.options.meter;
    let found = meter.log_groups(account, &request.region, &prefix, after.as_deref(), limit + 1).await;
    let mut found = found.map_err(Error::internal)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let show = |group: &LogGroup| {
        let arn = format!("arn:aws:logs:{}:{account}:log-group:{}", request.region, group.name);
        json!({
            "logGroupName": group.name,
            "creationTime": group.created_at.as_millisecond(),
            "metricFilterCount": 0,
            "arn": format!("{arn}:*"),
            "logGroupArn": arn,
            "storedBytes": group.stored_bytes,
            "logGroupClass": "STANDARD",
        })
    };
    let mut body = json!({"logGroups": found.iter().map(show).collect::<Vec<_>>()});
    if let Some(last) = found.last().filter(|_| more) {
        body["nextToken"] = token(&last.name);
    }
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn describe_log_streams(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::DescribeLogStreams = read(request, "DescribeLogStreams")?;
    let group = group_name(dto.log_group_name, dto.log_group_identifier)
        .ok_or_else(|| invalid_parameter("Either logGroupName or logGroupIdentifier must be given."))?;
    let by_time = match dto.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(_) => return Err(invalid_parameter("orderBy must be LogStreamName or LastEventTime.")),
    };
    let prefix = dto.log_stream_name_prefix.unwrap_or_default();
    if by_time && !prefix.is_empty() {
        return Err(invalid_parameter("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let limit = page_size(dto.limit)?;
    let account = request.principal.account();
    let found = gateway.options.meter.log_streams(account, &request.region, &group, &prefix).await;
    let mut found = found.map_err(Error::internal)?.ok_or_else(no_group)?;
    found.sort_by(|a, b| {
        let by = if by_time { a.last_event_at.cmp(&b.last_event_at) } else { std::cmp::Ordering::Equal };
        by.then_with(|| a.name.cmp(&b.name))
    });
    if dto.descending {
        found.reverse();
    }
    let start = match dto.next_token.as_deref().map(read_token).transpose()? {
        // A stream that was last and is gone starts over rather than skip others.
        Some(last) => found.iter().position(|stream| stream.name == last).map_or(0, |index| index + 1),
        None => 0,
    };
    let page: Vec<&LogStream> = found.iter().skip(start).take(limit).collect();
    let mut body =
        json!({"logStreams": page.iter().map(|stream| stream_json(request, &group, stream)).collect::<Vec<_>>()});
    if let Some(last) = page.last().filter(|_| found.len() > start + page.len()) {
        body["nextToken"] = token(&last.name);
    }
    Ok(response::json(StatusCode::OK, &body))
}

fn stream_json(request: &Request, group: &str, stream: &LogStream) -> Value {
    let account = request.principal.account();
    json!({
        "logStreamName": stream.name,
        "creationTime": stream.created_at.as_millisecond(),
        "firstEventTimestamp": stream.first_event_at.as_millisecond(),
        "lastEventTimestamp": stream.last_event_at.as_millisecond(),
        "lastIngestionTime": stream.last_event_at.as_millisecond(),
        "arn": format!("arn:aws:logs:{}:{account}:log-group:{group}:log-stream:{}", request.region, stream.name),
        "storedBytes": 0,
    })
}

fn page_size(limit: Option<i64>) -> Result<usize, Error> {
    match limit {
        None => Ok(PAGE_MAX),
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=PAGE_MAX).contains(limit))
            .ok_or_else(|| invalid_parameter(format!("limit must be between 1 and {PAGE_MAX}."))),
    }
}

fn token(name: &str) -> Value {
    json!(STANDARD.encode(name))
}

fn read_token(token: &str) -> Result<String, Error> {
    let decoded = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| invalid_parameter("The specified nextToken is invalid."))
}
