//! Accounts, regions, function names and ARNs, and the ways a request may name a function.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// Twelve digits. Dayfly's first account is `000000000000`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

/// An AWS region's name, for example `us-east-1`. Any well-formed one is served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

/// 1 to 64 of `[a-zA-Z0-9-_]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(String);

/// Which version of a function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Qualifier {
    /// `$LATEST`, the only version that changes.
    Latest,
    /// A published version's number.
    Version(u64),
    /// An alias: 1 to 128 of `[a-zA-Z0-9-_]`, not all digits.
    Alias(String),
}

/// `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionArn {
    /// The region.
    pub region: Region,
    /// The account.
    pub account: AccountId,
    /// The name.
    pub name: FunctionName,
    /// The qualifier, when there is one.
    pub qualifier: Option<Qualifier>,
}

/// What a request's path or field names a function with: a name, a partial ARN (`ACCOUNT:function:NAME`) or a full
/// ARN, each with an optional `:QUALIFIER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionReference {
    /// Region, when a full ARN was given.
    pub region: Option<Region>,
    /// Account, when an ARN was given.
    pub account: Option<AccountId>,
    /// The name.
    pub name: FunctionName,
    /// The qualifier, when there is one.
    pub qualifier: Option<Qualifier>,
}

/// A text that is not what it should be. The text itself is quoted, cut to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a valid {what}")]
pub struct ParseError {
    what: &'static str,
    text: String,
}

impl ParseError {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(200).collect() }
    }
}

pub(crate) fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl AccountId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for AccountId {
    fn default() -> Self {
        Self("000000000000".to_owned())
    }
}

impl FromStr for AccountId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new("account id", text))
        }
    }
}

impl Region {
    /// The region's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let valid = (3..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && text.starts_with(|c: char| c.is_ascii_lowercase());
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseError::new("region", text)) }
    }
}

impl FunctionName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if is_word(text, 64) { Ok(Self(text.to_owned())) } else { Err(ParseError::new("function name", text)) }
    }
}

impl FromStr for Qualifier {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "$LATEST" {
            return Ok(Self::Latest);
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse::<u64>() {
                Ok(number) if !text.starts_with('0') => Ok(Self::Version(number)),
                _ => Err(ParseError::new("qualifier", text)),
            };
        }
        if is_word(text, 128) { Ok(Self::Alias(text.to_owned())) } else { Err(ParseError::new("qualifier", text)) }
    }
}

impl FromStr for FunctionReference {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("function name or ARN", text);
        if text.len() > 256 {
            return Err(bad());
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account, rest) = match parts.as_slice() {
            ["arn", partition, "lambda", region, account, "function", rest @ ..]
                if *partition == "aws" || partition.starts_with("aws-") =>
            {
                (Some(region.parse()?), Some(account.parse()?), rest)
            }
            [account, "function", rest @ ..] if !rest.is_empty() && account.len() == 12 => {
                (None, Some(account.parse()?), rest)
            }
            rest => (None, None, rest),
        };
        let (name, qualifier) = match rest {
            [name] => (name.parse()?, None),
            [name, qualifier] => (name.parse()?, Some(qualifier.parse()?)),
            _ => return Err(bad()),
        };
        Ok(Self { region, account, name, qualifier })
    }
}

impl FunctionArn {
    /// The same function without a qualifier.
    pub fn unqualified(&self) -> Self {
        Self { qualifier: None, ..self.clone() }
    }

    /// The same function with `qualifier`.
    pub fn qualified(&self, qualifier: Qualifier) -> Self {
        Self { qualifier: Some(qualifier), ..self.clone() }
    }
}

impl FromStr for FunctionArn {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.parse::<FunctionReference>()? {
            FunctionReference { region: Some(region), account: Some(account), name, qualifier } => {
                Ok(Self { region, account, name, qualifier })
            }
            _ => Err(ParseError::new("function ARN", text)),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Version(number) => number.fmt(f),
            Self::Alias(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for FunctionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:lambda:{}:{}:function:{}", self.region, self.account, self.name)?;
        match &self.qualifier {
            Some(qualifier) => write!(f, ":{qualifier}"),
            None => Ok(()),
        }
    }
}

/// Text forms for serde: the same as `FromStr` and `Display`.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    )*};
}
as_text!(AccountId, Region, FunctionName, Qualifier, FunctionArn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_in_three_ways_each_with_a_qualifier() {
        let full = "arn:aws:lambda:eu-west-1:123456789012:function:resize";
        for (text, region, account, qualifier) in [
            ("resize".to_owned(), None, None, None),
            ("resize:live".to_owned(), None, None, Some(Qualifier::Alias("live".into()))),
            ("resize:$LATEST".to_owned(), None, None, Some(Qualifier::Latest)),
            ("123456789012:function:resize:7".to_owned(), None, Some("123456789012"), Some(Qualifier::Version(7))),
            (full.to_owned(), Some("eu-west-1"), Some("123456789012"), None),
            (format!("{full}:7"), Some("eu-west-1"), Some("123456789012"), Some(Qualifier::Version(7))),
        ] {
            let parsed: FunctionReference = text.parse().unwrap();
            assert_eq!(parsed.name.as_str(), "resize");
            assert_eq!(parsed.region.as_ref().map(Region::as_str), region);
            assert_eq!(parsed.account.as_ref().map(AccountId::as_str), account);
            assert_eq!(parsed.qualifier, qualifier);
        }
        assert_eq!(full.parse::<FunctionArn>().unwrap().to_string(), full);
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(65);
        for text in [
            "",
            ":",
            "a b",
            "../x",
            "a/b",
            "ä",
            "a:b:c",
            "a:",
            ":a",
            "a:01",
            "arn:aws:lambda:x",
            &long,
            "x\0",
            "arn:aws:s3:eu-west-1:123456789012:function:f",
            "arn:aws:lambda:EU:123456789012:function:f",
            "arn:aws:lambda:eu-west-1:12345678901:function:f",
            "123456789012:function:",
            "a:99999999999999999999999",
        ] {
            assert!(text.parse::<FunctionReference>().is_err(), "{text:?} was taken");
        }
    }
}
