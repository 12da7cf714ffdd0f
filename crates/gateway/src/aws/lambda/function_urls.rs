//! CreateFunctionUrlConfig and its siblings: the HTTP address of a function.

use super::{
    error::{invalid_parameter, of_json},
    function, latest_function,
    validate::{self, Violations},
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
    host,
};
use dayfly_types::{FunctionArn, FunctionUrl, FunctionUrlId, Qualifier, url::Cors};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Given {
    auth_type: Option<String>,
    cors: Option<Cors>,
    invoke_mode: Option<String>,
}

pub async fn create(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = addressed_function(gateway, request, "lambda:CreateFunctionUrlConfig", named)?;
    let given = given(request)?;
    let signed = signed(given.auth_type.as_deref().unwrap_or_default())?;
    let now = gateway.options.clock.now();
    let url = FunctionUrl { id: FunctionUrlId::random(), signed, cors: given.cors, created: now, modified: now };
    let (functions, new) = (gateway.options.scheduler.functions(), url.clone());
    let added = functions.update_access(&arn, move |access| match &access.url {
        Some(_) => Err(()),
        None => {
            access.url = Some(new);
            Ok(())
        }
    });
    added.await?.map_err(|()| {
        let message = format!("Failed to create function url config for [functionArn = {arn}]. Error message:  FunctionUrlConfig exists for this Lambda function");
        Error::new(StatusCode::CONFLICT, "ResourceConflictException", message)
    })?;
    Ok(response::json(StatusCode::CREATED, &shown(gateway, request, &arn, &url)))
}

pub async fn get(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = addressed_function(gateway, request, "lambda:GetFunctionUrlConfig", named)?;
    let url = gateway.options.scheduler.functions().access(&arn).await?.url.ok_or_else(none)?;
    Ok(response::json(StatusCode::OK, &shown(gateway, request, &arn, &url)))
}

pub async fn update(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = addressed_function(gateway, request, "lambda:UpdateFunctionUrlConfig", named)?;
    let given = given(request)?;
    let signed = given.auth_type.as_deref().map(signed).transpose()?;
    let now = gateway.options.clock.now();
    let changed = gateway.options.scheduler.functions().update_access(&arn, move |access| {
        let url = access.url.as_mut().ok_or_else(none)?;
        url.signed = signed.unwrap_or(url.signed);
        url.cors = given.cors.or(url.cors.take());
        url.modified = now;
        Ok::<_, Error>(url.clone())
    });
    let url = changed.await??;
    Ok(response::json(StatusCode::OK, &shown(gateway, request, &arn, &url)))
}

pub async fn delete(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = addressed_function(gateway, request, "lambda:DeleteFunctionUrlConfig", named)?;
    let removed = |access: &mut dayfly_scheduler::functions::Access| access.url.take().map(drop).ok_or_else(none);
    gateway.options.scheduler.functions().update_access(&arn, removed).await??;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn list(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:ListFunctionUrlConfigs", named)?;
    let urls = gateway.options.scheduler.functions().urls(&arn).await?;
    let shown: Vec<Value> = urls.iter().map(|(arn, url)| shown(gateway, request, arn, url)).collect();
    Ok(response::json(StatusCode::OK, &json!({"FunctionUrlConfigs": shown})))
}

/// What may have a URL: the function, or an alias of it.
fn addressed_function(gateway: &Gateway, request: &Request, action: &str, named: &str) -> Result<FunctionArn, Error> {
    let arn = function(gateway, request, action, named)?;
    if let Some(version @ (Qualifier::Latest | Qualifier::Version(_))) = &arn.qualifier {
        let mut violations = Violations::default();
        let pattern = r"Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)";
        violations.check(false, &version.to_string(), "qualifier", pattern);
        violations.finish()?;
    }
    Ok(arn)
}

fn given(request: &Request) -> Result<Given, Error> {
    let given: Given = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    match given.invoke_mode.as_deref() {
        None | Some("BUFFERED") => {}
        Some("RESPONSE_STREAM") => {
            return Err(invalid_parameter("Dayfly does not support InvokeMode RESPONSE_STREAM yet"));
        }
        Some(other) => {
            return Err(validate::choice(other, "invokeMode", &["BUFFERED", "RESPONSE_STREAM"])
                .err()
                .unwrap_or_else(none));
        }
    }
    if given.cors.as_ref().and_then(|cors| cors.max_age).is_some_and(|seconds| seconds > 86_400) {
        return Err(invalid_parameter("Cors.MaxAge is at most 86400"));
    }
    Ok(given)
}

fn signed(auth_type: &str) -> Result<bool, Error> {
    validate::choice(auth_type, "authType", &["NONE", "AWS_IAM"])?;
    Ok(auth_type == "AWS_IAM")
}

fn none() -> Error {
    let message = "The resource you requested does not exist.";
    Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
}

fn shown(gateway: &Gateway, request: &Request, arn: &FunctionArn, url: &FunctionUrl) -> Value {
    let time = |at: dayfly_types::Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    let mut shown = json!({
        "FunctionUrl": address(gateway.scheme(), host::host(&request.parts).unwrap_or("localhost"), arn, url),
        "FunctionArn": arn,
        "AuthType": if url.signed { "AWS_IAM" } else { "NONE" },
        "CreationTime": time(url.created),
        "LastModifiedTime": time(url.modified),
        "InvokeMode": "BUFFERED",
    });
    if let Some(cors) = &url.cors {
        shown["Cors"] = json!(cors);
    }
    shown
}

/// The URL, on the host that the client came to.
fn address(scheme: &str, host: &str, arn: &FunctionArn, url: &FunctionUrl) -> String {
    match host::below(host, &format!("{}.lambda-url.{}", url.id, arn.region)) {
        Some(name) => format!("{scheme}://{name}/"),
        None => format!("{scheme}://{host}/function-urls/{}/", url.id),
    }
}
