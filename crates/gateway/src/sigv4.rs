//! Signature Version 4, the verifying side: reads who claims to have signed a request, then checks it. Called once per
//! request by `authenticate`; knows neither keys nor principals.
//!
//! Follows AWS's "Create a signed AWS API request": every service but S3 has its path encoded once more, and the body's
//! own hash in the canonical request, so that a body other than the signed one never verifies. `UNSIGNED-PAYLOAD` is
//! therefore refused as a mismatch, but for the streams of jobs. S3 signs what the request says of its body; its front-end
//! holds the body to that.

use dayfly_types::Timestamp;
use hmac::{Hmac, Mac};
use http::{HeaderMap, request::Parts};
use jiff::{civil, tz::TimeZone};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt::Write, time::Duration};
use thiserror::Error;

/// What a request says of a body that its signature does not cover.
/// What a request says whose body is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a client's clock may be off.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// Most signed headers. Without a bound, one long header named again and again would make a canonical request of
/// gigabytes.
const SIGNED_HEADERS_MAX: usize = 100;
/// Longest life of a presigned URL: a week.
const EXPIRES_S_MAX: u64 = 604_800;

/// What a request says about its own signature. Nothing in it is trusted until `verify`.
#[derive(Debug)]
pub struct Claim {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// Region of the credential scope.
    pub region: String,
    /// Service of the credential scope.
    pub service: String,
    /// `X-Amz-Security-Token`.
    pub session_token: Option<String>,
    date: String,
    signed_headers: Vec<String>,
    signature: Vec<u8>,
    timestamp: String,
    at: Timestamp,
    presigned_for: Option<Duration>,
}

/// Why a signature is not accepted. The texts are AWS's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// No signature at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// A signature that cannot be read.
    #[error("{0}")]
    Incomplete(String),
    /// Signed too long ago.
    #[error("Signature expired: {0}")]
    Expired(String),
    /// Signed in the future.
    #[error("Signature not yet current: {0}")]
    NotYetCurrent(String),
    /// The credential scope contradicts the request.
    #[error("{0}")]
    Scope(String),
    /// Another key, or another request.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

