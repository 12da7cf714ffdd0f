//! Answers of the common shapes.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_body_util::{Either, Full, combinators::UnsyncBoxBody};
use serde::Serialize;
use std::io;

/// What every operation returns.
pub type Response = http::Response<Body>;

/// Most bodies are whole in memory; large ones and those of jobs come as they are made. A stream that fails breaks the
/// connection off, so that nobody takes half a body for the whole.
pub type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, io::Error>>;

/// A JSON body.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => with_type(status, "application/json", text.into()),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            with_type(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Bytes::from_static(b"{}"))
        }
    }
}

/// An XML body.
pub fn xml(status: StatusCode, body: String) -> Response {
    with_type(status, "text/xml", body.into())
}

/// No body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}

/// A body of any type.
pub fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// `text` as character data; what XML cannot hold is replaced.
pub fn xml_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(character),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
