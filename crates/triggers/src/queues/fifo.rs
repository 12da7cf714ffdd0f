//! FIFO queues: order within groups, and deduplication. One change of a queue at a time, each one commit.
//!
//! What is a message in a standard queue's order of visibility is a group here: it is visible when its first message is,
//! unless messages of it are in flight; then when the last of those is visible again. So a receive never reads a group that
//! it must leave alone, however long that group is.
//!
//! | table | key | value |
//! |---|---|---|
//! | `queue_messages` | id, epoch, time from which the group is visible, number | the group's name |
//! | `queue_fifo` | id, epoch, group, 0, number | a message, and from when on it is visible |
//! | `queue_groups` | id, epoch, group | [`Group`] |
//! | `queue_sent` | id, epoch, deduplication id | what was sent with it, and until when another is the same |
//! | `queue_sent_until` | id, epoch, that time, number | the deduplication id |

use super::{
    Error, IN_FLIGHT_MAX, MESSAGES, Queue, Queues, Receive, VISIBILITY_S_MAX,
    message::{Handle, Message, NewMessage, Place, Range, Received, Sent, from_json, range, to_json},
    settings::{Configuration, Fifo},
};
use dayfly_store::Batch;
use dayfly_types::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::HashSet, time::Duration};
use uuid::Uuid;

pub(super) const FIFO: &str = "queue_fifo";
pub(super) const GROUPS: &str = "queue_groups";
pub(super) const SENT: &str = "queue_sent";
pub(super) const SENT_UNTIL: &str = "queue_sent_until";
/// How long another message with the same id is the same message.
const SAME_FOR: Duration = Duration::from_secs(300);
/// Old deduplication ids that each send removes.
const FORGET: usize = 4;

/// A message, and from when on it is visible.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub visible_us: i64,
    pub message: Message,
}

