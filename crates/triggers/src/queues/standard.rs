//! Standard queues: send, receive, delete, change visibility. Each is one commit, shared with whoever else commits at that
//! moment. FIFO queues branch off to `fifo`.

use super::{
    Error, IN_FLIGHT_MAX, MESSAGES, MOVED, PAGE, Queue, Queues, Receive, VISIBILITY_S_MAX, after,
    message::{Handle, Message, NewMessage, Place, Range, Received, Sent, from_json, range, to_json},
    settings::{Configuration, Settings},
};
use dayfly_store::{Batch, Error as StoreError, Precondition, Row};
use dayfly_types::Timestamp;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// Wait of a receive that finds only what others are taking.
const PAUSE: Duration = Duration::from_millis(20);

impl Queues {
    /// Keeps messages. On disk when it returns.
    pub async fn send(&self, queue: &Queue, messages: Vec<NewMessage>) -> Result<Vec<Sent>, Error> {
        let life = queue.life.read().await;
        let configuration = life.as_ref().ok_or(Error::NoSuchQueue)?;
        if let Some(fifo) = &configuration.settings.fifo {
            return self.send_fifo(queue, configuration, fifo, messages).await;
        }
        let range = range(configuration.id, configuration.epoch);
        let now = self.inner.clock.now();
        let mut batch = Batch::new();
        let (mut sent, mut places) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        for new in messages {
            let delay = Duration::from_secs(new.delay_s.unwrap_or(configuration.settings.delay_s).into());
            let sequence = queue.next_sequence(now.as_microsecond());
            let place = Place { visible_us: (now + delay).as_microsecond(), sequence };
            let message = Message::new(new, now);
            batch = batch.put(MESSAGES, place.key(&range), to_json(&message)?);
            sent.push(Sent { id: message.id, sequence: None });
            places.push(place);
        }
        self.inner.store.tables.commit(batch).await?;
        let mut tally = queue.tally();
        for place in &places {
            tally.enter(place.visible_us, false, now.as_microsecond());
        }
        drop(tally);
        queue.ring(places.len());
        Ok(sent)
    }

