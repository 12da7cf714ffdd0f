//! One call: the only path to the worker, for synchronous calls and for asynchronous attempts alike, and what is kept
//! of it. A call's usage record and its REPORT line are always in one commit, so that the bill and the logs agree
//! whatever crashes in between.

mod logs;

use crate::{admission::Permit, executor::Executor};
use dayfly_meter as meter;
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{Clock, FunctionConfiguration, Invocation, InvokeError, LogSink, Outcome, Usage};
use dayfly_worker as worker;
use logs::CallLogs;
pub(crate) use logs::InitLogs;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Calls beyond the concurrency limit whose records may wait for their commit.
const UNCOMMITTED_SPARE: usize = 1024;
/// How long a new call waits for the records of earlier ones before it is refused.
const RECORDS_WAIT: Duration = Duration::from_secs(5);
/// How long the record of an answered call waits for others to share its fsync.
const COMMIT_LINGER: Duration = Duration::from_millis(25);
/// Most calls whose records share one commit.
const COMMIT_GROUP_MAX: usize = 256;
/// How often a commit is tried while the store fails. With doubling waits from 100 ms this is about 25 s.
const COMMIT_TRIES: u32 = 8;

/// Runs calls and accounts for them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Calls {
    executor: Arc<dyn Executor>,
    meter: meter::Handle,
    store: Store,
    clock: Arc<dyn Clock>,
    /// Bounds the records in memory: each call holds one from before it runs until its record is on disk.
    uncommitted: Arc<Semaphore>,
    uncommitted_max: u32,
    soon: mpsc::UnboundedSender<(Batch, Uncommitted)>,
}

/// The right to have a record in memory.
pub(crate) struct Uncommitted {
    _permit: OwnedSemaphorePermit,
}

/// What who makes a call wants of it beside its outcome.
#[derive(Default)]
pub(crate) struct Watch {
    /// `Outcome::log_tail`.
    pub log_tail: bool,
    /// Gets the outcome as soon as the function has answered, where the worker can tell by then.
    pub early: Option<oneshot::Sender<Outcome>>,
    /// Told when the call has an instance.
    pub started: Option<oneshot::Sender<()>>,
    /// Takes the call back.
    pub cancel: Option<oneshot::Receiver<()>>,
    /// Takes the function's lines as they come, beside the log.
    pub lines: Option<Box<dyn LogSink>>,
}

/// A call that came back; to be accounted for.
pub(crate) struct Ran {
    function: Arc<FunctionConfiguration>,
    usage: Option<Usage>,
    logs: Arc<CallLogs>,
}

impl Calls {
    pub(crate) fn new(
        executor: Arc<dyn Executor>,
        meter: meter::Handle,
        store: Store,
        clock: Arc<dyn Clock>,
        concurrency: u32,
    ) -> Self {
        let uncommitted_max = (concurrency as usize + UNCOMMITTED_SPARE).min(Semaphore::MAX_PERMITS >> 1);
        let (soon, records) = mpsc::unbounded_channel();
        let calls = Self {
            executor,
            meter,
            store,
            clock,
            uncommitted: Arc::new(Semaphore::new(uncommitted_max)),
            uncommitted_max: uncommitted_max as u32,
            soon,
        };
        // The task holds no sender, so it ends with the last handle.
        let (closed, _) = mpsc::unbounded_channel();
        tokio::spawn(Self { soon: closed, ..calls.clone() }.commit_groups(records));
        calls
    }

    /// Counts a call of what has provisioned concurrency, by whether it got an instance of that.
    pub(crate) fn admitted(&self, permit: &Permit) {
        if let Some((function, provisioned)) = permit.provisioned() {
            self.meter.provisioned(&function, provisioned);
        }
    }

    /// Leave to run one more call. Waits a little when the store is behind with the records of earlier calls.
    pub(crate) async fn reserve(&self) -> Result<Uncommitted, InvokeError> {
        if let Ok(permit) = Arc::clone(&self.uncommitted).try_acquire_owned() {
            return Ok(Uncommitted { _permit: permit });
        }
        if self.uncommitted.is_closed() {
            return Err(InvokeError::ShuttingDown);
        }
        tokio::select! {
            permit = Arc::clone(&self.uncommitted).acquire_owned() => match permit {
                Ok(permit) => Ok(Uncommitted { _permit: permit }),
                Err(_) => Err(InvokeError::ShuttingDown),
            },
            () = self.clock.sleep_until(self.clock.now() + RECORDS_WAIT) => {
                Err(InvokeError::Internal("the store is too slow to take the records of calls".to_owned()))
            }
        }
    }

