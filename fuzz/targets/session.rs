//! Session tokens: no change of a valid one, and no other text, is taken.
//!
//! The input is an access key id, a line feed, and a token. In either, `*` stands for the valid one, and `@N` for its
//! first N bytes, so that the fuzzer can begin with what is nearly right.

#![no_main]

use dayfly_types::{
    AccountId, Timestamp,
    credentials::{Credentials, Principal, SessionIssuer},
};
use libfuzzer_sys::fuzz_target;
use std::{sync::LazyLock, time::Duration};

static ISSUER: LazyLock<SessionIssuer> = LazyLock::new(|| SessionIssuer::new([7; 32]));
static VALID: LazyLock<(Credentials, Timestamp)> = LazyLock::new(|| {
    let now = Timestamp::now();
    let principal = Principal::Root { account: AccountId::default() };
    (ISSUER.issue(&principal, now + Duration::from_secs(3_600)), now)
});

fuzz_target!(|input: &str| {
    let (valid, now) = &*VALID;
    let valid_token = valid.session_token.as_deref().expect("sessions have tokens");
    let Some((key, token)) = input.split_once('\n') else { return };
    let (key, token) = (filled(key, &valid.access_key_id), filled(token, valid_token));
    let verified = ISSUER.verify(&key, &token, *now);
    let is_valid = key == valid.access_key_id && token == valid_token;
    assert_eq!(verified.is_some(), is_valid, "key {key:?}, token {token:?}, valid {valid_token:?}");
    assert!(ISSUER.verify(&key, &token, *now + Duration::from_secs(3_600)).is_none());
});

fn filled(text: &str, valid: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' => filled.push_str(valid),
            '@' => {
                let digits = rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
                let bytes: usize = rest[..digits].parse().unwrap_or(0);
                filled.push_str(&valid[..bytes.min(valid.len())]);
                rest = &rest[digits..];
            }
            other => filled.push(other),
        }
    }
    filled
}
