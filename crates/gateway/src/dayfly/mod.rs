//! Dayfly's own service, for its command line: `X-Amz-Target: Dayfly_20261101.…` and JSON 1.1, signed for the service
//! `dayfly`.

mod dto;
mod environments;
mod get_bill;
mod get_server_info;
pub mod jobs;
mod list_usage;
mod publish_layer;

use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request, Response, lambda, target},
};
use dayfly_types::Limits;
use http::{Method, request::Parts};
use serde::de::DeserializeOwned;

/// Whether this is `POST /environments`, whose body is large.
fn builds_environment(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path().trim_matches('/') == "environments"
}

/// Largest body, of operations whose body is not small.
pub fn body_limit(parts: &Parts, limits: &Limits) -> Option<u64> {
    builds_environment(parts).then(|| lambda::upload_bytes(limits))
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    if builds_environment(&request.parts) {
        return environments::build(gateway, request).await;
    }
    match target(&request.parts) {
        "GetBill" => get_bill::get_bill(gateway, request).await,
        "ListEnvironments" => environments::list(gateway, request).await,
        "GetEnvironment" => environments::get(gateway, request),
        "DeleteEnvironment" => environments::delete(gateway, request).await,
        "PublishLayer" => publish_layer::publish_layer(gateway, request).await,
        "ListUsage" => list_usage::list_usage(gateway, request).await,
        "ListJobs" => jobs::list_jobs(gateway, request),
        "GetJob" => jobs::get_job(gateway, request),
        "CancelJob" => jobs::cancel_job(gateway, request),
        "ListJobCalls" => jobs::list_job_calls(gateway, request),
        "GetServerInfo" => get_server_info::get_server_info(gateway, request),
        other => Err(Error::unknown_operation(other)),
    }
}

/// The body of a request that may do `dayfly:action`.
fn read<T: DeserializeOwned>(request: &Request, action: &str) -> Result<T, Error> {
    authorise(&request.principal, &format!("dayfly:{action}"), "*", request.principal.account())?;
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    serde_json::from_slice(body).map_err(|error| Error::bad_request("SerializationException", error.to_string()))
}
