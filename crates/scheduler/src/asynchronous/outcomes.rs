//! How asynchronous events ended.
//!
//! | table | key | value |
//! |---|---|---|
//! | `async_outcomes` | request id, 16 bytes | [`AsyncOutcome`] as JSON |
//! | `async_outcomes_by_time` | microseconds of the end, 8 bytes big-endian, then the request id | empty |

use bytes::Bytes;
use dayfly_store::{Batch, Error, Store};
use dayfly_types::{FunctionArn, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

const OUTCOMES: &str = "async_outcomes";
const BY_TIME: &str = "async_outcomes_by_time";
/// How long outcomes are kept.
pub(super) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often old ones are removed.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);
/// Rows removed in one commit.
const SWEEP_ROWS: usize = 500;

/// How an asynchronous event ended. Each accepted event gets exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncOutcome {
    /// Id of the call.
    pub request_id: RequestId,
    /// The function, as the caller named it.
    pub function: FunctionArn,
    /// When the event was received.
    pub received_at: Timestamp,
    /// When it ended.
    pub concluded_at: Timestamp,
    /// Attempts in which the function ran; each has a usage record.
    pub attempts: u32,
    /// How.
    pub conclusion: Conclusion,
}

/// The ways an event can end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The handler returned.
    Succeeded,
    /// The last attempt failed too (`RetriesExhausted`).
    Failed {
        /// Its error type.
        error_type: String,
    },
    /// It became too old (`EventAgeExceeded`).
    Expired,
    /// The function's reserved concurrency is zero (`ZeroReservedConcurrency`).
    NoConcurrency,
    /// The function was deleted before the event was done.
    FunctionDeleted,
}

#[derive(Clone)]
pub(crate) struct Outcomes {
    store: Store,
}

impl Outcomes {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Adds the outcome to a batch.
    pub(super) fn record(&self, batch: Batch, outcome: &AsyncOutcome) -> Batch {
        let value = serde_json::to_vec(outcome).expect("an outcome is JSON");
        let id = outcome.request_id.0;
        batch.put(OUTCOMES, id.as_bytes().to_vec(), value).put(
            BY_TIME,
            time_key(outcome.concluded_at, id),
            Bytes::new(),
        )
    }

    pub(crate) async fn get(&self, request_id: RequestId) -> Result<Option<AsyncOutcome>, Error> {
        let row = self.store.tables.get(OUTCOMES, request_id.0.as_bytes()).await?;
        row.map(|row| {
            serde_json::from_slice(&row.value)
                .map_err(|error| Error::Engine(format!("unreadable row of {OUTCOMES}: {error}")))
        })
        .transpose()
    }

    /// The newest first.
    pub(crate) async fn recent(&self, limit: usize) -> Result<Vec<AsyncOutcome>, Error> {
        let mut outcomes = Vec::new();
        for row in self.store.tables.scan(BY_TIME, &[], &[0xff; 25], limit, true).await? {
            if let Some(id) = request_id(&row.key) {
                outcomes.extend(self.get(id).await?);
            }
        }
        Ok(outcomes)
    }

    pub(super) async fn forget_before(&self, time: Timestamp) -> Result<(), Error> {
        let to = time_key(time, Uuid::nil());
        loop {
            let old = self.store.tables.scan(BY_TIME, &[], &to, SWEEP_ROWS, false).await?;
            let mut batch = Batch::new();
            for row in &old {
                batch = batch.delete(BY_TIME, row.key.clone());
                if let Some(id) = request_id(&row.key) {
                    batch = batch.delete(OUTCOMES, id.0.as_bytes().to_vec());
                }
            }
            if !old.is_empty() {
                self.store.tables.commit(batch).await?;
            }
            if old.len() < SWEEP_ROWS {
                return Ok(());
            }
        }
    }
}

pub(super) fn time_key(at: Timestamp, id: Uuid) -> Vec<u8> {
    let micros = u64::try_from(at.as_microsecond()).unwrap_or(0);
    [&micros.to_be_bytes()[..], id.as_bytes()].concat()
}

fn request_id(time_key: &[u8]) -> Option<RequestId> {
    Some(RequestId(Uuid::from_slice(time_key.get(8..)?).ok()?))
}
