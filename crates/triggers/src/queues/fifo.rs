//! FIFO queues: order within groups, and deduplication. One change of a queue at a time, each one commit, however many messages
//! it is about.
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
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{MutexGuard, RwLockReadGuard};
use uuid::Uuid;

pub(super) const FIFO: &str = "queue_fifo";
pub(super) const GROUPS: &str = "queue_groups";
pub(super) const SENT: &str = "queue_sent";
pub(super) const SENT_UNTIL: &str = "queue_sent_until";
/// How long another message with the same id is the same message.
const SAME_FOR: Duration = Duration::from_secs(300);
/// Old deduplication ids that are removed for each message that is sent.
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

/// The dead-letter queue of a receive, kept as it is until that is on disk.
struct Grave<'a> {
    queue: &'a Queue,
    range: Range,
    /// Groups that it has or will have.
    groups: HashSet<String>,
    buried: usize,
    _life: RwLockReadGuard<'a, Option<Configuration>>,
    _alone: MutexGuard<'a, ()>,
}

impl<'a> Grave<'a> {
    /// `None` when it is not to be had at the moment: nobody waits for another queue's lock while it has its own.
    fn of(queue: &'a Arc<Queue>) -> Option<Self> {
        let (life, alone) = (queue.life.try_read().ok()?, queue.alone.try_lock().ok()?);
        let configuration = life.as_ref().filter(|configuration| configuration.settings.fifo.is_some())?;
        let range = range(configuration.id, configuration.epoch);
        Some(Self { queue, range, groups: HashSet::new(), buried: 0, _life: life, _alone: alone })
    }
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
        let now = self.inner.clock.now();
        let now_us = now.as_microsecond();
        let visible_us = (now + Duration::from_secs(configuration.settings.delay_s.into())).as_microsecond();
        let until_us = (now + SAME_FOR).as_microsecond();
        let tables = &self.inner.store.tables;
        let (mut batch, mut all) = (Batch::new(), Vec::with_capacity(messages.len()));
        // What this batch brings, which cannot be read yet.
        let (mut fresh, mut groups) = (HashMap::new(), HashSet::new());
        for mut new in messages {
            let group = new.group.clone().unwrap_or_default();
            let same = new.deduplication.get_or_insert_with(|| hex::encode(Sha256::digest(&new.body)));
            let scope = if fifo.by_group { group.as_str() } else { "" };
            let same_key = [&range[..], scope.as_bytes(), &[0], same.as_bytes()].concat();
            if let Some(sent) = fresh.get(&same_key) {
                all.push(Sent::clone(sent));
                continue;
            }
            if let Some(found) = tables.get(SENT, &same_key).await? {
                let found: Same = from_json(SENT, &found.value)?;
                if found.until_us > now_us {
                    all.push(Sent { id: found.id, sequence: Some(found.sequence) });
                    continue;
                }
            }
            let place = Place { visible_us, sequence: queue.next_sequence(now_us) };
            let message = Message { sequence: Some(place.sequence), ..Message::new(new, now) };
            let sent = Sent { id: message.id, sequence: Some(place.sequence) };
            let same = Same { until_us, id: message.id, sequence: place.sequence };
            batch = batch
                .put(FIFO, message_key(&range, &group, place.sequence), to_json(&Row { visible_us, message })?)
                .put(SENT, same_key.clone(), to_json(&same)?)
                .put(SENT_UNTIL, Place { visible_us: until_us, ..place }.key(&range), same_key.clone());
            batch = self.with_group(batch, &range, &group, place, &mut groups).await?;
            all.push(sent.clone());
            fresh.insert(same_key, sent);
        }
        if fresh.is_empty() {
            return Ok(all);
        }
        batch = self.forget_sent(batch, &range, now_us, FORGET * fresh.len()).await?;
        tables.commit(batch).await?;
        let mut tally = queue.tally();
        fresh.iter().for_each(|_| tally.enter(visible_us, false, now_us));
        drop(tally);
        queue.ring(fresh.len());
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
        let (mut batch, mut all) = (Batch::new(), Vec::new());
        let (mut taken, mut gone) = (Vec::new(), Vec::new());
        let target = settings.redrive.as_ref().and_then(|redrive| self.get(&redrive.target).ok());
        let mut grave = None;
        // A group that is hidden for no time is visible again at once: it must not be taken twice.
        let (mut from, mut seen) = (range.to_vec(), HashSet::new());
        while all.len() < receive.messages_max {
            if queue.tally().counts(now_us).in_flight + all.len() as u64 >= IN_FLIGHT_MAX {
                if all.is_empty() {
                    return Err(Error::TooManyInFlight);
                }
                break;
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
            let mut gone_numbers = Vec::new();
            group.in_flight.clear();
            for (sequence, row) in rows {
                let key = message_key(&range, &name, sequence);
                if row.visible_us > now_us {
                    break;
                }
                if row.message.sent_ms + i64::from(settings.retention_s) * 1000 <= now.as_millisecond() {
                    batch = batch.delete(FIFO, key);
                    gone_numbers.push(sequence);
                    gone.push(row);
                    continue;
                }
                if let (Some(redrive), Some(target)) = (&settings.redrive, &target)
                    && row.message.received >= redrive.receives_max
                {
                    if grave.is_none() {
                        grave = Grave::of(target);
                    }
                    if let Some(grave) = &mut grave {
                        batch = self.bury(batch.delete(FIFO, key), queue, grave, &row, now).await?;
                        gone_numbers.push(sequence);
                        gone.push(row);
                        continue;
                    }
                }
                let again = row.message.received > 0;
                let message = row.message.clone().received(now, again);
                batch = batch.put(FIFO, key, to_json(&Row { visible_us: until_us, message: message.clone() })?);
                group.in_flight.push((sequence, until_us));
                let place = Place { visible_us: until_us, sequence };
                let handle = Handle { range, place, received: message.received, group: name.clone() };
                all.push(Received { handle: handle.encode(), message });
                taken.push(row);
            }
            batch = self.settle(batch, &range, &name, group, &gone_numbers, now_us).await?;
        }
        self.inner.store.tables.commit(batch).await?;
        let mut tally = queue.tally();
        gone.iter().chain(&taken).for_each(|row| tally.leave(row.visible_us, row.message.received > 0));
        taken.iter().for_each(|_| tally.enter(until_us, true, now_us));
        drop(tally);
        if let Some(Grave { queue: dead, buried, .. }) = grave {
            let mut tally = dead.tally();
            (0..buried).for_each(|_| tally.enter(now_us, false, now_us));
            drop(tally);
            dead.ring(buried);
        }
        Ok(all)
    }

