//! GetFunctionConcurrency and DeleteFunctionConcurrency. Reserved concurrency cannot be set yet, so there is none to
//! show, and deleting it succeeds, as AWS does for a function that has none.

use super::latest_function;
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use http::StatusCode;
use serde_json::json;

pub async fn get_function_concurrency(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:GetFunctionConcurrency", named)?;
    gateway.options.scheduler.functions().get(&arn).await?;
    Ok(response::json(StatusCode::OK, &json!({})))
}

pub async fn delete_function_concurrency(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:DeleteFunctionConcurrency", named)?;
    gateway.options.scheduler.functions().get(&arn).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