    /// Takes messages and hides them. Waits for the first, when there is none, as long as is asked.
    pub async fn receive(&self, queue: &Queue, receive: Receive) -> Result<Vec<Received>, Error> {
        let wait = match receive.wait {
            Some(wait) => wait,
            None => Duration::from_secs(queue.configuration().await?.settings.wait_s.into()),
        };
        let clock = &self.inner.clock;
        let deadline = clock.now() + wait;
        let mut stopped = self.inner.stopped.subscribe();
        loop {
            let bell = queue.bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            let found = self.take(queue, receive).await?;
            let now = clock.now();
            if !found.is_empty() || now >= deadline || *stopped.borrow() {
                return Ok(found);
            }
            let next = self.next_visible(queue).await?.unwrap_or(Timestamp::MAX).max(now + PAUSE);
            tokio::select! {
                () = bell => {}
                () = clock.sleep_until(next.min(deadline)) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Waits until a message is visible. Somebody else may take it first.
    pub async fn arrival(&self, queue: &Queue) -> Result<(), Error> {
        loop {
            let bell = queue.bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            let next = self.next_visible(queue).await?.unwrap_or(Timestamp::MAX);
            if next <= self.inner.clock.now() {
                return Ok(());
            }
            tokio::select! {
                () = bell => {}
                () = self.inner.clock.sleep_until(next) => {}
            }
        }
    }

    /// When the first message is or becomes visible; `None` when there is none.
    pub async fn next_visible(&self, queue: &Queue) -> Result<Option<Timestamp>, Error> {
        let configuration = queue.configuration().await?;
        let range = range(configuration.id, configuration.epoch);
        let rows = self.inner.store.tables.scan(MESSAGES, &range, &after(&range), 1, false).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let place = Place::of_key(&row.key)?;
        Ok(Some(Timestamp::from_microsecond(place.visible_us).unwrap_or(Timestamp::MAX)))
    }

    /// Deletes messages. A handle of an earlier receive does as well as the last one. On disk when it returns.
    pub async fn remove(&self, queue: &Queue, handles: &[String]) -> Result<Vec<Result<(), Error>>, Error> {
        let life = queue.life.read().await;
        let configuration = life.as_ref().ok_or(Error::NoSuchQueue)?;
        if configuration.settings.fifo.is_some() {
            let handles = handles.iter().map(|handle| decode(handle, configuration)).collect();
            return self.remove_fifo(queue, configuration, handles).await;
        }
        loop {
            let mut results = Vec::with_capacity(handles.len());
            let mut batch = Batch::new();
            let mut gone: Vec<Found> = Vec::new();
            for handle in handles {
                results.push(match decode(handle, configuration) {
                    Ok(None) => Ok(()),
                    Ok(Some(handle)) => {
                        if let Some(found) = self.find(&handle).await?
                            && !gone.iter().any(|other| other.place == found.place)
                        {
                            batch = found.without(batch, &handle.range);
                            gone.push(found);
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                });
            }
            match self.inner.store.tables.commit(batch).await {
                // It was received, or deleted, meanwhile.
                Err(StoreError::Conflict { .. }) => continue,
                result => result?,
            }
            let mut tally = queue.tally();
            for found in &gone {
                tally.leave(found.place.visible_us, found.message.received > 0);
            }
            return Ok(results);
        }
    }

    /// Hides messages for so many seconds from now on.
    pub async fn hide(&self, queue: &Queue, handles: &[(String, u32)]) -> Result<Vec<Result<(), Error>>, Error> {
        let life = queue.life.read().await;
        let configuration = life.as_ref().ok_or(Error::NoSuchQueue)?;
        if configuration.settings.fifo.is_some() {
            let mut results = Vec::with_capacity(handles.len());
            for (handle, seconds) in handles {
                results.push(match decode(handle, configuration) {
                    Ok(Some(handle)) => self.hide_fifo(queue, &handle, *seconds).await,
                    Ok(None) => Err(Error::NotInFlight),
                    Err(error) => Err(error),
                });
            }
            return Ok(results);
        }
        loop {
            let now = self.inner.clock.now();
            let mut results = Vec::with_capacity(handles.len());
            let mut batch = Batch::new();
            let mut changed: Vec<(Found, Place)> = Vec::new();
            for (text, seconds) in handles {
                let handle = match decode(text, configuration) {
                    Ok(handle) => handle,
                    Err(error) => {
                        results.push(Err(error));
                        continue;
                    }
                };
                let found = match &handle {
                    Some(handle) => self.find(handle).await?.filter(|found| found.message.received == handle.received),
                    None => None,
                };
                let hidden = found.filter(|found| found.place.visible_us > now.as_microsecond());
                results.push(match (handle, hidden) {
                    (Some(handle), Some(found)) if !changed.iter().any(|(other, _)| other.place == found.place) => {
                        let until = now + Duration::from_secs((*seconds).into());
                        let since = found.message.last_received_ms.unwrap_or_default();
                        if until.as_millisecond() - since > i64::from(VISIBILITY_S_MAX) * 1000 {
                            Err(Error::HiddenTooLong)
                        } else {
                            let place = Place { visible_us: until.as_microsecond(), ..found.place };
                            let moved = Message { moved: true, ..found.message.clone() };
                            batch = found
                                .without(batch, &handle.range)
                                .put(MESSAGES, place.key(&handle.range), to_json(&moved)?)
                                .put(
                                    MOVED,
                                    moved_key(&handle.range, place.sequence),
                                    place.visible_us.to_be_bytes().to_vec(),
                                );
                            changed.push((found, place));
                            Ok(())
                        }
                    }
                    _ => Err(Error::NotInFlight),
                });
            }
            match self.inner.store.tables.commit(batch).await {
                Err(StoreError::Conflict { .. }) => continue,
                result => result?,
            }
            let mut tally = queue.tally();
            for (found, place) in &changed {
                tally.leave(found.place.visible_us, true);
                tally.enter(place.visible_us, true, now.as_microsecond());
            }
            drop(tally);
            // Who waits may have to wake sooner than it thinks.
            queue.ring(changed.len());
            return Ok(results);
        }
    }

    /// Takes what is visible now, up to what is asked. Sets aside what is too old, and what was received too often.
    async fn take(&self, queue: &Queue, receive: Receive) -> Result<Vec<Received>, Error> {
        loop {
            let life = queue.life.read().await;
            let configuration = life.as_ref().ok_or(Error::NoSuchQueue)?;
            let settings = &configuration.settings;
            if settings.fifo.is_some() {
                return self.take_fifo(queue, configuration, receive).await;
            }
            let range = range(configuration.id, configuration.epoch);
            let now = self.inner.clock.now();
            if queue.tally().counts(now.as_microsecond()).in_flight >= IN_FLIGHT_MAX {
                return Err(Error::TooManyInFlight);
            }
            let claimed = self.claim(queue, &range, now.as_microsecond(), receive.messages_max).await?;
            if claimed.found.is_empty() {
                return Ok(Vec::new());
            }
            let seconds = receive.visibility_s.unwrap_or(settings.visibility_s);
            let until_us = (now + Duration::from_secs(seconds.into())).as_microsecond();
            let dead = self.dead_letters(queue, settings).await;
            let dead_life = match &dead {
                Some((_, target)) => target.life.try_read().ok(),
                None => None,
            };
            let mut batch = Batch::new();
            let (mut taken, mut left, mut dead_places) = (Vec::new(), Vec::new(), Vec::new());
            for found in &claimed.found {
                batch = found.without(batch, &range);
                if found.message.sent_ms + i64::from(settings.retention_s) * 1000 <= now.as_millisecond() {
                    left.push(found);
                    continue;
                }
                if let Some((receives_max, target)) = &dead
                    && found.message.received >= *receives_max
                    && let Some(Some(other)) = dead_life.as_deref()
                {
                    let place = Place {
                        visible_us: now.as_microsecond(),
                        sequence: target.next_sequence(now.as_microsecond()),
                    };
                    let message = found.message.clone().dead(queue);
                    let key = place.key(&super::range(other.id, other.epoch));
                    batch = batch.put(MESSAGES, key, to_json(&message)?);
                    left.push(found);
                    dead_places.push(place);
                    continue;
                }
                let place = Place { visible_us: until_us, ..found.place };
                let again = found.message.received > 0;
                let message = found.message.clone().received(now, again);
                batch = batch.put(MESSAGES, place.key(&range), to_json(&message)?);
                if again {
                    let key = moved_key(&range, place.sequence);
                    batch = batch.put(MOVED, key, place.visible_us.to_be_bytes().to_vec());
                }
                taken.push((found, place, message));
            }
            match self.inner.store.tables.commit(batch).await {
                Err(StoreError::Conflict { .. }) => continue,
                result => result?,
            }
            let mut tally = queue.tally();
            for (found, place, _) in &taken {
                tally.leave(found.place.visible_us, found.message.received > 0);
                tally.enter(place.visible_us, true, now.as_microsecond());
            }
            for found in &left {
                tally.leave(found.place.visible_us, found.message.received > 0);
            }
            drop(tally);
            if let Some((_, target)) = &dead {
                let mut tally = target.tally();
                dead_places.iter().for_each(|place| tally.enter(place.visible_us, false, now.as_microsecond()));
                drop(tally);
                target.ring(dead_places.len());
            }
            if taken.is_empty() {
                continue;
            }
            let received = |(_, place, message): (_, Place, Message)| {
                let handle = Handle { range, place, received: message.received, group: String::new() };
                Received { handle: handle.encode(), message }
            };
            return Ok(taken.into_iter().map(received).collect());
        }
    }

    /// Finds visible messages that nobody is taking, and claims them.
    async fn claim<'a>(
        &self,
        queue: &'a Queue,
        range: &Range,
        now_us: i64,
        wanted: usize,
    ) -> Result<Claimed<'a>, Error> {
        let _alone = queue.looking.lock().await;
        let mut claimed = Claimed { queue, found: Vec::new() };
        let to = Place { visible_us: now_us.saturating_add(1), sequence: 0 }.key(range);
        // What is claimed is at the front, so what follows the last claim is likely free.
        let last = queue.claims().last().copied();
        let starts = [last.map(|place| Place { sequence: place.sequence + 1, ..place }), None];
        for start in &starts[usize::from(last.is_none())..] {
            let mut from = start.map_or_else(|| range.to_vec().into(), |place| place.key(range));
            while claimed.found.len() < wanted {
                let limit = if start.is_some() {
                    wanted - claimed.found.len()
                } else {
                    PAGE.min(wanted + queue.claims().len())
                };
                let rows = self.inner.store.tables.scan(MESSAGES, &from, &to, limit, false).await?;
                let Some(end) = rows.last() else { break };
                from = dayfly_store::after(&end.key).into();
                for row in rows {
                    let found = Found::of(row)?;
                    if claimed.found.len() < wanted && queue.claims().insert(found.place) {
                        claimed.found.push(found);
                    }
                }
            }
        }
        Ok(claimed)
    }

    /// The queue for dead letters, when it is there, and after how many receives.
    async fn dead_letters(&self, queue: &Queue, settings: &Settings) -> Option<(u32, Arc<Queue>)> {
        let redrive = settings.redrive.as_ref()?;
        if redrive.target == queue.name {
            return None;
        }
        Some((redrive.receives_max, self.get(&redrive.target).ok()?))
    }

    /// The message of a handle, wherever it is now.
    async fn find(&self, handle: &Handle) -> Result<Option<Found>, Error> {
        let tables = &self.inner.store.tables;
        if let Some(row) = tables.get(MESSAGES, &handle.place.key(&handle.range)).await? {
            return Found::of(row).map(Some);
        }
        let Some(moved) = tables.get(MOVED, &moved_key(&handle.range, handle.place.sequence)).await? else {
            return Ok(None);
        };
        let visible_us = moved.value.as_ref().try_into().map(i64::from_be_bytes);
        let visible_us = visible_us.map_err(|_| super::message::damaged(MOVED))?;
        let place = Place { visible_us, ..handle.place };
        tables.get(MESSAGES, &place.key(&handle.range)).await?.map(Found::of).transpose()
    }
}

/// Messages that a receive is taking. Free again when this goes.
struct Claimed<'a> {
    queue: &'a Queue,
    found: Vec<Found>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let mut claims = self.queue.claims();
        for found in &self.found {
            claims.remove(&found.place);
        }
        drop(claims);
        // There may be more, or these are still there.
        if !self.found.is_empty() {
            self.queue.ring(1);
        }
    }
}

/// A message that is there.
struct Found {
    place: Place,
    version: u64,
    message: Message,
}

impl Found {
    fn of(row: Row) -> Result<Self, Error> {
        let message = from_json(MESSAGES, &row.value)?;
        Ok(Self { place: Place::of_key(&row.key)?, version: row.version, message })
    }

