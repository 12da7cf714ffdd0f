//! CreateSchedule, UpdateSchedule, GetSchedule, DeleteSchedule, ListSchedules.

use super::{Call, DEFAULT, dto, groups, validation};
use crate::aws::{Error, Response, response};
use dayfly_triggers::{
    deliveries::Patience,
    queues::QueueName,
    schedules::{Schedule, ScheduleName},
    topics::TopicName,
};
use dayfly_types::{FunctionArn, Timestamp};
use http::StatusCode;
use serde_json::{Value, json};

/// Longest input, that of a function's event.
const INPUT_BYTES_MAX: usize = 256 << 10;
/// Longest window, AWS's.
const WINDOW_MINUTES_MAX: u32 = 1440;

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    put(call, true).await
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    put(call, false).await
}

async fn put(call: &Call<'_>, new: bool) -> Result<Response, Error> {
    let name = call.named()?;
    let dto: dto::Schedule = call.body()?;
    let name = call.schedule(dto.group_name.clone(), &name)?;
    groups::check(call, &name.group).await?;
    let schedule = schedule(dto, name)?;
    let arn = schedule.name.arn();
    call.gateway.options.schedules.put(schedule, new).await?;
    Ok(response::json(StatusCode::OK, &json!({"ScheduleArn": arn})))
}

pub fn get(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.schedule(call.request.query("groupName"), &call.named()?)?;
    let schedule = call.gateway.options.schedules.get(&name)?;
    let mut body = shown(&schedule);
    let retry = json!({
        "MaximumEventAgeInSeconds": schedule.patience.age_s_max,
        "MaximumRetryAttempts": schedule.patience.retries_max,
    });
    body["Target"] = json!({"Arn": schedule.target, "RoleArn": schedule.role, "RetryPolicy": retry});
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body["Target"][name] = value;
        }
    };
    put("Input", schedule.input.map(Value::String));
    put("DeadLetterConfig", schedule.dead_letters.map(|arn| json!({"Arn": arn})));
    put("SqsParameters", schedule.group.map(|group| json!({"MessageGroupId": group})));
    body["ScheduleExpression"] = json!(schedule.expression);
    body["ScheduleExpressionTimezone"] = json!(schedule.zone.as_deref().unwrap_or("UTC"));
    body["ActionAfterCompletion"] = json!(if schedule.ends { "DELETE" } else { "NONE" });
    body["FlexibleTimeWindow"] = match schedule.window_minutes {
        0 => json!({"Mode": "OFF"}),
        minutes => json!({"Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes}),
    };
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    put("Description", schedule.description.map(Value::String));
    put("StartDate", schedule.start.map(seconds));
    put("EndDate", schedule.end.map(seconds));
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.schedule(call.request.query("groupName"), &call.named()?)?;
    call.gateway.options.schedules.delete(&name).await?;
    Ok(response::json(StatusCode::OK, &json!({})))
}

pub fn list(call: &Call<'_>) -> Result<Response, Error> {
    let (group, state) = (call.request.query("ScheduleGroup"), call.request.query("State"));
    let prefix = call.request.query("NamePrefix").unwrap_or_default();
    let mut all = call.gateway.options.schedules.list(&call.gateway.options.account, &call.request.region);
    all.retain(|schedule| {
        schedule.name.name.starts_with(&prefix)
            && group.as_ref().is_none_or(|group| *group == schedule.name.group)
            && state.as_ref().is_none_or(|state| *state == self::state(schedule))
    });
    let (page, next) = call.page(all, |schedule| format!("{}/{}", schedule.name.group, schedule.name.name))?;
    let summary = |schedule: &Schedule| {
        let mut body = shown(schedule);
        body["Target"] = json!({"Arn": schedule.target});
        body
    };
    let mut body = json!({"Schedules": page.iter().map(summary).collect::<Vec<_>>()});
    if let Some(next) = next {
        body["NextToken"] = json!(next);
    }
    Ok(response::json(StatusCode::OK, &body))
}

fn shown(schedule: &Schedule) -> Value {
    json!({
        "Arn": schedule.name.arn(),
        "Name": schedule.name.name,
        "GroupName": schedule.name.group,
        "State": state(schedule),
        "CreationDate": seconds(schedule.created),
        "LastModificationDate": seconds(schedule.changed),
    })
}

fn state(schedule: &Schedule) -> &'static str {
    if schedule.enabled { "ENABLED" } else { "DISABLED" }
}

