//! GetFunction and GetFunctionConfiguration.

use super::{dto, latest_function};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
    unsigned,
};
use http::StatusCode;
use serde_json::json;

pub async fn get_function(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:GetFunction", named)?;
    let function = gateway.options.scheduler.functions().get(&arn).await?;
    let location = unsigned::code_location(gateway, request.header("host"), &function.code.sha256);
    let mut body = json!({
        "Configuration": dto::configuration(&function, false),
        "Code": {"RepositoryType": "S3", "Location": location},
    });
    if !function.tags.is_empty() {
        body["Tags"] = json!(function.tags);
    }
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn get_function_configuration(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:GetFunctionConfiguration", named)?;
    let function = gateway.options.scheduler.functions().get(&arn).await?;
    Ok(response::json(StatusCode::OK, &dto::configuration(&function, false)))
}
