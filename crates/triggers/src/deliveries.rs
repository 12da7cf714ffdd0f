//! The last way of an event: from its row to a function's queue of asynchronous events, to a message queue, or to the
//! subscriptions of a topic. What cannot
//! be delivered now is tried again; what never can, or could not for too long, goes to its dead-letter queue, if it has one.
//! Used by every service that sends on behalf of a resource.
//!
//! Who puts an event here adds it to the commit of what the event tells of. A crash delivers again, never not at all.
//!
//! | table | key | value |
//! |---|---|---|
//! | `deliveries` | time of the next attempt, number, id | [`Delivery`] |

use crate::{
    lineage,
    queues::{self, Attribute, NewMessage, Queues},
    topics::{self, TopicName},
};
use async_trait::async_trait;
use dayfly_scheduler as scheduler;
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{AccountId, Clock, FunctionArn, Invocation, InvokeError, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet};

const DELIVERIES: &str = "deliveries";
/// Deliveries at a time.
const PAGE: usize = 50;
/// First wait after a failed attempt; doubles each time.
const BACKOFF: Duration = Duration::from_secs(1);
/// Longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// What takes events for functions. A trait, so that schedules are tested without functions.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// Keeps an event for later. On disk when it returns. False when the function does not let the sender call it.
    async fn enqueue(&self, invocation: Invocation, sender: &Sender) -> Result<bool, InvokeError>;

    /// Whether the function may trigger itself without end.
    async fn loops(&self, _function: &FunctionArn) -> bool {
        false
    }
}

#[async_trait]
impl Calls for scheduler::Handle {
    async fn enqueue(&self, invocation: Invocation, sender: &Sender) -> Result<bool, InvokeError> {
        if !sender.by_role {
            let access = self.functions().access_of_call(&invocation.function).await?;
            if !access.policy.allows_service(&sender.service, &sender.arn, &sender.account) {
                return Ok(false);
            }
        }
        self.enqueue(invocation).await.map(|()| true)
    }

    async fn loops(&self, function: &FunctionArn) -> bool {
        self.functions().loops_of_call(function).await.unwrap_or(false)
    }
}

/// On whose behalf an event is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The service, as policies name it: `events.amazonaws.com`.
    pub service: String,
    /// ARN of its resource.
    pub arn: String,
    /// Whose that is.
    pub account: AccountId,
    /// It has a role to call with, so functions' policies are not asked.
    #[serde(default)]
    pub by_role: bool,
}

/// How long a delivery is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// Attempts after the first.
    pub retries_max: u32,
    /// From its beginning.
    pub age_s_max: u32,
}

impl Default for Patience {
    /// EventBridge's.
    fn default() -> Self {
        Self { retries_max: 185, age_s_max: 24 * 3600 }
    }
}

/// A text on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// Who sends it.
    pub sender: Sender,
    /// ARN of a function, a queue or a topic.
    pub target: String,
    /// What it gets.
    pub text: String,
    /// `MessageGroupId`, for a FIFO queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// For a topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Attributes of the message, for a queue or a topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// ARN of the queue for what cannot be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
    /// Trace header of what led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// How long it is tried.
    #[serde(default)]
    pub patience: Patience,
    since: Timestamp,
    attempts: u32,
}

impl Delivery {
    /// A text for a target.
    pub fn new(sender: Sender, target: String, text: String) -> Self {
        Self {
            sender,
            target,
            text,
            group: None,
            subject: None,
            attributes: BTreeMap::new(),
            dead_letters: None,
            trace: None,
            patience: Patience::default(),
            since: Timestamp::UNIX_EPOCH,
            attempts: 0,
        }
    }
}

/// What is on its way. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    queues: Queues,
    calls: Arc<dyn Calls>,
    /// There is something to deliver.
    posted: Notify,
    sequence: AtomicU64,
}

enum Failure {
    /// Another attempt may succeed.
    Now(String),
    /// None will.
    Ever(String),
}

