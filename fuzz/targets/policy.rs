//! Policies. Whatever parses is asked, and answers; a policy that denies everything beside it changes every answer to no.

#![no_main]

use dayfly_types::policy::{Context, Kind, Policy, Question, Verdict, Who};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut context = Context::default();
    for (key, value) in [
        ("aws:username", "ann*"),
        ("aws:SourceIp", "192.0.2.7"),
        ("aws:CurrentTime", "2026-11-24T00:00:00Z"),
        ("aws:TagKeys", "a"),
        ("aws:TagKeys", "b"),
        ("s3:max-keys", "10"),
    ] {
        context.add(key, value);
    }
    let who = Who {
        account: "000000000000".parse().ok(),
        arns: vec!["arn:aws:iam::000000000000:user/ann".to_owned()],
        service: None,
    };
    let resource = "arn:aws:s3:::bucket/ann/key";
    let question = Question { action: "s3:GetObject", resource, who: &who, context: &context };
    for kind in [Kind::Trust, Kind::Identity, Kind::Resource] {
        let Ok(policy) = Policy::parse(text, kind) else { continue };
        let verdict = policy.verdict(&question);
        assert_eq!(policy.verdict(&Question { action: "S3:getobject", ..question }), verdict, "{text}");
        if kind == Kind::Identity {
            assert_ne!(verdict, Verdict::AllowedToAccount, "{text}");
        }
        policy.is_public();
    }
    assert_eq!(Policy::denies_everything().verdict(&question), Verdict::Denied);
});