fn seconds(at: Timestamp) -> Value {
    json!(at.as_microsecond() as f64 / 1e6)
}

fn schedule(dto: dto::Schedule, name: ScheduleName) -> Result<Schedule, Error> {
    if dto.kms_key_arn.is_some() {
        return Err(Error::unsupported("KmsKeyArn"));
    }
    let target = dto.target;
    if let Some(other) = target.others.iter().find(|(_, value)| !value.is_null()) {
        return Err(Error::unsupported(&other.0.chars().take(64).collect::<String>()));
    }
    let is_queue = target.arn.parse::<QueueName>().is_ok();
    if !is_queue && target.arn.parse::<FunctionArn>().is_err() && target.arn.parse::<TopicName>().is_err() {
        return Err(validation(
            "Provided Arn is not in correct format: Dayfly serves functions, SQS queues and SNS topics.",
        ));
    }
    let group = target.sqs_parameters.and_then(|parameters| parameters.message_group_id);
    if target.arn.ends_with(".fifo") != group.is_some() {
        return Err(validation("SqsParameters are for FIFO queues, which need them."));
    }
    let role = target.role_arn.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(":role/"));
    if role.is_none() {
        return Err(validation("Provided RoleArn is not in correct format."));
    }
    if target.input.as_ref().is_some_and(|input| input.is_empty() || input.len() > INPUT_BYTES_MAX) {
        return Err(validation("Input must have 1 to 262144 bytes."));
    }
    let dead_letters = target.dead_letter_config.and_then(|dead| dead.arn);
    if dead_letters.as_ref().is_some_and(|arn| arn.parse::<QueueName>().is_err()) {
        return Err(validation("DeadLetterConfig is not in correct format."));
    }
    let mut patience = Patience::default();
    if let Some(retry) = target.retry_policy {
        patience.age_s_max = retry.maximum_event_age_in_seconds.unwrap_or(patience.age_s_max);
        patience.retries_max = retry.maximum_retry_attempts.unwrap_or(patience.retries_max);
    }
    if !(60..=86_400).contains(&patience.age_s_max) || patience.retries_max > 185 {
        return Err(validation("RetryPolicy: MaximumEventAgeInSeconds is 60 to 86400, MaximumRetryAttempts 0 to 185."));
    }
    let window = &dto.flexible_time_window;
    let window_minutes = match (window.mode.as_str(), window.maximum_window_in_minutes) {
        ("OFF", None) => 0,
        ("FLEXIBLE", Some(minutes)) if (1..=WINDOW_MINUTES_MAX).contains(&minutes) => minutes,
        _ => return Err(validation("FlexibleTimeWindow is OFF, or FLEXIBLE with a window of 1 to 1440 minutes.")),
    };
    let enabled = match dto.state.as_deref() {
        None | Some("ENABLED") => true,
        Some("DISABLED") => false,
        Some(_) => return Err(validation("State must be ENABLED or DISABLED.")),
    };
    let ends = match dto.action_after_completion.as_deref() {
        None | Some("NONE") => false,
        Some("DELETE") => true,
        Some(_) => return Err(validation("ActionAfterCompletion must be NONE or DELETE.")),
    };
    if dto.description.as_ref().is_some_and(|text| text.chars().count() > 512) {
        return Err(validation("Description must have at most 512 characters."));
    }
    let time = |seconds: Option<f64>| match seconds {
        None => Ok(None),
        Some(seconds) => {
            Timestamp::from_second(seconds as i64).map(Some).map_err(|_| validation("The date is out of range."))
        }
    };
    let (start, end) = (time(dto.start_date)?, time(dto.end_date)?);
    if start.zip(end).is_some_and(|(start, end)| end <= start) {
        return Err(validation("The EndDate must be after the StartDate."));
    }
    Ok(Schedule {
        name,
        expression: dto.schedule_expression,
        zone: dto.schedule_expression_timezone.filter(|zone| zone != "UTC"),
        start,
        end,
        enabled,
        window_minutes,
        ends,
        description: dto.description,
        target: target.arn,
        role: target.role_arn,
        input: target.input,
        group,
        dead_letters,
        patience,
        created: Timestamp::UNIX_EPOCH,
        changed: Timestamp::UNIX_EPOCH,
        fired: Timestamp::UNIX_EPOCH,
    })
}

/// Whether a group is the one that is always there.
pub fn is_default(group: &str) -> bool {
    group == DEFAULT
}
