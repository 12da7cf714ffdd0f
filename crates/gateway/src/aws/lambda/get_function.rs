//! GetFunction and GetFunctionConfiguration.

use super::{dto, function};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
    unsigned,
};
use http::StatusCode;
use serde_json::json;

pub async fn get_function(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:GetFunction", named)?;
    let found = gateway.options.scheduler.functions().get(&arn).await?;
    let location = unsigned::code_location(gateway, request.header("host"), &found.code.sha256);
    let mut body = json!({
        "Configuration": dto::configuration(&found, &arn),
        "Code": {"RepositoryType": "S3", "Location": location},
    });
    if !found.tags.is_empty() {
        body["Tags"] = json!(found.tags);
    }
    if let Some(reserved) = gateway.options.scheduler.functions().reserved(&arn).await? {
        body["Concurrency"] = json!({"ReservedConcurrentExecutions": reserved});
    }
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn get_function_configuration(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:GetFunctionConfiguration", named)?;
    let found = gateway.options.scheduler.functions().get(&arn).await?;
    Ok(response::json(StatusCode::OK, &dto::configuration(&found, &arn)))
}
