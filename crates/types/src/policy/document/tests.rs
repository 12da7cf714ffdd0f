//! What documents mean, case by case.

use super::*;
use serde_json::json;

fn identity(statements: &Value) -> Policy {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    Policy::parse(&text, Kind::Identity).unwrap()
}

fn ask(policy: &Policy, action: &str, resource: &str, context: &Context) -> Verdict {
    policy.verdict(&Question { action, resource, who: &Who::default(), context })
}

fn context(pairs: &[(&str, &str)]) -> Context {
    let mut context = Context::default();
    pairs.iter().for_each(|(key, value)| context.add(key, *value));
    context
}

#[test]
fn actions_and_resources_allow_and_deny() {
    use Verdict::{Allowed, Denied, Silent};
    let f = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let invoke = "lambda:InvokeFunction";
    let allow = |action: Value, resource: Value| json!({"Effect": "Allow", "Action": action, "Resource": resource});
    let deny = |action: &str, resource: &str| json!({"Effect": "Deny", "Action": action, "Resource": resource});
    for (statements, action, resource, verdict) in [
        (allow(json!("*"), json!("*")), invoke, f, Allowed),
        (allow(json!("lambda:Invoke*"), json!(f)), invoke, f, Allowed),
        (allow(json!("LAMBDA:invokefunction"), json!(f)), invoke, f, Allowed),
        (allow(json!(["s3:*", "lambda:Get?unction"]), json!("*")), "lambda:GetFunction", f, Allowed),
        (allow(json!("lambda:*"), json!("arn:aws:lambda:*:*:function:g")), invoke, f, Silent),
        (allow(json!("lambda:*"), json!("ARN:aws:lambda:*:*:function:f")), invoke, f, Silent),
        (allow(json!("s3:*"), json!("*")), invoke, f, Silent),
        (json!([allow(json!("*"), json!("*")), deny("lambda:*", "*")]), invoke, f, Denied),
        (json!([deny("lambda:*", "*"), allow(json!("*"), json!("*"))]), invoke, f, Denied),
        (json!([deny("lambda:Delete*", "*"), allow(json!("*"), json!("*"))]), invoke, f, Allowed),
        (json!({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}), invoke, f, Allowed),
        (json!({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}), "iam:CreateUser", "*", Silent),
        (json!({"Effect": "Allow", "Action": "*", "NotResource": ["*:g", "*:f"]}), invoke, f, Silent),
        (json!({"Effect": "Allow", "Action": "*", "NotResource": "*:g"}), invoke, f, Allowed),
    ] {
        assert_eq!(ask(&identity(&statements), action, resource, Context::EMPTY), verdict, "{statements}");
    }
}

