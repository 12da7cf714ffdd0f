//! Dayfly's own service, for its command line: `X-Amz-Target: Dayfly_20261101.…` and JSON 1.1, signed for the service
//! `dayfly`.

mod dto;
mod get_bill;
mod get_server_info;
mod list_usage;

use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request, Response, target},
};
use serde::de::DeserializeOwned;

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    match target(&request.parts) {
        "GetBill" => get_bill::get_bill(gateway, request).await,
        "ListUsage" => list_usage::list_usage(gateway, request).await,
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
