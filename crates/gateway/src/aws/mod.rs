//! One folder per AWS service, the same file names in each: `mod` (routing), `dto` (shapes), `error`, and one file per
//! operation or small group.

pub mod apigateway;
pub mod apigatewayv2;
pub mod dynamodb;
pub mod error;
pub mod events;
pub mod iam;
pub mod lambda;
pub mod logs;
pub mod query;
pub mod response;
pub mod routes;
pub mod s3;
pub mod scheduler;
pub mod sns;
pub mod sqs;
pub mod sts;
pub mod xml;

pub use error::{Error, Protocol};
pub use response::Response;

use crate::authorise::Caller;
use crate::sigv4::{percent_decode, query_pairs};
use bytes::Bytes;
use dayfly_types::{Region, RequestId};
use http::request::Parts;

/// An authenticated request.
pub struct Request {
    /// Its id, in every answer.
    pub id: RequestId,
    /// Method, path, headers.
    pub parts: Parts,
    /// The body, within the operation's limit.
    pub body: Bytes,
    /// Region of the credential scope.
    pub region: Region,
    /// Who signed it.
    pub principal: Caller,
}

impl Request {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        self.query_all(name).into_iter().next()
    }

    /// All values of a query parameter.
    pub fn query_all(&self, name: &str) -> Vec<String> {
        let pairs = query_pairs(self.parts.uri.query().unwrap_or_default());
        pairs.into_iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// A header, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The decoded segments of the path.
    pub fn segments(&self) -> Vec<String> {
        let segments = self.parts.uri.path().split('/').filter(|segment| !segment.is_empty());
        segments.map(|segment| String::from_utf8_lossy(&percent_decode(segment, false)).into_owned()).collect()
    }
}

/// The operation after the dot of `X-Amz-Target`.
pub fn target(parts: &Parts) -> &str {
    let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default()
}