    /// Adds to `batch` that it is no longer at its place, unless somebody else has taken it from there.
    fn without(&self, batch: Batch, range: &Range) -> Batch {
        let batch = batch.write(MESSAGES, self.place.key(range), None, Precondition::Version(self.version));
        if self.message.moved { batch.delete(MOVED, moved_key(range, self.place.sequence)) } else { batch }
    }
}

impl Message {
    pub(super) fn new(new: NewMessage, now: Timestamp) -> Self {
        Self {
            id: Uuid::new_v4(),
            body: new.body,
            attributes: new.attributes,
            trace_header: new.trace_header,
            sender: new.sender,
            sent_ms: now.as_millisecond(),
            received: 0,
            first_received_ms: None,
            last_received_ms: None,
            source: None,
            moved: false,
            group: new.group,
            deduplication: new.deduplication,
            sequence: None,
        }
    }

    /// The message once it is received.
    pub(super) fn received(self, now: Timestamp, again: bool) -> Self {
        let at = now.as_millisecond();
        Self {
            received: self.received.saturating_add(1),
            first_received_ms: self.first_received_ms.or(Some(at)),
            last_received_ms: Some(at),
            moved: again,
            ..self
        }
    }

    /// The message once it is in the dead-letter queue of `queue`.
    pub(super) fn dead(self, queue: &Queue) -> Self {
        Self {
            received: 0,
            first_received_ms: None,
            last_received_ms: None,
            moved: false,
            source: Some(queue.name.to_string()),
            ..self
        }
    }
}

/// The handle, or `None` when it is of before a purge.
fn decode(handle: &str, configuration: &Configuration) -> Result<Option<Handle>, Error> {
    let handle = Handle::decode(handle).ok_or(Error::InvalidHandle)?;
    if handle.range[..16] != configuration.id.as_bytes()[..] {
        return Err(Error::InvalidHandle);
    }
    Ok((handle.range == range(configuration.id, configuration.epoch)).then_some(handle))
}

fn moved_key(range: &Range, sequence: u64) -> Vec<u8> {
    [&range[..], &sequence.to_be_bytes()].concat()
}
