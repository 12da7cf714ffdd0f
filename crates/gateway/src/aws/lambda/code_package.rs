//! `ZipFile`: base64 in JSON, decoded while it is parsed, so that a package is in memory once and not three times.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// The package's bytes.
#[derive(Debug, Clone)]
pub struct ZipFile(pub Bytes);

impl<'de> Deserialize<'de> for ZipFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64)
    }
}

struct Base64;

impl de::Visitor<'_> for Base64 {
    type Value = ZipFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ZipFile, E> {
        STANDARD.decode(text).map(|bytes| ZipFile(bytes.into())).map_err(|_| E::custom("ZipFile is not valid base64"))
    }
}
