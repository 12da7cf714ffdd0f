//! Removes what nobody can receive any more: messages of purged and deleted queues, and those that are too old.

use super::{Error, Inner, LEFT, MESSAGES, MOVED, PAGE, Place, Queue, range};
use crate::queues::{
    fifo::{FIFO, GROUPS, SENT, SENT_UNTIL},
    message::{Message, from_json},
};
use dayfly_store::{Batch, Error as StoreError, Precondition};
use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

/// How often old messages are looked for.
const EVERY: Duration = Duration::from_secs(60);

pub(super) fn start(inner: &Arc<Inner>) {
    tokio::spawn(run(Arc::downgrade(inner)));
}

async fn run(queues: Weak<Inner>) {
    loop {
        let Some(inner) = queues.upgrade() else { return };
        match inner.sweep().await {
            Ok(()) => {}
            Err(Error::Store(StoreError::Closed)) => return,
            Err(error) => tracing::warn!(%error, "old messages are still kept"),
        }
        tokio::select! {
            () = inner.clock.sleep_until(inner.clock.now() + EVERY) => {}
            () = inner.left.notified() => {}
        }
    }
}

impl Inner {
    async fn sweep(&self) -> Result<(), Error> {
        while let Some(left) = self.store.tables.scan(LEFT, &[], &[0xff; 21], 1, false).await?.pop() {
            for table in [MESSAGES, MOVED, FIFO, GROUPS, SENT, SENT_UNTIL] {
                self.clear(table, &left.key).await?;
            }
            self.store.tables.commit(Batch::new().delete(LEFT, left.key)).await?;
        }
        let queues: Vec<Arc<Queue>> =
            self.queues.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for queue in queues {
            self.forget_old(&queue).await?;
        }
        Ok(())
    }

    /// Deletes all rows whose keys begin with `prefix`, some at a time.
    async fn clear(&self, table: &str, prefix: &[u8]) -> Result<(), Error> {
        let to = [prefix, &[0xff; 160]].concat();
        loop {
            let rows = self.store.tables.scan(table, prefix, &to, PAGE, false).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let batch = rows.into_iter().fold(Batch::new(), |batch, row| batch.delete(table, row.key));
            self.store.tables.commit(batch).await?;
        }
    }

    /// A message that became visible longer ago than messages are kept was sent before that.
    async fn forget_old(&self, queue: &Queue) -> Result<(), Error> {
        loop {
            let life = queue.life.read().await;
            let Some(configuration) = life.as_ref() else { return Ok(()) };
            if configuration.settings.fifo.is_some() {
                // A receive forgets them when it comes to them.
                return Ok(());
            }
            let range = range(configuration.id, configuration.epoch);
            let now = self.clock.now();
            let kept = Duration::from_secs(configuration.settings.retention_s.into());
            let to = Place { visible_us: (now - kept).as_microsecond(), sequence: 0 }.key(&range);
            let rows = self.store.tables.scan(MESSAGES, &range, &to, PAGE, false).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            let mut gone = Vec::new();
            for row in rows {
                let place = Place::of_key(&row.key)?;
                let message: Message = from_json(MESSAGES, &row.value)?;
                batch = batch.write(MESSAGES, row.key, None, Precondition::Version(row.version));
                if message.moved {
                    batch = batch.delete(MOVED, [&range[..], &place.sequence.to_be_bytes()].concat());
                }
                gone.push((place, message.received > 0));
            }
            match self.store.tables.commit(batch).await {
                // A receive was faster.
                Err(StoreError::Conflict { .. }) => continue,
                result => result?,
            }
            let mut tally = queue.tally();
            gone.into_iter().for_each(|(place, received)| tally.leave(place.visible_us, received));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues::after;

    #[test]
    fn what_begins_with_a_range_is_before_its_end() {
        let range = range(uuid::Uuid::max(), u32::MAX);
        assert!(Place { visible_us: i64::MAX, sequence: u64::MAX }.key(&range)[..] < after(&range)[..]);
    }
}
