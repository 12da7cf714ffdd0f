//! The trait of tables: ordered keys, compare-and-set, atomic batches, watch.

use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

/// Rows of a page.
const PAGE: usize = 500;

/// Ordered maps from bytes to bytes, by table name.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// The row under `key`.
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Row>, Error>;

    /// At most `limit` rows with `from <= key < to` in key order (descending when `backwards`, then the last ones first).
    async fn scan(&self, table: &str, from: &[u8], to: &[u8], limit: usize, backwards: bool)
    -> Result<Vec<Row>, Error>;

    /// Applies all of `batch` or nothing. On disk (fsync) when it returns.
    async fn commit(&self, batch: Batch) -> Result<(), Error>;

    /// Changes of `table` from now on. A receiver that lags must read the table again.
    fn watch(&self, table: &str) -> broadcast::Receiver<Change>;

    /// Finishes the writes under way, then refuses everything with `Error::Closed`.
    async fn close(&self);
}

impl dyn Tables {
    /// All rows with `from <= key < to` in key order, read some at a time: each page is a snapshot, all of them are not.
    pub fn pages<'a>(&'a self, table: &'a str, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Pages<'a> {
        Pages { tables: self, table, from: from.into(), to: to.into(), rows: PAGE }
    }
}

/// What is left of a range of rows.
pub struct Pages<'a> {
    tables: &'a dyn Tables,
    table: &'a str,
    from: Vec<u8>,
    to: Vec<u8>,
    rows: usize,
}

impl Pages<'_> {
    /// At most so many rows at a time, where they are large.
    #[must_use]
    pub fn of(self, rows: usize) -> Self {
        Self { rows: rows.max(1), ..self }
    }

    /// The next rows, at least one; `None` when there are no more.
    pub async fn next(&mut self) -> Result<Option<Vec<Row>>, Error> {
        let rows = self.tables.scan(self.table, &self.from, &self.to, self.rows, false).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        // A short page is the last one: nothing is left to read.
        self.from = if rows.len() < self.rows { self.to.clone() } else { after(&last.key) };
        Ok(Some(rows))
    }
}

/// The first key that comes after `key`.
pub fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// Changes with each write of this key; never 0. What `Precondition::Version` compares.
    pub version: u64,
}

/// Writes that are applied together.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// In order.
    pub writes: Vec<Write>,
}

/// One write of a batch.
#[derive(Debug, Clone)]
pub struct Write {
    /// The table.
    pub table: String,
    /// The key.
    pub key: Bytes,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
    /// What must hold beforehand.
    pub precondition: Precondition,
}

/// What must hold of a row before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// There is no such row.
    Absent,
    /// The row has this version.
    Version(u64),
}

/// A row was written (or deleted, then without a value).
#[derive(Debug, Clone)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The new value.
    pub value: Option<Bytes>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an unconditional write.
    #[must_use]
    pub fn put(self, table: &str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.write(table, key, Some(value.into()), Precondition::None)
    }

    /// Adds an unconditional delete.
    #[must_use]
    pub fn delete(self, table: &str, key: impl Into<Bytes>) -> Self {
        self.write(table, key, None, Precondition::None)
    }

    /// Adds a write with a precondition.
    #[must_use]
    pub fn write(
        mut self,
        table: &str,
        key: impl Into<Bytes>,
        value: Option<Bytes>,
        precondition: Precondition,
    ) -> Self {
        self.writes.push(Write { table: table.to_owned(), key: key.into(), value, precondition });
        self
    }
}