#[test]
fn conditions_hold_or_do_not() {
    let known = context(&[
        ("aws:username", "ann"),
        ("aws:SourceIp", "192.0.2.77"),
        ("aws:CurrentTime", "2026-11-24T03:00:00Z"),
        ("aws:SecureTransport", "false"),
        ("s3:max-keys", "10"),
        ("s3:prefix", "home/ann/x"),
        ("aws:SourceArn", "arn:aws:sqs:us-east-1:000000000000:a"),
        ("aws:TagKeys", "team"),
        ("aws:TagKeys", "cost"),
    ]);
    for (operator, key, value, holds) in [
        ("StringEquals", "aws:username", json!("ann"), true),
        ("StringEquals", "AWS:UserName", json!(["bob", "ann"]), true),
        ("StringEquals", "aws:username", json!("Ann"), false),
        ("StringEqualsIgnoreCase", "aws:username", json!("Ann"), true),
        ("StringEquals", "aws:username", json!("a*"), false),
        ("StringLike", "aws:username", json!("a*"), true),
        ("StringNotEquals", "aws:username", json!(["bob", "ann"]), false),
        ("StringNotEquals", "aws:username", json!(["bob", "eve"]), true),
        ("StringNotLike", "aws:username", json!("b*"), true),
        ("StringEquals", "aws:absent", json!("x"), false),
        ("StringEqualsIfExists", "aws:absent", json!("x"), true),
        ("StringNotEquals", "aws:absent", json!("x"), true),
        ("StringLike", "s3:prefix", json!("home/${aws:username}/*"), true),
        ("StringLike", "s3:prefix", json!("home/${aws:absent}/*"), false),
        ("StringLike", "s3:prefix", json!("home/${aws:absent, 'ann'}/*"), true),
        ("NumericLessThanEquals", "s3:max-keys", json!("10"), true),
        ("NumericLessThan", "s3:max-keys", json!(10), false),
        ("NumericGreaterThan", "s3:max-keys", json!("9.5"), true),
        ("NumericEquals", "s3:max-keys", json!("ten"), false),
        ("NumericNotEquals", "s3:max-keys", json!("11"), true),
        ("DateGreaterThan", "aws:CurrentTime", json!("2026-11-24"), true),
        ("DateLessThan", "aws:CurrentTime", json!("2026-11-24T02:00:00Z"), false),
        ("DateLessThanEquals", "aws:CurrentTime", json!("1795489200"), true),
        ("Bool", "aws:SecureTransport", json!("true"), false),
        ("Bool", "aws:SecureTransport", json!(false), true),
        ("Bool", "aws:MultiFactorAuthPresent", json!("true"), false),
        ("BoolIfExists", "aws:MultiFactorAuthPresent", json!("true"), true),
        ("IpAddress", "aws:SourceIp", json!(["10.0.0.0/8", "192.0.2.0/24"]), true),
        ("IpAddress", "aws:SourceIp", json!("192.0.2.78"), false),
        ("IpAddress", "aws:SourceIp", json!("0.0.0.0/0"), true),
        ("IpAddress", "aws:SourceIp", json!("2001:db8::/32"), false),
        ("NotIpAddress", "aws:SourceIp", json!("192.0.2.0/24"), false),
        ("ArnLike", "aws:SourceArn", json!("arn:aws:sqs:*:*:a"), true),
        ("ArnEquals", "aws:SourceArn", json!("arn:aws:sqs:*:a"), false),
        ("ArnNotLike", "aws:SourceArn", json!("arn:aws:sns:*:*:*"), true),
        ("Null", "aws:absent", json!("true"), true),
        ("Null", "aws:username", json!(true), false),
        ("Null", "aws:username", json!("false"), true),
        ("ForAllValues:StringEquals", "aws:TagKeys", json!(["team", "cost"]), true),
        ("ForAllValues:StringEquals", "aws:TagKeys", json!(["team"]), false),
        ("ForAllValues:StringEquals", "aws:absent", json!("x"), true),
        ("ForAnyValue:StringEquals", "aws:TagKeys", json!("cost"), true),
        ("ForAnyValue:StringEquals", "aws:TagKeys", json!("x"), false),
        ("ForAnyValue:StringEquals", "aws:absent", json!("x"), false),
        ("ForAnyValue:StringNotEquals", "aws:TagKeys", json!("cost"), true),
        ("ForAllValues:StringNotEquals", "aws:TagKeys", json!("cost"), false),
    ] {
        let statement =
            json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {operator: {key: value.clone()}}});
        let verdict = ask(&identity(&statement), "s3:ListBucket", "arn:aws:s3:::b", &known);
        assert_eq!(verdict == Verdict::Allowed, holds, "{operator} {key} {value}");
    }
    let both = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {
        "StringEquals": {"aws:username": "ann"}, "Bool": {"aws:SecureTransport": "true"}}});
    assert_eq!(ask(&identity(&both), "s3:x", "*", &known), Verdict::Silent);
}

#[test]
fn variables_stand_for_what_is_known_and_never_for_more() {
    let own = "arn:aws:s3:::b/${aws:username}/*";
    let allow = identity(&json!({"Effect": "Allow", "Action": "s3:*", "Resource": own}));
    let ann = context(&[("aws:username", "ann")]);
    let star = context(&[("aws:username", "*")]);
    for (object, context, verdict) in [
        ("arn:aws:s3:::b/ann/x", &ann, Verdict::Allowed),
        ("arn:aws:s3:::b/bob/x", &ann, Verdict::Silent),
        ("arn:aws:s3:::b/bob/x", &star, Verdict::Silent),
        ("arn:aws:s3:::b/*/x", &star, Verdict::Allowed),
        ("arn:aws:s3:::b//x", Context::EMPTY, Verdict::Silent),
    ] {
        assert_eq!(ask(&allow, "s3:GetObject", object, context), verdict, "{object}");
    }
    let others = json!({"Effect": "Deny", "Action": "s3:*", "NotResource": own});
    assert_eq!(ask(&identity(&others), "s3:GetObject", "arn:aws:s3:::b/ann/x", Context::EMPTY), Verdict::Denied);
    let others = json!({"Effect": "Allow", "Action": "s3:*", "NotResource": own});
    assert_eq!(ask(&identity(&others), "s3:GetObject", "arn:aws:s3:::b/ann/x", Context::EMPTY), Verdict::Silent);
    let literal = identity(&json!({"Effect": "Allow", "Action": "s3:*", "Resource": "b${*}${$}"}));
    assert_eq!(ask(&literal, "s3:GetObject", "b*$", Context::EMPTY), Verdict::Allowed);
    assert_eq!(ask(&literal, "s3:GetObject", "bcc", Context::EMPTY), Verdict::Silent);
}

