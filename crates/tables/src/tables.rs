//! Tables as a whole: made, found, changed, deleted.

use crate::{
    Definition, Error, Index, Inner, TableName, Tables,
    count::Counted,
    items::Changes,
    rows::{INDEXES, ITEMS, LEFT, TABLES, id_range, item_of_row},
    sweeper,
};
use dayfly_store::{Batch, Error as StoreError, Precondition, Store, locks::Locks};
use dayfly_types::{AccountId, Clock, Region};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};
use tokio::sync::Notify;

/// Most tables of the server, AWS's for an account and region.
const TABLES_MAX: usize = 2500;
/// Rows read at a time.
pub(crate) const PAGE: usize = 100;

/// A table.
pub struct Table {
    name: TableName,
    /// Read by who reads and writes items, until that is done; written by who changes the table. `None` once deleted.
    pub(crate) life: tokio::sync::RwLock<Option<Arc<Definition>>>,
    pub(crate) counted: Mutex<Counted>,
}

impl Tables {
    /// Opens the tables of `store`, and removes from now on what has expired and what deleted tables left.
    pub async fn start(store: Store, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mut tables = BTreeMap::new();
        let mut pages = store.tables.pages(TABLES, [], [0xff]);
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let definition: Definition = serde_json::from_slice(&row.value)
                    .map_err(|error| StoreError::Engine(format!("unreadable row of {TABLES}: {error}")))?;
                tables.insert(definition.name.clone(), Arc::new(Table::new(definition)));
            }
        }
        drop(pages);
        let inner = Inner {
            store,
            clock,
            tables: RwLock::new(tables),
            changing: tokio::sync::Mutex::default(),
            locks: Locks::default(),
            left: Notify::new(),
        };
        let tables = Self { inner: Arc::new(inner) };
        sweeper::start(&tables);
        Ok(tables)
    }

    /// The table of this name.
    pub fn get(&self, name: &TableName) -> Result<Arc<Table>, Error> {
        let tables = self.inner.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(name).cloned().ok_or_else(no_table)
    }

    /// At most `limit` names in order, after the name `after`.
    pub fn list(&self, account: &AccountId, region: &Region, after: &str, limit: usize) -> Vec<String> {
        let tables = self.inner.tables.read().unwrap_or_else(PoisonError::into_inner);
        let from = TableName { account: account.clone(), region: region.clone(), name: after.to_owned() };
        tables
            .range(from..)
            .map(|(name, _)| name)
            .take_while(|name| name.account == *account && name.region == *region)
            .filter(|name| name.name != after)
            .take(limit)
            .map(|name| name.name.clone())
            .collect()
    }

    /// All tables.
    pub(crate) fn all(&self) -> Vec<Arc<Table>> {
        self.inner.tables.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes a table.
    pub async fn create(&self, definition: Definition) -> Result<(), Error> {
        let _alone = self.inner.changing.lock().await;
        let name = definition.name.clone();
        if self.get(&name).is_ok() {
            return Err(Error::InUse(format!("Table already exists: {}", name.name)));
        }
        if self.inner.tables.read().unwrap_or_else(PoisonError::into_inner).len() >= TABLES_MAX {
            return Err(Error::Limit(format!("There are {TABLES_MAX} tables, which is as many as may be")));
        }
        let batch = Batch::new().write(TABLES, name.key(), Some(row(&definition)?.into()), Precondition::Absent);
        self.inner.store.tables.commit(batch).await?;
        let table = Arc::new(Table::new(definition));
        self.inner.tables.write().unwrap_or_else(PoisonError::into_inner).insert(name, table);
        Ok(())
    }

    /// Deletes the table and all its items; returns what it was. The name is free at once.
    pub async fn delete(&self, name: &TableName) -> Result<Arc<Definition>, Error> {
        let _alone = self.inner.changing.lock().await;
        let table = self.get(name)?;
        let mut life = table.life.write().await;
        let definition = life.clone().ok_or_else(no_table)?;
        let ids = definition.indexes.iter().map(|index| index.id).chain([definition.id]);
        let left = |batch: Batch, id: uuid::Uuid| batch.put(LEFT, id.as_bytes().to_vec(), Vec::new());
        let batch = ids.fold(Batch::new().delete(TABLES, name.key()), left);
        self.inner.store.tables.commit(batch).await?;
        *life = None;
        drop(life);
        self.inner.tables.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.inner.left.notify_one();
        Ok(definition)
    }

    /// Changes a table, which `change` may refuse. Nobody reads or writes it meanwhile. New indexes are filled from its items.
    pub async fn change(
        &self,
        table: &Table,
        change: impl FnOnce(&mut Definition) -> Result<(), Error> + Send,
    ) -> Result<Arc<Definition>, Error> {
        let mut life = table.life.write().await;
        let before = life.clone().ok_or_else(no_table)?;
        let mut after = Definition::clone(&before);
        change(&mut after)?;
        self.fill(&before, &after).await?;
        let gone = before.indexes.iter().filter(|index| !after.indexes.iter().any(|kept| kept.id == index.id));
        let left = |batch: Batch, index: &Index| batch.put(LEFT, index.id.as_bytes().to_vec(), Vec::new());
        let batch = gone.fold(Batch::new().put(TABLES, table.name.key(), row(&after)?), left);
        self.inner.store.tables.commit(batch).await?;
        let after = Arc::new(after);
        *life = Some(after.clone());
        self.inner.left.notify_one();
        Ok(after)
    }

    /// Writes what `after` derives from the items that are there and `before` did not.
    async fn fill(&self, before: &Definition, after: &Definition) -> Result<(), Error> {
        let same = after.expiry == before.expiry;
        if same && after.indexes.iter().all(|index| before.index(&index.name).is_some_and(|old| old.id == index.id)) {
            return Ok(());
        }
        let (from, to) = id_range(after.id);
        let mut pages = self.inner.store.tables.pages(ITEMS, from, to).of(PAGE);
        while let Some(rows) = pages.next().await? {
            let mut changes = Changes::default();
            for row in &rows {
                changes.derive(before, after, &row.key, &item_of_row(&row.value)?);
            }
            self.inner.store.tables.commit(changes.batch).await?;
        }
        Ok(())
    }
}

impl Table {
    fn new(definition: Definition) -> Self {
        Self {
            name: definition.name.clone(),
            life: tokio::sync::RwLock::new(Some(Arc::new(definition))),
            counted: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// What it is now.
    pub async fn definition(&self) -> Result<Arc<Definition>, Error> {
        self.life.read().await.clone().ok_or_else(no_table)
    }
}

/// Which store table the rows of an index or of the items are in.
pub(crate) fn rows_of(index: Option<&Index>) -> &'static str {
    if index.is_some() { INDEXES } else { ITEMS }
}

pub(crate) fn no_table() -> Error {
    Error::NotFound("Requested resource not found".to_owned())
}

fn row(definition: &Definition) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(definition).map_err(|error| StoreError::Engine(error.to_string()).into())
}
