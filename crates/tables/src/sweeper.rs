//! Removes, in the background and a page at a time, items that have expired, what deleted tables and indexes left, and tokens of
//! old transactions.

use crate::{
    Error, Inner, Item, Table, Tables,
    items::Changes,
    rows::{EXPIRY, ID_BYTES, INDEXES, ITEMS, LEFT, TOKENS, after_all, expiry_key, id_range, item_of_row},
    tables::PAGE,
};
use dayfly_store::{Batch, Error as StoreError, Precondition};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use uuid::Uuid;

/// Longest time between two looks. DynamoDB takes days.
const PAUSE: Duration = Duration::from_secs(10);

/// Sweeps until nobody has the tables any more.
pub(crate) fn start(tables: &Tables) {
    let inner = Arc::downgrade(&tables.inner);
    let clock = tables.inner.clock.clone();
    tokio::spawn(async move {
        while let Some(tables) = alive(&inner) {
            match tables.sweep().await {
                Ok(()) => {}
                Err(Error::Store(StoreError::Closed)) => return,
                Err(error) => tracing::warn!(%error, "what has expired or was left in tables could not be removed"),
            }
            let pause = clock.sleep_until(clock.now() + PAUSE);
            tokio::select! {
                () = tables.inner.left.notified() => {}
                () = pause => {}
            }
        }
    });
}

fn alive(inner: &Weak<Inner>) -> Option<Tables> {
    inner.upgrade().map(|inner| Tables { inner })
}

impl Tables {
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        self.remove_left().await?;
        self.forget_tokens().await?;
        for table in self.all() {
            self.expire(&table).await?;
        }
        Ok(())
    }

    /// Removes the items of `table` whose time has come.
    async fn expire(&self, table: &Table) -> Result<(), Error> {
        loop {
            let life = table.life.read().await;
            let Some(definition) = life.as_ref().filter(|definition| definition.expiry.is_some()) else {
                return Ok(());
            };
            let now = u64::try_from(self.inner.clock.now().as_second()).unwrap_or_default();
            let (from, _) = id_range(definition.id);
            // AWS's rule: what expired more than five years ago was not meant to.
            let from = [&from[..], &now.saturating_sub(5 * 365 * 86_400).to_be_bytes()].concat();
            let to = [definition.id.as_bytes(), &now.saturating_add(1).to_be_bytes()[..]].concat();
            let due = self.inner.store.tables.scan(EXPIRY, &from, &to, PAGE, false).await?;
            if due.is_empty() {
                return Ok(());
            }
            let mut changes = Changes::default();
            for due in &due {
                let place = &due.key[(ID_BYTES + 8).min(due.key.len())..];
                let key = [definition.id.as_bytes(), place].concat();
                let row = self.inner.store.tables.get(ITEMS, &key).await?;
                let item: Option<Item> = row.as_ref().map(|row| item_of_row(&row.value)).transpose()?;
                match (row, item) {
                    (Some(row), Some(item))
                        if expiry_key(definition, &item, place).as_deref() == Some(&due.key[..]) =>
                    {
                        changes.remove(definition, &row, &item);
                    }
                    // Somebody was faster.
                    _ => changes.batch = changes.batch.delete(EXPIRY, due.key.clone()),
                }
            }
            match self.inner.store.tables.commit(changes.batch).await {
                // An item was written meanwhile: the next look sees what it is now.
                Err(StoreError::Conflict { .. }) => {}
                result => result?,
            }
        }
    }

    async fn remove_left(&self) -> Result<(), Error> {
        loop {
            let left = self.inner.store.tables.scan(LEFT, &[], &[0xff; 17], 1, false).await?;
            let Some(row) = left.first() else { return Ok(()) };
            let id = Uuid::from_slice(&row.key).map_err(|_| StoreError::Engine(format!("odd key in {LEFT}")))?;
            for table in [ITEMS, INDEXES, EXPIRY] {
                self.remove_all(table, id).await?;
            }
            self.inner.store.tables.commit(Batch::new().delete(LEFT, row.key.clone())).await?;
        }
    }

    async fn remove_all(&self, table: &str, id: Uuid) -> Result<(), Error> {
        let (from, to) = (id.as_bytes(), after_all(id.as_bytes()));
        loop {
            let rows = self.inner.store.tables.scan(table, from, &to, PAGE, false).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let batch = rows.into_iter().fold(Batch::new(), |batch, row| batch.delete(table, row.key));
            self.inner.store.tables.commit(batch).await?;
        }
    }

    async fn forget_tokens(&self) -> Result<(), Error> {
        let now = self.inner.clock.now().as_microsecond();
        let mut pages = self.inner.store.tables.pages(TOKENS, [], [0xff]);
        while let Some(rows) = pages.next().await? {
            let mut batch = Batch::new();
            for row in rows {
                let until = row.value.first_chunk::<8>().map_or(0, |until| i64::from_be_bytes(*until));
                if until <= now {
                    batch = batch.write(TOKENS, row.key, None, Precondition::Version(row.version));
                }
            }
            match self.inner.store.tables.commit(batch).await {
                Err(StoreError::Conflict { .. }) => {}
                result => result?,
            }
        }
        Ok(())
    }
}
