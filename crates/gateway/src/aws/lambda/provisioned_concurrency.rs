//! PutProvisionedConcurrencyConfig and its siblings: instances of a version or an alias that are kept ready.

use super::{
    error::{invalid_parameter, of_json},
    function, latest_function, list_functions,
    validate::Violations,
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_scheduler::functions::ProvisionedState;
use dayfly_types::{FunctionArn, Qualifier};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// Most configurations in one answer; Lambda's.
const PAGE_MAX: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    provisioned_concurrent_executions: Option<i64>,
}

pub async fn put(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:PutProvisionedConcurrencyConfig", named)?;
    let given: Given = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let mut violations = Violations::default();
    let (number, field) = (given.provisioned_concurrent_executions, "provisionedConcurrentExecutions");
    violations.require(number.is_some(), field);
    violations.require(arn.qualifier.is_some(), "qualifier");
    let number = number.unwrap_or(1);
    violations.check(number >= 1, &number.to_string(), field, "Member must have value greater than or equal to 1");
    violations.finish()?;
    let count = u32::try_from(number).unwrap_or(u32::MAX);
    let functions = gateway.options.scheduler.functions();
    functions.provision(&arn, Some(count)).await?;
    Ok(response::json(StatusCode::ACCEPTED, &shown(&functions.provisioned(&arn).await?)))
}

pub async fn get(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:GetProvisionedConcurrencyConfig", named)?;
    published(&arn)?;
    let state = gateway.options.scheduler.functions().provisioned(&arn).await?;
    Ok(response::json(StatusCode::OK, &shown(&state)))
}

pub async fn delete(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:DeleteProvisionedConcurrencyConfig", named)?;
    published(&arn)?;
    gateway.options.scheduler.functions().provision(&arn, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn list(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:ListProvisionedConcurrencyConfigs", named)?;
    let limit = list_functions::page_size(request)?.min(PAGE_MAX);
    let after: Option<Qualifier> = match request.query("Marker").filter(|marker| !marker.is_empty()) {
        Some(marker) => Some(marker.parse().map_err(|_| invalid_parameter("Invalid Marker"))?),
        None => None,
    };
    let all = gateway.options.scheduler.functions().all_provisioned(&arn).await?;
    let mut found: Vec<_> = all.into_iter().filter(|(name, _)| Some(name) > after.as_ref()).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let configs = found.iter().map(|(name, state)| {
        let mut shown = shown(state);
        shown["FunctionArn"] = json!(arn.qualified(name.clone()));
        shown
    });
    let mut body = json!({"ProvisionedConcurrencyConfigs": configs.collect::<Vec<_>>()});
    if let Some((name, _)) = found.last().filter(|_| more) {
        body["NextMarker"] = json!(name);
    }
    Ok(response::json(StatusCode::OK, &body))
}

fn published(arn: &FunctionArn) -> Result<(), Error> {
    match arn.qualifier {
        None | Some(Qualifier::Latest) => {
            Err(invalid_parameter("The function resource provided must be an alias or a published version."))
        }
        _ => Ok(()),
    }
}

fn shown(state: &ProvisionedState) -> Value {
    let count = state.asked.count;
    let (status, allocated) = match (&state.failure, state.reached) {
        (Some(_), _) => ("FAILED", state.ready),
        // What calls have taken just now is being replaced.
        (None, true) => ("READY", count),
        (None, false) => ("IN_PROGRESS", state.ready),
    };
    let mut shown = json!({
        "RequestedProvisionedConcurrentExecutions": count,
        "AvailableProvisionedConcurrentExecutions": state.ready,
        "AllocatedProvisionedConcurrentExecutions": allocated,
        "Status": status,
        "LastModified": state.asked.modified.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string(),
    });
    if let Some(reason) = &state.failure {
        shown["StatusReason"] = json!(reason);
    }
    shown
}
