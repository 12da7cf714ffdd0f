//! CloudWatch Logs, the reading side: `X-Amz-Target: Logs_20140328.…` and JSON 1.1.

mod describe;
mod dto;
mod error;
mod events;
mod log_group;

use super::{Error, Request, Response, target};
use crate::{Gateway, authorise::authorise};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    match target(&request.parts) {
        "DescribeLogGroups" => describe::describe_log_groups(gateway, request).await,
        "DescribeLogStreams" => describe::describe_log_streams(gateway, request).await,
        "GetLogEvents" => events::get_log_events(gateway, request).await,
        "FilterLogEvents" => events::filter_log_events(gateway, request).await,
        "DeleteLogGroup" => log_group::delete_log_group(gateway, request).await,
        "" => Err(Error::unknown_operation("no X-Amz-Target")),
        other => Err(Error::unsupported(&other.chars().take(64).collect::<String>())),
    }
}

/// The body of a request that may do `logs:action`.
fn read<T: DeserializeOwned>(request: &Request, action: &str) -> Result<T, Error> {
    let unreadable = |error: serde_json::Error| Error::bad_request("SerializationException", error.to_string());
    // SDKs send `{}`, hand-made requests at times nothing.
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    let body: Value = serde_json::from_slice(body).map_err(unreadable)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let group = dto::group_name(text("logGroupName"), text("logGroupIdentifier")).unwrap_or_default();
    let stream = text("logStreamName").unwrap_or_default();
    let account = request.principal.account();
    let resource = format!("arn:aws:logs:{}:{account}:log-group:{group}:log-stream:{stream}", request.region);
    authorise(&request.principal, &format!("logs:{action}"), &resource, account)?;
    T::deserialize(body).map_err(unreadable)
}
