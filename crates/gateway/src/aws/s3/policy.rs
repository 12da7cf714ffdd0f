//! PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy, GetBucketPolicyStatus. What one says
//! of everybody is for websites; what it says of the account's own principals goes into `authorise`.

use super::{Call, unset::never_set, xml::rooted};
use crate::aws::{Error, Response, response};
use dayfly_objects::Bucket;
use dayfly_types::policy::{Context, Kind, Policy, Question, Verdict, Who};
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
    let text = String::from_utf8_lossy(&document).into_owned();
    Policy::parse(&text, Kind::Resource).map_err(|error| malformed(&error.to_string()))?;
    check(&policy, &call.bucket)?;
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
    let mut xml = rooted("PolicyStatus");
    xml.text("IsPublic", policy.is_public());
    Ok(xml.answer())
}

/// Whether the bucket's policy lets everybody do `action` with the object `key`.
pub fn everybody_may(bucket: &Bucket, action: &str, key: &str, context: &Context) -> bool {
    let Some(policy) = of_bucket(bucket) else { return false };
    let resource = format!("arn:aws:s3:::{}/{key}", bucket.name);
    let question = Question { action, resource: &resource, who: &Who::default(), context };
    policy.verdict(&question) == Verdict::Allowed
}

/// The bucket's policy.
pub fn of_bucket(bucket: &Bucket) -> Option<Policy> {
    let text = bucket.settings.get(SETTING)?;
    // It was checked when it was kept: one that cannot be read now lets nobody in.
    Some(Policy::parse(text, Kind::Resource).unwrap_or_else(|_| Policy::denies_everything()))
}

fn check(policy: &Value, bucket: &str) -> Result<(), Error> {
    let statements = statements(policy);
    if !policy.is_object() || statements.is_empty() {
        return Err(malformed("Missing required field Statement"));
    }
    let arn = format!("arn:aws:s3:::{bucket}");
    for statement in &statements {
        let either = |name: &str| [texts(&statement[name]), texts(&statement[format!("Not{name}")])].concat();
        let (actions, resources) = (either("Action"), either("Resource"));
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
        assert!(everybody_may(&bucket, "s3:GetObject", "a/b.html", Context::EMPTY));
        assert!(!everybody_may(&bucket, "s3:GetObject", "private/b.html", Context::EMPTY));
        assert!(!everybody_may(&bucket, "s3:PutObject", "a", Context::EMPTY));
        assert!(!everybody_may(&Bucket { settings: BTreeMap::new(), ..bucket }, "s3:GetObject", "a", Context::EMPTY));
        let named = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}});
        assert!(!everybody_may(&self::bucket(&named), "s3:GetObject", "a", Context::EMPTY));
    }

    #[test]
    fn a_policy_that_means_something_else_is_refused() {
        let good = statement("Allow", "s3:GetObject", "arn:aws:s3:::b/*");
        let with = |name: &str, value: Value| {
            let mut statement = good.clone();
            statement[name] = value;
            json!({"Statement": [statement]})
        };
        for bad in
            [json!([]), json!({}), with("Action", json!("lambda:*")), with("Resource", json!("arn:aws:s3:::bb/*"))]
        {
            assert!(check(&bad, "b").is_err(), "{bad}");
        }
    }
}
