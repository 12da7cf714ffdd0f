//! The poller of one mapping: sleeps until its queue has something visible, takes as many batches as calls may run, and
//! deletes what was handled. What was not, the queue gives again when it is visible again, or moves to its dead letters.

use super::{Error, Mapping, event};
use crate::{
    lineage,
    patterns::Pattern,
    queues::{self, NewMessage, Queue, Queues, Receive, Received},
};
use dayfly_scheduler as scheduler;
use dayfly_scheduler::functions;
use dayfly_types::{Clock, Invocation, InvokeError, RequestId, Timestamp};

use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
};

/// Calls at a time for each processor, when the mapping does not say.
const CALLS_PER_PROCESSOR: usize = 8;
/// Messages that are taken at a time, whatever calls may run.
const TAKE_MAX: usize = 200;
/// Room for what is around the records of an event.
const EVENT_BYTES: usize = 16;
/// Largest event: a synchronous payload.
const EVENT_BYTES_MAX: usize = 6 << 20;
/// Wait when there is no queue or no function.
const ABSENT: Duration = Duration::from_secs(2);
/// Wait of a poller that the store let down, or that found less than was announced.
const PAUSE: Duration = Duration::from_millis(50);
/// First wait after a call was refused; doubles each time.
const BACKOFF: Duration = Duration::from_millis(200);
/// Longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What pollers work with.
#[derive(Clone)]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub queues: Queues,
    pub scheduler: scheduler::Handle,
}

/// A poller that runs. Takes no more messages once this goes.
pub struct Poller {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Poller {
    /// The poller of an enabled mapping.
    pub fn of(parts: &Parts, mapping: &Mapping) -> Result<Option<Self>, Error> {
        if !mapping.enabled {
            return Ok(None);
        }
        let filters = mapping.filters.iter().map(|filter| Pattern::parse(filter)).collect::<Result<_, _>>()?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let calls = mapping.concurrency.map_or(processors * CALLS_PER_PROCESSOR, |calls| calls as usize);
        let calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        let (stop, stopped) = watch::channel(false);
        let work = Work {
            parts: parts.clone(),
            mapping: mapping.clone(),
            filters,
            calls,
            permits: Arc::new(Semaphore::new(calls)),
            stopped,
        };
        let task = tokio::spawn(async move { Arc::new(work).run().await });
        Ok(Some(Self { stop, task }))
    }

    /// Takes no more messages and waits for the calls under way.
    pub async fn end(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ended = task.await;
    }
}

struct Work {
    parts: Parts,
    mapping: Mapping,
    filters: Vec<Pattern>,
    calls: usize,
    permits: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

/// Messages for one call.
struct Group {
    queue: Arc<Queue>,
    messages: Vec<Received>,
    payload: Vec<u8>,
    /// Trace header of the message on whose way the function was called most.
    trace: Option<String>,
    received_at: Timestamp,
}

impl Work {
    async fn run(self: Arc<Self>) {
        let mut stopped = self.stopped.clone();
        loop {
            // Only waits are cut short: a message that is being taken is always handed on.
            let ready = tokio::select! {
                ready = self.ready() => ready,
                // The sender going away is the word.
                _ = stopped.changed() => break,
            };
            let Some((queue, permits)) = ready else { continue };
            let taken = self.take(&queue, permits.len(), &mut stopped).await;
            let started = self.start(&queue, taken, permits).await;
            if !started {
                self.pause(PAUSE).await;
            }
        }
        // The calls under way hold the permits.
        let all = u32::try_from(self.calls).unwrap_or(u32::MAX);
        let _ended = self.permits.acquire_many(all).await;
    }

