//! A function's JSON as an HTTP answer.

use super::{event::is_binary, refusal::Refusal};
use crate::aws::{Response, response};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY},
};
use http_body_util::Full;
use serde_json::{Map, Value};
use std::io::{Read, Write};

/// Codings of bodies, the better one first.
const GZIP: &str = "gzip";
const DEFLATE: &str = "deflate";

/// An answer that a function gave, read.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The answer of a function behind a REST API.
    pub fn of_rest(given: &[u8], request: &HeaderMap, binary_media_types: &[String]) -> Result<Self, Refusal> {
        const MEMBERS: [&str; 5] = ["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"];
        let given: Map<String, Value> = serde_json::from_slice(given).map_err(|_| Refusal::bad_answer())?;
        if given.keys().any(|key| !MEMBERS.contains(&key.as_str())) {
            return Err(Refusal::bad_answer());
        }
        let mut headers = HeaderMap::new();
        add_headers(&mut headers, given.get("headers"))?;
        add_headers(&mut headers, given.get("multiValueHeaders"))?;
        let text = body_of(given.get("body"))?;
        let encoded = given.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or_default();
        // The first media type that the client accepts decides whether it gets bytes.
        let accepted = request.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let accepted = accepted.split(',').next().unwrap_or_default();
        let body = match encoded && is_binary(accepted, binary_media_types) {
            true => STANDARD.decode(text).map_err(|_| Refusal::bad_answer())?.into(),
            false => Bytes::from(text.to_owned()),
        };
        Ok(Self { status: status_of(given.get("statusCode"))?, headers, body })
    }

    /// The answer of a function behind an HTTP API, version 1.0. Base64 is always decoded.
    pub fn of_http(given: &[u8]) -> Result<Self, Refusal> {
        let given: Map<String, Value> = serde_json::from_slice(given).map_err(|_| Refusal::bad_answer())?;
        let mut headers = HeaderMap::new();
        add_headers(&mut headers, given.get("headers"))?;
        add_headers(&mut headers, given.get("multiValueHeaders"))?;
        let text = body_of(given.get("body"))?;
        let body = match given.get("isBase64Encoded").and_then(Value::as_bool) {
            Some(true) => STANDARD.decode(text).map_err(|_| Refusal::bad_answer())?.into(),
            _ => Bytes::from(text.to_owned()),
        };
        // Without a status it is no answer.
        given.get("statusCode").ok_or_else(Refusal::bad_answer)?;
        Ok(Self { status: status_of(given.get("statusCode"))?, headers, body })
    }

    /// The answer, compressed when it has `minimum` bytes and the client takes that.
    pub fn into_response(self, minimum: Option<u64>, request: &HeaderMap) -> Response {
        let Self { status, mut headers, mut body } = self;
        let wanted = minimum.is_some_and(|minimum| body.len() as u64 >= minimum) && !body.is_empty();
        if wanted && !headers.contains_key(CONTENT_ENCODING) {
            headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            let coding = [GZIP, DEFLATE].into_iter().find(|coding| accepts(request, coding));
            if let Some((coding, packed)) = coding.and_then(|coding| Some((coding, packed(&body, coding)?))) {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
                body = packed;
            }
        }
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let mut answer = Response::new(response::Body::Whole(Full::new(body)));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        answer
    }
}

/// An HTTP status; 200 when none was given.
pub fn status_of(given: Option<&Value>) -> Result<StatusCode, Refusal> {
    let number = match given {
        None | Some(Value::Null) => Some(200),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    let code = number.and_then(|number| u16::try_from(number).ok()).filter(|code| (200..600).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(Refusal::bad_answer)
}

/// The text of a body.
fn body_of(given: Option<&Value>) -> Result<&str, Refusal> {
    match given {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Refusal::bad_answer()),
    }
}

/// Adds headers whose values are texts, numbers or booleans, or lists of them. Later ones replace earlier ones.
pub fn add_headers(headers: &mut HeaderMap, given: Option<&Value>) -> Result<(), Refusal> {
    let given = match given {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(Refusal::bad_answer()),
    };
    for (name, value) in given {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let name: HeaderName = name.parse().map_err(|_| Refusal::bad_answer())?;
        if is_own(&name) {
            continue;
        }
        headers.remove(&name);
        for value in values {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null => continue,
                _ => return Err(Refusal::bad_answer()),
            };
            headers.append(&name, HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Refusal::bad_answer())?);
        }
    }
    Ok(())
}

