//! The scheduler's handle: what the gateway and the triggers call.

use crate::{
    admission::{Admission, Permit},
    asynchronous::{
        AsyncPolicy, Pump,
        letters::{self, Letter},
        outcomes::AsyncOutcome,
    },
    call::{Calls, Uncommitted, Watch},
    executor::Executor,
    functions::{Functions, Resolved},
    jobs::Jobs,
};
use dayfly_meter as meter;
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{Clock, Invocation, InvokeError, Limits, Outcome, RequestId, Runtime};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;
use tracing::{Instrument, debug_span};

/// What a scheduler is made of.
pub struct Parts {
    /// Functions, events, code.
    pub store: Store,
    /// Runs the calls: `Arc::new(worker_handle)`.
    pub worker: Arc<dyn Executor>,
    /// Takes records and logs.
    pub meter: meter::Handle,
    /// Time for retries, ages, backoff.
    pub clock: Arc<dyn Clock>,
    /// Payload sizes, concurrency, queue lengths.
    pub limits: Limits,
}

/// The scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    functions: Functions,
    admission: Admission,
    calls: Calls,
    pump: Pump,
    jobs: Jobs,
    executor: Arc<dyn Executor>,
    limits: Limits,
    draining: AtomicBool,
}

impl Handle {
    /// Starts the scheduler and its pump of asynchronous events, which takes up what an earlier server left.
    pub async fn start(parts: Parts) -> Result<Self, StoreError> {
        Self::start_with(parts, AsyncPolicy::default()).await
    }

    /// Starts a scheduler with another policy for asynchronous events.
    pub async fn start_with(parts: Parts, policy: AsyncPolicy) -> Result<Self, StoreError> {
        let Parts { store, worker: executor, meter, clock, limits } = parts;
        let admission = Admission::new(limits.concurrency);
        let functions = Functions::start(
            store.clone(),
            Arc::clone(&executor),
            admission.clone(),
            Arc::clone(&clock),
            meter.clone(),
            &limits,
        )
        .await?;
        let calls =
            Calls::new(Arc::clone(&executor), meter.clone(), store.clone(), Arc::clone(&clock), limits.concurrency);
        let jobs = Jobs::start(
            store.clone(),
            admission.clone(),
            calls.clone(),
            Arc::clone(&executor),
            meter,
            Arc::clone(&clock),
            limits.clone(),
        )
        .await?;
        let pump =
            Pump::start(store, functions.clone(), admission.clone(), calls.clone(), clock, &limits, policy).await?;
        let inner =
            Inner { functions, admission, calls, pump, jobs, executor, limits, draining: AtomicBool::new(false) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs a call and waits for it (`RequestResponse`). The record is taken by the meter whether or not the caller
    /// still waits: dropping the future does not stop the call or its accounting.
    pub async fn invoke(&self, invocation: Invocation, want_log_tail: bool) -> Result<Outcome, InvokeError> {
        let (function, permit, uncommitted) =
            self.admit(&invocation).instrument(debug_span!("scheduler.admit")).await?;
        let (answer, answered) = oneshot::channel();
        let (early, answered_early) = oneshot::channel();
        let calls = self.inner.calls.clone();
        let span = debug_span!("scheduler.call");
        tokio::spawn(async move {
            let watch = Watch { log_tail: want_log_tail, early: Some(early), ..Watch::default() };
            let call = calls.run(function.function, Arc::new(invocation), 1, watch).instrument(span);
            let (result, ran) = call.await;
            drop(permit);
            // The client need not wait for the disk: record and REPORT line are lost together or not at all.
            let _gone = answer.send(result);
            let batch = calls.account(ran).await;
            calls.commit_soon(batch, uncommitted);
        });
        // The client need not wait for the instance to be torn down either.
        if let Ok(outcome) = answered_early.await {
            return Ok(outcome);
        }
        answered.await.unwrap_or_else(|_| Err(InvokeError::Internal("the call's task ended early".to_owned())))
    }

    /// Keeps an event for later (`Event`). On disk when it returns.
    pub async fn enqueue(&self, invocation: Invocation) -> Result<(), InvokeError> {
        self.check(&invocation, self.inner.limits.async_payload_bytes)?;
        let function = self.inner.functions.resolve(&invocation.function).await?;
        self.inner.pump.enqueue(function.id, invocation).await
    }

    /// How an asynchronous event ended; `None` while it has not, or when that is longer ago than outcomes are kept.
    pub async fn async_outcome(&self, request_id: RequestId) -> Result<Option<AsyncOutcome>, StoreError> {
        self.inner.pump.outcomes().get(request_id).await
    }

    /// The asynchronous events that ended last, newest first, at most `limit`.
    pub async fn async_outcomes(&self, limit: usize) -> Result<Vec<AsyncOutcome>, StoreError> {
        self.inner.pump.outcomes().recent(limit).await
    }

    /// At most `limit` letters to destinations and dead-letter queues, the oldest first, with their keys.
    pub async fn letters(&self, limit: usize) -> Result<Vec<(Vec<u8>, Letter)>, StoreError> {
        self.inner.pump.letters(limit).await
    }

    /// Adds to a batch that the letter with this key was taken over.
    #[must_use]
    pub fn letter_taken(&self, batch: Batch, key: Vec<u8>) -> Batch {
        letters::taken(batch, key)
    }

    /// Resolves when there may be letters again.
    pub async fn letters_posted(&self) {
        self.inner.pump.posted().await;
    }

    /// Runtimes that functions may have on this machine.
    pub fn runtimes(&self) -> Vec<Runtime> {
        self.inner.executor.runtimes()
    }

    /// The functions: create, read, update, delete.
    pub fn functions(&self) -> &Functions {
        &self.inner.functions
    }

    /// The jobs: begin, list, cancel.
    pub fn jobs(&self) -> &Jobs {
        &self.inner.jobs
    }

    /// Whether nothing runs, and nothing waits to.
    pub async fn is_idle(&self) -> Result<bool, StoreError> {
        let busy = self.inner.jobs.running() > 0 || self.inner.calls.any();
        Ok(!busy && self.inner.pump.is_empty().await?)
    }

    /// No new calls, events or jobs; waits for what runs, at most `deadline`. Events that wait stay in their queues.
    pub async fn drain(&self, deadline: Duration) {
        self.inner.draining.store(true, Ordering::SeqCst);
        self.inner.pump.stop();
        self.inner.jobs.drain();
        self.inner.calls.drain(deadline).await;
    }

    async fn admit(&self, invocation: &Invocation) -> Result<(Resolved, Permit, Uncommitted), InvokeError> {
        self.check(invocation, self.inner.limits.sync_payload_bytes)?;
        let function = self.inner.functions.resolve(&invocation.function).await?;
        let permit = self.inner.admission.admit(&function.function.arn, &function.places())?;
        self.inner.calls.admitted(&permit);
        let uncommitted = self.inner.calls.reserve().await?;
        Ok((function, permit, uncommitted))
    }

    fn check(&self, invocation: &Invocation, limit: usize) -> Result<(), InvokeError> {
        if self.inner.draining.load(Ordering::SeqCst) {
            return Err(InvokeError::ShuttingDown);
        }
        let actual = invocation.payload.len();
        if actual > limit { Err(InvokeError::PayloadTooLarge { actual, limit }) } else { Ok(()) }
    }
}