/// Where a group is in the order of visibility, and which messages of it are in flight until when.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group {
    visible_us: i64,
    sequence: u64,
    in_flight: Vec<(u64, i64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Same {
    until_us: i64,
    id: Uuid,
    sequence: u64,
}

impl Queues {
    pub(super) async fn send_fifo(
        &self,
        queue: &Queue,
        configuration: &Configuration,
        fifo: &Fifo,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Sent>, Error> {
        let _alone = queue.alone.lock().await;
        let range = range(configuration.id, configuration.epoch);
        let mut all = Vec::with_capacity(messages.len());
        for mut new in messages {
            let now = self.inner.clock.now();
            let now_us = now.as_microsecond();
            let group = new.group.clone().unwrap_or_default();
            let same = new.deduplication.get_or_insert_with(|| hex::encode(Sha256::digest(&new.body)));
            let scope = if fifo.by_group { group.as_str() } else { "" };
            let same_key = [&range[..], scope.as_bytes(), &[0], same.as_bytes()].concat();
            let tables = &self.inner.store.tables;
            if let Some(found) = tables.get(SENT, &same_key).await? {
                let found: Same = from_json(SENT, &found.value)?;
                if found.until_us > now_us {
                    all.push(Sent { id: found.id, sequence: Some(found.sequence) });
                    continue;
                }
            }
            let delay = Duration::from_secs(configuration.settings.delay_s.into());
            let place = Place { visible_us: (now + delay).as_microsecond(), sequence: queue.next_sequence(now_us) };
            let message = Message { sequence: Some(place.sequence), ..Message::new(new, now) };
            let id = message.id;
            let until_us = (now + SAME_FOR).as_microsecond();
            let same = Same { until_us, id, sequence: place.sequence };
            let mut batch = Batch::new()
                .put(
                    FIFO,
                    message_key(&range, &group, place.sequence),
                    to_json(&Row { visible_us: place.visible_us, message })?,
                )
                .put(SENT, same_key.clone(), to_json(&same)?)
                .put(SENT_UNTIL, Place { visible_us: until_us, ..place }.key(&range), same_key);
            batch = self.forget_sent(batch, &range, now_us).await?;
            if self.group(&range, &group).await?.is_none() {
                let new = Group { visible_us: place.visible_us, sequence: place.sequence, in_flight: Vec::new() };
                batch = new.placed(batch, &range, &group)?;
            }
            tables.commit(batch).await?;
            queue.tally().enter(place.visible_us, false, now_us);
            queue.ring(1);
            all.push(Sent { id, sequence: Some(place.sequence) });
        }
        Ok(all)
    }

    pub(super) async fn take_fifo(
        &self,
        queue: &Queue,
        configuration: &Configuration,
        receive: Receive,
    ) -> Result<Vec<Received>, Error> {
        let _alone = queue.alone.lock().await;
        let settings = &configuration.settings;
        let range = range(configuration.id, configuration.epoch);
        let now = self.inner.clock.now();
        let now_us = now.as_microsecond();
        let seconds = receive.visibility_s.unwrap_or(settings.visibility_s);
        let until_us = (now + Duration::from_secs(seconds.into())).as_microsecond();
        let mut all = Vec::new();
        // A group that is hidden for no time is visible again at once: it must not be taken twice.
        let (mut from, mut seen) = (range.to_vec(), HashSet::new());
        while all.len() < receive.messages_max {
            if queue.tally().counts(now_us).in_flight >= IN_FLIGHT_MAX {
                return if all.is_empty() { Err(Error::TooManyInFlight) } else { Ok(all) };
            }
            let to = Place { visible_us: now_us.saturating_add(1), sequence: 0 }.key(&range);
            let Some(index) = self.inner.store.tables.scan(MESSAGES, &from, &to, 1, false).await?.pop() else { break };
            from = dayfly_store::after(&index.key);
            let name = String::from_utf8_lossy(&index.value).into_owned();
            if !seen.insert(name.clone()) {
                continue;
            }
            let Some(mut group) = self.group(&range, &name).await? else { continue };
            let rows = self.rows(&range, &name, receive.messages_max - all.len()).await?;
            let mut batch = Batch::new();
            let (mut taken, mut gone) = (Vec::new(), Vec::new());
            group.in_flight.clear();
            for (sequence, row) in rows {
                let key = message_key(&range, &name, sequence);
                if row.visible_us > now_us {
                    break;
                }
                if row.message.sent_ms + i64::from(settings.retention_s) * 1000 <= now.as_millisecond() {
                    batch = batch.delete(FIFO, key);
                    gone.push((sequence, row));
                    continue;
                }
                if let Some(redrive) = &settings.redrive
                    && row.message.received >= redrive.receives_max
                    && self.bury(queue, &redrive.target, &row, now).await?
                {
                    batch = batch.delete(FIFO, key);
                    gone.push((sequence, row));
                    continue;
                }
                let again = row.message.received > 0;
                let message = row.message.clone().received(now, again);
                batch = batch.put(FIFO, key, to_json(&Row { visible_us: until_us, message: message.clone() })?);
                group.in_flight.push((sequence, until_us));
                taken.push((row, Place { visible_us: until_us, sequence }, message));
            }
            let gone_numbers: Vec<u64> = gone.iter().map(|(sequence, _)| *sequence).collect();
            batch = self.settle(batch, &range, &name, group, &gone_numbers, now_us).await?;
            self.inner.store.tables.commit(batch).await?;
            let mut tally = queue.tally();
            gone.iter().for_each(|(_, row)| tally.leave(row.visible_us, row.message.received > 0));
            for (row, place, message) in taken {
                tally.leave(row.visible_us, row.message.received > 0);
                tally.enter(place.visible_us, true, now_us);
                let handle = Handle { range, place, received: message.received, group: name.clone() };
                all.push(Received { handle: handle.encode(), message });
            }
        }
        Ok(all)
    }

    pub(super) async fn remove_fifo(&self, queue: &Queue, handle: &Handle) -> Result<(), Error> {
        let _alone = queue.alone.lock().await;
        let now_us = self.inner.clock.now().as_microsecond();
        let key = message_key(&handle.range, &handle.group, handle.place.sequence);
        let Some(found) = self.inner.store.tables.get(FIFO, &key).await? else { return Ok(()) };
        let row: Row = from_json(FIFO, &found.value)?;
        if row.message.received != handle.received {
            return Err(Error::HandleExpired);
        }
        let Some(mut group) = self.group(&handle.range, &handle.group).await? else { return Ok(()) };
        group.in_flight.retain(|(sequence, _)| *sequence != handle.place.sequence);
        let batch = Batch::new().delete(FIFO, key);
        let gone = [handle.place.sequence];
        let batch = self.settle(batch, &handle.range, &handle.group, group, &gone, now_us).await?;
        self.inner.store.tables.commit(batch).await?;
        queue.tally().leave(row.visible_us, row.message.received > 0);
        queue.ring(1);
        Ok(())
    }

    pub(super) async fn hide_fifo(&self, queue: &Queue, handle: &Handle, seconds: u32) -> Result<(), Error> {
        let _alone = queue.alone.lock().await;
        let now = self.inner.clock.now();
        let now_us = now.as_microsecond();
        let key = message_key(&handle.range, &handle.group, handle.place.sequence);
        let Some(found) = self.inner.store.tables.get(FIFO, &key).await? else { return Err(Error::NotInFlight) };
        let mut row: Row = from_json(FIFO, &found.value)?;
        if row.message.received != handle.received || row.visible_us <= now_us {
            return Err(Error::NotInFlight);
        }
        let until = now + Duration::from_secs(seconds.into());
        let since = row.message.last_received_ms.unwrap_or_default();
        if until.as_millisecond() - since > i64::from(VISIBILITY_S_MAX) * 1000 {
            return Err(Error::HiddenTooLong);
        }
        let Some(mut group) = self.group(&handle.range, &handle.group).await? else { return Err(Error::NotInFlight) };
        let before_us = std::mem::replace(&mut row.visible_us, until.as_microsecond());
        for (sequence, until_us) in &mut group.in_flight {
            if *sequence == handle.place.sequence {
                *until_us = row.visible_us;
            }
        }
        let batch = Batch::new().put(FIFO, key, to_json(&row)?);
        let batch = self.settle(batch, &handle.range, &handle.group, group, &[], now_us).await?;
        self.inner.store.tables.commit(batch).await?;
        let mut tally = queue.tally();
        tally.leave(before_us, true);
        tally.enter(row.visible_us, true, now_us);
        drop(tally);
        queue.ring(1);
        Ok(())
    }

    /// Adds to `batch` the group's new place, once the messages `gone` are.
    async fn settle(
        &self,
        batch: Batch,
        range: &Range,
        name: &str,
        mut group: Group,
        gone: &[u64],
        now_us: i64,
    ) -> Result<Batch, Error> {
        let old = Place { visible_us: group.visible_us, sequence: group.sequence };
        let batch = batch.delete(MESSAGES, old.key(range));
        let rows = self.rows(range, name, gone.len() + 1).await?;
        let Some((first, row)) = rows.into_iter().find(|(sequence, _)| !gone.contains(sequence)) else {
            return Ok(batch.delete(GROUPS, group_key(range, name)));
        };
        group.in_flight.retain(|(_, until_us)| *until_us > now_us);
        group.sequence = first;
        // A message in flight is visible at the end of its flight, or was given back before.
        let free_us = if group.in_flight.is_empty() && row.message.received > 0 { now_us } else { row.visible_us };
        group.visible_us = group.in_flight.iter().map(|(_, until_us)| *until_us).max().unwrap_or(free_us);
        group.placed(batch, range, name)
    }

    /// Puts a message into the dead-letter queue; false when that is not to be had at the moment. This is a commit of its own,
    /// before the message leaves its queue: after a crash in between it is in both.
    async fn bury(&self, queue: &Queue, target: &super::QueueName, row: &Row, now: Timestamp) -> Result<bool, Error> {
        let Ok(dead) = self.get(target) else { return Ok(false) };
        // Never waits for another queue's lock while it has its own.
        let (Ok(life), Ok(_alone)) = (dead.life.try_read(), dead.alone.try_lock()) else { return Ok(false) };
        let Some(configuration) = life.as_ref().filter(|configuration| configuration.settings.fifo.is_some()) else {
            return Ok(false);
        };
        let range = range(configuration.id, configuration.epoch);
        let sequence = dead.next_sequence(now.as_microsecond());
        let visible_us = now.as_microsecond();
        let message =
            Message { sequence: Some(sequence), sent_ms: now.as_millisecond(), ..row.message.clone().dead(queue) };
        let name = message.group.clone().unwrap_or_default();
        let row = to_json(&Row { visible_us, message })?;
        let mut own = Batch::new().put(FIFO, message_key(&range, &name, sequence), row);
        if self.group(&range, &name).await?.is_none() {
            own = Group { visible_us, sequence, in_flight: Vec::new() }.placed(own, &range, &name)?;
        }
        self.inner.store.tables.commit(own).await?;
        dead.tally().enter(visible_us, false, visible_us);
        dead.ring(1);
        Ok(true)
    }

    async fn group(&self, range: &Range, name: &str) -> Result<Option<Group>, Error> {
        let row = self.inner.store.tables.get(GROUPS, &group_key(range, name)).await?;
        row.map(|row| from_json(GROUPS, &row.value)).transpose()
    }

    /// The first messages of a group, with their numbers.
    async fn rows(&self, range: &Range, name: &str, limit: usize) -> Result<Vec<(u64, Row)>, Error> {
        let from = message_key(range, name, 0);
        let to = [&group_key(range, name)[..], &[0], &[0xff; 9]].concat();
        let rows = self.inner.store.tables.scan(FIFO, &from, &to, limit, false).await?;
        rows.iter().map(|row| Ok((number(&row.key)?, from_json(FIFO, &row.value)?))).collect()
    }

    /// Adds to `batch` that some old deduplication ids are forgotten, unless they were used again.
    async fn forget_sent(&self, mut batch: Batch, range: &Range, now_us: i64) -> Result<Batch, Error> {
        let tables = &self.inner.store.tables;
        let to = Place { visible_us: now_us, sequence: 0 }.key(range);
        for old in tables.scan(SENT_UNTIL, range, &to, FORGET, false).await? {
            if let Some(row) = tables.get(SENT, &old.value).await? {
                let same: Same = from_json(SENT, &row.value)?;
                if same.until_us <= now_us && !batch.writes.iter().any(|write| write.key == old.value) {
                    batch = batch.delete(SENT, old.value);
                }
            }
            batch = batch.delete(SENT_UNTIL, old.key);
        }
        Ok(batch)
    }
}

impl Group {
    fn placed(&self, batch: Batch, range: &Range, name: &str) -> Result<Batch, Error> {
        let place = Place { visible_us: self.visible_us, sequence: self.sequence };
        let batch = batch.put(MESSAGES, place.key(range), name.to_owned());
        Ok(batch.put(GROUPS, group_key(range, name), to_json(self)?))
    }
}

/// The number at the end of a message's key.
pub(super) fn number(key: &[u8]) -> Result<u64, Error> {
    let bytes = key.last_chunk::<8>().ok_or_else(|| super::message::damaged(FIFO))?;
    Ok(u64::from_be_bytes(*bytes))
}

fn group_key(range: &Range, name: &str) -> Vec<u8> {
    [&range[..], name.as_bytes()].concat()
}

fn message_key(range: &Range, name: &str, sequence: u64) -> Vec<u8> {
    [&range[..], name.as_bytes(), &[0], &sequence.to_be_bytes()].concat()
}
