//! One attempt of one leased event, from the lease to the commit that ends it.

use super::{Pump, event::Event, letters::Addresses, outcomes::Conclusion, window::Place};
use crate::{
    call::{Ran, Uncommitted, Watch},
    functions::Resolved,
};
use bytes::Bytes;
use dayfly_store::{Batch, Error as StoreError, Lease};
use dayfly_types::{FunctionError, InvokeError, Outcome, ThrottleReason, Timestamp};
use std::{sync::Arc, time::Duration};
use tracing::{Instrument, debug_span};

/// How often the end of an attempt is tried while the store fails; after that the lease runs out and the event is
/// tried again, unbilled.
const TRIES: u32 = 8;

/// What becomes of the event.
enum Verdict {
    Conclude(End),
    TryAgain { at: Timestamp },
}

/// How an event ends.
pub(super) struct End {
    pub conclusion: Conclusion,
    /// Of the last attempt.
    pub answer: Option<Answer>,
}

/// What a call answered.
pub(super) struct Answer {
    /// The version that ran.
    pub version: String,
    pub result: Result<Bytes, FunctionError>,
}

impl From<Conclusion> for End {
    fn from(conclusion: Conclusion) -> Self {
        Self { conclusion, answer: None }
    }
}

/// What the function asks for its events.
struct Rules {
    retries_max: u32,
    event_age_max: Duration,
    addresses: Addresses,
}

impl Pump {
    pub(super) async fn attempt(self, lease: Lease, _place: Place) {
        let mut event = match Event::decode(&lease.body) {
            Ok(event) => event,
            Err(error) => return self.set_aside(&lease, &error).await,
        };
        let resolved = match self.inner.functions.resolve(&event.invocation.function).await {
            Ok(resolved) if resolved.id == event.function_id => Ok(resolved),
            Ok(_) | Err(InvokeError::FunctionNotFound(_)) => Err(Ended::For(Conclusion::FunctionDeleted)),
            Err(error) => Err(Ended::Early(error)),
        };
        let rules = self.rules(resolved.as_ref().ok());
        let (result, ran) = self.run(&event, &rules, resolved).await;
        let verdict = self.judge(&mut event, &rules, result);
        let (batch, _uncommitted) = match ran {
            Some((ran, uncommitted)) => (self.inner.calls.account(ran).await, Some(uncommitted)),
            None => (Batch::new(), None),
        };
        self.finish(&lease, &event, (&verdict, &rules.addresses), batch).await;
    }

    /// Runs the event, if it may run now. The record must be committed while `Uncommitted` is held.
    async fn run(
        &self,
        event: &Event,
        rules: &Rules,
        resolved: Result<Resolved, Ended>,
    ) -> (Result<Outcome, Ended>, Option<(Ran, Uncommitted)>) {
        let admitted = async {
            if self.inner.clock.now() >= rules.expires_at(event) {
                return Err(Ended::For(Conclusion::Expired));
            }
            let resolved = resolved?;
            if resolved.reserved == Some(0) {
                return Err(Ended::For(Conclusion::NoConcurrency));
            }
            let admitted = self.inner.admission.admit(&resolved.function.arn, &resolved.places());
            let permit = admitted.map_err(Ended::Early)?;
            self.inner.calls.admitted(&permit);
            let uncommitted = self.inner.calls.reserve().await.map_err(Ended::Early)?;
            Ok((resolved, permit, uncommitted))
        };
        let (resolved, _permit, uncommitted) = match admitted.instrument(debug_span!("scheduler.admit")).await {
            Ok(admitted) => admitted,
            Err(ended) => return (Err(ended), None),
        };
        let invocation = Arc::new(event.invocation.clone());
        let call = self.inner.calls.run(resolved.function, invocation, event.attempts + 1, Watch::default());
        let (result, ran) = call.instrument(debug_span!("scheduler.call")).await;
        (result.map_err(Ended::Early), Some((ran, uncommitted)))
    }

