//! Which log groups and streams there are: what this process knows of them, ahead of the rows in the store.
//!
//! A group's or stream's rows go into the batch of each call until the store is known to have them, so they can never be
//! missing where events are. Sizes and last times change with each call; they are written down every few seconds
//! ([`Catalog::dirty`]), so a crash may leave them a little behind the events.

use crate::{keys, logs::Chunk};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A stream that said nothing for so long is forgotten here (not in the store): its zygote is gone.
const STREAM_IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Value of a group's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    pub created_us: i64,
    pub bytes: u64,
}

/// Value of a stream's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamRow {
    pub created_us: i64,
    pub first_us: i64,
    pub last_us: i64,
}

/// A row to write: table, key, value.
pub(crate) type Put = (&'static str, Vec<u8>, Vec<u8>);

#[derive(Default)]
pub(crate) struct Catalog {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: HashMap<Vec<u8>, Known<GroupRow>>,
    streams: HashMap<Vec<u8>, Known<StreamRow>>,
}

struct Known<T> {
    row: T,
    /// What the store has for sure.
    stored: Option<T>,
    touched: Instant,
}

impl<T: Copy + PartialEq> Known<T> {
    fn is_dirty(&self) -> bool {
        self.stored != Some(self.row)
    }
}

impl Catalog {
    /// Takes over a group's row at the start.
    pub fn restore(&self, group: Vec<u8>, row: GroupRow) {
        self.lock().groups.insert(group, Known { row, stored: Some(row), touched: Instant::now() });
    }

    /// Counts chunks that are about to be written, and gives the rows that have to be written with them.
    pub fn note(&self, group: &[u8], stream: &str, chunks: &[Chunk], now_us: i64) -> Vec<Put> {
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Vec::new() };
        let bytes: u64 = chunks.iter().map(Chunk::bytes).sum();
        let stream_key = [group, stream.as_bytes()].concat();
        let mut puts = Vec::new();
        let mut state = self.lock();
        if !state.groups.contains_key(group) {
            let row = GroupRow { created_us: now_us, bytes: 0 };
            state.groups.insert(group.to_vec(), Known { row, stored: None, touched: Instant::now() });
        }
        if let Some(known) = state.groups.get_mut(group) {
            known.row.bytes += bytes;
            if known.stored.is_none() {
                puts.push((keys::LOG_GROUPS, group.to_vec(), encode(&known.row)));
            }
        }
        let known = state.streams.entry(stream_key).or_insert_with_key(|_| Known {
            row: StreamRow { created_us: now_us, first_us: first.first_us, last_us: last.last_us },
            stored: None,
            touched: Instant::now(),
        });
        known.touched = Instant::now();
        known.row.first_us = known.row.first_us.min(first.first_us);
        known.row.last_us = known.row.last_us.max(last.last_us);
        // An earlier first time goes with its lines: readers begin their search there.
        if known.stored.is_none_or(|stored| stored.first_us > known.row.first_us) {
            puts.push((keys::LOG_STREAMS, [group, stream.as_bytes()].concat(), encode(&known.row)));
        }
        puts
    }

    /// The rows that the store does not have as they are here.
    pub fn dirty(&self) -> Vec<Put> {
        let mut state = self.lock();
        state.streams.retain(|_, known| known.is_dirty() || known.touched.elapsed() < STREAM_IDLE_MAX);
        let groups = state.groups.iter().filter(|(_, known)| known.is_dirty());
        let groups = groups.map(|(key, known)| (keys::LOG_GROUPS, key.clone(), encode(&known.row)));
        let streams = state.streams.iter().filter(|(_, known)| known.is_dirty());
        let streams = streams.map(|(key, known)| (keys::LOG_STREAMS, key.clone(), encode(&known.row)));
        groups.chain(streams).collect()
    }

    /// The store has these rows now.
    pub fn stored(&self, puts: &[Put]) {
        let mut state = self.lock();
        for (table, key, value) in puts {
            if *table == keys::LOG_GROUPS {
                if let Some(known) = state.groups.get_mut(key) {
                    known.stored = decode(value);
                }
            } else if let Some(known) = state.streams.get_mut(key) {
                known.stored = decode(value);
            }
        }
    }

    /// A group's row as it is now.
    pub fn group(&self, group: &[u8]) -> Option<GroupRow> {
        self.lock().groups.get(group).map(|known| known.row)
    }

    /// A stream's row as it is now, when this process has seen the stream.
    pub fn stream(&self, key: &[u8]) -> Option<StreamRow> {
        self.lock().streams.get(key).map(|known| known.row)
    }

    pub fn groups(&self) -> Vec<Vec<u8>> {
        self.lock().groups.keys().cloned().collect()
    }

    /// Bytes of all groups.
    pub fn bytes(&self) -> u64 {
        self.lock().groups.values().map(|known| known.row.bytes).sum()
    }

    /// Chunks of a group were removed.
    pub fn shrink(&self, group: &[u8], bytes: u64) {
        if let Some(known) = self.lock().groups.get_mut(group) {
            known.row.bytes = known.row.bytes.saturating_sub(bytes);
        }
    }

    /// Forgets a group and its streams, because their rows are gone.
    pub fn forget(&self, group: &[u8]) {
        let mut state = self.lock();
        state.groups.remove(group);
        state.streams.retain(|key, _| !key.starts_with(group));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    // Numbers: JSON cannot refuse them.
    serde_json::to_vec(row).unwrap_or_default()
}

pub(crate) fn decode<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}
