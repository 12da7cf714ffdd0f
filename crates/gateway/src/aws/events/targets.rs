//! Targets of rules: functions and queues.

use super::{
    Call, dto, only_default,
    rules::{name_of, page},
    validation,
};
use crate::aws::{Error, Response, response};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_triggers::{
    events::{Rule, TARGETS_MAX, Target, is_path, is_template},
    queues::QueueName,
};
use dayfly_types::FunctionArn;
use http::StatusCode;
use serde_json::{Value, json};

/// Longest constant input, AWS's.
const INPUT_BYTES_MAX: usize = 8192;

pub async fn put_targets(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Targets = call.read()?;
    let rule = rule(call, &dto)?;
    if dto.targets.is_empty() || dto.targets.len() > 100 {
        return Err(validation("Targets must have between 1 and 100 members."));
    }
    let mut targets = Vec::new();
    for value in dto.targets {
        let target = dto::target(value).map_err(validation)?;
        check(&target)?;
        targets.push(target);
    }
    let after = |rule: &Rule| {
        let kept = rule.targets.iter().filter(|old| targets.iter().all(|new| new.id != old.id));
        kept.chain(&targets).cloned().collect::<Vec<_>>()
    };
    if after(&rule).len() > TARGETS_MAX {
        let message = "The requested resource exceeds the maximum number allowed.";
        return Err(Error::bad_request("LimitExceededException", message));
    }
    call.events().update(call.rule(&rule.name), |rule| rule.targets = after(rule)).await?;
    Ok(response::json(StatusCode::OK, &json!({"FailedEntryCount": 0, "FailedEntries": []})))
}

pub async fn remove_targets(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Targets = call.read()?;
    let rule = rule(call, &dto)?;
    let missing = dto.ids.iter().filter(|id| rule.targets.iter().all(|target| target.id != **id));
    let failed: Vec<Value> = missing
        .map(|id| {
            let message = format!("Rule {} does not have a target with the Id {id}.", rule.name);
            json!({"TargetId": id, "ErrorCode": "ResourceNotFoundException", "ErrorMessage": message})
        })
        .collect();
    let ids = dto.ids;
    let change = |rule: &mut Rule| rule.targets.retain(|target| !ids.contains(&target.id));
    call.events().update(call.rule(&rule.name), change).await?;
    Ok(response::json(StatusCode::OK, &json!({"FailedEntryCount": failed.len(), "FailedEntries": failed})))
}

pub fn list_targets_by_rule(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Targets = call.read()?;
    Ok(response::json(StatusCode::OK, &json!({"Targets": rule(call, &dto)?.targets})))
}

pub fn list_rule_names_by_target(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::List = call.read()?;
    only_default(call, dto.event_bus_name.as_deref())?;
    let (limit, after) = page(&dto)?;
    let arn = dto.target_arn.ok_or_else(|| validation("TargetArn must be given."))?;
    let all = call.events().list(call.account(), call.region(), "", &after, usize::MAX);
    let mut found: Vec<String> = all
        .into_iter()
        .filter(|rule| rule.targets.iter().any(|target| target.arn == arn))
        .map(|rule| rule.name)
        .take(limit + 1)
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let mut body = json!({"RuleNames": found});
    if let Some(last) = found.last().filter(|_| more) {
        body["NextToken"] = json!(STANDARD.encode(last));
    }
    Ok(response::json(StatusCode::OK, &body))
}

fn rule(call: &Call<'_>, dto: &dto::Targets) -> Result<Rule, Error> {
    only_default(call, dto.event_bus_name.as_deref())?;
    Ok(call.events().get(call.account(), call.region(), &name_of(dto.rule.clone())?)?)
}

fn check(target: &Target) -> Result<(), Error> {
    let word = target.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if !word || !(1..=64).contains(&target.id.len()) {
        return Err(validation("The Id of a target has 1 to 64 letters, digits, dots, hyphens and underscores."));
    }
    let bad =
        |what: &str| Err(validation(format!("Parameter(s) {what} of target {} not valid for the target.", target.id)));
    let queue = target.arn.parse::<QueueName>();
    if target.arn.parse::<FunctionArn>().is_err() && queue.is_err() {
        return bad("Arn (Dayfly serves functions and SQS queues)");
    }
    let group = target.sqs_parameters.as_ref().is_some_and(|parameters| !parameters.message_group_id.is_empty());
    if queue.is_ok_and(|queue| queue.name.ends_with(".fifo")) != group {
        return bad("SqsParameters");
    }
    let inputs = [target.input.is_some(), target.input_path.is_some(), target.input_transformer.is_some()];
    if inputs.into_iter().filter(|given| *given).count() > 1 {
        return bad("Input, InputPath and InputTransformer (only one of them)");
    }
    let is_json = |text: &String| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if target.input.as_ref().is_some_and(|input| input.len() > INPUT_BYTES_MAX || !is_json(input)) {
        return bad("Input");
    }
    if target.input_path.as_ref().is_some_and(|path| !is_path(path)) {
        return bad("InputPath");
    }
    if target.input_transformer.as_ref().is_some_and(|transformer| {
        let paths = &transformer.input_paths_map;
        paths.len() > 100 || !paths.values().all(|path| is_path(path)) || !is_template(&transformer.input_template)
    }) {
        return bad("InputTransformer");
    }
    if target.dead_letter_config.as_ref().is_some_and(|dead| dead.arn.parse::<QueueName>().is_err()) {
        return bad("DeadLetterConfig");
    }
    Ok(())
}