    /// Waits for room for a call, a function and a visible message. `None` when something of it is not there.
    async fn ready(&self) -> Option<(Arc<Queue>, Vec<OwnedSemaphorePermit>)> {
        let first = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let arrived = match self.parts.queues.get(&self.mapping.source) {
            Ok(queue) => self.parts.queues.arrival(&queue).await.map(|()| queue),
            Err(error) => Err(error),
        };
        let queue = match arrived {
            Ok(queue) if self.function_is_there().await => queue,
            other => {
                let reason = other.err().map_or_else(|| "no function".to_owned(), |error| error.to_string());
                tracing::debug!(reason, mapping = %self.mapping.id, "a poller cannot poll");
                self.pause(ABSENT).await;
                return None;
            }
        };
        let mut permits = vec![first];
        let batch = self.batch_size();
        // Messages of one group of a FIFO queue must not be in two calls at a time.
        let fifo = self.mapping.source.name.ends_with(".fifo");
        while !fifo
            && permits.len() * batch < TAKE_MAX
            && let Ok(more) = Arc::clone(&self.permits).try_acquire_owned()
        {
            permits.push(more);
        }
        Some((queue, permits))
    }

    /// Takes messages for as many calls; waits for a full batch as long as the mapping says.
    async fn take(&self, queue: &Queue, calls: usize, stopped: &mut watch::Receiver<bool>) -> Vec<Received> {
        let batch = self.batch_size();
        let wanted = calls * batch;
        let until = self.parts.clock.now() + Duration::from_secs(self.mapping.window_s.into());
        let mut taken = Vec::new();
        loop {
            let receive =
                Receive { messages_max: wanted - taken.len(), visibility_s: None, wait: Some(Duration::ZERO) };
            match self.parts.queues.receive(queue, receive).await {
                Ok(more) => taken.extend(more),
                Err(error) => {
                    tracing::warn!(%error, queue = %queue.name(), "messages wait");
                    return taken;
                }
            }
            let bytes: usize = taken.iter().map(|received| received.message.body.len()).sum();
            if taken.len() >= batch || bytes >= EVENT_BYTES_MAX || self.parts.clock.now() >= until {
                return taken;
            }
            tokio::select! {
                _ = self.parts.queues.arrival(queue) => self.pause(Duration::from_millis(5)).await,
                () = self.parts.clock.sleep_until(until) => {}
                _ = stopped.changed() => return taken,
            }
        }
    }

    /// Starts the calls. False when there was nothing to call for.
    async fn start(
        self: &Arc<Self>,
        queue: &Arc<Queue>,
        taken: Vec<Received>,
        mut permits: Vec<OwnedSemaphorePermit>,
    ) -> bool {
        if taken.is_empty() {
            return false;
        }
        let loops = self.loops().await;
        let mut unwanted = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        for received in taken {
            let trace = received.message.trace_header.clone();
            if lineage::call(trace.as_deref(), &self.mapping.function, self.parts.clock.now(), loops).is_none() {
                if self.stop_loop(queue, &received).await {
                    unwanted.push(received.handle);
                }
                continue;
            }
            let record = event::record(&self.mapping.source, &received);
            if !event::passes(&self.filters, &record) {
                unwanted.push(received.handle);
                continue;
            }
            let record = record.to_string();
            let full = |group: &Group| {
                group.messages.len() >= self.batch_size()
                    || group.payload.len() + record.len() + EVENT_BYTES > EVENT_BYTES_MAX
            };
            if groups.last().is_none_or(full) {
                groups.push(Group {
                    queue: Arc::clone(queue),
                    messages: Vec::new(),
                    payload: b"{\"Records\":[".to_vec(),
                    trace: None,
                    received_at: self.parts.clock.now(),
                });
            }
            if let Some(group) = groups.last_mut() {
                if !group.messages.is_empty() {
                    group.payload.push(b',');
                }
                let calls =
                    |trace: &Option<String>| trace.as_ref().map(|trace| lineage::called(trace, &self.mapping.function));
                if calls(&trace) > calls(&group.trace) {
                    group.trace = trace;
                }
                group.payload.extend_from_slice(record.as_bytes());
                group.messages.push(received);
            }
        }
        self.delete(queue, &unwanted).await;
        for mut group in groups {
            group.payload.extend_from_slice(b"]}");
            // Large messages make more groups than there are permits.
            let permit = match permits.pop() {
                Some(permit) => permit,
                None => match Arc::clone(&self.permits).acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_) => return true,
                },
            };
            let work = Arc::clone(self);
            tokio::spawn(async move {
                work.call(group).await;
                drop(permit);
            });
        }
        true
    }