    /// Counts the attempt and says what comes next.
    fn judge(&self, event: &mut Event, rules: &Rules, result: Result<Outcome, Ended>) -> Verdict {
        let policy = &self.inner.policy;
        let error = match result {
            Ok(outcome) => {
                self.inner.window.went_well();
                event.attempts += 1;
                event.backoffs = 0;
                let conclusion = match &outcome.result {
                    Ok(_) => Conclusion::Succeeded,
                    Err(error) if event.attempts > rules.retries_max => {
                        Conclusion::Failed { error_type: error.error_type.clone() }
                    }
                    Err(_) => return self.try_again(event, rules, policy.retry_after * event.attempts),
                };
                let answer = Answer { version: outcome.executed_version, result: outcome.result };
                return Verdict::Conclude(End { conclusion, answer: Some(answer) });
            }
            Err(Ended::For(conclusion)) => return Verdict::Conclude(conclusion.into()),
            Err(Ended::Early(error)) => error,
        };
        match error {
            // These do not pass with time. The front-end refuses them before they are accepted.
            InvokeError::PayloadNotJson(_) | InvokeError::PayloadTooLarge { .. } => {
                let error_type = "InvalidRequestContent".to_owned();
                return Verdict::Conclude(Conclusion::Failed { error_type }.into());
            }
            InvokeError::FunctionNotFound(_) => return Verdict::Conclude(Conclusion::FunctionDeleted.into()),
            // A function that is at its own limit says nothing about what the machine can hold.
            InvokeError::Throttled {
                reason: ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
                ..
            } => {}
            InvokeError::Throttled { .. } => self.inner.window.throttled(),
            InvokeError::NotReady(_) | InvokeError::Cancelled | InvokeError::ShuttingDown => {}
            InvokeError::Internal(reason) => {
                tracing::warn!(request_id = %event.invocation.request_id, reason, "an asynchronous attempt failed");
            }
        }
        let wait = policy.backoff_min.saturating_mul(2_u32.saturating_pow(event.backoffs)).min(policy.backoff_max);
        event.backoffs = event.backoffs.saturating_add(1);
        self.try_again(event, rules, wait)
    }

    /// Not later than the event's end, which is then found out of age on time.
    fn try_again(&self, event: &Event, rules: &Rules, wait: Duration) -> Verdict {
        Verdict::TryAgain { at: (self.inner.clock.now() + wait).min(rules.expires_at(event)) }
    }

    /// What the function asks for, and the defaults for what it does not.
    fn rules(&self, resolved: Option<&Resolved>) -> Rules {
        let policy = &self.inner.policy;
        let asked = resolved.and_then(|resolved| resolved.event_invoke.as_deref());
        let age = asked.and_then(|asked| asked.event_age_s_max).map(|age| Duration::from_secs(age.into()));
        Rules {
            retries_max: asked.and_then(|asked| asked.retries_max).unwrap_or(policy.retries_max),
            event_age_max: age.unwrap_or(policy.event_age_max),
            addresses: resolved.map(Addresses::of).unwrap_or_default(),
        }
    }

    /// The one commit that ends the attempt: `batch`, and the event's outcome or its new place in the queue.
    async fn finish(&self, lease: &Lease, event: &Event, (verdict, addresses): (&Verdict, &Addresses), batch: Batch) {
        let queues = &self.inner.store.queues;
        let mut wait = Duration::from_millis(100);
        for _ in 0..TRIES {
            let result = match verdict {
                Verdict::Conclude(end) => {
                    let (batch, told) = self.conclude(event, end, addresses, batch.clone());
                    let result = queues.acknowledge(lease, batch).await;
                    if told && result.is_ok() {
                        self.inner.posted.notify_one();
                    }
                    result
                }
                Verdict::TryAgain { at } => queues.put_back(lease, event.encode(), *at, batch.clone()).await,
            };
            match result {
                Ok(()) => {
                    if matches!(verdict, Verdict::TryAgain { .. }) {
                        self.ring(&lease.queue);
                    }
                    return;
                }
                // Somebody else has the event now, but this attempt ran and is billed.
                Err(StoreError::LeaseGone) => return self.inner.calls.commit(batch).await,
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(queue = lease.queue, %error, "an attempt is not on disk yet"),
            }
            self.inner.clock.sleep_until(self.inner.clock.now() + wait).await;
            wait *= 2;
        }
        tracing::error!(request_id = %event.invocation.request_id, "an attempt was lost; the event is tried again");
    }

    /// A message that this server cannot read stays in the queue, for one that can, and is complained about.
    async fn set_aside(&self, lease: &Lease, error: &str) {
        tracing::error!(queue = lease.queue, message = lease.id, error, "an asynchronous event cannot be read");
        let at = self.inner.clock.now() + self.inner.policy.backoff_max;
        if let Err(error) = self.inner.store.queues.put_back(lease, lease.body.clone(), at, Batch::new()).await {
            tracing::warn!(queue = lease.queue, %error, "an unreadable event stays leased");
        }
        self.ring(&lease.queue);
    }
}

impl Rules {
    fn expires_at(&self, event: &Event) -> Timestamp {
        event.invocation.received_at + self.event_age_max
    }
}

/// Why there is no outcome of a call.
enum Ended {
    /// The event ends here.
    For(Conclusion),
    /// The call did not run, or the system failed.
    Early(InvokeError),
}
