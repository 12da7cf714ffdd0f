//! One redb write transaction for a group of writes. Each write is checked wholly before it touches anything, so a
//! refused one leaves no trace and the others go on. A failure of the engine fails the whole group: nothing of it is kept.

use super::{
    engine::Shared,
    format::{
        Definition, META, META_SEQUENCE, MessageKey, QUEUES, decode_number, decode_row, encode_row, engine, queue_name,
        table_name,
    },
    writer::{Taken, Work},
};
use crate::{Batch, Change, Error, Precondition};
use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};
use std::collections::{BTreeMap, HashMap};

/// Longest key; a mistake elsewhere must not become a slow tree.
const KEY_BYTES_MAX: usize = 4 << 10;
/// Longest value or message.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// Applies `works` in one durable transaction. One result for each, in order.
pub(super) fn commit(shared: &Shared, works: Vec<Work>) -> Vec<Result<(), Error>> {
    let mut effects = Vec::new();
    let mut results = Vec::with_capacity(works.len());
    let count = works.len();
    match apply(shared, works, &mut results, &mut effects) {
        Ok(()) => {
            for effect in effects {
                effect.done(shared);
            }
            results
        }
        Err(error) => {
            for effect in effects {
                effect.undone(shared);
            }
            let text = match error {
                Error::Engine(text) => text,
                other => other.to_string(),
            };
            shared.file.failed(&text);
            tracing::error!(writes = count, error = text, "a commit failed");
            (0..count).map(|_| Err(Error::Engine(text.clone()))).collect()
        }
    }
}

fn apply(
    shared: &Shared,
    works: Vec<Work>,
    results: &mut Vec<Result<(), Error>>,
    effects: &mut Vec<Effect>,
) -> Result<(), Error> {
    shared.file.recover();
    let database = shared.file.database()?;
    let transaction = database.begin_write()?;
    let mut open = Open::new(shared, &transaction, effects)?;
    for work in works {
        match open.apply(work) {
            Err(Error::Engine(text)) => return Err(Error::Engine(text)),
            result => results.push(result),
        }
    }
    open.finish()?;
    if results.iter().any(Result::is_ok) {
        transaction.commit().map_err(engine)
    } else {
        transaction.abort().map_err(engine)
    }
}

/// What is to happen in memory when the transaction is on disk, or failed.
enum Effect {
    Changed { table: String, change: Change },
    Added { queue: String, key: MessageKey },
    Settled { queue: String, id: u64 },
    Purged { queue: String },
}

impl Effect {
    fn done(self, shared: &Shared) {
        match self {
            Self::Changed { table, change } => shared.announce(&table, change),
            Self::Added { queue, key } => shared.leases().added(&queue, key),
            Self::Settled { queue, id } => shared.leases().settled(&queue, id),
            Self::Purged { queue } => shared.leases().forget(&queue),
        }
    }

    fn undone(self, shared: &Shared) {
        if let Self::Settled { queue, id } = self {
            shared.leases().unsettle(&queue, id);
        }
    }
}

