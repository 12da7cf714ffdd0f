//! S3's documents: written by hand, read through serde.

use super::error;
use crate::{
    aws::{Error, Response, response},
    sigv4::percent_encode,
};
use dayfly_types::Timestamp;
use http::StatusCode;
use serde::de::DeserializeOwned;

/// A document that is being written.
pub struct Xml {
    text: String,
    root: &'static str,
}

impl Xml {
    /// A document with this root in S3's namespace.
    pub fn new(root: &'static str) -> Self {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        );
        Self { text, root }
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text.push_str(&format!("<{name}>{}</{name}>", response::xml_text(&value.to_string())));
        self
    }

    /// An element with text, when there is some.
    pub fn optional(&mut self, name: &str, value: Option<impl std::fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// An element with elements.
    pub fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.text.push_str(&format!("<{name}>"));
        inside(self);
        self.text.push_str(&format!("</{name}>"));
        self
    }

    /// What is text already.
    pub fn raw(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// The whole as an answer.
    pub fn answer(self) -> Response {
        let Self { mut text, root } = self;
        text.push_str(&format!("</{root}>"));
        response::with_type(StatusCode::OK, "application/xml", text.into())
    }
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
