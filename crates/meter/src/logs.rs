//! Log events on disk: a row per handful of lines of one stream, in order of time within the group.
//!
//! Key: account, region, group, time of the first line, stream, sequence. A chunk spans at most [`SPAN_US`], so a
//! reader that starts that much earlier misses nothing. The value is JSON: `[ingested, [[time, source, text], …]]`, times
//! in microseconds, source 0 for the function and 1 for the platform.

use crate::{LogEvent, keys};
use dayfly_store::Row;
use dayfly_types::{LogLine, LogSource};

/// The last line of a chunk is at most this much later than its first.
pub(crate) const SPAN_US: i64 = 1_000_000;
/// Text in one chunk, beyond its first line.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Place of an event in its group: time, then sequence of its chunk, then its place in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub at_us: i64,
    pub sequence: u64,
    pub index: u32,
}

impl Place {
    pub const FIRST: Self = Self { at_us: i64::MIN, sequence: 0, index: 0 };

    /// Digits that sort like the place.
    pub fn id(&self) -> String {
        format!("{:020}{:020}{:010}", (self.at_us as u64) ^ (1 << 63), self.sequence, self.index)
    }

    pub fn parse(id: &str) -> Option<Self> {
        if id.len() != 50 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            at_us: (id[..20].parse::<u64>().ok()? ^ (1 << 63)) as i64,
            sequence: id[20..40].parse().ok()?,
            index: id[40..].parse().ok()?,
        })
    }
}

/// A row to write.
pub(crate) struct Chunk {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub first_us: i64,
    pub last_us: i64,
}

impl Chunk {
    /// What it counts towards the bytes kept.
    pub fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

/// The same for a row that was read.
pub(crate) fn row_bytes(row: &Row) -> u64 {
    (row.key.len() + row.value.len()) as u64
}

/// Packs lines into chunks. `sequence` gives a number that was never given before.
pub(crate) fn chunks(
    group: &[u8],
    stream: &str,
    lines: &[LogLine],
    ingested_us: i64,
    mut sequence: impl FnMut() -> u64,
) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut packed: Vec<(i64, u8, &str)> = Vec::new();
    let mut bytes = 0;
    // The order of the lines is the truth; a clock that steps back must not reverse them.
    let mut last_us = i64::MIN;
    for line in lines {
        let at_us = line.at.as_microsecond().max(last_us);
        let first_us = packed.first().map_or(at_us, |first| first.0);
        // Compared without subtraction of far apart times, which could overflow.
        if at_us > first_us.saturating_add(SPAN_US) || bytes >= CHUNK_BYTES_MAX {
            chunks.push(chunk(group, stream, &packed, ingested_us, sequence()));
            packed.clear();
            bytes = 0;
        }
        packed.push((at_us, u8::from(line.source == LogSource::Platform), &line.text));
        bytes += line.text.len();
        last_us = at_us;
    }
    if !packed.is_empty() {
        chunks.push(chunk(group, stream, &packed, ingested_us, sequence()));
    }
    chunks
}

fn chunk(group: &[u8], stream: &str, lines: &[(i64, u8, &str)], ingested_us: i64, sequence: u64) -> Chunk {
    let first_us = lines.first().map_or(0, |line| line.0);
    let mut key = group.to_vec();
    key.extend(keys::time(first_us));
    key = keys::text(key, stream);
    key.extend(sequence.to_be_bytes());
    // Numbers and text: JSON cannot refuse them.
    let value = serde_json::to_vec(&(ingested_us, lines)).unwrap_or_default();
    Chunk { key, value, first_us, last_us: lines.last().map_or(first_us, |line| line.0) }
}

/// Time of a chunk's first line, from its key.
pub(crate) fn chunk_time(key: &[u8], group_length: usize) -> Option<i64> {
    key.get(group_length..group_length + 8)?.try_into().ok().map(keys::decode_time)
}

/// Stream and sequence of a chunk, from its key.
pub(crate) fn chunk_stream(key: &[u8], group_length: usize) -> Option<(&str, u64)> {
    let (stream, sequence) = key.get(group_length + 8..)?.split_last_chunk::<8>()?;
    let stream = std::str::from_utf8(stream.strip_suffix(&[0])?).ok()?;
    Some((stream, u64::from_be_bytes(*sequence)))
}

/// The events of a chunk with their places; `None` when the row is damaged.
pub(crate) fn events(row: &Row, group_length: usize) -> Option<Vec<(Place, LogEvent)>> {
    let (stream, sequence) = chunk_stream(&row.key, group_length)?;
    let (ingested_us, lines): (i64, Vec<(i64, u8, String)>) = serde_json::from_slice(&row.value).ok()?;
    let event = |(index, (at_us, source, mut message)): (usize, (i64, u8, String))| {
        let place = Place { at_us, sequence, index: index as u32 };
        message.push('\n');
        let event = LogEvent {
            id: place.id(),
            stream: stream.to_owned(),
            at: keys::timestamp(at_us),
            ingested_at: keys::timestamp(ingested_us),
            source: if source == 1 { LogSource::Platform } else { LogSource::Function },
            message,
        };
        (place, event)
    };
    Some(lines.into_iter().enumerate().map(event).collect())
}
