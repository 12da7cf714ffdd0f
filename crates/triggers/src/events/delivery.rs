//! The last way of an event: from its row to a function's queue of asynchronous events, or to a message queue. What cannot
//! be delivered now is tried again for a day; what never can goes to the target's dead-letter queue, if it has one.

use super::{Inner, Rule, StoreError, Target, input};
use crate::queues::{self, NewMessage};
use async_trait::async_trait;
use dayfly_scheduler as scheduler;
use dayfly_store::Batch;
use dayfly_types::{FunctionArn, Invocation, InvokeError, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Weak, time::Duration};

/// EventBridge, in policies.
const SERVICE: &str = "events.amazonaws.com";
const DELIVERIES: &str = "event_deliveries";
/// Deliveries at a time.
const PAGE: usize = 50;
/// How long a delivery is tried; EventBridge's default.
const TRIED_FOR: Duration = Duration::from_secs(24 * 3600);
/// First wait after a failed attempt; doubles each time.
const BACKOFF: Duration = Duration::from_secs(1);
/// Longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// What takes events for functions. A trait, so that schedules are tested without functions.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// Keeps an event for later, on behalf of a rule with this ARN. On disk when it returns. False when the function does not
    /// let EventBridge call it.
    async fn enqueue(&self, invocation: Invocation, rule: &str) -> Result<bool, InvokeError>;
}

#[async_trait]
impl Calls for scheduler::Handle {
    async fn enqueue(&self, invocation: Invocation, rule: &str) -> Result<bool, InvokeError> {
        let access = self.functions().access_of_call(&invocation.function).await?;
        if !access.policy.allows_service(SERVICE, rule, &invocation.function.account) {
            return Ok(false);
        }
        self.enqueue(invocation).await.map(|()| true)
    }
}

/// A text on its way.
#[derive(Debug, Serialize, Deserialize)]
struct Delivery {
    /// ARN of the rule.
    rule: String,
    target: Target,
    text: String,
    since: Timestamp,
    attempts: u32,
}

enum Failure {
    /// Another attempt may succeed.
    Now(String),
    /// None will.
    Ever(String),
}

impl Inner {
    /// Adds to `batch` what `event` means for the targets of `rule`.
    pub(super) fn post(&self, mut batch: Batch, rule: &Rule, event: &Value) -> Batch {
        let now = self.clock.now();
        for target in &rule.targets {
            let text = input::text(target, event, &rule.name, &rule.arn());
            batch = self.put(
                batch,
                &Delivery { rule: rule.arn(), target: target.clone(), text, since: now, attempts: 0 },
                now,
            );
        }
        batch
    }

    fn put(&self, batch: Batch, delivery: &Delivery, due: Timestamp) -> Batch {
        let mut key = due.as_microsecond().max(0).to_be_bytes().to_vec();
        // The time tells rows of before a restart from those after it.
        key.extend(self.next_sequence().to_be_bytes());
        key.extend(RequestId::random().0.as_bytes());
        match serde_json::to_vec(delivery) {
            Ok(value) => batch.put(DELIVERIES, key, value),
            Err(error) => {
                tracing::error!(%error, "a delivery cannot be written");
                batch
            }
        }
    }

    /// Delivers what is due; the time of the next attempt.
    async fn deliver(&self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let rows = self.store.tables.scan(DELIVERIES, &[], &[0xff; 9], PAGE, false).await?;
            let now = self.clock.now();
            let time = |key: &[u8]| {
                let us = key.get(..8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
                us.and_then(|us| Timestamp::from_microsecond(us).ok()).unwrap_or(now)
            };
            let Some(first) = rows.first().map(|row| time(&row.key)) else { return Ok(None) };
            if first > now {
                return Ok(Some(first));
            }
            let mut batch = Batch::new();
            for row in rows.into_iter().take_while(|row| time(&row.key) <= now) {
                batch = batch.delete(DELIVERIES, row.key);
                let Ok(mut delivery) = serde_json::from_slice::<Delivery>(&row.value) else { continue };
                let Err(failure) = self.hand_over(&delivery).await else { continue };
                delivery.attempts += 1;
                let wait = BACKOFF.saturating_mul(1 << delivery.attempts.min(10)).min(BACKOFF_MAX);
                match failure {
                    Failure::Now(reason) if now + wait < delivery.since + TRIED_FOR => {
                        tracing::debug!(reason, target = delivery.target.arn, "an event is delivered later");
                        batch = self.put(batch, &delivery, now + wait);
                    }
                    Failure::Now(reason) | Failure::Ever(reason) => {
                        tracing::warn!(reason, target = delivery.target.arn, "an event was not delivered");
                        self.bury(delivery).await;
                    }
                }
            }
            self.store.tables.commit(batch).await?;
        }
    }

    async fn hand_over(&self, delivery: &Delivery) -> Result<(), Failure> {
        let Delivery { target, text, .. } = delivery;
        if let Ok(function) = target.arn.parse::<FunctionArn>() {
            let invocation = Invocation {
                request_id: RequestId::random(),
                function,
                payload: text.clone().into(),
                client_context: None,
                tenant_id: None,
                trace_header: None,
                received_at: self.clock.now(),
            };
            return match self.calls.enqueue(invocation, &delivery.rule).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failure::Ever("the function does not permit it".to_owned())),
                Err(
                    error @ (InvokeError::FunctionNotFound(_)
                    | InvokeError::PayloadTooLarge { .. }
                    | InvokeError::PayloadNotJson(_)),
                ) => Err(Failure::Ever(error.to_string())),
                Err(error) => Err(Failure::Now(error.to_string())),
            };
        }
        let group = target.sqs_parameters.as_ref().map(|parameters| parameters.message_group_id.clone());
        self.send(&target.arn, text.clone(), group).await
    }

    async fn send(&self, arn: &str, body: String, group: Option<String>) -> Result<(), Failure> {
        let name = arn.parse().map_err(|()| Failure::Ever(format!("{arn} is no target")))?;
        let sent = async {
            let queue = self.queues.get(&name)?;
            let message = NewMessage { body, sender: SERVICE.to_owned(), group, ..NewMessage::default() };
            self.queues.send(&queue, vec![message]).await
        };
        sent.await.map(drop).map_err(|error| match error {
            queues::Error::Store(error) => Failure::Now(error.to_string()),
            other => Failure::Ever(other.to_string()),
        })
    }

    /// Hands what cannot be delivered to the target's dead-letter queue.
    async fn bury(&self, delivery: Delivery) {
        let Some(dead) = delivery.target.dead_letter_config else { return };
        if let Err(Failure::Now(reason) | Failure::Ever(reason)) = self.send(&dead.arn, delivery.text, None).await {
            tracing::warn!(reason, queue = dead.arn, "an event is lost");
        }
    }
}

/// Delivers, for as long as the events are there.
pub(super) async fn run(events: Weak<Inner>) {
    loop {
        let Some(inner) = events.upgrade() else { return };
        let next = match inner.deliver().await {
            Ok(next) => next,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "deliveries wait for the store");
                Some(inner.clock.now() + BACKOFF)
            }
        };
        match next {
            None => inner.posted.notified().await,
            Some(next) => tokio::select! {
                () = inner.clock.sleep_until(next) => {}
                () = inner.posted.notified() => {}
            },
        }
    }
}
