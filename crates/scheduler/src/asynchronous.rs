//! The pump of asynchronous events: feeds what waits in the queues to the same path that synchronous calls take, and
//! sees each event through to one recorded outcome. `docs/async.md` tells the rules.
//!
//! A queue for each function. A queue that holds messages has one task, its *feeder*, which leases events as they
//! become due and as the window allows; each leased event is one attempt in a task of its own. An attempt ends with
//! one commit that holds its usage record, its log lines, and either the event's outcome or its place back in the
//! queue. So a server that dies at any moment leaves the event either as it was or one whole attempt further.

mod attempt;
#[cfg(test)]
mod crash_tests;
mod event;
pub(crate) mod letters;
pub(crate) mod outcomes;
#[cfg(test)]
mod tests;
mod window;

use crate::{admission::Admission, call::Calls, functions::Functions};
use attempt::End;
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{Clock, FunctionArn, Invocation, InvokeError, Limits, ThrottleReason, Timestamp};
use event::Event;
use letters::{Addresses, Letter};
use outcomes::{AsyncOutcome, Outcomes};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;
use window::Window;

/// When an event is tried again, and when it is given up. The defaults are Lambda's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsyncPolicy {
    /// `MaximumRetryAttempts`: attempts after the first that failed, 0 to 2.
    pub retries_max: u32,
    /// `MaximumEventAgeInSeconds`: how long after it was received an event may still be tried, 1 minute to 6 hours.
    pub event_age_max: Duration,
    /// Wait after the first failed attempt; the second failed one waits twice as long.
    pub retry_after: Duration,
    /// First wait after a throttle or a system error; doubles with each in a row.
    pub backoff_min: Duration,
    /// Longest such wait.
    pub backoff_max: Duration,
}

impl Default for AsyncPolicy {
    fn default() -> Self {
        Self {
            retries_max: 2,
            event_age_max: Duration::from_secs(6 * 60 * 60),
            retry_after: Duration::from_secs(60),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5 * 60),
        }
    }
}

const QUEUE_PREFIX: &str = "async/";
/// Events that a feeder leases at a time.
const LEASE_EVENTS: usize = 32;
/// What a lease lasts beyond the function's timeout: init, waiting for memory, the commit.
const LEASE_MARGIN: Duration = Duration::from_secs(180);
/// Wait of a feeder that the store let down.
const PAUSE: Duration = Duration::from_secs(1);

/// The pump. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pump {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    functions: Functions,
    admission: Admission,
    calls: Calls,
    clock: Arc<dyn Clock>,
    policy: AsyncPolicy,
    queue_events: u64,
    outcomes: Outcomes,
    window: Window,
    /// Letters were written.
    posted: Notify,
    feeders: Mutex<HashMap<String, Arc<Feeder>>>,
    stopped: watch::Sender<bool>,
}

/// How the others reach a feeder.
#[derive(Default)]
struct Feeder {
    /// Rung when the queue got a message or one got a new time.
    bell: Notify,
    /// How often; changed under the lock of `Inner::feeders`.
    rings: AtomicU64,
}

impl Pump {
    pub(crate) async fn start(
        store: Store,
        functions: Functions,
        admission: Admission,
        calls: Calls,
        clock: Arc<dyn Clock>,
        limits: &Limits,
        policy: AsyncPolicy,
    ) -> Result<Self, StoreError> {
        let outcomes = Outcomes::new(store.clone());
        let names = store.queues.names().await?;
        let inner = Inner {
            store,
            functions,
            admission,
            calls,
            clock,
            policy,
            queue_events: limits.async_queue_events,
            outcomes,
            window: Window::new(limits.concurrency),
            posted: Notify::new(),
            feeders: Mutex::default(),
            stopped: watch::Sender::new(false),
        };
        let pump = Self { inner: Arc::new(inner) };
        for queue in names.iter().filter(|name| name.starts_with(QUEUE_PREFIX)) {
            pump.ring(queue);
        }
        tokio::spawn(pump.clone().forget_old_outcomes());
        Ok(pump)
    }

    /// Whether no event waits, be it for its next attempt.
    pub(crate) async fn is_empty(&self) -> Result<bool, StoreError> {
        let names = self.inner.store.queues.names().await?;
        Ok(!names.iter().any(|name| name.starts_with(QUEUE_PREFIX)))
    }

    /// Keeps an event of the function with this id. On disk when it returns.
    pub(crate) async fn enqueue(&self, function_id: Uuid, invocation: Invocation) -> Result<(), InvokeError> {
        let inner = &self.inner;
        let queue = queue_name(&invocation.function);
        let body = Event::new(function_id, invocation).encode();
        inner.store.queues.enqueue(&queue, body, inner.clock.now(), inner.queue_events).await.map_err(|error| {
            match error {
                StoreError::QueueFull => InvokeError::Throttled {
                    reason: ThrottleReason::FunctionInvocationRateLimitExceeded,
                    retry_after: Duration::from_secs(1),
                },
                error => InvokeError::Internal(error.to_string()),
            }
        })?;
        self.ring(&queue);
        Ok(())
    }

    /// At most `limit` letters that wait for `dayfly_triggers`.
    pub(crate) async fn letters(&self, limit: usize) -> Result<Vec<(Vec<u8>, Letter)>, StoreError> {
        letters::waiting(&self.inner.store, limit).await
    }

    /// Letters were written since the last time.
    pub(crate) async fn posted(&self) {
        self.inner.posted.notified().await;
    }

