//! What keeps a detached job on disk. All its changes go through one task, in order, many to a commit; what follows of a
//! change (a call gets its turn, an outcome can be fetched) follows when it is on disk.

use super::{
    job::{Job, Room},
    outcome::{CallOutcome, JobState},
    rows::{self, CallRow, JobRow, Rows},
};
use crate::call::Uncommitted;
use bytes::Bytes;
use dayfly_store::{Batch, Error};
use dayfly_types::{Clock, Timestamp};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::mpsc;

/// Most changes of one commit, and about how many bytes.
const GROUP_MAX: usize = 256;
const GROUP_BYTES: usize = 8 << 20;
/// Longest pause between two tries to commit.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A change of a detached job. Those under way are bounded: each holds a room, a turn, or came in a frame of its client.
pub(super) enum Keep {
    /// A call has come.
    Call {
        call: CallRow,
        arguments: Bytes,
        #[expect(dead_code, reason = "held until the call is on disk")]
        room: Room,
    },
    /// All calls have come.
    Closed,
    /// It was cancelled.
    Cancelled,
    /// A call has ended; `batch` is its account.
    Outcome {
        outcome: CallOutcome,
        body: Bytes,
        batch: Batch,
        #[expect(dead_code, reason = "held until the account is on disk")]
        uncommitted: Option<Uncommitted>,
    },
    /// Its client has these outcomes.
    Confirm(Vec<u64>),
    /// All calls have ended.
    Ended(Timestamp),
}

/// Does what `changes` say until the job is forgotten.
pub(super) async fn run(
    rows: Rows,
    mut row: JobRow,
    job: Weak<Job>,
    clock: Arc<dyn Clock>,
    mut changes: mpsc::UnboundedReceiver<Keep>,
) {
    let mut gone = false;
    while let Some(first) = changes.recv().await {
        let mut group = vec![first];
        let mut bytes = 0;
        while group.len() < GROUP_MAX
            && bytes < GROUP_BYTES
            && let Ok(next) = changes.try_recv()
        {
            bytes += next.bytes();
            group.push(next);
        }
        let batch = group.iter_mut().fold(Batch::new(), |batch, change| change.write(batch, &mut row));
        if !gone && !commit(&rows, &clock, rows::put_job(batch, &row)).await {
            return;
        }
        let Some(job) = job.upgrade() else { return };
        for change in group {
            job.kept(change);
        }
        if row.ended_at.is_some() && !gone && job.is_fetched() {
            gone = true;
            if let Err(error) = rows.remove(row.id, &row.code).await {
                tracing::warn!(job = %row.id, %error, "rows of a job that has ended stay until the next start");
            }
        }
    }
}

/// Tries until it is on disk; `false` when the store is closed.
async fn commit(rows: &Rows, clock: &Arc<dyn Clock>, batch: Batch) -> bool {
    let mut pause = Duration::from_millis(100);
    loop {
        match rows.store.tables.commit(batch.clone()).await {
            Ok(()) => return true,
            Err(Error::Closed) => return false,
            Err(error) => tracing::warn!(%error, "a change of a job is not on disk yet"),
        }
        clock.sleep_until(clock.now() + pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl Keep {
    fn bytes(&self) -> usize {
        match self {
            Self::Call { arguments, .. } => arguments.len(),
            Self::Outcome { body, .. } => body.len(),
            _ => 0,
        }
    }

    fn write(&mut self, batch: Batch, row: &mut JobRow) -> Batch {
        match self {
            Self::Call { call, arguments, .. } => {
                row.counts.calls += 1;
                rows::put_call(batch, row.id, call, std::mem::take(arguments))
            }
            Self::Closed => {
                row.closed = true;
                batch
            }
            Self::Cancelled => {
                row.closed = true;
                row.state = JobState::Cancelled;
                batch
            }
            Self::Outcome { outcome, body, batch: account, .. } => {
                row.counts.add(outcome.status);
                row.cost_usd += outcome.cost_usd;
                let mut batch = rows::put_outcome(batch, row.id, outcome, body.clone());
                batch.writes.append(&mut account.writes);
                batch
            }
            Self::Confirm(calls) => calls.iter().fold(batch, |batch, n| rows::confirm(batch, row.id, *n)),
            Self::Ended(at) => {
                row.ended_at = Some(*at);
                if row.state == JobState::Running {
                    row.state = JobState::Ended;
                }
                batch
            }
        }
    }
}
