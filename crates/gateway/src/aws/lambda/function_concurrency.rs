//! PutFunctionConcurrency, GetFunctionConcurrency and DeleteFunctionConcurrency: what is reserved for a function.

use super::{error::of_json, latest_function, validate::Violations};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    reserved_concurrent_executions: Option<i64>,
}

pub async fn put(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:PutFunctionConcurrency", named)?;
    let given: Given = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let mut violations = Violations::default();
    let (number, field) = (given.reserved_concurrent_executions, "reservedConcurrentExecutions");
    violations.require(number.is_some(), field);
    let number = number.unwrap_or_default();
    violations.check(number >= 0, &number.to_string(), field, "Member must have value greater than or equal to 0");
    violations.finish()?;
    // More than the account has is refused with the words for that.
    let reserved = u32::try_from(number).unwrap_or(u32::MAX);
    gateway.options.scheduler.functions().reserve(&arn, Some(reserved)).await?;
    Ok(response::json(StatusCode::OK, &json!({"ReservedConcurrentExecutions": reserved})))
}

pub async fn get(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:GetFunctionConcurrency", named)?;
    let body = match gateway.options.scheduler.functions().reserved(&arn).await? {
        Some(reserved) => json!({"ReservedConcurrentExecutions": reserved}),
        None => json!({}),
    };
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn delete(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:DeleteFunctionConcurrency", named)?;
    gateway.options.scheduler.functions().reserve(&arn, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
