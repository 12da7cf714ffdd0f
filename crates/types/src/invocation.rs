//! An invocation: what a front-end hands to the scheduler, and the scheduler to the worker.

use crate::{FunctionArn, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// `x-amzn-RequestId`: a version 4 UUID, kept over all attempts of an asynchronous event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A fresh random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// One event for one function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invocation {
    /// Id of the call, over all its attempts.
    pub request_id: RequestId,
    /// The function, with the qualifier that the caller gave (none means `$LATEST`).
    pub function: FunctionArn,
    /// The event: JSON text, passed through as bytes. Empty means that no payload was sent: the handler gets `{}`.
    pub payload: Bytes,
    /// Decoded JSON text of `X-Amz-Client-Context`.
    pub client_context: Option<String>,
    /// `X-Amz-Tenant-Id`, handed to the handler's context.
    pub tenant_id: Option<String>,
    /// `X-Amzn-Trace-Id`, passed on.
    pub trace_header: Option<String>,
    /// When the front-end received it; an asynchronous event's age counts from here.
    pub received_at: Timestamp,
}
