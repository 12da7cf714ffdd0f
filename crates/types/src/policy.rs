//! Policies: the documents of identities and resources (`document`), and a function's resource policy: who, other than
//! its own account's identities, may call it.

mod condition;
mod document;
mod pattern;

pub use document::{Context, Kind, Malformed, Policy, Question, Verdict, Who};

use crate::AccountId;
use serde::{Deserialize, Serialize};

/// The statements of one function, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourcePolicy {
    /// Changes with every change of the policy; empty as long as there was none.
    pub revision_id: String,
    /// What is allowed. Lambda's AddPermission makes no statements that deny.
    pub statements: Vec<Statement>,
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Its name within the policy.
    pub id: String,
    /// A service (`apigateway.amazonaws.com`), an account's number, an ARN, or `*`.
    pub principal: String,
    /// `lambda:InvokeFunction`, for example; or `lambda:*`.
    pub action: String,
    /// The resource on whose behalf the service calls; `*` and `?` stand for any characters, and one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_arn: Option<String>,
    /// The account of that resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_account: Option<AccountId>,
    /// The organisation of the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_org_id: Option<String>,
    /// The token of an Alexa skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source_token: Option<String>,
    /// Only through a function URL of this kind (`NONE`, `AWS_IAM`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_auth_type: Option<String>,
    /// Only calls through a function URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_url: Option<bool>,
}

impl ResourcePolicy {
    /// Whether `service` may call the function on behalf of the resource `source` of `account`.
    pub fn allows_service(&self, service: &str, source: &str, account: &AccountId) -> bool {
        self.statements.iter().any(|statement| {
            (statement.principal == service || statement.principal == "*")
                && like(&statement.action, "lambda:InvokeFunction")
                && statement.source_arn.as_ref().is_none_or(|pattern| like(pattern, source))
                && statement.source_account.as_ref().is_none_or(|wanted| wanted == account)
                // Nothing that a service of this server calls for has these.
                && statement.principal_org_id.is_none()
                && statement.event_source_token.is_none()
                && statement.url_auth_type.is_none()
                && statement.via_url.is_none()
        })
    }

    /// Whether anybody at all may call the function through its URL without authentication.
    pub fn allows_public_url(&self) -> bool {
        self.statements.iter().any(|statement| {
            statement.principal == "*"
                && like(&statement.action, "lambda:InvokeFunctionUrl")
                && statement.url_auth_type.as_ref().is_none_or(|kind| kind == "NONE")
                && statement.source_arn.is_none()
                && statement.source_account.is_none()
                && statement.principal_org_id.is_none()
                && statement.event_source_token.is_none()
        })
    }
}

/// Whether `text` is what `pattern` describes; `*` stands for any characters, `?` for one. Takes time proportional to the
/// product of both lengths at most.
pub fn like(pattern: &str, text: &str) -> bool {
    pattern::fits(pattern.as_bytes(), text.as_bytes(), b'*', b'?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("arn:aws:execute-api:*:*:abc/*/GET/*", "arn:aws:execute-api:x:1:abc/api/GET/a/b", true),
            ("arn:aws:execute-api:*:*:abc/*/GET/*", "arn:aws:execute-api:x:1:abd/api/GET/a/b", false),
            ("**", "x", true),
            ("a?c", "aéc", true),
            ("a??c", "aéc", false),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
        assert!(!like(&"*a".repeat(1000), &"a".repeat(999)), "and this ends");
    }

    #[test]
    fn a_service_may_call_for_the_resources_that_are_named() {
        let account = AccountId::default();
        let other: AccountId = "123456789012".parse().unwrap();
        let statement = Statement {
            id: "one".to_owned(),
            principal: "apigateway.amazonaws.com".to_owned(),
            action: "lambda:InvokeFunction".to_owned(),
            source_arn: Some("arn:aws:execute-api:us-east-1:000000000000:abc/*".to_owned()),
            source_account: Some(account.clone()),
            principal_org_id: None,
            event_source_token: None,
            url_auth_type: None,
            via_url: None,
        };
        let policy = ResourcePolicy { revision_id: String::new(), statements: vec![statement] };
        let source = "arn:aws:execute-api:us-east-1:000000000000:abc/api/GET/";
        assert!(policy.allows_service("apigateway.amazonaws.com", source, &account));
        assert!(!policy.allows_service("events.amazonaws.com", source, &account));
        assert!(!policy.allows_service("apigateway.amazonaws.com", "arn:aws:execute-api:other", &account));
        assert!(!policy.allows_service("apigateway.amazonaws.com", source, &other));
        assert!(!policy.allows_public_url());
        assert!(!ResourcePolicy::default().allows_service("apigateway.amazonaws.com", source, &account));
    }
}