#[test]
fn principals_are_named_by_themselves_and_by_their_account() {
    use Verdict::{Allowed, AllowedToAccount, Denied, Silent};
    let ann = Who {
        account: Some(AccountId::default()),
        arns: vec!["arn:aws:iam::000000000000:user/ann".to_owned()],
        service: None,
    };
    let lambda = Who { service: Some("lambda.amazonaws.com".to_owned()), ..Who::default() };
    for (effect, principal, who, verdict) in [
        ("Allow", json!("*"), &ann, Allowed),
        ("Allow", json!({"AWS": "*"}), &ann, Allowed),
        ("Allow", json!({"AWS": "arn:aws:iam::000000000000:user/ann"}), &ann, Allowed),
        ("Allow", json!({"AWS": ["arn:aws:iam::000000000000:user/bob"]}), &ann, Silent),
        ("Allow", json!({"AWS": "arn:aws:iam::000000000000:user/*"}), &ann, Silent),
        ("Allow", json!({"AWS": "000000000000"}), &ann, AllowedToAccount),
        ("Allow", json!({"AWS": "arn:aws:iam::000000000000:root"}), &ann, AllowedToAccount),
        ("Deny", json!({"AWS": "arn:aws:iam::000000000000:root"}), &ann, Denied),
        ("Allow", json!({"AWS": "111111111111"}), &ann, Silent),
        ("Allow", json!({"Service": "lambda.amazonaws.com"}), &ann, Silent),
        ("Allow", json!({"Service": ["lambda.amazonaws.com"]}), &lambda, Allowed),
        ("Allow", json!({"Service": ["events.amazonaws.com"]}), &lambda, Silent),
    ] {
        let text = json!({"Statement": {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"}});
        let policy = Policy::parse(&text.to_string(), Kind::Trust).unwrap();
        let question = Question { action: "sts:AssumeRole", resource: "*", who, context: Context::EMPTY };
        assert_eq!(policy.verdict(&question), verdict, "{principal}");
    }
    let text = json!({"Statement": {"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:iam::000000000000:user/ann"},
        "Action": "*", "Resource": "*"}});
    let policy = Policy::parse(&text.to_string(), Kind::Resource).unwrap();
    let question = |who| Question { action: "s3:GetObject", resource: "*", who, context: Context::EMPTY };
    assert_eq!(policy.verdict(&question(&ann)), Silent);
    assert_eq!(policy.verdict(&question(&lambda)), Denied);
}

#[test]
fn documents_are_policies_of_their_kind() {
    let trust = r#"{"Version": "2012-10-17", "Statement": [{"Sid": "", "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
    let identity = r#"{"Statement": {"Effect": "Allow", "Action": ["logs:*"], "Resource": "*"}}"#;
    assert!(Policy::parse(trust, Kind::Trust).is_ok());
    assert!(Policy::parse(identity, Kind::Identity).is_ok());
    assert!(Policy::parse(trust, Kind::Identity).is_err());
    assert!(Policy::parse(identity, Kind::Trust).is_err());
    assert!(Policy::parse(identity, Kind::Resource).is_err());
    let long =
        format!(r#"{{"Statement": {{"Effect": "Allow", "Action": "*", "Resource": "{}"}}}}"#, "*a".repeat(10_000));
    for bad in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"Statement": []}"#,
        r#"{"Statement": [1]}"#,
        r#"{"Version": "2020-01-01", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "${aws"}}"#,
        r#"{"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": 7, "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": 1}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringSame": {"a": "b"}}}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"a": {}}}}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Colour": "red"}}"#,
        &long,
    ] {
        assert!(Policy::parse(bad, Kind::Identity).is_err(), "{bad}");
    }
}
