//! What was used and what was said: usage records, prices and bills, function logs, metrics. Called by the scheduler
//! (to write) and the gateway (to read).
//!
//! A finished call becomes one batch of two small rows, made without I/O: its usage record and a chunk of its log lines.
//! Its writer commits it, alone or with more of its own, so the bill and the REPORT lines can never disagree.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{AccountId, FunctionArn, LogLine, LogSource, Region, Timestamp, Usage};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use thiserror::Error;

pub mod bill;
mod catalog;
mod keys;
mod logs;
mod metrics;
pub mod pattern;
pub mod prices;
mod reader;
mod retention;
mod usage;

/// The meter. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    meter: Arc<Meter>,
}

/// What can be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of log that are kept, over all accounts; beyond it the oldest events go first.
    pub log_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { log_bytes_max: 1 << 30 }
    }
}

/// Why something could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// The filter pattern is wrong. `InvalidParameterException`.
    #[error(transparent)]
    Pattern(#[from] pattern::PatternError),
    /// The token is not one that an earlier page gave. `InvalidParameterException`.
    #[error("the token is not valid")]
    Token,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the handles share.
struct Meter {
    store: Store,
    prices: prices::Prices,
    log_bytes_max: u64,
    catalog: catalog::Catalog,
    metrics: metrics::Metrics,
    /// The last number given to a chunk. Starts at the clock, so that it grows over restarts too.
    sequence: AtomicU64,
    /// Held by who rewrites the catalogue's rows: the background round, or the removal of a group.
    maintenance: tokio::sync::Mutex<()>,
}

/// A log group.
#[derive(Debug, Clone)]
pub struct LogGroup {
    /// Its name, `/aws/lambda/NAME` mostly.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Bytes kept for it, a few seconds behind after a crash.
    pub stored_bytes: u64,
}

/// A log stream: the lines of one zygote's life.
#[derive(Debug, Clone)]
pub struct LogStream {
    /// Its name, `2026/11/23/[$LATEST]<32 hex digits>`.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Time of its first event.
    pub first_event_at: Timestamp,
    /// Time of its last event.
    pub last_event_at: Timestamp,
}

/// A log event.
#[derive(Debug, Clone)]
pub struct LogEvent {
    /// Unique within the group, ordered like the events.
    pub id: String,
    /// The stream it is in.
    pub stream: String,
    /// When it was said.
    pub at: Timestamp,
    /// When it was stored.
    pub ingested_at: Timestamp,
    /// Who said it.
    pub source: LogSource,
    /// The text, with a line feed at its end as Lambda's has.
    pub message: String,
}

/// One page of events and where the next one starts.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The events, older ones first, also when the page was read backwards.
    pub events: Vec<LogEvent>,
    /// Where to go on forwards (older to newer); stays the same at the end.
    pub forward: String,
    /// Where to go on backwards.
    pub backward: String,
    /// Whether there was more in the direction asked for.
    pub more: bool,
}

/// Which events of one group.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only these streams; all when empty.
    pub streams: Vec<String>,
    /// Only events at or after this time.
    pub from: Option<Timestamp>,
    /// Only events before this time.
    pub to: Option<Timestamp>,
    /// CloudWatch filter pattern (terms, quoted phrases, `?or`, `-not`, and JSON `{ $.field = value }` for the common operators).
    pub pattern: Option<String>,
    /// A token of an earlier page.
    pub token: Option<String>,
    /// Read from the newest backwards (GetLogEvents' default) instead of from the oldest.
    pub newest_first: bool,
    /// Most events.
    pub limit: usize,
}

impl Handle {
    /// Opens the meter over a store, with the default options.
    pub async fn start(store: Store, prices: prices::Prices) -> Result<Self, StoreError> {
        Self::start_with(store, prices, Options::default()).await
    }

    /// Opens the meter over a store. Its background work ends with the last handle.
    pub async fn start_with(store: Store, prices: prices::Prices, options: Options) -> Result<Self, StoreError> {
        let meter = Arc::new(Meter {
            store,
            prices,
            log_bytes_max: options.log_bytes_max,
            catalog: catalog::Catalog::default(),
            metrics: metrics::Metrics::default(),
            sequence: AtomicU64::new(Timestamp::now().as_microsecond().max(1) as u64),
            maintenance: tokio::sync::Mutex::new(()),
        });
        meter.restore().await?;
        tokio::spawn(retention::run(Arc::downgrade(&meter)));
        Ok(Self { meter })
    }

