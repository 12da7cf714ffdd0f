//! PutFunctionEventInvokeConfig and its siblings: how often and how long an asynchronous event is tried, and who is told
//! how it ended.

use super::{
    error::{invalid_parameter, of_json},
    function, latest_function, list_functions,
    validate::Violations,
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_scheduler::functions::{self, EventInvoke};
use dayfly_triggers::{destinations, queues::QueueName, topics::TopicName};
use dayfly_types::{FunctionArn, Qualifier};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

const DESTINATION: &str = r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:([a-z]{2}(-gov)?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
/// Longest ARN of a destination; Lambda's.
const DESTINATION_LENGTH_MAX: usize = 350;
/// Most configurations in one answer; Lambda's.
const PAGE_MAX: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Given {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
    destination_config: Option<DestinationConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DestinationConfig {
    on_success: Option<Side>,
    on_failure: Option<Side>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Side {
    destination: Option<String>,
}

/// What was given, checked.
struct Asked {
    retries_max: Option<u32>,
    event_age_s_max: Option<u32>,
    on_success: Option<Option<String>>,
    on_failure: Option<Option<String>>,
}

pub async fn put(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:PutFunctionEventInvokeConfig", named)?;
    let asked = asked(gateway, request, &arn).await?;
    let (modified, all) = (gateway.options.clock.now(), &gateway.options.scheduler);
    let changed = all.functions().change_event_invoke(&arn, move |_| {
        Some(EventInvoke {
            retries_max: asked.retries_max,
            event_age_s_max: asked.event_age_s_max,
            on_success: asked.on_success.flatten(),
            on_failure: asked.on_failure.flatten(),
            modified,
        })
    });
    answer(&arn, changed.await)
}

pub async fn update(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:UpdateFunctionEventInvokeConfig", named)?;
    let asked = asked(gateway, request, &arn).await?;
    let (modified, all) = (gateway.options.clock.now(), &gateway.options.scheduler);
    let changed = all.functions().change_event_invoke(&arn, move |before| {
        before.map(|before| EventInvoke {
            retries_max: asked.retries_max.or(before.retries_max),
            event_age_s_max: asked.event_age_s_max.or(before.event_age_s_max),
            on_success: asked.on_success.unwrap_or(before.on_success),
            on_failure: asked.on_failure.unwrap_or(before.on_failure),
            modified,
        })
    });
    answer(&arn, changed.await)
}

pub async fn get(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:GetFunctionEventInvokeConfig", named)?;
    answer(&arn, found(gateway, &arn).await.map(Some))
}

pub async fn delete(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:DeleteFunctionEventInvokeConfig", named)?;
    found(gateway, &arn).await.map_err(|_| none(&arn))?;
    gateway.options.scheduler.functions().change_event_invoke(&arn, |_| None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn list(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:ListFunctionEventInvokeConfigs", named)?;
    let limit = list_functions::page_size(request)?.min(PAGE_MAX);
    let after: Option<Qualifier> = match request.query("Marker").filter(|marker| !marker.is_empty()) {
        Some(marker) => Some(marker.parse().map_err(|_| invalid_parameter("Invalid Marker"))?),
        None => None,
    };
    let all = gateway.options.scheduler.functions().event_invokes(&arn).await?;
    let mut found: Vec<_> = all.into_iter().filter(|(name, _)| Some(name) > after.as_ref()).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let configs = found.iter().map(|(name, config)| shown(&arn.qualified(name.clone()), config));
    let mut body = json!({"FunctionEventInvokeConfigs": configs.collect::<Vec<_>>()});
    if let Some((name, _)) = found.last().filter(|_| more) {
        body["NextMarker"] = json!(name);
    }
    Ok(response::json(StatusCode::OK, &body))
}

async fn found(gateway: &Gateway, arn: &FunctionArn) -> Result<EventInvoke, functions::Error> {
    let mut all = gateway.options.scheduler.functions().event_invokes(arn).await?;
    let qualifier = arn.qualifier.as_ref().unwrap_or(&Qualifier::Latest);
    all.remove(qualifier).ok_or_else(|| functions::Error::NotFound(arn.clone()))
}

/// What is set now, or that nothing is.
fn answer(arn: &FunctionArn, result: Result<Option<EventInvoke>, functions::Error>) -> Result<Response, Error> {
    match result {
        Ok(Some(config)) => Ok(response::json(StatusCode::OK, &shown(arn, &config))),
        Ok(None) | Err(functions::Error::NotFound(_)) => Err(none(arn)),
        Err(other) => Err(other.into()),
    }
}

async fn asked(gateway: &Gateway, request: &Request, arn: &FunctionArn) -> Result<Asked, Error> {
    let given: Given = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let sides = given.destination_config.unwrap_or_default();
    let destination = |side: Option<Side>| side.map(|side| side.destination.filter(|arn| !arn.is_empty()));
    let (on_success, on_failure) = (destination(sides.on_success), destination(sides.on_failure));
    let (retries, age) = (given.maximum_retry_attempts, given.maximum_event_age_in_seconds);
    let both = [(&on_success, "onSuccess"), (&on_failure, "onFailure")];
    let targets = || both.iter().filter_map(|(target, side)| Some((target.as_ref()?.as_deref()?, *side)));
    let mut violations = Violations::default();
    violations.range(retries, "maximumRetryAttempts", 0, 2);
    violations.range(age, "maximumEventAgeInSeconds", 60, 21_600);
    for (target, side) in targets() {
        let field = format!("destinationConfig.{side}.destination");
        let parts = target.split(':').count();
        let pattern = format!("Member must satisfy regular expression pattern: {DESTINATION}");
        violations.check(target.starts_with("arn:aws") && parts >= 6, target, &field, &pattern);
        let fits = target.len() <= DESTINATION_LENGTH_MAX;
        violations.check(fits, target, &field, "Member must have length less than or equal to 350");
    }
    violations.finish()?;
    if retries.is_none() && age.is_none() && targets().next().is_none() && on_success.is_none() && on_failure.is_none()
    {
        return Err(invalid_parameter("You must specify at least one of error handling or destination setting."));
    }
    for (target, _) in targets() {
        check_destination(gateway, arn, target).await?;
    }
    // The model's constraints bound these to 32 bits.
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    Ok(Asked { retries_max: number(retries), event_age_s_max: number(age), on_success, on_failure })
}

/// A destination is a function, a queue, a topic or an event bus, and there.
async fn check_destination(gateway: &Gateway, arn: &FunctionArn, target: &str) -> Result<(), Error> {
    if let Ok(other) = target.parse::<FunctionArn>() {
        if other.unqualified() == arn.unqualified() {
            return Err(invalid_parameter("You can't specify the function as a destination for itself."));
        }
        let found = gateway.options.scheduler.functions().get(&other).await;
        return found.map(drop).map_err(|_| invalid_parameter(format!("The destination ARN {target} is invalid.")));
    }
    let known = target.parse::<TopicName>().is_ok()
        || destinations::bus(target).is_some()
        || target.parse::<QueueName>().is_ok_and(|queue| !queue.name.ends_with(".fifo"));
    if known { Ok(()) } else { Err(invalid_parameter(format!("The destination ARN {target} is invalid."))) }
}

fn none(arn: &FunctionArn) -> Error {
    let arn = arn.qualified(arn.qualifier.clone().unwrap_or(Qualifier::Latest));
    let message = format!("The function {arn} doesn't have an EventInvokeConfig");
    Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
}

fn shown(arn: &FunctionArn, config: &EventInvoke) -> Value {
    let side = |target: &Option<String>| target.as_ref().map_or(json!({}), |arn| json!({"Destination": arn}));
    let mut shown = json!({
        "FunctionArn": arn.qualified(arn.qualifier.clone().unwrap_or(Qualifier::Latest)),
        "LastModified": config.modified.as_millisecond() as f64 / 1000.0,
        "DestinationConfig": {"OnSuccess": side(&config.on_success), "OnFailure": side(&config.on_failure)},
    });
    if let Some(attempts) = config.retries_max {
        shown["MaximumRetryAttempts"] = json!(attempts);
    }
    if let Some(seconds) = config.event_age_s_max {
        shown["MaximumEventAgeInSeconds"] = json!(seconds);
    }
    shown
}
