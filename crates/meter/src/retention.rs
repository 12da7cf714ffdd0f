//! The background work of the meter: writes down sizes and times, and keeps the logs within their bound by dropping the
//! oldest chunks of any group first.

use crate::{
    Meter,
    catalog::{StreamRow, decode},
    keys::{self, LOG, LOG_GROUPS, LOG_STREAMS},
    logs,
};
use dayfly_store::{Batch, Error};
use dayfly_types::Timestamp;
use std::{cmp::Reverse, collections::BinaryHeap, sync::Weak, time::Duration};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// Rows written or removed by one commit.
const BATCH_ROWS: usize = 500;
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
        let mut oldest = BinaryHeap::new();
        for group in self.catalog.groups() {
            if let Some(time_us) = self.oldest(&group).await? {
                oldest.push(Reverse((time_us, group)));
            }
        }
        let mut removed = 0;
        while removed < ROUND_ROWS_MAX && self.catalog.bytes() > goal {
            let Some(Reverse((_, group))) = oldest.pop() else { break };
            // From this group only what is older than the oldest of the others.
            let to = match oldest.peek() {
                Some(Reverse((next_us, _))) => [group.as_slice(), &keys::time(next_us.saturating_add(1))].concat(),
                None => keys::after_prefix(&group),
            };
            let rows = self.store.tables.scan(LOG, &group, &to, BATCH_ROWS, false).await?;
            let mut batch = Batch::new();
            let mut bytes = 0;
            for row in rows {
                if self.catalog.bytes().saturating_sub(bytes) <= goal {
                    break;
                }
                bytes += logs::row_bytes(&row);
                removed += 1;
                batch = batch.delete(LOG, row.key);
            }
            self.store.tables.commit(batch).await?;
            self.catalog.shrink(&group, bytes);
            let kept_from_us = self.oldest(&group).await?;
            self.drop_streams(&group, kept_from_us.unwrap_or(i64::MAX)).await?;
            if let Some(time_us) = kept_from_us {
                oldest.push(Reverse((time_us, group)));
            }
        }
        tracing::info!(chunks = removed, "dropped the oldest log events");
        Ok(())
    }

    async fn oldest(&self, group: &[u8]) -> Result<Option<i64>, Error> {
        let rows = self.store.tables.scan(LOG, group, &keys::after_prefix(group), 1, false).await?;
        Ok(rows.first().and_then(|row| logs::chunk_time(&row.key, group.len())))
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