    /// The batch part of one finished call: its usage record and its last log lines (those up to REPORT that `append`
    /// has not written), to be committed together so that records and REPORT lines can never disagree.
    ///
    /// Counts the call in the metrics at once.
    pub fn finished(&self, usage: &Usage, group: &str, lines: &[LogLine]) -> Batch {
        self.meter.metrics.count(usage);
        let batch = Batch::new().put(keys::USAGE, usage::key(usage), usage::value(usage));
        self.meter.lines(batch, &usage.function, group, &usage.log_stream, lines)
    }

    /// Counts a call of what has provisioned concurrency: whether it got an instance of that.
    pub fn provisioned(&self, function: &FunctionArn, got: bool) {
        self.meter.metrics.count_provisioned(function, got);
    }

    /// Writes log lines of a call that still runs, or of an init. `function` gives account and region.
    pub async fn append(
        &self,
        function: &FunctionArn,
        group: &str,
        stream: &str,
        lines: &[LogLine],
    ) -> Result<(), StoreError> {
        self.meter.store.tables.commit(self.meter.lines(Batch::new(), function, group, stream, lines)).await
    }

    /// Log groups in order of name.
    pub async fn log_groups(
        &self,
        account: &AccountId,
        region: &Region,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LogGroup>, StoreError> {
        let region = keys::region(account, region);
        let begin = [region.as_slice(), prefix.as_bytes()].concat();
        // A group's key ends with a zero byte: one more begins after it.
        let from = after
            .map_or(begin.clone(), |after| [region.as_slice(), after.as_bytes(), &[1]].concat().max(begin.clone()));
        let rows =
            self.meter.store.tables.scan(keys::LOG_GROUPS, &from, &keys::after_prefix(&begin), limit, false).await?;
        let group = |row: dayfly_store::Row| {
            let stored: catalog::GroupRow = catalog::decode(&row.value)?;
            let known = self.meter.catalog.group(&row.key).unwrap_or(stored);
            let name = row.key.get(region.len()..)?.strip_suffix(&[0])?;
            Some(LogGroup {
                name: String::from_utf8_lossy(name).into_owned(),
                created_at: keys::timestamp(known.created_us),
                stored_bytes: known.bytes,
            })
        };
        Ok(rows.into_iter().filter_map(group).collect())
    }

    /// All streams of a group whose name begins with `prefix`, in order of name; `None` when there is no such group.
    pub async fn log_streams(
        &self,
        account: &AccountId,
        region: &Region,
        group: &str,
        prefix: &str,
    ) -> Result<Option<Vec<LogStream>>, StoreError> {
        let group = keys::group(account, region, group);
        if self.meter.store.tables.get(keys::LOG_GROUPS, &group).await?.is_none() {
            return Ok(None);
        }
        let from = [group.as_slice(), prefix.as_bytes()].concat();
        let to = keys::after_prefix(&from);
        let mut streams = Vec::new();
        let mut pages = self.meter.store.tables.pages(keys::LOG_STREAMS, from, to);
        while let Some(rows) = pages.next().await? {
            streams.extend(rows.into_iter().filter_map(|row| {
                let stored: catalog::StreamRow = catalog::decode(&row.value)?;
                let known = self.meter.catalog.stream(&row.key).unwrap_or(stored);
                Some(LogStream {
                    name: String::from_utf8_lossy(&row.key[group.len()..]).into_owned(),
                    created_at: keys::timestamp(known.created_us),
                    first_event_at: keys::timestamp(known.first_us),
                    last_event_at: keys::timestamp(known.last_us),
                })
            }));
        }
        Ok(Some(streams))
    }

    /// Events of a group; `None` when there is no such group.
    ///
    /// A page may have fewer events than asked for, even none, and say that there is `more`: one query reads a bounded
    /// part of the log.
    pub async fn log_events(
        &self,
        account: &AccountId,
        region: &Region,
        group: &str,
        query: &EventQuery,
    ) -> Result<Option<EventPage>, Error> {
        let group = keys::group(account, region, group);
        if self.meter.store.tables.get(keys::LOG_GROUPS, &group).await?.is_none() {
            return Ok(None);
        }
        let window = self.meter.window(&group, &query.streams).await?;
        reader::page(self.meter.store.tables.as_ref(), &group, query, window).await.map(Some)
    }

    /// Removes a group and its events; false when there was none.
    pub async fn delete_log_group(
        &self,
        account: &AccountId,
        region: &Region,
        group: &str,
    ) -> Result<bool, StoreError> {
        self.meter.delete_group(&keys::group(account, region, group)).await
    }

    /// Usage records in order of their start, newest first when `newest_first`; `token` is the place an earlier page ended.
    pub async fn usage(
        &self,
        account: &AccountId,
        query: &bill::UsageQuery,
    ) -> Result<(Vec<Usage>, Option<String>), Error> {
        usage::list(self.meter.store.tables.as_ref(), account, query).await
    }

    /// The bill of an account.
    pub async fn bill(&self, account: &AccountId, query: &bill::BillQuery) -> Result<bill::Bill, StoreError> {
        usage::bill(self.meter.store.tables.as_ref(), account, query, &self.meter.prices).await
    }

    /// What one record costs. (A bill is made of sums, so that its roundings do not add up.)
    pub fn cost(&self, usage: &Usage) -> f64 {
        self.meter.prices.cost(&bill::BillRow::of(usage))
    }

    /// Counters of this process in Prometheus' text format.
    pub fn metrics_text(&self) -> String {
        self.meter.metrics.text()
    }

    /// Writes down what the background work would write within seconds: the sizes and times of groups and streams.
    /// Call it before the store is closed.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let _one = self.meter.maintenance.lock().await;
        self.meter.write_down().await
    }
}

