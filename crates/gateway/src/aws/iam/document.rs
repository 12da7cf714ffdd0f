//! Checks policy documents when they are given, so that whoever evaluates one later finds a policy.

use super::error::malformed;
use crate::aws::Error;
use serde_json::{Map, Value};

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who may take a role on.
    Trust,
    /// What a role may do.
    Identity,
}

/// Whether `text` is a policy of this kind.
///
/// # Errors
/// `MalformedPolicyDocument`.
pub fn check(text: &str, kind: Kind) -> Result<(), Error> {
    let document: Value = serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let syntax = || malformed("Syntax errors in policy.");
    let document = document.as_object().ok_or_else(syntax)?;
    match document.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        Some(_) => return Err(malformed("The policy must contain a valid version string")),
    }
    if let Some(unknown) = document.keys().find(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
        return Err(malformed(format!("Unknown field {unknown}")));
    }
    match document.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => {
            statements.iter().try_for_each(|one| statement(one.as_object().ok_or_else(syntax)?, kind))
        }
        Some(Value::Object(one)) => statement(one, kind),
        _ => Err(syntax()),
    }
}

fn statement(given: &Map<String, Value>, kind: Kind) -> Result<(), Error> {
    const FIELDS: &[&str] =
        &["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    if let Some(unknown) = given.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(malformed(format!("Unknown field {unknown}")));
    }
    let one_of = |one: &str, other: &str| given.contains_key(one) != given.contains_key(other);
    if !matches!(given.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
        return Err(malformed("Syntax errors in policy."));
    }
    if !one_of("Action", "NotAction") {
        return Err(malformed("Policy statement must contain actions."));
    }
    let strings = ["Action", "NotAction", "Resource", "NotResource"].iter().filter_map(|name| given.get(*name));
    for value in strings {
        let fits = match value {
            Value::String(_) => true,
            Value::Array(all) => all.iter().all(Value::is_string),
            _ => false,
        };
        if !fits {
            return Err(malformed("Syntax errors in policy."));
        }
    }
    if given.get("Condition").is_some_and(|condition| !condition.is_object()) {
        return Err(malformed("Syntax errors in policy."));
    }
    let principal = given.contains_key("Principal") || given.contains_key("NotPrincipal");
    let resource = one_of("Resource", "NotResource");
    match kind {
        Kind::Trust if !principal => Err(malformed("AssumeRolePolicy must contain Principal")),
        Kind::Trust if given.contains_key("Resource") || given.contains_key("NotResource") => {
            Err(malformed("Has prohibited field Resource"))
        }
        Kind::Identity if principal => Err(malformed("Policy document should not specify a principal.")),
        Kind::Identity if !resource => Err(malformed("Policy statement must contain resources.")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_policies_of_their_kind() {
        let trust = r#"{"Version": "2012-10-17", "Statement": [{"Sid": "", "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
        let identity = r#"{"Statement": {"Effect": "Allow", "Action": ["logs:*"], "Resource": "*"}}"#;
        assert!(check(trust, Kind::Trust).is_ok());
        assert!(check(identity, Kind::Identity).is_ok());
        assert!(check(trust, Kind::Identity).is_err());
        assert!(check(identity, Kind::Trust).is_err());
        for bad in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"Statement": []}"#,
            r#"{"Statement": [1]}"#,
            r#"{"Version": "2020-01-01", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
            r#"{"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}"#,
            r#"{"Statement": {"Effect": "Allow", "Action": 7, "Resource": "*"}}"#,
            r#"{"Statement": {"Effect": "Allow", "Resource": "*"}}"#,
            r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": 1}}"#,
            r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Colour": "red"}}"#,
        ] {
            assert!(check(bad, Kind::Identity).is_err(), "{bad}");
        }
    }
}