/// The end of the canonical request, and how the path is written in it.
#[derive(Debug, Clone, Copy)]
pub enum Hashed<'a> {
    /// The hash of the body that came; the path encoded once more.
    Body(&'a [u8; 32]),
    /// Nothing: the body is not signed, and the request says so.
    Unsigned,
    /// S3: what the request says of its body; the path as it is.
    Said(&'a str),
}

impl Claim {
    /// Reads the `Authorization` header, or the query of a presigned URL.
    pub fn read(parts: &Parts) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        match parts.headers.get(http::header::AUTHORIZATION) {
            Some(value) => Self::of_header(value.to_str().map_err(|_| incomplete("not ASCII"))?, &parts.headers),
            None if query.contains("X-Amz-Algorithm=") => Self::of_query(query),
            None => Err(Error::Missing),
        }
    }

    fn of_header(text: &str, headers: &HeaderMap) -> Result<Self, Error> {
        let Some(fields) = text.strip_prefix(ALGORITHM) else {
            let algorithm: String = text.chars().take_while(|c| !c.is_whitespace()).take(64).collect();
            return Err(Error::Incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        };
        let (mut credential, mut signature, mut signed_headers) = (None, None, None);
        for field in fields.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            match field.split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(_) => {}
                None => return Err(incomplete("not a valid key=value pair (missing equal-sign)")),
            }
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (timestamp, at) = match (header("x-amz-date"), header("date")) {
            (Some(text), _) => (text.to_owned(), parse_timestamp(text)?),
            (None, Some(text)) => date_header(text)?,
            (None, None) => return Err(incomplete("requires existence of either a 'X-Amz-Date' or a 'Date' header")),
        };
        Self::build(
            credential.ok_or_else(|| incomplete("requires 'Credential' parameter"))?,
            signature.ok_or_else(|| incomplete("requires 'Signature' parameter"))?,
            signed_headers.ok_or_else(|| incomplete("requires 'SignedHeaders' parameter"))?,
            timestamp,
            at,
            header("x-amz-security-token").map(str::to_owned),
            None,
        )
    }

    fn of_query(query: &str) -> Result<Self, Error> {
        let pairs = query_pairs(query);
        let find = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            found.ok_or_else(|| {
                Error::Incomplete(format!(
                    "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
                ))
            })
        };
        if find("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Error::Incomplete("Unsupported AWS 'algorithm' in the query string.".to_owned()));
        }
        let expires_s: u64 = match find("X-Amz-Expires") {
            Ok(text) => text.parse().ok().filter(|s| *s <= EXPIRES_S_MAX).ok_or_else(|| {
                Error::Incomplete(format!("X-Amz-Expires must be a number of seconds up to {EXPIRES_S_MAX}."))
            })?,
            Err(_) => SKEW.as_secs(),
        };
        let timestamp = find("X-Amz-Date")?.to_owned();
        let at = parse_timestamp(&timestamp)?;
        Self::build(
            find("X-Amz-Credential")?,
            find("X-Amz-Signature")?,
            find("X-Amz-SignedHeaders")?,
            timestamp,
            at,
            find("X-Amz-Security-Token").ok().map(str::to_owned),
            Some(Duration::from_secs(expires_s)),
        )
    }

    fn build(
        credential: &str,
        signature: &str,
        signed_headers: &str,
        timestamp: String,
        at: Timestamp,
        session_token: Option<String>,
        presigned_for: Option<Duration>,
    ) -> Result<Self, Error> {
        let &[access_key_id, date, region, service, "aws4_request"] =
            credential.split('/').collect::<Vec<_>>().as_slice()
        else {
            return Err(Error::Incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request."
                    .to_owned(),
            ));
        };
        let signed_headers: Vec<String> = signed_headers.split(';').map(str::to_ascii_lowercase).collect();
        let repeated = |(index, name): (usize, &String)| signed_headers[..index].contains(name);
        if signed_headers.len() > SIGNED_HEADERS_MAX || signed_headers.iter().enumerate().any(repeated) {
            return Err(incomplete("'SignedHeaders' has too many names, or one twice"));
        }
        if !signed_headers.iter().any(|name| name == "host") {
            return Err(Error::Scope(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
            ));
        }
        if date != &timestamp[..8] {
            return Err(Error::Scope(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.".to_owned(),
            ));
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            session_token,
            date: date.to_owned(),
            signed_headers,
            // An odd or foreign text is no signature of ours; an empty one never verifies.
            signature: hex::decode(signature).unwrap_or_default(),
            timestamp,
            at,
            presigned_for,
        })
    }

    /// Refuses what was signed too long ago or in the future.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Error> {
        let life = self.presigned_for.unwrap_or(SKEW);
        let oldest = now - life;
        if self.at < oldest {
            let (now, oldest, life) = (compact(now), compact(oldest), in_words(life));
            return Err(Error::Expired(format!("{} is now earlier than {oldest} ({now} - {life}.)", self.timestamp)));
        }
        let newest = now + SKEW;
        if self.at > newest {
            let (now, newest) = (compact(now), compact(newest));
            return Err(Error::NotYetCurrent(format!(
                "{} is still later than {newest} ({now} + 15 min.)",
                self.timestamp
            )));
        }
        Ok(())
    }

    /// Checks the signature, in constant time.
    pub fn verify(&self, secret_access_key: &str, parts: &Parts, hashed: Hashed<'_>) -> Result<(), Error> {
        let canonical = self.canonical_request(parts, hashed);
        let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
        self.verify_text(secret_access_key, ALGORITHM, &hash, &self.signature)
    }

    /// Checks that `signature` is over `text`, what comes after the scope of a string to sign, with this request's key.
    pub fn verify_text(&self, secret: &str, algorithm: &str, text: &str, signature: &[u8]) -> Result<(), Error> {
        let text = format!(
            "{algorithm}\n{}\n{}/{}/{}/aws4_request\n{text}",
            self.timestamp, self.date, self.region, self.service
        );
        let mut key = mac(format!("AWS4{secret}").as_bytes(), self.date.as_bytes()).finalize().into_bytes();
        for part in [&self.region, &self.service, "aws4_request"] {
            key = mac(&key, part.as_bytes()).finalize().into_bytes();
        }
        mac(&key, text.as_bytes()).verify_slice(signature).map_err(|_| Error::Mismatch)
    }

    /// The signature itself: the first link of the chain of a body that is signed in chunks.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether it came in the query of a URL.
    pub fn is_presigned(&self) -> bool {
        self.presigned_for.is_some()
    }

    /// Whether the signature covers the header `name`.
    pub fn covers(&self, name: &str) -> bool {
        self.signed_headers.iter().any(|signed| signed == name)
    }

    fn canonical_request(&self, parts: &Parts, hashed: Hashed<'_>) -> String {
        let mut text = String::with_capacity(1024);
        text.push_str(parts.method.as_str());
        text.push('\n');
        match hashed {
            Hashed::Body(_) | Hashed::Unsigned => canonical_path(parts.uri.path(), &mut text),
            Hashed::Said(_) => percent_encode(&percent_decode(parts.uri.path(), false), true, &mut text),
        }
        text.push('\n');
        canonical_query(parts.uri.query().unwrap_or_default(), &mut text);
        text.push('\n');
        for name in &self.signed_headers {
            text.push_str(name);
            text.push(':');
            for (index, value) in parts.headers.get_all(name.as_str()).iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                squeeze(&String::from_utf8_lossy(value.as_bytes()), &mut text);
            }
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.signed_headers.join(";"));
        text.push('\n');
        match hashed {
            Hashed::Body(sha256) => text.push_str(&hex::encode(sha256)),
            Hashed::Unsigned => text.push_str(UNSIGNED_PAYLOAD),
            Hashed::Said(said) => text.push_str(said),
        }
        text
    }
}

