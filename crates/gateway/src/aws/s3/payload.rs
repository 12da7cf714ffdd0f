//! The body of a request: what the request says of it, and its bytes as they come, held to that.

use super::{
    chunked::{Chain, Decoder},
    error::{bad_digest, internal, invalid_argument, invalid_request},
};
use crate::{Patience, aws::Error, body, sigv4::UNSIGNED_PAYLOAD};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use dayfly_objects::{
    NewContent, Received,
    checksum::{self, ALGORITHMS, Algorithm, Checksum},
};
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// Memory of one body that streams: what is gathered, what is written, and what comes meanwhile.
const STREAM_BYTES: u64 = 2 << 20;
/// Largest body that is a document.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Largest object or part in one request, AWS's.
pub const OBJECT_BYTES_MAX: u64 = 5 << 30;

/// How the body is signed: `x-amz-content-sha256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// Its hash is signed.
    Hash,
    /// Not at all.
    Unsigned,
    /// In chunks, each signed or not, with trailers or without.
    Chunks { signed: bool, trailers: bool },
}

impl Signing {
    /// What `said` stands for.
    pub fn of(said: &str) -> Result<Self, Error> {
        match said {
            UNSIGNED_PAYLOAD => Ok(Self::Unsigned),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::Chunks { signed: false, trailers: true }),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::Chunks { signed: true, trailers: false }),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::Chunks { signed: true, trailers: true }),
            hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(Self::Hash),
            _ => Err(invalid_argument(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                 STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
            )),
        }
    }
}

/// A body.
pub struct Payload {
    body: Incoming,
    decoder: Option<Decoder>,
    said: Said,
}

/// What a request says of its body.
#[derive(Debug)]
pub struct Said {
    signing: Signing,
    sha256: Option<String>,
    /// Length without encodings.
    length: Option<u64>,
    md5: Option<Vec<u8>>,
    checksum: Option<Checksum>,
    /// The algorithm whose value is to come in a trailer.
    trailer: Option<Algorithm>,
}

impl Payload {
    /// A body of which the request says this; `chain` verifies signed chunks.
    pub fn new(body: Incoming, said: Said, chain: Option<Chain>) -> Self {
        let decoder = match said.signing {
            Signing::Chunks { trailers, .. } => Some(Decoder::new(chain, trailers)),
            Signing::Hash | Signing::Unsigned => None,
        };
        Self { body, decoder, said }
    }

    /// The same body, of whose request the checksum is about something else.
    pub fn without_checksum(mut self) -> Self {
        self.said.checksum = None;
        self
    }