impl Meter {
    /// Adds the rows for `lines` to `batch`.
    fn lines(&self, batch: Batch, function: &FunctionArn, group: &str, stream: &str, lines: &[LogLine]) -> Batch {
        let group = keys::group(&function.account, &function.region, group);
        let now_us = Timestamp::now().as_microsecond();
        let sequence = || self.sequence.fetch_add(1, Ordering::Relaxed);
        let chunks = logs::chunks(&group, stream, lines, now_us, sequence);
        let puts = self.catalog.note(&group, stream, &chunks, now_us);
        let batch = puts.into_iter().fold(batch, |batch, (table, key, value)| batch.put(table, key, value));
        chunks.into_iter().fold(batch, |batch, chunk| batch.put(keys::LOG, chunk.key, chunk.value))
    }

    /// Reads the groups' rows, whose sizes go on growing.
    async fn restore(&self) -> Result<(), StoreError> {
        let mut pages = self.store.tables.pages(keys::LOG_GROUPS, [], [u8::MAX; 64]);
        while let Some(rows) = pages.next().await? {
            for row in rows {
                if let Some(known) = catalog::decode(&row.value) {
                    self.catalog.restore(row.key.to_vec(), known);
                }
            }
        }
        Ok(())
    }

    /// First and last time that events of `streams` can have; of any stream when there are none given.
    async fn window(&self, group: &[u8], streams: &[String]) -> Result<(i64, i64), StoreError> {
        if streams.is_empty() {
            return Ok((i64::MIN, i64::MAX));
        }
        let mut window = None;
        for stream in streams {
            let key = [group, stream.as_bytes()].concat();
            let row = self.store.tables.get(keys::LOG_STREAMS, &key).await?;
            let stored: Option<catalog::StreamRow> = row.and_then(|row| catalog::decode(&row.value));
            for known in stored.into_iter().chain(self.catalog.stream(&key)) {
                let first_us = known.first_us.saturating_sub(retention::BEHIND_US);
                let last_us = known.last_us.saturating_add(retention::BEHIND_US);
                let (first, last) = window.unwrap_or((first_us, last_us));
                window = Some((first_us.min(first), last_us.max(last)));
            }
        }
        // Nothing can be in streams that do not exist.
        Ok(window.unwrap_or((i64::MIN, i64::MIN)))
    }
}