/// Headers that the server sets itself.
fn is_own(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "content-length" | "date" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

/// The body of a request as the function is to get it: unpacked, if the API compresses. At most `limit` bytes.
pub fn unpacked(headers: &HeaderMap, body: Bytes, limit: u64) -> Result<Bytes, Refusal> {
    let mut reader: Box<dyn Read + '_> = match headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()) {
        Some(GZIP) => Box::new(GzDecoder::new(&body[..])),
        Some(DEFLATE) => Box::new(ZlibDecoder::new(&body[..])),
        _ => return Ok(body),
    };
    let mut plain = Vec::new();
    match reader.by_ref().take(limit + 1).read_to_end(&mut plain) {
        Err(_) => Err(Refusal::bad_request("Could not decompress the request body")),
        Ok(_) if plain.len() as u64 > limit => Err(Refusal::too_large()),
        Ok(_) => Ok(plain.into()),
    }
}

/// Whether a client takes a coding: what it says of that goes before what it says of all others.
fn accepts(request: &HeaderMap, wanted: &str) -> bool {
    let given = || request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let of = |wanted: &str| {
        given().flat_map(|value| value.split(',')).find_map(|one| {
            let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
            coding.trim().eq_ignore_ascii_case(wanted).then_some(!refused)
        })
    };
    of(wanted).or_else(|| of("*")).unwrap_or(false)
}

fn packed(body: &[u8], coding: &str) -> Option<Bytes> {
    let packed = if coding == GZIP {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(body).ok()?;
        packer.finish()
    } else {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
        packer.write_all(body).ok()?;
        packer.finish()
    };
    packed.ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(given: &Value, accept: &'static str, binary: &[&str]) -> Result<Reply, Refusal> {
        let mut request = HeaderMap::new();
        request.insert(ACCEPT, HeaderValue::from_static(accept));
        let binary: Vec<String> = binary.iter().map(|one| (*one).to_owned()).collect();
        Reply::of_rest(given.to_string().as_bytes(), &request, &binary)
    }

    #[test]
    fn headers_come_once_or_many_times() {
        let given = json!({"statusCode": "201", "body": "x", "headers": {"A": 1, "b": "two", "Set-Cookie": "lost"},
            "multiValueHeaders": {"set-cookie": ["one=1", "two=2"]}});
        let reply = reply(&given, "*/*", &[]).unwrap();
        assert_eq!(reply.status, StatusCode::CREATED);
        assert_eq!(reply.headers.get("a").unwrap(), "1");
        assert_eq!(reply.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["one=1", "two=2"]);
    }

    #[test]
    fn bytes_are_for_clients_that_accept_them() {
        let given = json!({"statusCode": 200, "body": "AAH/", "isBase64Encoded": true});
        assert_eq!(&reply(&given, "image/png,*/*", &["image/*"]).unwrap().body[..], b"\x00\x01\xff");
        assert_eq!(&reply(&given, "text/html,image/png", &["image/*"]).unwrap().body[..], b"AAH/");
        assert_eq!(&reply(&given, "text/html", &["*/*"]).unwrap().body[..], b"\x00\x01\xff");
        let broken = json!({"body": "%", "isBase64Encoded": true});
        assert!(reply(&broken, "*/*", &["*/*"]).is_err());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [
            json!(null),
            json!("text"),
            json!([]),
            json!({"statusCode": 200, "body": {"a": 1}}),
            json!({"statusCode": "ok"}),
            json!({"statusCode": 99}),
            json!({"statusCode": 101}),
            json!({"statusCode": 200, "colour": "red"}),
            json!({"statusCode": 200, "headers": []}),
            json!({"statusCode": 200, "headers": {"a b": "x"}}),
            json!({"statusCode": 200, "headers": {"a": "x\r\ny: z"}}),
            json!({"statusCode": 200, "headers": {"a": {}}}),
        ] {
            assert!(reply(&bad, "*/*", &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn packing_and_unpacking() {
        let packed = packed(&[7; 1000], GZIP).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(unpacked(&headers, packed.clone(), 10).unwrap(), packed);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(unpacked(&headers, packed.clone(), 1000).unwrap(), vec![7; 1000]);
        assert!(unpacked(&headers, packed, 999).is_err(), "a bomb");
        assert!(unpacked(&headers, Bytes::from_static(b"no"), 999).is_err());
    }
}