    /// Runs the call. What it says is stored while it runs when it runs long.
    pub(crate) async fn run(
        &self,
        function: Arc<FunctionConfiguration>,
        invocation: Arc<Invocation>,
        attempt: u32,
        watch: Watch,
    ) -> (Result<Outcome, InvokeError>, Ran) {
        let Watch { log_tail: want_log_tail, early, started, cancel, lines } = watch;
        let logs = Arc::new(CallLogs::new(Arc::clone(&function), self.meter.clone(), lines));
        let result = {
            let mut call = self.executor.call(worker::Call {
                function: Arc::clone(&function),
                invocation,
                attempt,
                want_log_tail,
                early,
                started,
                cancel,
                logs: Arc::<CallLogs>::clone(&logs),
            });
            loop {
                tokio::select! {
                    biased;
                    result = &mut call => break result,
                    () = self.clock.sleep_until(self.clock.now() + logs::LIVE_AFTER) => logs.store_live(),
                }
            }
        };
        let usage = result.as_ref().ok().map(|outcome| outcome.usage.clone());
        (result, Ran { function, usage, logs })
    }

    /// What is to be committed of a call: its record, and the log lines that are not stored yet.
    pub(crate) async fn account(&self, ran: Ran) -> Batch {
        let group = &ran.function.logging.group;
        let mut own = Vec::new();
        for (stream, lines) in ran.logs.rest().await {
            if ran.usage.as_ref().is_some_and(|usage| usage.log_stream == stream) {
                own.extend(lines);
            } else if let Err(error) = self.meter.append(&ran.function.arn, group, &stream, &lines).await {
                tracing::error!(function = %ran.function.arn, stream, %error, "log lines were lost");
            }
        }
        ran.usage.map_or_else(Batch::new, |usage| self.meter.finished(&usage, group, &own))
    }

    /// Commits the record of a call. Tries again while the store fails, because a record that is given up is money.
    pub(crate) async fn commit(&self, batch: Batch) {
        if batch.writes.is_empty() {
            return;
        }
        let mut wait = Duration::from_millis(100);
        for _ in 1..COMMIT_TRIES {
            match self.store.tables.commit(batch.clone()).await {
                Ok(()) => return,
                Err(StoreError::Closed) => break,
                Err(error) => tracing::warn!(%error, "a call's record is not on disk yet"),
            }
            self.clock.sleep_until(self.clock.now() + wait).await;
            wait *= 2;
        }
        if let Err(error) = self.store.tables.commit(batch).await {
            tracing::error!(%error, "a call's record was lost");
        }
    }

    /// Commits the record of a call soon, together with those of other calls that end about now: nobody waits for it, so
    /// one fsync may serve many. The right to have a record in memory is given back when it is on disk.
    pub(crate) fn commit_soon(&self, batch: Batch, uncommitted: Uncommitted) {
        // Bounded by the rights: each record in the channel holds one. It closes only with the server.
        let _ = self.soon.send((batch, uncommitted));
    }

    async fn commit_groups(self, mut records: mpsc::UnboundedReceiver<(Batch, Uncommitted)>) {
        while let Some((mut batch, first)) = records.recv().await {
            tokio::time::sleep(COMMIT_LINGER).await;
            let mut held = vec![first];
            while held.len() < COMMIT_GROUP_MAX
                && let Ok((next, uncommitted)) = records.try_recv()
            {
                batch.writes.extend(next.writes);
                held.push(uncommitted);
            }
            self.commit(batch).await;
        }
    }

    /// Whether calls run, or their records are not on disk.
    pub(crate) fn any(&self) -> bool {
        self.uncommitted.available_permits() < self.uncommitted_max as usize
    }

    /// No new calls; waits for those that run, and their records, until `deadline` has passed.
    pub(crate) async fn drain(&self, deadline: Duration) {
        let _all = tokio::select! {
            all = self.uncommitted.acquire_many(self.uncommitted_max) => Some(all),
            () = self.clock.sleep_until(self.clock.now() + deadline) => None,
        };
        self.uncommitted.close();
    }
}
