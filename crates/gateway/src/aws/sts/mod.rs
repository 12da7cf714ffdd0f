//! AWS STS: GetCallerIdentity, and keys for a while. A query `Action`, and XML.

mod assume_role;
mod get_caller_identity;

use super::{Error, Request, Response, query, query::Parameters, xml::Xml};
use crate::Gateway;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// A request to STS, with its parameters.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    parameters: Parameters,
    operation: String,
}

/// Answers an authenticated request. Who somebody is, and a session of a user's own, nobody is refused; taking on a role
/// is for the role's trust policy and the caller's own to decide.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let parameters = Parameters::of(request);
    let operation = parameters.action()?.to_owned();
    let call = Call { gateway, request, parameters, operation };
    match call.operation.as_str() {
        "GetCallerIdentity" => Ok(get_caller_identity::get_caller_identity(request)),
        "AssumeRole" => assume_role::assume_role(&call).await,
        "GetSessionToken" => assume_role::get_session_token(&call),
        other => Err(query::not_served(other, KNOWN, "2011-06-15")),
    }
}

impl Call<'_> {
    fn required(&self, name: &str) -> Result<&str, Error> {
        let value = self.parameters.get(name).filter(|value| !value.is_empty() && value.len() <= 2048);
        value.ok_or_else(|| assume_role::validation(name, "Member must not be null, nor longer than 2048 characters"))
    }

    /// A number of seconds, or else the one in the middle.
    fn seconds(&self, name: &str, (least, default, most): (u64, u64, u64)) -> Result<u64, Error> {
        let Some(text) = self.parameters.get(name) else { return Ok(default) };
        let seconds = text.parse().ok().filter(|seconds| (least..=most).contains(seconds));
        seconds.ok_or_else(|| assume_role::validation(name, &format!("Member must be between {least} and {most}")))
    }

    fn answer(&self, inside: impl FnOnce(&mut Xml)) -> Response {
        query::answer(self.request, &self.operation, NAMESPACE, inside)
    }
}

/// The operations of STS that are not served.
const KNOWN: &[&str] = &[
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetWebIdentityToken",
];
