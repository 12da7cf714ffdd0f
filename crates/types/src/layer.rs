//! Layers: content that functions share, mounted at `/opt`.

use crate::{AccountId, CodeReference, EnvironmentSource, Region, Timestamp, arn::ParseError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// 1 to 64 of `[a-zA-Z0-9-_]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerName(String);

/// `arn:aws:lambda:REGION:ACCOUNT:layer:NAME:VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerVersionArn {
    /// The region.
    pub region: Region,
    /// The account.
    pub account: AccountId,
    /// The layer.
    pub name: LayerName,
    /// Its version, from 1.
    pub version: u64,
}

/// A version of a layer. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerVersion {
    /// Its ARN.
    pub arn: LayerVersionArn,
    /// At most 256 characters.
    pub description: String,
    /// Licence, in any words.
    pub license: Option<String>,
    /// Runtimes that it is meant for, as AWS names them.
    pub runtimes: Vec<String>,
    /// Architectures that it is meant for.
    pub architectures: Vec<String>,
    /// When it was published.
    pub created: Timestamp,
    /// What is in it.
    pub content: LayerContent,
}

/// A layer version that a function uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Which.
    pub arn: LayerVersionArn,
    /// What is in it, so that the function does not depend on the layer version staying.
    pub content: LayerContent,
}

/// What is in a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerContent {
    /// A zip in the blob store, unpacked at `/opt`.
    Zip {
        /// The zip.
        code: CodeReference,
        /// Bytes of its files.
        unzipped_bytes: u64,
    },
    /// Packages that the server has built, at `/opt/python/lib/python3.X/site-packages`.
    Environment {
        /// What they are built from: every package with its version.
        source: EnvironmentSource,
        /// Bytes of its files.
        bytes: u64,
    },
}

impl LayerContent {
    /// SHA-256 that stands for the content, lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        match self {
            Self::Zip { code, .. } => code.sha256.clone(),
            Self::Environment { source, .. } => source.id(),
        }
    }

    /// Bytes, as `CodeSize` tells them.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Zip { code, .. } => code.size_bytes,
            Self::Environment { bytes, .. } => *bytes,
        }
    }

    /// The zip, if it is one.
    pub fn zip(&self) -> Option<&CodeReference> {
        match self {
            Self::Zip { code, .. } => Some(code),
            Self::Environment { .. } => None,
        }
    }
}

impl LayerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LayerName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fits = crate::arn::is_word(text, 64);
        if fits { Ok(Self(text.to_owned())) } else { Err(ParseError::new("layer name", text)) }
    }
}

impl TryFrom<String> for LayerName {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<LayerName> for String {
    fn from(name: LayerName) -> String {
        name.0
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LayerVersionArn {
    /// The ARN without its version.
    pub fn layer(&self) -> String {
        format!("arn:aws:lambda:{}:{}:layer:{}", self.region, self.account, self.name)
    }
}

impl FromStr for LayerVersionArn {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("layer version ARN", text);
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "lambda", region, account, "layer", name, version] = parts[..] else {
            return Err(error());
        };
        let plain = !version.starts_with(['0', '+']) && partition.starts_with("aws");
        let version = version.parse().ok().filter(|_| plain).ok_or_else(error)?;
        Ok(Self { region: region.parse()?, account: account.parse()?, name: name.parse()?, version })
    }
}

impl TryFrom<String> for LayerVersionArn {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<LayerVersionArn> for String {
    fn from(arn: LayerVersionArn) -> String {
        arn.to_string()
    }
}

impl fmt::Display for LayerVersionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.layer(), self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_reads_back_as_itself() {
        let text = "arn:aws:lambda:eu-west-1:123456789012:layer:my_layer-1:42";
        let arn: LayerVersionArn = text.parse().unwrap();
        assert_eq!((arn.to_string().as_str(), arn.version, arn.name.as_str()), (text, 42, "my_layer-1"));
        for bad in [
            "arn:aws:lambda:eu-west-1:123456789012:layer:x",
            "arn:aws:lambda:eu-west-1:123456789012:layer:x:0",
            "arn:aws:lambda:eu-west-1:123456789012:layer:x:+1",
            "arn:aws:lambda:eu-west-1:123456789012:layer:x:1:2",
            "arn:aws:lambda:eu-west-1:123456789012:function:x:1",
            "arn:aws:lambda:eu-west-1:1234:layer:x:1",
            "arn:aws:lambda:eu-west-1:123456789012:layer:../x:1",
            "x:1",
        ] {
            assert!(bad.parse::<LayerVersionArn>().is_err(), "{bad}");
        }
    }
}