impl Deliveries {
    /// Goes on with what is on its way in `store`.
    pub fn start(store: Store, clock: Arc<dyn Clock>, queues: Queues, calls: Arc<dyn Calls>) -> Self {
        let inner = Arc::new(Inner { store, clock, queues, calls, posted: Notify::new(), sequence: AtomicU64::new(0) });
        tokio::spawn(run(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Adds a delivery that begins now. Whoever commits the batch says so with `posted`.
    #[must_use]
    pub fn post(&self, batch: Batch, delivery: Delivery) -> Batch {
        let now = self.inner.clock.now();
        self.inner.put(batch, &Delivery { since: now, attempts: 0, ..delivery }, now)
    }

    /// What was posted is on disk.
    pub fn posted(&self) {
        self.inner.posted.notify_one();
    }
}

impl Inner {
    fn put(&self, batch: Batch, delivery: &Delivery, due: Timestamp) -> Batch {
        let mut key = due.as_microsecond().max(0).to_be_bytes().to_vec();
        // The time tells rows of before a restart from those after it.
        key.extend(self.sequence.fetch_add(1, Ordering::Relaxed).to_be_bytes());
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
    async fn deliver(self: &Arc<Self>) -> Result<Option<Timestamp>, StoreError> {
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
            let mut attempts = JoinSet::new();
            for row in rows.into_iter().take_while(|row| time(&row.key) <= now) {
                batch = batch.delete(DELIVERIES, row.key);
                let Ok(delivery) = serde_json::from_slice::<Delivery>(&row.value) else { continue };
                let this = Arc::clone(self);
                attempts.spawn(async move {
                    let result = this.hand_over(&delivery).await;
                    (delivery, result)
                });
            }
            for (mut delivery, result) in attempts.join_all().await {
                let failure = match result {
                    Ok(further) => {
                        for delivery in further {
                            batch = self.put(batch, &Delivery { since: now, ..delivery }, now);
                        }
                        continue;
                    }
                    Err(failure) => failure,
                };
                delivery.attempts += 1;
                let wait = BACKOFF.saturating_mul(1 << delivery.attempts.min(10)).min(BACKOFF_MAX);
                let Patience { retries_max, age_s_max } = delivery.patience;
                let end = delivery.since + Duration::from_secs(age_s_max.into());
                match failure {
                    Failure::Now(reason) if delivery.attempts <= retries_max && now + wait < end => {
                        tracing::debug!(reason, target = delivery.target, "an event is delivered later");
                        batch = self.put(batch, &delivery, now + wait);
                    }
                    Failure::Now(reason) | Failure::Ever(reason) => {
                        tracing::warn!(reason, target = delivery.target, "an event was not delivered");
                        self.bury(delivery).await;
                    }
                }
            }
            self.store.tables.commit(batch).await?;
        }
    }

    /// Hands over, and gives what is to be delivered instead.
    async fn hand_over(&self, delivery: &Delivery) -> Result<Vec<Delivery>, Failure> {
        if let Ok(topic) = delivery.target.parse::<TopicName>() {
            return self.publish(&topic, delivery).await;
        }
        let Ok(function) = delivery.target.parse::<FunctionArn>() else {
            return self.send(&delivery.target, delivery).await.map(|()| Vec::new());
        };
        let received_at = self.clock.now();
        let trace = match lineage::call(delivery.trace.as_deref(), &function, received_at, false) {
            None if self.calls.loops(&function).await => {
                lineage::call(delivery.trace.as_deref(), &function, received_at, true)
            }
            trace => trace,
        };
        let Some(trace) = trace else {
            return Err(Failure::Ever("the function triggers itself without end".to_owned()));
        };
        let invocation = Invocation {
            request_id: RequestId::random(),
            function,
            payload: delivery.text.clone().into(),
            client_context: None,
            tenant_id: None,
            trace_header: Some(trace),
            received_at,
        };
        match self.calls.enqueue(invocation, &delivery.sender).await {
            Ok(true) => Ok(Vec::new()),
            Ok(false) => Err(Failure::Ever("the function does not permit it".to_owned())),
            Err(
                error @ (InvokeError::FunctionNotFound(_)
                | InvokeError::PayloadTooLarge { .. }
                | InvokeError::PayloadNotJson(_)),
            ) => Err(Failure::Ever(error.to_string())),
            Err(error) => Err(Failure::Now(error.to_string())),
        }
    }

    async fn publish(&self, topic: &TopicName, delivery: &Delivery) -> Result<Vec<Delivery>, Failure> {
        let message = topics::Message {
            id: RequestId::random().0,
            subject: delivery.subject.clone(),
            text: delivery.text.clone(),
            trace: delivery.trace.clone(),
            attributes: delivery.attributes.clone(),
            ..topics::Message::default()
        };
        match topics::publish(&self.store, topic, &message, self.clock.now()).await {
            Ok(Some(deliveries)) => Ok(deliveries),
            Ok(None) => Err(Failure::Ever("there is no such topic".to_owned())),
            Err(error) => Err(Failure::Now(error.to_string())),
        }
    }

    async fn send(&self, arn: &str, delivery: &Delivery) -> Result<(), Failure> {
        let name = arn.parse().map_err(|()| Failure::Ever(format!("{arn} is no target")))?;
        let sent = async {
            let queue = self.queues.get(&name)?;
            let message = NewMessage {
                body: delivery.text.clone(),
                attributes: delivery.attributes.clone(),
                sender: delivery.sender.service.clone(),
                group: delivery.group.clone().filter(|_| arn.ends_with(".fifo")),
                trace_header: delivery.trace.clone(),
                ..NewMessage::default()
            };
            self.queues.send(&queue, vec![message]).await
        };
        sent.await.map(drop).map_err(|error| match error {
            queues::Error::Store(error) => Failure::Now(error.to_string()),
            other => Failure::Ever(other.to_string()),
        })
    }

    /// Hands what cannot be delivered to its dead-letter queue.
    async fn bury(&self, delivery: Delivery) {
        let Some(dead) = &delivery.dead_letters else { return };
        if let Err(Failure::Now(reason) | Failure::Ever(reason)) = self.send(dead, &delivery).await {
            tracing::warn!(reason, queue = dead, "an event is lost");
        }
    }
}

/// Delivers, for as long as somebody posts.
async fn run(deliveries: Weak<Inner>) {
    loop {
        let Some(inner) = deliveries.upgrade() else { return };
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
