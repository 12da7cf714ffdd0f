//! How many items a table and its indexes have. Counted when somebody asks, and seldom enough that counting is a small part of
//! all work, however large the table; DynamoDB tells its own count every six hours.

use crate::{
    Definition, Error, Table, Tables,
    query::scan_size,
    rows::id_range,
    tables::{PAGE, rows_of},
};
use std::{collections::BTreeMap, sync::PoisonError, time::Instant};

/// A count stands this many times as long as it took.
const REST: u32 = 100;

/// Items and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub items: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What was counted last.
#[derive(Default)]
pub(crate) struct Counted {
    counts: BTreeMap<String, Count>,
    until: Option<Instant>,
}

impl Tables {
    /// Counts of the table (under the empty name) and of its indexes.
    pub async fn counts(&self, table: &Table, definition: &Definition) -> Result<BTreeMap<String, Count>, Error> {
        {
            let counted = table.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if counted.until.is_some_and(|until| until > Instant::now()) {
                return Ok(counted.counts.clone());
            }
        }
        let began = Instant::now();
        let mut counts = BTreeMap::new();
        for index in std::iter::once(None).chain(definition.indexes.iter().map(Some)) {
            let (from, to) = id_range(index.map_or(definition.id, |index| index.id));
            let mut count = Count::default();
            let mut pages = self.inner.store.tables.pages(rows_of(index), from, to).of(PAGE);
            while let Some(rows) = pages.next().await? {
                count.items += rows.len() as u64;
                for row in &rows {
                    count.bytes += scan_size(row)? as u64;
                }
            }
            counts.insert(index.map(|index| index.name.clone()).unwrap_or_default(), count);
        }
        let mut counted = table.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted = Counted { counts: counts.clone(), until: Some(Instant::now() + began.elapsed() * REST) };
        Ok(counts)
    }
}
