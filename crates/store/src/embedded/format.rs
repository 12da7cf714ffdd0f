//! Names, keys and values inside the redb file, and the version of that format. The prose is `docs/store-format.md`.

use super::file::File;
use crate::Error;
use bytes::Bytes;
use dayfly_types::Timestamp;
use redb::{TableDefinition, TableError};

/// The format that this program writes. A higher number in the file means a newer program wrote it.
pub(super) const VERSION: u64 = 1;

/// Every redb table maps bytes to bytes.
pub(super) type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// Format version and sequence.
pub(super) const META: Definition<'static> = Definition::new("meta");
/// Length of each queue that holds messages.
pub(super) const QUEUES: Definition<'static> = Definition::new("queues");

pub(super) const META_FORMAT: &[u8] = b"format";
/// The last number given to a row's version or a message's id.
pub(super) const META_SEQUENCE: &[u8] = b"sequence";

/// redb's name of a table.
pub(super) fn table_name(table: &str) -> String {
    format!("table.{table}")
}

/// redb's name of a queue's messages.
pub(super) fn queue_name(queue: &str) -> String {
    format!("queue.{queue}")
}

/// Place of a message in its queue: order of visibility, then of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessageKey {
    /// Microseconds since 1970. Finer time is cut off, so that nothing becomes visible later than asked.
    pub visible_us: i64,
    pub id: u64,
}

impl MessageKey {
    pub const MIN: Self = Self { visible_us: i64::MIN, id: 0 };

    pub fn visible_at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.visible_us).unwrap_or(Timestamp::MAX)
    }

    /// Sixteen bytes that sort like the key: the sign bit is flipped so that times before 1970 come first.
    pub fn encode(&self) -> [u8; 16] {
        let time = (self.visible_us as u64) ^ (1 << 63);
        ((u128::from(time) << 64) | u128::from(self.id)).to_be_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| damaged("a message's key"))?;
        let number = u128::from_be_bytes(bytes);
        Ok(Self { visible_us: (((number >> 64) as u64) ^ (1 << 63)) as i64, id: number as u64 })
    }
}

/// A row's value on disk: its version, then the value.
pub(super) fn encode_row(version: u64, value: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&version.to_be_bytes());
    into.extend_from_slice(value);
}

pub(super) fn decode_row(bytes: &[u8]) -> Result<(u64, Bytes), Error> {
    let (version, value) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("a row"))?;
    Ok((u64::from_be_bytes(*version), Bytes::copy_from_slice(value)))
}

pub(super) fn decode_number(bytes: &[u8]) -> Result<u64, Error> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged("a number"))
}

fn damaged(what: &str) -> Error {
    Error::Engine(format!("{what} has an impossible length: the file is damaged"))
}

/// Any of redb's errors.
pub(super) fn engine(error: impl Into<redb::Error>) -> Error {
    Error::Engine(error.into().to_string())
}

/// Writes the format's version into a new file, and refuses a file of a newer format.
pub(super) fn check(file: &File) -> Result<(), Error> {
    let database = file.database()?;
    let found = match database.snapshot()?.open_table(META) {
        Ok(meta) => meta.get(META_FORMAT).map_err(engine)?.map(|value| decode_number(value.value())).transpose()?,
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(other) => return Err(engine(other)),
    };
    match found {
        Some(VERSION) => Ok(()),
        Some(found) => Err(Error::Format { found, known: VERSION }),
        None => {
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META).map_err(engine)?;
                meta.insert(META_FORMAT, VERSION.to_be_bytes().as_slice()).map_err(engine)?;
                transaction.open_table(QUEUES).map_err(engine)?;
            }
            transaction.commit().map_err(engine)
        }
    }
}