/// The pairs of a query string, decoded; `+` is a space.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| String::from_utf8_lossy(&percent_decode(text, true)).into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// Undoes percent-encoding. A `%` that begins no escape stands for itself.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| *byte == b'%' || (plus_is_space && *byte == b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => match tail.get(..2).and_then(|digits| hex::decode(digits).ok()) {
                Some(byte) => {
                    out.extend(byte);
                    rest = &tail[2..];
                }
                None => out.push(b'%'),
            },
            b'+' if plus_is_space => out.push(b' '),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// Percent-encodes all but letters, digits and `-._~`.
pub fn percent_encode(bytes: &[u8], keep_slash: bool, out: &mut String) {
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            b'/' if keep_slash => out.push('/'),
            _ => {
                // Writing into a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Without dot segments and empty segments, and encoded once more than it came.
fn canonical_path(path: &str, out: &mut String) {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    for segment in &segments {
        out.push('/');
        percent_encode(segment.as_bytes(), true, out);
    }
    if segments.is_empty() || path.ends_with('/') {
        out.push('/');
    }
}

/// Sorted pairs, without the signature of a presigned URL.
fn canonical_query(query: &str, out: &mut String) {
    let encode = |text: &str| {
        let mut encoded = String::with_capacity(text.len());
        percent_encode(&percent_decode(text, true), false, &mut encoded);
        encoded
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (encode(key), encode(value)))
        .filter(|(key, _)| key != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push('&');
        }
        out.push_str(key);
        out.push('=');
        out.push_str(value);
    }
}

/// Trims, and makes one space of several.
fn squeeze(value: &str, out: &mut String) {
    for (index, word) in value.split(' ').filter(|word| !word.is_empty()).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

fn mac(key: &[u8], data: &[u8]) -> Hmac<Sha256> {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
    mac.update(data);
    mac
}

fn incomplete(what: &str) -> Error {
    Error::Incomplete(format!("Authorization header: {what}."))
}

/// `20261123T132200Z`.
fn parse_timestamp(text: &str) -> Result<Timestamp, Error> {
    let digits = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse::<i16>().ok());
    let small = |from: usize, to: usize| digits(from, to).and_then(|number| i8::try_from(number).ok());
    let shaped = text.len() == 16
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let parsed = || {
        let date = civil::Date::new(digits(0, 4)?, small(4, 6)?, small(6, 8)?).ok()?;
        let time = civil::Time::new(small(9, 11)?, small(11, 13)?, small(13, 15)?, 0).ok()?;
        TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()
    };
    shaped.then(parsed).flatten().ok_or_else(|| {
        let text: String = text.chars().take(64).collect();
        Error::Incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })
}

/// A `Date` header is either form; the signature is over the basic one.
fn date_header(text: &str) -> Result<(String, Timestamp), Error> {
    let at = match jiff::fmt::rfc2822::parse(text) {
        Ok(zoned) => zoned.timestamp(),
        Err(_) => parse_timestamp(text)?,
    };
    Ok((compact(at), at))
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} sec"),
    }
}

fn compact(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