    /// Hands a message by which the function triggers itself to the dead letters, if there are some. False when that has
    /// to be tried again.
    async fn stop_loop(&self, queue: &Queue, received: &Received) -> bool {
        let function = &self.mapping.function;
        tracing::warn!(%function, queue = %queue.name(), "a function triggers itself without end: a message is dropped");
        let Ok(configuration) = queue.configuration().await else { return false };
        let Some(redrive) = configuration.settings.redrive else { return true };
        let message = &received.message;
        let copy = NewMessage {
            body: message.body.clone(),
            attributes: message.attributes.clone(),
            trace_header: message.trace_header.clone(),
            sender: message.sender.clone(),
            delay_s: None,
            group: message.group.clone(),
            deduplication: message.group.as_ref().map(|_| message.id.to_string()),
        };
        let Ok(target) = self.parts.queues.get(&redrive.target) else { return true };
        self.parts.queues.send(&target, vec![copy]).await.is_ok()
    }

    /// One call, and the deletes of what it handled.
    async fn call(&self, group: Group) {
        let Group { queue, messages, payload, trace, received_at } = group;
        // The messages were looked at: each may lead to one more call.
        let trace = lineage::call(trace.as_deref(), &self.mapping.function, received_at, true);
        let payload = bytes::Bytes::from(payload);
        let hidden = queue.configuration().await.map_or(0, |configuration| configuration.settings.visibility_s);
        let until = received_at + Duration::from_secs(hidden.into());
        let mut backoff = BACKOFF;
        let answer = loop {
            let invocation = Invocation {
                request_id: RequestId::random(),
                function: self.mapping.function.clone(),
                payload: payload.clone(),
                client_context: None,
                tenant_id: None,
                trace_header: trace.clone(),
                received_at: self.parts.clock.now(),
            };
            match self.parts.scheduler.invoke(invocation, false).await {
                Ok(outcome) => break outcome.result.ok(),
                Err(InvokeError::Throttled { .. } | InvokeError::NotReady(_))
                    if self.parts.clock.now() + backoff < until =>
                {
                    self.pause(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
                Err(InvokeError::FunctionNotFound(_)) => {
                    // It went away in between. The messages wait for one to come.
                    let handles: Vec<_> = messages.iter().map(|received| (received.handle.clone(), 0)).collect();
                    if let Err(error) = self.parts.queues.hide(&queue, &handles).await {
                        tracing::debug!(%error, mapping = %self.mapping.id, "messages stay hidden");
                    }
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, mapping = %self.mapping.id, "a batch was not handled");
                    break None;
                }
            }
        };
        let Some(answer) = answer else { return };
        let failed = if self.mapping.reports_failures { event::failures(&answer) } else { Ok(Vec::new()) };
        let Ok(failed) = failed else { return };
        let ids: Vec<String> = messages.iter().map(|received| received.message.id.to_string()).collect();
        if failed.iter().any(|id| !ids.contains(id)) {
            // It speaks of a message that it was not given: nothing that it says can be trusted.
            return;
        }
        let handled = messages.into_iter().zip(&ids).filter(|(_, id)| !failed.contains(id));
        self.delete(&queue, &handled.map(|(received, _)| received.handle).collect::<Vec<_>>()).await;
    }

    async fn delete(&self, queue: &Queue, handles: &[String]) {
        if handles.is_empty() {
            return;
        }
        match self.parts.queues.remove(queue, handles).await {
            Ok(_) | Err(queues::Error::NoSuchQueue) => {}
            Err(error) => tracing::warn!(%error, queue = %queue.name(), "handled messages will come again"),
        }
    }

    /// Whether the function may trigger itself without end.
    async fn loops(&self) -> bool {
        self.parts.scheduler.functions().loops_of_call(&self.mapping.function).await.unwrap_or(false)
    }

    async fn function_is_there(&self) -> bool {
        let found = self.parts.scheduler.functions().get(&self.mapping.function).await;
        !matches!(found, Err(functions::Error::NotFound(_)))
    }

    fn batch_size(&self) -> usize {
        (self.mapping.batch_size as usize).max(1)
    }

    async fn pause(&self, time: Duration) {
        self.parts.clock.sleep_until(self.parts.clock.now() + time).await;
    }
}
