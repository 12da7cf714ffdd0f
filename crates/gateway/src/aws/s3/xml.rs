//! S3's documents: written through `aws::xml`, read through serde.

pub use crate::aws::xml::Xml;

use super::error;
use crate::{aws::Error, sigv4::percent_encode};
use dayfly_types::Timestamp;
use serde::de::DeserializeOwned;

/// A document with this root in S3's namespace.
pub fn rooted(root: &'static str) -> Xml {
    Xml::new(root, "http://s3.amazonaws.com/doc/2006-03-01/")
}

/// Reads a document. Its depth is that of the type, so it is bounded.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    quick_xml::de::from_reader(body).map_err(|_| error::malformed_xml())
}

/// `2026-11-23T13:22:00.000Z`.
pub fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// `text` as `encoding-type=url` wants it, or as it is.
pub fn encoded(text: &str, url: bool) -> String {
    if !url {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    percent_encode(text.as_bytes(), true, &mut out);
    out
}
