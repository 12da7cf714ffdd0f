//! AWS STS: GetCallerIdentity. A query `Action`, and XML.

mod get_caller_identity;

use super::{Error, Request, Response};
use crate::sigv4::query_pairs;

/// Answers an authenticated request.
pub fn answer(request: &Request) -> Result<Response, Error> {
    let in_body = || {
        let body = String::from_utf8_lossy(&request.body);
        query_pairs(&body).into_iter().find(|(key, _)| key == "Action").map(|(_, value)| value)
    };
    match request.query("Action").or_else(in_body).as_deref() {
        Some("GetCallerIdentity") => Ok(get_caller_identity::get_caller_identity(request)),
        Some(known) if KNOWN.contains(&known) => Err(Error::unsupported(known)),
        Some(other) => {
            let other: String = other.chars().take(200).collect();
            Err(Error::bad_request("InvalidAction", format!("Could not find operation {other} for version 2011-06-15")))
        }
        None => Err(Error::bad_request("MissingAction", "The request has no Action")),
    }
}

/// The operations of STS that are not served.
const KNOWN: &[&str] = &[
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetSessionToken",
    "GetWebIdentityToken",
];
