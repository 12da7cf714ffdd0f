//! PutFunctionRecursionConfig and GetFunctionRecursionConfig: whether a function may trigger itself without end.

use super::{error::of_json, latest_function, validate::Violations};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Given {
    recursive_loop: Option<String>,
}

pub async fn put(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:PutFunctionRecursionConfig", named)?;
    let given: Given = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let mut violations = Violations::default();
    violations.require(given.recursive_loop.is_some(), "recursiveLoop");
    violations.choice(given.recursive_loop.as_deref(), "recursiveLoop", &["Allow", "Terminate"]);
    violations.finish()?;
    let loops = given.recursive_loop.as_deref() == Some("Allow");
    gateway.options.scheduler.functions().let_loop(&arn, loops).await?;
    Ok(shown(loops))
}

pub async fn get(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:GetFunctionRecursionConfig", named)?;
    Ok(shown(gateway.options.scheduler.functions().loops(&arn).await?))
}

fn shown(loops: bool) -> Response {
    response::json(StatusCode::OK, &json!({"RecursiveLoop": if loops { "Allow" } else { "Terminate" }}))
}
