//! What a client gets to know of a job and of its calls.

use bytes::Bytes;
use dayfly_meter as meter;
use dayfly_types::{InvokeError, JobId, Outcome, RequestId, Timestamp, Usage, UsageStatus};
use serde::{Deserialize, Serialize};

/// Marks the answer of a function that raised: its payload is the pickled exception.
const RAISED: &str = "Function.Raised";

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The function returned.
    Success,
    /// The function raised; an answer like any other.
    Raised,
    /// It took longer than it may.
    Timeout,
    /// It needed more memory than it has.
    OutOfMemory,
    /// Its process ended.
    Exit,
    /// The function could not be made ready.
    InitError,
    /// The client took it back.
    Cancelled,
    /// The server would not run it, or not take its result.
    Refused,
    /// The server ended while it ran, and does not know what became of it.
    Lost,
}

impl Status {
    /// Whether the call died, so that another attempt may do better.
    pub(super) fn died(self) -> bool {
        matches!(self, Self::Timeout | Self::OutOfMemory | Self::Exit)
    }
}

/// One ended call. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallOutcome {
    /// Number of the call in its job.
    pub n: u64,
    /// How it ended.
    pub status: Status,
    /// Its id in logs and usage records, over all attempts.
    pub request_id: RequestId,
    /// The instance of the last attempt, if it had one.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// Attempts that were made.
    pub attempt: u32,
    /// When the server had its arguments.
    pub queued_at_ms: f64,
    /// When its last attempt began, if one did.
    #[serde(default)]
    pub started_at_ms: Option<f64>,
    /// Wall time of the last attempt.
    pub duration_us: u64,
    /// Billed time of all attempts.
    pub billed_ms: u64,
    /// Wall time of the init that it waited for.
    #[serde(default)]
    pub init_us: Option<u64>,
    /// Memory size.
    pub memory_mb: u32,
    /// Peak memory.
    pub memory_peak_bytes: u64,
    /// CPU time of all attempts.
    pub cpu_us: u64,
    /// Cost of all attempts.
    pub cost_usd: f64,
    /// Log stream of the last attempt.
    #[serde(default)]
    pub log_stream: Option<String>,
}

/// A call's outcome in the making, over its attempts.
pub(super) struct Account {
    outcome: CallOutcome,
}

impl Account {
    pub(super) fn new(n: u64, request_id: RequestId, queued_at: Timestamp, memory_mb: u32) -> Self {
        let outcome = CallOutcome {
            n,
            status: Status::Refused,
            request_id,
            instance_id: None,
            attempt: 0,
            queued_at_ms: milliseconds(queued_at),
            started_at_ms: None,
            duration_us: 0,
            billed_ms: 0,
            init_us: None,
            memory_mb,
            memory_peak_bytes: 0,
            cpu_us: 0,
            cost_usd: 0.0,
            log_stream: None,
        };
        Self { outcome }
    }

    pub(super) fn outcome(&self) -> &CallOutcome {
        &self.outcome
    }

    /// Counts an attempt, and gives what the client is to get of it.
    pub(super) fn ran(&mut self, outcome: Outcome, meter: &meter::Handle) -> Bytes {
        let own = &mut self.outcome;
        let Usage { instance_id, attempt, started_at, log_stream, .. } = outcome.usage.clone();
        let usage = &outcome.usage;
        own.attempt = attempt;
        own.instance_id = Some(instance_id);
        own.started_at_ms = Some(milliseconds(started_at));
        own.duration_us = usage.duration_us;
        own.billed_ms += usage.billed_ms;
        own.init_us = usage.init_us;
        own.memory_peak_bytes = own.memory_peak_bytes.max(usage.memory_peak_bytes);
        own.cpu_us += usage.cpu_us;
        own.cost_usd += meter.cost(usage);
        own.log_stream = Some(log_stream);
        let (error_type, body) = match outcome.result {
            Ok(body) => (None, body),
            Err(error) => (Some(error.error_type), error.payload),
        };
        own.status = match usage.status {
            UsageStatus::Success => Status::Success,
            UsageStatus::Error if error_type.as_deref() == Some(RAISED) => Status::Raised,
            UsageStatus::Error => Status::Refused,
            UsageStatus::Timeout => Status::Timeout,
            UsageStatus::OutOfMemory => Status::OutOfMemory,
            UsageStatus::Exit => Status::Exit,
            UsageStatus::InitError => Status::InitError,
            UsageStatus::Cancelled => Status::Cancelled,
        };
        body
    }

    /// The call did not run, or not again.
    pub(super) fn did_not_run(&mut self, status: Status) {
        self.outcome.status = status;
    }

    /// The outcome of a call that never ran.
    pub(super) fn ended(mut self, status: Status) -> CallOutcome {
        self.did_not_run(status);
        self.outcome
    }

    pub(super) fn into_outcome(self) -> CallOutcome {
        self.outcome
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It takes calls, or has some that have not ended.
    Running,
    /// All its calls have ended.
    Ended,
    /// It was cancelled.
    Cancelled,
}

/// Counts of a job's calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls that it has been given.
    pub calls: u64,
    /// Of these: those that returned.
    pub succeeded: u64,
    /// Those that raised, died, or did not run.
    pub failed: u64,
    /// Those that were taken back.
    pub cancelled: u64,
}

impl Counts {
    pub(super) fn add(&mut self, status: Status) {
        match status {
            Status::Success => self.succeeded += 1,
            Status::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
    }

    /// Calls that have an outcome.
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }
}

/// A job, for lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Name of its function in bill and logs.
    pub function: String,
    /// How far it is.
    pub state: JobState,
    /// Whether it goes on without its client.
    pub detached: bool,
    /// Its calls.
    #[serde(flatten)]
    pub counts: Counts,
    /// Calls that run now.
    pub running: u64,
    /// Most calls at once.
    pub max_in_flight: u32,
    /// Memory of a call.
    pub memory_mb: u32,
    /// Python of its calls.
    pub runtime: String,
    /// Cost of what has ended.
    pub cost_usd: f64,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Outcomes that are kept for its client.
    pub unfetched: u64,
    /// Its tags.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// One call, for lists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CallView {
    /// It waits for its turn.
    Waiting {
        /// Number.
        n: u64,
    },
    /// It has its turn.
    Running {
        /// Number.
        n: u64,
        /// Its id.
        request_id: RequestId,
    },
    /// It has ended.
    Ended(CallOutcome),
}

impl CallView {
    /// Number of the call.
    pub fn n(&self) -> u64 {
        match self {
            Self::Waiting { n } | Self::Running { n, .. } => *n,
            Self::Ended(outcome) => outcome.n,
        }
    }
}

/// Lambda's form of an error.
pub(super) fn error_body(error: &InvokeError) -> Bytes {
    let (kind, message) = match error {
        InvokeError::Internal(reason) => {
            tracing::error!(reason, "a job's call did not run");
            ("ServiceException", "Service encountered an internal error.".to_owned())
        }
        InvokeError::ShuttingDown => ("ServiceUnavailableException", error.to_string()),
        InvokeError::PayloadTooLarge { .. } => ("RequestTooLargeException", error.to_string()),
        _ => ("ResourceConflictException", error.to_string()),
    };
    let body = serde_json::json!({"errorType": kind, "errorMessage": message});
    body.to_string().into()
}

fn milliseconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1000.0
}
