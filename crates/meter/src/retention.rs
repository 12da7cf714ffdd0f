//! The background work of the meter: writes down sizes and times, and keeps the logs within their bound by dropping the
//! oldest chunks of any group first.

use crate::{
    Meter,
    catalog::{StreamRow, decode},
    keys::{self, LOG, LOG_GROUPS, LOG_STREAMS},
    logs,
};
use dayfly_store::{Batch, Error, Row};
use dayfly_types::Timestamp;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// Rows written or removed by one commit.
const BATCH_ROWS: usize = 500;
/// Chunks of a group that are looked at ahead.
const AHEAD_ROWS: usize = 64;
/// Chunks that one round removes at most.
const ROUND_ROWS_MAX: usize = 20_000;
/// How far the store's row of a stream may be from its events after a crash: more than the longest call.
pub(crate) const BEHIND_US: i64 = 1_200_000_000;

/// Runs until the last handle of the meter is gone.
pub(crate) async fn run(meter: Weak<Meter>) {
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(meter) = meter.upgrade() else { return };
        match meter.round().await {
            Ok(()) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::error!(%error, "the log catalogue could not be kept"),
        }
    }
}

/// The oldest chunks of a group, which are removed next. Ordered by the first of them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Oldest {
    chunks: VecDeque<OldChunk>,
    key: Arc<[u8]>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct OldChunk {
    at_us: i64,
    bytes: u64,
    key: Vec<u8>,
}

impl Oldest {
    fn first_us(&self) -> i64 {
        self.chunks.front().map_or(i64::MAX, |chunk| chunk.at_us)
    }
}

impl Meter {
    pub(crate) async fn round(&self) -> Result<(), Error> {
        let _one = self.maintenance.lock().await;
        self.write_down().await?;
        if self.catalog.bytes() > self.log_bytes_max {
            self.trim().await?;
            self.write_down().await?;
        }
        Ok(())
    }

    /// Writes the sizes and times that the store does not have yet.
    pub(crate) async fn write_down(&self) -> Result<(), Error> {
        for puts in self.catalog.dirty().chunks(BATCH_ROWS) {
            let batch = puts
                .iter()
                .fold(Batch::new(), |batch, (table, key, value)| batch.put(table, key.clone(), value.clone()));
            self.store.tables.commit(batch).await?;
            self.catalog.stored(puts);
        }
        Ok(())
    }

    /// Drops the oldest chunks until a twentieth of the bound is free, so that not every call has to make room.
    async fn trim(&self) -> Result<(), Error> {
        let goal = self.log_bytes_max - self.log_bytes_max / 20;
        // Every group's oldest chunks, the oldest of all on top.
        let mut oldest = BinaryHeap::new();
        for group in self.catalog.groups() {
            match self.oldest(Arc::from(group.as_slice()), &[]).await? {
                Some(found) => oldest.push(found),
                // Whatever a crash left of its count, it has nothing.
                None => self.catalog.shrink(&group, u64::MAX),
            }
        }
        let mut kept_from: HashMap<Arc<[u8]>, i64> = HashMap::new();
        let mut removed = 0;
        while removed < ROUND_ROWS_MAX && self.catalog.bytes() > goal {
            let (mut batch, mut sizes, mut excess) = (Batch::new(), Vec::new(), self.catalog.bytes() - goal);
            while excess > 0 && batch.writes.len() < BATCH_ROWS {
                let Some(Reverse(mut group)) = oldest.pop() else { break };
                let Some(chunk) = group.chunks.pop_front() else { continue };
                excess = excess.saturating_sub(chunk.bytes);
                sizes.push((group.key.clone(), chunk.bytes));
                if group.chunks.is_empty() {
                    oldest.extend(self.oldest(group.key.clone(), &chunk.key).await?);
                    kept_from.insert(group.key, i64::MAX);
                } else {
                    oldest.push(Reverse(group));
                }
                batch = batch.delete(LOG, chunk.key);
            }
            if batch.writes.is_empty() {
                break;
            }
            removed += batch.writes.len();
            self.store.tables.commit(batch).await?;
            for (group, bytes) in sizes {
                self.catalog.shrink(&group, bytes);
                kept_from.entry(group).or_insert(i64::MAX);
            }
        }
        for Reverse(group) in oldest {
            kept_from.entry(group.key.clone()).and_modify(|time_us| *time_us = group.first_us());
        }
        for (group, time_us) in kept_from {
            self.drop_streams(&group, time_us).await?;
        }
        tracing::info!(chunks = removed, "dropped the oldest log events");
        Ok(())
    }

    /// The oldest chunks of a group after the key `after`; none when there are none.
    async fn oldest(&self, group: Arc<[u8]>, after: &[u8]) -> Result<Option<Reverse<Oldest>>, Error> {
        let from = if after.is_empty() { group.to_vec() } else { dayfly_store::after(after) };
        let rows = self.store.tables.scan(LOG, &from, &keys::after_prefix(&group), AHEAD_ROWS, false).await?;
        let chunk = |row: Row| {
            let at_us = logs::chunk_time(&row.key, group.len()).unwrap_or(i64::MIN);
            OldChunk { at_us, bytes: logs::row_bytes(&row), key: row.key.to_vec() }
        };
        let chunks: VecDeque<OldChunk> = rows.into_iter().map(chunk).collect();
        Ok((!chunks.is_empty()).then_some(Reverse(Oldest { chunks, key: group })))
    }

    /// Removes the rows of streams that this process has not seen and whose events are gone. Streams are named by
    /// their day, so the oldest come first, and a few at a time are enough.
    async fn drop_streams(&self, group: &[u8], kept_from_us: i64) -> Result<(), Error> {
        let rows = self.store.tables.scan(LOG_STREAMS, group, &keys::after_prefix(group), BATCH_ROWS, false).await?;
        let gone = rows.into_iter().filter(|row| {
            let known: Option<StreamRow> = decode(&row.value);
            self.catalog.stream(&row.key).is_none()
                && known.is_some_and(|known| known.last_us.saturating_add(BEHIND_US) < kept_from_us)
        });
        self.store.tables.commit(gone.fold(Batch::new(), |batch, row| batch.delete(LOG_STREAMS, row.key))).await
    }

    /// Removes all of a group: events, streams, then the group itself, so that a crash in between loses no way to it.
    pub(crate) async fn delete_group(&self, group: &[u8]) -> Result<bool, Error> {
        let _one = self.maintenance.lock().await;
        if self.store.tables.get(LOG_GROUPS, group).await?.is_none() {
            return Ok(false);
        }
        // Events that come in meanwhile belong to a new group of the same name; else this might never end.
        let now = [group, &keys::time(Timestamp::now().as_microsecond())].concat();
        for (table, end) in [(LOG, now), (LOG_STREAMS, keys::after_prefix(group))] {
            loop {
                let rows = self.store.tables.scan(table, group, &end, BATCH_ROWS, false).await?;
                if rows.is_empty() {
                    break;
                }
                let batch = rows.into_iter().fold(Batch::new(), |batch, row| batch.delete(table, row.key));
                self.store.tables.commit(batch).await?;
            }
        }
        self.store.tables.commit(Batch::new().delete(LOG_GROUPS, group.to_vec())).await?;
        self.catalog.forget(group);
        Ok(true)
    }
}
