//! AWS STS: GetCallerIdentity. A query `Action`, and XML.

mod get_caller_identity;

use super::{Error, Request, Response, query, query::Parameters};

/// Answers an authenticated request.
pub fn answer(request: &Request) -> Result<Response, Error> {
    let parameters = Parameters::of(request);
    match parameters.action()? {
        "GetCallerIdentity" => Ok(get_caller_identity::get_caller_identity(request)),
        other => Err(query::not_served(other, KNOWN, "2011-06-15")),
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
