//! AssumeRole and GetSessionToken: keys for a while.

use super::Call;
use crate::{
    aws::{Error, Response, xml::Xml},
    roles,
};
use dayfly_types::{
    Timestamp,
    credentials::{Credentials, Principal},
    policy::{Kind, Policy, Question, Verdict},
};
use http::StatusCode;
use std::time::Duration;

/// Characters of a session's own policy, AWS's.
const POLICY_LENGTH_MAX: usize = 2048;
const SESSION_TOKEN_S: (u64, u64, u64) = (900, 43_200, 129_600);

pub async fn assume_role(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.required("RoleArn")?;
    let session = call.required("RoleSessionName")?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&session.len()) || !session.bytes().all(word) {
        return Err(validation("roleSessionName", "Member must have 2 to 64 letters, digits and _+=,.@-"));
    }
    if call.parameters.get("PolicyArns.member.1.arn").is_some() {
        return Err(Error::unsupported("AssumeRole with PolicyArns"));
    }
    let policy = call.parameters.get("Policy").filter(|text| !text.is_empty());
    if let Some(text) = policy {
        if text.chars().count() > POLICY_LENGTH_MAX {
            return Err(validation("policy", "Member must have length less than or equal to 2048"));
        }
        Policy::parse(text, Kind::Identity)
            .map_err(|error| Error::bad_request("MalformedPolicyDocument", error.to_string()))?;
    }
    let options = &call.gateway.options;
    let role = roles::find(&options.store, &options.account, arn).await?;
    // Whether there is such a role is nobody's to know who may not take it on.
    let denied = || {
        let who = call.request.principal.arn();
        let message = format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn}");
        Error::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    };
    let role = role.ok_or_else(denied)?;
    let longest = u64::from(role.max_session_s);
    let seconds = call.seconds("DurationSeconds", (900, 3600, 43_200))?;
    if seconds > longest {
        return Err(Error::bad_request(
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    if !trusts(call, &role.trust, arn) {
        return Err(denied());
    }
    let principal = Principal::AssumedRole {
        account: role.account.clone(),
        role_arn: role.arn(),
        role_id: role.id.clone(),
        session: session.to_owned(),
        policy: policy.map(str::to_owned),
    };
    let until = options.clock.now() + Duration::from_secs(seconds);
    let credentials = options.sessions.issue(&principal, until);
    Ok(call.answer(|xml| {
        write(xml, &credentials, until);
        xml.element("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", principal.id()).text("Arn", principal.arn());
        });
    }))
}

pub fn get_session_token(call: &Call<'_>) -> Result<Response, Error> {
    let principal = match &*call.request.principal {
        principal @ (Principal::User { .. } | Principal::Root { .. }) => principal,
        _ => {
            let message = "Cannot call GetSessionToken with session credentials";
            return Err(Error::new(StatusCode::FORBIDDEN, "AccessDenied", message));
        }
    };
    let until =
        call.gateway.options.clock.now() + Duration::from_secs(call.seconds("DurationSeconds", SESSION_TOKEN_S)?);
    let credentials = call.gateway.options.sessions.issue(principal, until);
    Ok(call.answer(|xml| write(xml, &credentials, until)))
}

/// Whether the role's trust policy lets the caller take it on: by its own name, or by its account's together with its
/// own policies.
fn trusts(call: &Call<'_>, trust: &str, arn: &str) -> bool {
    let Ok(trust) = Policy::parse(trust, Kind::Trust) else { return false };
    let caller = &call.request.principal;
    let own = caller.may("sts:AssumeRole", arn);
    let (who, mut context) = caller.named();
    if let Some(id) = call.parameters.get("ExternalId") {
        context.add("sts:ExternalId", id);
    }
    if let Some(session) = call.parameters.get("RoleSessionName") {
        context.add("sts:RoleSessionName", session);
    }
    match trust.verdict(&Question { action: "sts:AssumeRole", resource: arn, who: &who, context: &context }) {
        Verdict::Denied | Verdict::Silent => false,
        Verdict::AllowedToAccount => own == Verdict::Allowed,
        Verdict::Allowed => own != Verdict::Denied,
    }
}

fn write(xml: &mut Xml, credentials: &Credentials, until: Timestamp) {
    xml.element("Credentials", |xml| {
        xml.text("AccessKeyId", &credentials.access_key_id)
            .text("SecretAccessKey", &credentials.secret_access_key)
            .optional("SessionToken", credentials.session_token.as_ref())
            .text("Expiration", until.strftime("%Y-%m-%dT%H:%M:%SZ"));
    });
}

pub fn validation(name: &str, constraint: &str) -> Error {
    let message = format!("1 validation error detected: Value at '{name}' failed to satisfy constraint: {constraint}");
    Error::bad_request("ValidationError", message)
}
