//! Function names, ARNs, qualifiers and runtimes. What is taken must read back as itself, and be harmless as a part
//! of a path, a header or a log line.

#![no_main]

use dayfly_types::{AccountId, FunctionArn, FunctionName, FunctionReference, Qualifier, Region, Runtime};
use libfuzzer_sys::fuzz_target;
use std::{fmt::Display, str::FromStr};

fuzz_target!(|text: &str| {
    reads_back::<AccountId>(text);
    reads_back::<Region>(text);
    reads_back::<FunctionName>(text);
    reads_back::<Qualifier>(text);
    reads_back::<FunctionArn>(text);
    reads_back::<Runtime>(text);
    if let Ok(FunctionReference { region, account, name, qualifier }) = text.parse() {
        harmless(name.as_str());
        assert!(text.contains(name.as_str()));
        let arn = FunctionArn {
            region: region.unwrap_or_else(|| "us-east-1".parse().expect("a region")),
            account: account.unwrap_or_default(),
            name,
            qualifier,
        };
        reads_back::<FunctionArn>(&arn.to_string());
        assert_eq!(arn.to_string().parse::<FunctionArn>().expect("our own ARN"), arn);
    }
});

fn reads_back<T: FromStr + Display + PartialEq>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    harmless(&written);
    assert!(written.parse::<T>().is_ok_and(|again| again == value), "{text:?} reads back as something else");
}

fn harmless(text: &str) {
    assert!(
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'.'
                || byte == b'.' && text.starts_with("python3.")),
        "{text:?}"
    );
}