    pub(crate) fn outcomes(&self) -> &Outcomes {
        &self.inner.outcomes
    }

    /// Leases no more events. Attempts under way go on.
    pub(crate) fn stop(&self) {
        self.inner.stopped.send_replace(true);
    }

    /// Tells the queue's feeder that there is something new; starts one where there is none.
    fn ring(&self, queue: &str) {
        let mut feeders = self.feeders();
        if let Some(feeder) = feeders.get(queue) {
            feeder.rings.fetch_add(1, Ordering::SeqCst);
            feeder.bell.notify_one();
            return;
        }
        let feeder = Arc::new(Feeder::default());
        feeders.insert(queue.to_owned(), Arc::clone(&feeder));
        tokio::spawn(self.clone().feed(queue.to_owned(), feeder));
    }

    /// The life of a feeder: until its queue is empty, or the pump is stopped.
    async fn feed(self, queue: String, feeder: Arc<Feeder>) {
        let mut stopped = self.inner.stopped.subscribe();
        let work = async {
            loop {
                let rings = feeder.rings.load(Ordering::SeqCst);
                match self.inner.store.queues.next_visible(&queue).await {
                    Ok(None) if self.leave(&queue, &feeder, rings) => return,
                    Ok(None) => {}
                    Ok(Some(due)) if due > self.inner.clock.now() => self.wait(&feeder, due).await,
                    Ok(Some(_)) => {
                        if !self.lease(&queue).await {
                            self.wait(&feeder, self.inner.clock.now() + PAUSE).await;
                        }
                    }
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(queue, %error, "asynchronous events wait for the store");
                        self.inner.clock.sleep_until(self.inner.clock.now() + PAUSE).await;
                    }
                }
            }
        };
        // Once it is stopped, not one step more: what it leased would wait for the lease's end.
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = work => {}
        }
    }

    /// Forgets the feeder unless its bell rang since `rings` was read.
    fn leave(&self, queue: &str, feeder: &Feeder, rings: u64) -> bool {
        let mut feeders = self.feeders();
        let quiet = feeder.rings.load(Ordering::SeqCst) == rings;
        if quiet {
            feeders.remove(queue);
        }
        quiet
    }

    async fn wait(&self, feeder: &Feeder, until: Timestamp) {
        tokio::select! {
            () = self.inner.clock.sleep_until(until) => {}
            () = feeder.bell.notified() => {}
        }
    }

    /// Leases as many due events as the window allows, one at least, and starts their attempts. False when there was
    /// none to be had.
    async fn lease(&self, queue: &str) -> bool {
        let mut places = vec![self.inner.window.enter().await];
        while places.len() < LEASE_EVENTS
            && let Some(place) = self.inner.window.try_enter()
        {
            places.push(place);
        }
        let now = self.inner.clock.now();
        let until = now + self.lease_time(queue).await;
        let leases = match self.inner.store.queues.lease(queue, now, until, places.len()).await {
            Ok(leases) => leases,
            Err(error) => {
                tracing::warn!(queue, %error, "asynchronous events wait for the store");
                return false;
            }
        };
        let some = !leases.is_empty();
        for (lease, place) in leases.into_iter().zip(places) {
            tokio::spawn(self.clone().attempt(lease, place));
        }
        some
    }

    async fn lease_time(&self, queue: &str) -> Duration {
        let timeout = match arn_of(queue) {
            Some(arn) => self.inner.functions.resolve(&arn).await.map_or(0, |resolved| resolved.timeout_s_max),
            None => 0,
        };
        Duration::from_secs(timeout.into()) + LEASE_MARGIN
    }

    /// What is done with an event when it has ended, whichever way: its outcome, and letters to its destinations, in
    /// the commit that removes it. True when there are letters.
    fn conclude(&self, event: &Event, end: &End, addresses: &Addresses, batch: Batch) -> (Batch, bool) {
        let outcome = AsyncOutcome {
            request_id: event.invocation.request_id,
            function: event.invocation.function.clone(),
            received_at: event.invocation.received_at,
            concluded_at: self.inner.clock.now(),
            attempts: event.attempts,
            conclusion: end.conclusion.clone(),
        };
        let letters = addresses.letters(&event.invocation, &outcome, end.answer.as_ref());
        let batch = self.inner.outcomes.record(batch, &outcome);
        (letters::write(batch, &outcome, &letters), !letters.is_empty())
    }

    async fn forget_old_outcomes(self) {
        let mut stopped = self.inner.stopped.subscribe();
        loop {
            let now = self.inner.clock.now();
            if let Err(error) = self.inner.outcomes.forget_before(now - outcomes::KEPT).await {
                tracing::warn!(%error, "old outcomes of asynchronous events are still kept");
            }
            tokio::select! {
                () = self.inner.clock.sleep_until(now + outcomes::SWEEP_EVERY) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    fn feeders(&self) -> MutexGuard<'_, HashMap<String, Arc<Feeder>>> {
        self.inner.feeders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `async/ACCOUNT/REGION/NAME`.
fn queue_name(arn: &FunctionArn) -> String {
    format!("{QUEUE_PREFIX}{}/{}/{}", arn.account, arn.region, arn.name)
}

fn arn_of(queue: &str) -> Option<FunctionArn> {
    let mut parts = queue.strip_prefix(QUEUE_PREFIX)?.split('/');
    let (account, region, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(FunctionArn {
        account: account.parse().ok()?,
        region: region.parse().ok()?,
        name: name.parse().ok()?,
        qualifier: None,
    })
}
