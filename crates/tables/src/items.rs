//! Items: read by key, and changed alone or several at once, always in one commit with what indexes derive of them.

use crate::{
    Definition, Error, ITEM_BYTES_MAX, Item, Table, Tables,
    expression::{Condition, Update},
    invalid,
    rows::{EXPIRY, ID_BYTES, INDEXES, ITEMS, expiry_key, index_key, item_key, item_of_row, item_to_row, place},
    tables::no_table,
    value::{check_levels, item_size},
};
use dayfly_store::{Batch, Error as StoreError, Precondition, Row};
use std::sync::Arc;
use tokio::sync::RwLockReadGuard;

/// Times that a change is tried anew when another server's got in between.
const TRIES: usize = 8;

/// A change of one item, and when it may be.
#[derive(Debug, Clone)]
pub struct Write {
    /// The change.
    pub change: Change,
    /// What must hold of the item as it is.
    pub condition: Option<Condition>,
    /// Whether a failed condition tells the item as it is.
    pub tell_on_failure: bool,
}

/// What to do with one item.
#[derive(Debug, Clone)]
pub enum Change {
    /// Puts this in its place.
    Put(Item),
    /// Deletes the item of this key.
    Delete(Item),
    /// Updates the item of this key, or makes it.
    Update(Item, Update),
    /// Leaves the item of this key as it is.
    Check(Item),
}

/// What a write did.
#[derive(Debug, Clone)]
pub struct Written {
    /// The item before.
    pub old: Option<Item>,
    /// The item after.
    pub new: Option<Item>,
}

impl Tables {
    /// The item of this key.
    pub async fn item(&self, table: &Table, key: &Item) -> Result<Option<Item>, Error> {
        let life = table.life.read().await;
        let definition = life.as_ref().ok_or_else(no_table)?;
        definition.key.check_key(key)?;
        let row = item_key(definition, &place(&definition.key, key));
        let row = self.inner.store.tables.get(ITEMS, &row).await?;
        Ok(row.map(|row| item_of_row(&row.value)).transpose()?)
    }

    /// Changes one item. On disk when it returns.
    pub async fn write(&self, table: &Arc<Table>, write: Write) -> Result<Written, Error> {
        match self.write_all(&[(table.clone(), write)], Batch::new()).await {
            Ok(mut written) => written.pop().ok_or_else(|| StoreError::Engine("a write was lost".to_owned()).into()),
            Err(Error::Cancelled(mut reasons)) => Err(reasons.pop().flatten().unwrap_or(Error::Conflict)),
            Err(error) => Err(error),
        }
    }

    /// Changes items of any tables, all or none, and commits `batch` with them. No two may be of the same item.
    pub(crate) async fn write_all(&self, writes: &[(Arc<Table>, Write)], batch: Batch) -> Result<Vec<Written>, Error> {
        let lives = lives(writes.iter().map(|(table, _)| table)).await;
        let mut keys = Vec::with_capacity(writes.len());
        let mut reasons = Vec::with_capacity(writes.len());
        for (table, write) in writes {
            let definition = alive(&lives, table)?;
            let checked = write.change.check(definition);
            keys.push(item_key(definition, &place(&definition.key, write.change.item())));
            reasons.push(checked.err());
        }
        cancelled(reasons)?;
        let _alone = self.lock(&keys).await;
        for _ in 0..TRIES {
            let mut changes = Changes { batch: batch.clone() };
            let mut written = Vec::with_capacity(writes.len());
            let mut reasons = Vec::with_capacity(writes.len());
            for ((table, write), key) in writes.iter().zip(&keys) {
                let definition = alive(&lives, table)?;
                let row = self.inner.store.tables.get(ITEMS, key).await?;
                match write.outcome(definition, row.as_ref()) {
                    Ok(done) => {
                        if !matches!(write.change, Change::Check(_)) {
                            changes.change(definition, key, row.as_ref(), &done);
                        }
                        written.push(done);
                        reasons.push(None);
                    }
                    Err(Error::Store(error)) => return Err(error.into()),
                    Err(error) => reasons.push(Some(error)),
                }
            }
            cancelled(reasons)?;
            match self.inner.store.tables.commit(changes.batch).await {
                Err(StoreError::Conflict { table }) if table == ITEMS => continue,
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(written),
            }
        }
        Err(Error::Conflict)
    }