    /// The algorithm that the request has a checksum of.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.said.trailer.or(self.said.checksum.as_ref().map(|checksum| checksum.algorithm))
    }

    /// Streams the body into what `begin` makes with the checksums that are needed: the request's own, then `also`.
    pub async fn receive(
        mut self,
        memory: &body::Memory,
        patience: &Patience,
        also: &[Algorithm],
        begin: impl FnOnce(&[Algorithm]) -> NewContent,
    ) -> Result<Received, Error> {
        let length = self.said.length.ok_or_else(missing_length)?;
        if length > OBJECT_BYTES_MAX {
            return Err(dayfly_objects::Error::TooLarge.into());
        }
        let _memory = memory.take(STREAM_BYTES.min(length)).await.map_err(of_body)?;
        let deadline = body::deadline(length, patience);
        let algorithms: Vec<Algorithm> = self.algorithm().into_iter().chain(also.iter().copied()).collect();
        let mut content = begin(&algorithms);
        while let Some(piece) = self.next(deadline, patience).await? {
            content.write(piece).await?;
        }
        let received = content.finish().await?;
        self.end(received.bytes, &received.sha256, &received.md5, |algorithm| {
            received.checksums.iter().find(|checksum| checksum.algorithm == algorithm).cloned()
        })?;
        Ok(received)
    }

    /// The whole of a small body.
    pub async fn document(mut self, memory: &body::Memory, patience: &Patience) -> Result<Bytes, Error> {
        let limit = self.said.length.unwrap_or(DOCUMENT_BYTES_MAX).min(DOCUMENT_BYTES_MAX);
        let _memory: OwnedSemaphorePermit = memory.take(limit).await.map_err(of_body)?;
        let deadline = body::deadline(limit, patience);
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next(deadline, patience).await? {
            whole.extend_from_slice(&piece);
            if whole.len() as u64 > DOCUMENT_BYTES_MAX {
                return Err(Error::bad_request("MaxMessageLengthExceeded", "Your request was too big."));
            }
        }
        let whole = whole.freeze();
        let (sha256, md5) = (checksum::sha256_hex(&whole), checksum::md5(&whole));
        self.end(whole.len() as u64, &sha256, &md5, |algorithm| Some(checksum::of(algorithm, &whole)))?;
        Ok(whole)
    }

    /// Throws the body away, as far as that is worth it.
    pub async fn discard(self, patience: &Patience) {
        body::discard(self.body, patience).await;
    }

    async fn next(&mut self, deadline: Instant, patience: &Patience) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(decoder) = &mut self.decoder
                && let Some(data) = decoder.next()?
            {
                return Ok(Some(data));
            }
            let piece = body::frame(&mut self.body, deadline, patience).await.map_err(of_body)?;
            match (piece, &mut self.decoder) {
                (Some(piece), Some(decoder)) => decoder.feed(&piece),
                (piece, _) => return Ok(piece),
            }
        }
    }

    /// Holds what came to what the request said.
    fn end(
        self,
        bytes: u64,
        sha256: &str,
        md5: &[u8],
        computed: impl Fn(Algorithm) -> Option<Checksum>,
    ) -> Result<(), Error> {
        let trailers = self.decoder.map_or(Ok(Vec::new()), Decoder::finish)?;
        let said = self.said;
        if said.length.is_some_and(|length| length != bytes) {
            return Err(Error::bad_request(
                "IncompleteBody",
                "You did not provide the number of bytes specified by the Content-Length HTTP header",
            ));
        }
        if said.sha256.is_some_and(|said| said != sha256) {
            return Err(Error::bad_request(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        if said.md5.is_some_and(|said| said != md5) {
            return Err(Error::bad_request(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
            ));
        }
        let expected = match said.trailer {
            None => said.checksum,
            Some(algorithm) => {
                let name = header_name(algorithm);
                let value = trailers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
                let value = value.ok_or_else(super::error::malformed_trailer)?;
                Some(parse(algorithm, value)?)
            }
        };
        if let Some(expected) = expected {
            let found = computed(expected.algorithm).ok_or_else(|| internal("a checksum was not computed"))?;
            if found != expected {
                return Err(bad_digest(expected.algorithm.name()));
            }
        }
        Ok(())
    }
}

impl Said {
    /// What these headers and the signature say.
    pub fn of(headers: &HeaderMap, sha256: &str, signing: Signing) -> Result<Self, Error> {
        let name = match signing {
            Signing::Chunks { .. } => "x-amz-decoded-content-length",
            Signing::Hash | Signing::Unsigned => "content-length",
        };
        let length = match header(headers, name) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| invalid_argument(format!("{name} must be a number.")))?),
        };
        let sha256 = (signing == Signing::Hash).then(|| sha256.to_ascii_lowercase());
        let md5 = header(headers, "content-md5").map(|text| {
            let md5 = STANDARD.decode(text).ok().filter(|md5| md5.len() == 16);
            md5.ok_or_else(|| Error::bad_request("InvalidDigest", "The Content-MD5 you specified was invalid."))
        });
        let mut said: Vec<Checksum> = Vec::new();
        for algorithm in ALGORITHMS {
            if let Some(value) = header(headers, &header_name(algorithm)) {
                said.push(parse(algorithm, value)?);
            }
        }
        if said.len() > 1 {
            return Err(invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        let trailer = match header(headers, "x-amz-trailer") {
            None => None,
            Some(name) => {
                let algorithm = name.trim().to_ascii_lowercase();
                let algorithm = algorithm.strip_prefix("x-amz-checksum-").and_then(Algorithm::of_name);
                Some(algorithm.ok_or_else(|| {
                    invalid_request("The value specified in the x-amz-trailer header is not supported")
                })?)
            }
        };
        Ok(Self { signing, sha256, length, md5: md5.transpose()?, checksum: said.pop(), trailer })
    }
}

/// `x-amz-checksum-crc32`.
pub fn header_name(algorithm: Algorithm) -> String {
    format!("x-amz-checksum-{}", algorithm.name().to_ascii_lowercase())
}

fn parse(algorithm: Algorithm, value: &str) -> Result<Checksum, Error> {
    match STANDARD.decode(value) {
        Ok(bytes) if bytes.len() == algorithm.bytes() => Ok(Checksum::of(algorithm, &bytes)),
        _ => Err(invalid_request(format!("Value for {} header is invalid.", header_name(algorithm)))),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn missing_length() -> Error {
    Error::new(StatusCode::LENGTH_REQUIRED, "MissingContentLength", "You must provide the Content-Length HTTP header.")
}

fn of_body(error: body::Error) -> Error {
    match error {
        body::Error::TooLarge { .. } => dayfly_objects::Error::TooLarge.into(),
        body::Error::TooSlow => Error::bad_request(
            "RequestTimeout",
            "Your socket connection to the server was not read from or written to within the timeout period.",
        ),
        body::Error::Busy => busy(),
        body::Error::Broken(_) => Error::bad_request("IncompleteBody", "The request body terminated unexpectedly"),
    }
}

/// There is no memory for another body now.
pub fn busy() -> Error {
    Error {
        retry_after_s: Some(1),
        ..Error::new(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate.")
    }
}
