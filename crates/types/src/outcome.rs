//! What comes back of a call: the handler's result or a typed error, and what it used.

use crate::{FunctionArn, RequestId, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use thiserror::Error;

/// A call that ran: it succeeded, or the function failed. Either is HTTP 200 for Lambda.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The version that ran: `$LATEST` or a number.
    pub executed_version: String,
    /// The handler's JSON, or the function error.
    pub result: Result<Bytes, FunctionError>,
    /// What the call used.
    pub usage: Usage,
    /// The last 4 KiB of the call's log, START to REPORT. Only when the invocation asked for the tail.
    pub log_tail: Option<Bytes>,
}

/// The function failed: `X-Amz-Function-Error: Unhandled`, and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// `Sandbox.Timedout`, `Runtime.ExitError`, or the exception's class name.
    pub error_type: String,
    /// The JSON body: `{"errorMessage", "errorType", "requestId", "stackTrace"}` or the part of it that applies.
    pub payload: Bytes,
}

/// How a call ended, for the bill and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageStatus {
    /// The handler returned.
    Success,
    /// The handler raised, or its result could not be sent.
    Error,
    /// `Sandbox.Timedout`.
    Timeout,
    /// `Runtime.OutOfMemory`.
    OutOfMemory,
    /// The instance ended in the middle of the call (`Runtime.ExitError`).
    Exit,
    /// Init failed, so the handler never ran.
    InitError,
    /// Who made the call took it back, and the instance was killed (`Sandbox.Cancelled`).
    Cancelled,
}

/// The record of one attempt of one call. Everything that the bill needs; durable before it is visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Id of the call.
    pub request_id: RequestId,
    /// The function, qualified with the version that ran.
    pub function: FunctionArn,
    /// Hexadecimal id of the instance; never the same for two calls.
    pub instance_id: String,
    /// Log stream of the call's lines.
    pub log_stream: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the instance was given the event.
    pub started_at: Timestamp,
    /// Wall time of the call, from handing over the event to the end of the answer.
    pub duration_us: u64,
    /// Wall time rounded up to milliseconds (plus init where Lambda bills it).
    pub billed_ms: u64,
    /// Configured memory size.
    pub memory_mb: u32,
    /// Peak memory of the instance (cgroup), zygote's share included.
    pub memory_peak_bytes: u64,
    /// CPU time of the instance (cgroup), user and system.
    pub cpu_us: u64,
    /// Wall time of init, when this call waited for a zygote's boot.
    pub init_us: Option<u64>,
    /// Wall time of the clone, when this call waited for one.
    pub restore_us: Option<u64>,
    /// Configured `/tmp` size.
    pub ephemeral_storage_mb: u32,
    /// How it ended.
    pub status: UsageStatus,
    /// Tags of the function at the time of the call.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// Why a call did not run. Each maps to one AWS error in one place of the gateway.
#[derive(Debug, Clone, Error)]
pub enum InvokeError {
    /// `ResourceNotFoundException`, 404.
    #[error("Function not found: {0}")]
    FunctionNotFound(FunctionArn),
    /// `TooManyRequestsException`, 429.
    #[error("rate exceeded: {reason}")]
    Throttled {
        /// Which limit.
        reason: ThrottleReason,
        /// When to try again.
        retry_after: Duration,
    },
    /// `RequestTooLargeException`, 413.
    #[error("{actual} byte payload is too large for the limit of {limit} bytes")]
    PayloadTooLarge {
        /// Bytes received.
        actual: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// `InvalidRequestContentException`, 400.
    #[error("could not parse request body into json: {0}")]
    PayloadNotJson(String),
    /// `ResourceConflictException`, 409: the function is Pending or Failed.
    #[error("the operation cannot be performed at this time: {0}")]
    NotReady(String),
    /// `ServiceException`, 500: Dayfly's own fault. The text is for the log, not for the client.
    #[error("internal error: {0}")]
    Internal(String),
    /// Who made the call took it back before it had an instance.
    #[error("the call was cancelled")]
    Cancelled,
    /// `ServiceUnavailableException`, 503: the server drains.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// `Reason` of a `TooManyRequestsException`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThrottleReason {
    /// The account's concurrency is used up.
    ConcurrentInvocationLimitExceeded,
    /// The function's reserved concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// The queue of asynchronous events is full, or requests come too fast.
    FunctionInvocationRateLimitExceeded,
    /// The caller sends too fast.
    CallerRateLimitExceeded,
}

impl fmt::Display for ThrottleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