    /// Has these rows alone. In order of their keys, so that two who want the same do not wait for each other.
    async fn lock(&self, keys: &[Vec<u8>]) -> Vec<impl Send + use<>> {
        let mut names: Vec<String> = keys.iter().map(|key| lock_name(key)).collect();
        names.sort();
        names.dedup();
        let mut held = Vec::with_capacity(names.len());
        for name in names {
            held.push(self.inner.locks.write(&name).await);
        }
        held
    }

    /// Items of any tables as they are at one moment.
    pub async fn items_at_once(&self, reads: &[(Arc<Table>, Item)]) -> Result<Vec<Option<Item>>, Error> {
        let lives = lives(reads.iter().map(|(table, _)| table)).await;
        let mut keys = Vec::with_capacity(reads.len());
        for (table, key) in reads {
            let definition = alive(&lives, table)?;
            definition.key.check_key(key)?;
            keys.push(item_key(definition, &place(&definition.key, key)));
        }
        let _unchanged = self.lock(&keys).await;
        let mut found = Vec::with_capacity(keys.len());
        for key in &keys {
            let row = self.inner.store.tables.get(ITEMS, key).await?;
            found.push(row.map(|row| item_of_row(&row.value)).transpose()?);
        }
        Ok(found)
    }
}

type Life<'a> = (&'a Arc<Table>, RwLockReadGuard<'a, Option<Arc<Definition>>>);

impl Write {
    /// A change without a condition.
    pub fn new(change: Change) -> Self {
        Self { change, condition: None, tell_on_failure: false }
    }

    /// What it does to the item that is there, or why it is refused.
    fn outcome(&self, definition: &Definition, row: Option<&Row>) -> Result<Written, Error> {
        let old = row.map(|row| item_of_row(&row.value)).transpose()?;
        let none = Item::new();
        if let Some(condition) = &self.condition
            && !condition.holds(old.as_ref().unwrap_or(&none))
        {
            return Err(Error::Condition(old.filter(|_| self.tell_on_failure).map(Box::new)));
        }
        let new = match &self.change {
            Change::Put(item) => Some(item.clone()),
            Change::Delete(_) => None,
            Change::Check(_) => old.clone(),
            Change::Update(key, update) => {
                let new = update.apply(old.as_ref().unwrap_or(key))?;
                check_new(definition, &new, "Item size to update has exceeded the maximum allowed size")?;
                Some(new)
            }
        };
        Ok(Written { old, new })
    }
}

impl Change {
    /// The item or the key that names it.
    pub fn item(&self) -> &Item {
        match self {
            Self::Put(item) | Self::Delete(item) | Self::Update(item, _) | Self::Check(item) => item,
        }
    }

    fn check(&self, definition: &Definition) -> Result<(), Error> {
        match self {
            Self::Put(item) => {
                definition.key.check_item(item)?;
                check_new(definition, item, "Item size has exceeded the maximum allowed size")
            }
            Self::Delete(key) | Self::Check(key) => definition.key.check_key(key),
            Self::Update(key, update) => {
                definition.key.check_key(key)?;
                match update.paths().find(|path| definition.key.has(&path.name)) {
                    Some(path) => Err(invalid(format!(
                        "One or more parameter values were invalid: Cannot update attribute {}. This attribute is part of the key",
                        path.name
                    ))),
                    None => Ok(()),
                }
            }
        }
    }
}

fn check_new(definition: &Definition, item: &Item, too_large: &str) -> Result<(), Error> {
    if item_size(item) > ITEM_BYTES_MAX {
        return Err(invalid(too_large));
    }
    check_levels(item)?;
    definition.indexes.iter().try_for_each(|index| index.key.check_indexed(item, &index.name))
}

/// Rows of items and what is derived of them, to be committed.
#[derive(Default)]
pub(crate) struct Changes {
    pub batch: Batch,
}

impl Changes {
    /// Adds what makes `written.new` of `written.old`, whose row `row` is.
    fn change(&mut self, definition: &Definition, key: &[u8], row: Option<&Row>, written: &Written) {
        let precondition = row.map_or(Precondition::Absent, |row| Precondition::Version(row.version));
        let value = written.new.as_ref().map(|item| item_to_row(item).into());
        if value.is_some() || row.is_some() {
            self.write(ITEMS, key.to_vec(), value, precondition);
        }
        self.derived(definition, key, written.old.as_ref(), written.new.as_ref());
    }

