//! Tables over redb: one redb table per table.

use super::{
    engine::{Engine, rows},
    format::{decode_row, engine, table_name},
    writer::Work,
};
use crate::{Batch, Change, Error, Row, Tables};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

#[async_trait]
impl Tables for Engine {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Row>, Error> {
        let Some(rows) = rows(&self.shared.read()?, &table_name(table))? else { return Ok(None) };
        let Some(found) = rows.get(key).map_err(engine)? else { return Ok(None) };
        let (version, value) = decode_row(found.value())?;
        Ok(Some(Row { key: Bytes::copy_from_slice(key), value, version }))
    }

    async fn scan(
        &self,
        table: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
        backwards: bool,
    ) -> Result<Vec<Row>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let Some(rows) = rows(&self.shared.read()?, &table_name(table))? else { return Ok(Vec::new()) };
        let mut range = rows.range(from..to).map_err(engine)?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(entry) = (if backwards { range.next_back() } else { range.next() }) else { break };
            let (key, value) = entry.map_err(engine)?;
            let (version, value) = decode_row(value.value())?;
            found.push(Row { key: Bytes::copy_from_slice(key.value()), value, version });
        }
        Ok(found)
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        self.write(Work::Commit(batch)).await
    }

    fn watch(&self, table: &str) -> broadcast::Receiver<Change> {
        self.shared.watch(table)
    }

    async fn close(&self) {
        self.shut().await;
    }
}