    /// Deletes the messages of those handles that are of their last receive.
    pub(super) async fn remove_fifo(
        &self,
        queue: &Queue,
        configuration: &Configuration,
        handles: Vec<Result<Option<Handle>, Error>>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let _alone = queue.alone.lock().await;
        let range = range(configuration.id, configuration.epoch);
        let now_us = self.inner.clock.now().as_microsecond();
        let mut results = Vec::with_capacity(handles.len());
        let mut gone: BTreeMap<String, BTreeMap<u64, Row>> = BTreeMap::new();
        for handle in handles {
            let Ok(Some(handle)) = handle else {
                results.push(handle.map(drop));
                continue;
            };
            let key = message_key(&range, &handle.group, handle.place.sequence);
            let row: Option<Row> = match self.inner.store.tables.get(FIFO, &key).await? {
                Some(found) => Some(from_json(FIFO, &found.value)?),
                None => None,
            };
            results.push(match row {
                Some(row) if row.message.received != handle.received => Err(Error::HandleExpired),
                Some(row) => {
                    gone.entry(handle.group).or_default().insert(handle.place.sequence, row);
                    Ok(())
                }
                None => Ok(()),
            });
        }
        let mut batch = Batch::new();
        for (name, rows) in &gone {
            for sequence in rows.keys() {
                batch = batch.delete(FIFO, message_key(&range, name, *sequence));
            }
            let Some(mut group) = self.group(&range, name).await? else { continue };
            group.in_flight.retain(|(sequence, _)| !rows.contains_key(sequence));
            let numbers: Vec<u64> = rows.keys().copied().collect();
            batch = self.settle(batch, &range, name, group, &numbers, now_us).await?;
        }
        self.inner.store.tables.commit(batch).await?;
        let mut tally = queue.tally();
        gone.values().flat_map(BTreeMap::values).for_each(|row| tally.leave(row.visible_us, row.message.received > 0));
        drop(tally);
        queue.ring(gone.len());
        Ok(results)
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

    /// Adds to `batch` that a message is in the dead-letter queue.
    async fn bury(
        &self,
        batch: Batch,
        queue: &Queue,
        grave: &mut Grave<'_>,
        row: &Row,
        now: Timestamp,
    ) -> Result<Batch, Error> {
        let place =
            Place { visible_us: now.as_microsecond(), sequence: grave.queue.next_sequence(now.as_microsecond()) };
        let sequence = Some(place.sequence);
        let message = Message { sequence, sent_ms: now.as_millisecond(), ..row.message.clone().dead(queue) };
        let name = message.group.clone().unwrap_or_default();
        let row = to_json(&Row { visible_us: place.visible_us, message })?;
        let batch = batch.put(FIFO, message_key(&grave.range, &name, place.sequence), row);
        grave.buried += 1;
        self.with_group(batch, &grave.range, &name, place, &mut grave.groups).await
    }

    /// Adds to `batch` the group of a message at `place`, unless it is there or among `known`.
    async fn with_group(
        &self,
        batch: Batch,
        range: &Range,
        name: &str,
        place: Place,
        known: &mut HashSet<String>,
    ) -> Result<Batch, Error> {
        if !known.insert(name.to_owned()) || self.group(range, name).await?.is_some() {
            return Ok(batch);
        }
        let new = Group { visible_us: place.visible_us, sequence: place.sequence, in_flight: Vec::new() };
        new.placed(batch, range, name)
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
    async fn forget_sent(&self, mut batch: Batch, range: &Range, now_us: i64, most: usize) -> Result<Batch, Error> {
        let tables = &self.inner.store.tables;
        let to = Place { visible_us: now_us, sequence: 0 }.key(range);
        for old in tables.scan(SENT_UNTIL, range, &to, most, false).await? {
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
