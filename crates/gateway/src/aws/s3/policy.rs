//! PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy, GetBucketPolicyStatus. A policy says what everybody may do, for
//! websites; what the account's own principals may do is `authorise`'s.

use super::{Call, error::not_implemented, unset::never_set, xml::rooted};
use crate::aws::{Error, Response, response};
use dayfly_objects::Bucket;
use dayfly_types::policy::like;
use http::StatusCode;
use serde_json::Value;

/// Name of the setting of a bucket that holds its policy.
const SETTING: &str = "policy";
/// Longest policy, AWS's.
const BYTES_MAX: usize = 20 << 10;

pub async fn put_bucket_policy(call: &mut Call<'_>) -> Result<Response, Error> {
    let document = call.document().await?;
    if document.len() > BYTES_MAX {
        return Err(malformed("Policies must be at most 20 KB"));
    }
    let policy: Value = serde_json::from_slice(&document).map_err(|_| malformed("Policies must be valid JSON"))?;
    check(&policy, &call.bucket)?;
    let text = String::from_utf8_lossy(&document).into_owned();
    call.gateway.options.objects.set(&call.bucket, SETTING, Some(text)).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn get_bucket_policy(call: &Call<'_>) -> Result<Response, Error> {
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    let text = bucket.settings.get(SETTING).ok_or_else(no_policy)?;
    Ok(response::with_type(StatusCode::OK, "application/json", text.clone().into()))
}

pub async fn delete_bucket_policy(call: &Call<'_>) -> Result<Response, Error> {
    call.gateway.options.objects.set(&call.bucket, SETTING, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn get_bucket_policy_status(call: &Call<'_>) -> Result<Response, Error> {
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    let policy = of_bucket(&bucket).ok_or_else(no_policy)?;
    let public = statements(&policy).iter().any(|statement| statement["Effect"] == "Allow" && is_everybody(statement));
    let mut xml = rooted("PolicyStatus");
    xml.text("IsPublic", public);
    Ok(xml.answer())
}

/// Whether the bucket's policy lets everybody do `action` with the object `key`.
pub fn everybody_may(bucket: &Bucket, action: &str, key: &str) -> bool {
    let Some(policy) = of_bucket(bucket) else { return false };
    let arn = format!("arn:aws:s3:::{}/{key}", bucket.name);
    let action = action.to_ascii_lowercase();
    let is_for = |statement: &&Value| {
        is_everybody(statement)
            && texts(&statement["Action"]).iter().any(|pattern| like(&pattern.to_ascii_lowercase(), &action))
            && texts(&statement["Resource"]).iter().any(|pattern| like(pattern, &arn))
    };
    let all = statements(&policy);
    let mut effects = all.iter().filter(is_for).map(|statement| statement["Effect"].as_str().unwrap_or_default());
    let mut allowed = false;
    effects.all(|effect| {
        allowed |= effect == "Allow";
        effect == "Allow"
    }) && allowed
}

fn of_bucket(bucket: &Bucket) -> Option<Value> {
    bucket.settings.get(SETTING).and_then(|text| serde_json::from_str(text).ok())
}

fn check(policy: &Value, bucket: &str) -> Result<(), Error> {
    let statements = statements(policy);
    if !policy.is_object() || statements.is_empty() {
        return Err(malformed("Missing required field Statement"));
    }
    let arn = format!("arn:aws:s3:::{bucket}");
    for statement in &statements {
        for field in ["Condition", "NotPrincipal", "NotAction", "NotResource"] {
            if !statement[field].is_null() {
                return Err(not_implemented(&format!("{field} in policies of buckets")));
            }
        }
        if !["Allow", "Deny"].contains(&statement["Effect"].as_str().unwrap_or_default()) {
            return Err(malformed("Missing required field Effect"));
        }
        if statement["Principal"].is_null() {
            return Err(malformed("Missing required field Principal"));
        }
        let (actions, resources) = (texts(&statement["Action"]), texts(&statement["Resource"]));
        if actions.is_empty() || !actions.iter().all(|action| *action == "*" || action.starts_with("s3:")) {
            return Err(malformed("Policy has invalid action"));
        }
        let own = |resource: &&str| {
            **resource == arn || resource.strip_prefix(&arn).is_some_and(|rest| rest.starts_with('/'))
        };
        if resources.is_empty() || !resources.iter().all(own) {
            return Err(malformed("Policy has invalid resource"));
        }
    }
    Ok(())
}

fn is_everybody(statement: &Value) -> bool {
    let principal = &statement["Principal"];
    principal == "*" || texts(&principal["AWS"]).contains(&"*")
}

/// One statement, or a list of them.
fn statements(policy: &Value) -> Vec<Value> {
    match &policy["Statement"] {
        Value::Array(all) => all.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// One text, or a list of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn malformed(message: &str) -> Error {
    Error::bad_request("MalformedPolicy", message)
}

fn no_policy() -> Error {
    let mut error = never_set("NoSuchBucketPolicy");
    "The bucket policy does not exist".clone_into(&mut error.message);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn bucket(policy: &Value) -> Bucket {
        let settings = BTreeMap::from([(SETTING.to_owned(), policy.to_string())]);
        let (account, region) = (Default::default(), "us-east-1".parse().unwrap());
        Bucket { name: "b".to_owned(), account, region, created: dayfly_types::Timestamp::UNIX_EPOCH, settings }
    }

    fn statement(effect: &str, action: &str, resource: &str) -> Value {
        json!({"Effect": effect, "Principal": {"AWS": ["*"]}, "Action": action, "Resource": [resource]})
    }

    #[test]
    fn everybody_may_what_is_allowed_and_not_denied() {
        let allow = statement("Allow", "s3:Get*", "arn:aws:s3:::b/*");
        let policy = json!({"Statement": [allow, statement("Deny", "s3:*", "arn:aws:s3:::b/private/*")]});
        assert!(check(&policy, "b").is_ok());
        let bucket = bucket(&policy);
        assert!(everybody_may(&bucket, "s3:GetObject", "a/b.html"));
        assert!(!everybody_may(&bucket, "s3:GetObject", "private/b.html"));
        assert!(!everybody_may(&bucket, "s3:PutObject", "a"));
        assert!(!everybody_may(&Bucket { settings: BTreeMap::new(), ..bucket }, "s3:GetObject", "a"));
        let named = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}});
        assert!(!everybody_may(&self::bucket(&named), "s3:GetObject", "a"));
    }

    #[test]
    fn a_policy_that_means_something_else_is_refused() {
        let good = statement("Allow", "s3:GetObject", "arn:aws:s3:::b/*");
        let with = |name: &str, value: Value| {
            let mut statement = good.clone();
            statement[name] = value;
            json!({"Statement": [statement]})
        };
        for bad in [
            json!([]),
            json!({}),
            with("Effect", json!("Maybe")),
            with("Action", json!("lambda:*")),
            with("Resource", json!("arn:aws:s3:::bb/*")),
            with("Principal", Value::Null),
            with("Condition", json!({"Bool": {"aws:SecureTransport": "true"}})),
        ] {
            assert!(check(&bad, "b").is_err(), "{bad}");
        }
    }
}
