//! What was used and what was said: usage records, prices and bills, function logs, metrics. Called by the scheduler
//! (to write) and the gateway (to read).

use dayfly_store::{Batch, Error, Store};
use dayfly_types::{AccountId, FunctionArn, LogLine, LogSource, Region, Timestamp, Usage};

pub mod bill;
pub mod prices;

/// The meter. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

/// A log group.
#[derive(Debug, Clone)]
pub struct LogGroup {
    /// Its name, `/aws/lambda/NAME` mostly.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Bytes of messages kept in it.
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
    /// The events in order.
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
    /// Opens the meter over a store.
    pub async fn start(_store: Store, _prices: prices::Prices) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// The batch part of one finished call: its usage record and its last log lines (those up to REPORT that `append`
    /// has not written), to be committed together so that records and REPORT lines can never disagree.
    pub fn finished(&self, _usage: &Usage, _group: &str, _lines: &[LogLine]) -> Batch {
        Batch::new()
    }

    /// Writes log lines of a call that still runs, or of an init. `function` gives account and region.
    pub async fn append(&self, _function: &FunctionArn, _group: &str, _stream: &str, _lines: &[LogLine]) -> Result<(), Error> {
        Ok(())
    }

    /// Log groups in order of name.
    pub async fn log_groups(&self, _account: &AccountId, _region: &Region, _prefix: &str, _after: Option<&str>, _limit: usize) -> Result<Vec<LogGroup>, Error> {
        Ok(Vec::new())
    }

    /// All streams of a group whose name begins with `prefix`, in order of name; `None` when there is no such group.
    pub async fn log_streams(&self, _account: &AccountId, _region: &Region, _group: &str, _prefix: &str) -> Result<Option<Vec<LogStream>>, Error> {
        Ok(None)
    }

    /// Events of a group; `None` when there is no such group.
    pub async fn log_events(&self, _account: &AccountId, _region: &Region, _group: &str, _query: &EventQuery) -> Result<Option<EventPage>, Error> {
        Ok(None)
    }

    /// Removes a group and its events; false when there was none.
    pub async fn delete_log_group(&self, _account: &AccountId, _region: &Region, _group: &str) -> Result<bool, Error> {
        Ok(false)
    }

    /// Usage records in order of their start, newest first when `newest_first`; `token` is the place an earlier page ended.
    pub async fn usage(&self, _account: &AccountId, _query: &bill::UsageQuery) -> Result<(Vec<Usage>, Option<String>), Error> {
        Ok((Vec::new(), None))
    }

    /// The bill of an account.
    pub async fn bill(&self, _account: &AccountId, _query: &bill::BillQuery) -> Result<bill::Bill, Error> {
        Ok(bill::Bill::default())
    }
}