/// The transaction with the redb tables that were opened in it so far: redb opens each only once.
struct Open<'a> {
    shared: &'a Shared,
    transaction: &'a WriteTransaction,
    tables: HashMap<String, Table<'a, &'static [u8], &'static [u8]>>,
    lengths: BTreeMap<String, u64>,
    sequence: u64,
    scratch: Vec<u8>,
    effects: &'a mut Vec<Effect>,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, transaction: &'a WriteTransaction, effects: &'a mut Vec<Effect>) -> Result<Self, Error> {
        let meta = transaction.open_table(META).map_err(engine)?;
        let sequence = match meta.get(META_SEQUENCE).map_err(engine)? {
            Some(number) => decode_number(number.value())?,
            None => 0,
        };
        drop(meta);
        Ok(Self {
            shared,
            transaction,
            tables: HashMap::new(),
            lengths: BTreeMap::new(),
            sequence,
            scratch: Vec::new(),
            effects,
        })
    }

    fn apply(&mut self, work: Work) -> Result<(), Error> {
        match work {
            Work::Commit(batch) => {
                self.check(&batch)?;
                self.write(batch)
            }
            Work::Enqueue { queue, body, visible_us, capacity } => {
                check_size(queue.len(), body.len())?;
                if *self.length(&queue)? >= capacity {
                    return Err(Error::QueueFull);
                }
                let id = self.next();
                self.insert_message(queue, MessageKey { visible_us, id }, &body, 1)
            }
            Work::Acknowledge { taken, batch } => {
                self.check(&batch)?;
                let key = self.settle(&taken)?;
                self.remove_message(&taken.queue, key)?;
                *self.length(&taken.queue)? -= 1;
                self.write(batch)
            }
            Work::PutBack { taken, body, visible_us, batch } => {
                self.check(&batch)?;
                check_size(0, body.len())?;
                let key = self.settle(&taken)?;
                self.remove_message(&taken.queue, key)?;
                self.insert_message(taken.queue, MessageKey { visible_us, id: taken.id }, &body, 0)?;
                self.write(batch)
            }
            Work::Purge { queue } => {
                let name = queue_name(&queue);
                self.tables.remove(&name);
                self.transaction.delete_table(Definition::new(&name)).map_err(engine)?;
                *self.length(&queue)? = 0;
                self.effects.push(Effect::Purged { queue });
                Ok(())
            }
        }
    }

    /// Writes what the transaction remembers: the sequence and the lengths of the queues it touched.
    fn finish(self) -> Result<(), Error> {
        let Self { transaction, tables, lengths, sequence, .. } = self;
        drop(tables);
        let mut meta = transaction.open_table(META).map_err(engine)?;
        meta.insert(META_SEQUENCE, sequence.to_be_bytes().as_slice()).map_err(engine)?;
        let mut queues = transaction.open_table(QUEUES).map_err(engine)?;
        for (queue, length) in lengths {
            if length == 0 {
                queues.remove(queue.as_bytes()).map_err(engine)?;
            } else {
                queues.insert(queue.as_bytes(), length.to_be_bytes().as_slice()).map_err(engine)?;
            }
        }
        Ok(())
    }

    /// Whether all preconditions of `batch` hold before any of it is written.
    fn check(&mut self, batch: &Batch) -> Result<(), Error> {
        for write in &batch.writes {
            check_size(write.key.len(), write.value.as_ref().map_or(0, Bytes::len))?;
            let expected = match write.precondition {
                Precondition::None => continue,
                Precondition::Absent => None,
                Precondition::Version(version) => Some(version),
            };
            let table = self.table(table_name(&write.table))?;
            let found = match table.get(write.key.as_ref()).map_err(engine)? {
                Some(row) => Some(decode_row(row.value())?.0),
                None => None,
            };
            if found != expected {
                return Err(Error::Conflict { table: write.table.clone() });
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        for write in batch.writes {
            let name = table_name(&write.table);
            match &write.value {
                Some(value) => {
                    let version = self.next();
                    let mut scratch = std::mem::take(&mut self.scratch);
                    encode_row(version, value, &mut scratch);
                    self.table(name)?.insert(write.key.as_ref(), scratch.as_slice()).map_err(engine)?;
                    self.scratch = scratch;
                }
                None => {
                    self.table(name)?.remove(write.key.as_ref()).map_err(engine)?;
                }
            }
            let change = Change { key: write.key, value: write.value };
            self.effects.push(Effect::Changed { table: write.table, change });
        }
        Ok(())
    }

    /// Reserves a leased message for this transaction.
    fn settle(&mut self, taken: &Taken) -> Result<MessageKey, Error> {
        let key = self.shared.leases().settle(&taken.queue, taken.id, taken.generation).ok_or(Error::LeaseGone)?;
        self.effects.push(Effect::Settled { queue: taken.queue.clone(), id: taken.id });
        let held = self.table(queue_name(&taken.queue))?.get(key.encode().as_slice()).map_err(engine)?.is_some();
        // Purged earlier in this group, or removed by a commit whose failure was only apparent.
        if held { Ok(key) } else { Err(Error::LeaseGone) }
    }

    fn insert_message(&mut self, queue: String, key: MessageKey, body: &[u8], added: u64) -> Result<(), Error> {
        self.table(queue_name(&queue))?.insert(key.encode().as_slice(), body).map_err(engine)?;
        *self.length(&queue)? += added;
        self.effects.push(Effect::Added { queue, key });
        Ok(())
    }

    fn remove_message(&mut self, queue: &str, key: MessageKey) -> Result<(), Error> {
        self.table(queue_name(queue))?.remove(key.encode().as_slice()).map_err(engine)?;
        Ok(())
    }

    /// The length of a queue, as this transaction has it so far.
    fn length(&mut self, queue: &str) -> Result<&mut u64, Error> {
        if !self.lengths.contains_key(queue) {
            let queues = self.transaction.open_table(QUEUES).map_err(engine)?;
            let length = match queues.get(queue.as_bytes()).map_err(engine)? {
                Some(length) => decode_number(length.value())?,
                None => 0,
            };
            drop(queues);
            self.lengths.insert(queue.to_owned(), length);
        }
        Ok(self.lengths.entry(queue.to_owned()).or_default())
    }

    fn table(&mut self, name: String) -> Result<&mut Table<'a, &'static [u8], &'static [u8]>, Error> {
        use std::collections::hash_map::Entry;
        match self.tables.entry(name) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(vacant) => {
                let table = self.transaction.open_table(Definition::new(vacant.key())).map_err(engine)?;
                Ok(vacant.insert(table))
            }
        }
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

fn check_size(key: usize, value: usize) -> Result<(), Error> {
    if key > KEY_BYTES_MAX || value > VALUE_BYTES_MAX {
        return Err(Error::TooLarge { key_bytes: key, value_bytes: value });
    }
    Ok(())
}