    /// Deletes an item that has not changed since `row` was read.
    pub fn remove(&mut self, definition: &Definition, row: &Row, item: &Item) {
        self.write(ITEMS, row.key.to_vec(), None, Precondition::Version(row.version));
        self.derived(definition, &row.key, Some(item), None);
    }

    /// Adds what `after` derives of an item and `before` did not.
    pub fn derive(&mut self, before: &Definition, after: &Definition, key: &[u8], item: &Item) {
        let place = &key[ID_BYTES..];
        for index in after.indexes.iter().filter(|index| !before.indexes.iter().any(|old| old.id == index.id)) {
            // An item that was there before the index and does not fit it is not in it.
            if index.key.check_indexed(item, &index.name).is_ok()
                && let Some(entry) = index_key(index, item, place)
            {
                self.write(
                    INDEXES,
                    entry,
                    Some(item_to_row(&index.project(&after.key, item)).into()),
                    Precondition::None,
                );
            }
        }
        let (old, new) = (expiry_key(before, item, place), expiry_key(after, item, place));
        self.expiry(old, new);
    }

    fn derived(&mut self, definition: &Definition, key: &[u8], old: Option<&Item>, new: Option<&Item>) {
        let place = &key[ID_BYTES..];
        for index in &definition.indexes {
            let fits = |item: &&Item| index.key.check_indexed(item, &index.name).is_ok();
            let entry = |item: Option<&Item>| {
                let item = item.filter(fits)?;
                Some((index_key(index, item, place)?, index.project(&definition.key, item)))
            };
            let (old, new) = (entry(old), entry(new));
            if old == new {
                continue;
            }
            if let Some((key, _)) = old
                && new.as_ref().is_none_or(|(kept, _)| *kept != key)
            {
                self.write(INDEXES, key, None, Precondition::None);
            }
            if let Some((key, held)) = new {
                self.write(INDEXES, key, Some(item_to_row(&held).into()), Precondition::None);
            }
        }
        let expiry = |item: Option<&Item>| expiry_key(definition, item?, place);
        self.expiry(expiry(old), expiry(new));
    }

    fn expiry(&mut self, old: Option<Vec<u8>>, new: Option<Vec<u8>>) {
        if old == new {
            return;
        }
        if let Some(key) = old {
            self.write(EXPIRY, key, None, Precondition::None);
        }
        if let Some(key) = new {
            self.write(EXPIRY, key, Some(bytes::Bytes::new()), Precondition::None);
        }
    }

    fn write(&mut self, table: &str, key: Vec<u8>, value: Option<bytes::Bytes>, precondition: Precondition) {
        self.batch = std::mem::take(&mut self.batch).write(table, key, value, precondition);
    }
}

/// Keeps these tables as they are. Each once and in one order, so that who waits for a table does not wait for itself.
async fn lives<'a>(tables: impl Iterator<Item = &'a Arc<Table>>) -> Vec<Life<'a>> {
    let mut tables: Vec<&'a Arc<Table>> = tables.collect();
    tables.sort_by(|a, b| a.name().cmp(b.name()).then_with(|| Arc::as_ptr(a).cmp(&Arc::as_ptr(b))));
    tables.dedup_by(|a, b| Arc::ptr_eq(a, b));
    let mut lives = Vec::with_capacity(tables.len());
    for table in tables {
        lives.push((table, table.life.read().await));
    }
    lives
}

fn alive<'a>(lives: &'a [Life<'_>], table: &Arc<Table>) -> Result<&'a Definition, Error> {
    let life = lives.iter().find(|(held, _)| Arc::ptr_eq(held, table));
    life.and_then(|(_, life)| life.as_deref()).ok_or_else(no_table)
}

fn cancelled(reasons: Vec<Option<Error>>) -> Result<(), Error> {
    if reasons.iter().any(Option::is_some) { Err(Error::Cancelled(reasons)) } else { Ok(()) }
}

fn lock_name(key: &[u8]) -> String {
    key.iter().map(|byte| char::from(*byte)).collect()
}
