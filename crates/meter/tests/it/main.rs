//! The meter over a real embedded store.

#![allow(clippy::unwrap_used)]

mod bills;
mod exactness;
mod logs;
mod retention;

use dayfly_meter::{EventPage, EventQuery, Handle, Options, prices::Prices};
use dayfly_store::Store;
use dayfly_types::{
    AccountId, FunctionArn, LogLine, LogSource, Qualifier, Region, RequestId, Timestamp, Usage, UsageStatus,
};
use std::time::Duration;

/// A meter in a temporary folder that can be opened again.
struct Fixture {
    dir: tempfile::TempDir,
    store: Option<Store>,
    meter: Option<Handle>,
    options: Options,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let mut fixture = Self { dir: tempfile::tempdir().unwrap(), store: None, meter: None, options };
        fixture.reopen().await;
        fixture
    }

    /// What a crash does to the meter: all that it has only in memory is gone.
    async fn reopen(&mut self) {
        self.meter = None;
        // The background task may hold the last handle of the store for a moment.
        if let Some(store) = self.store.take() {
            store.close().await;
        }
        let store = dayfly_store::embedded::open(self.dir.path()).unwrap();
        self.meter = Some(Handle::start_with(store.clone(), Prices::default(), self.options.clone()).await.unwrap());
        self.store = Some(store);
    }

    fn meter(&self) -> &Handle {
        self.meter.as_ref().unwrap()
    }

    async fn commit(&self, usage: &Usage, lines: &[LogLine]) {
        let batch = self.meter().finished(usage, &group_of(usage), lines);
        self.store.as_ref().unwrap().tables.commit(batch).await.unwrap();
    }

    async fn events(&self, group: &str, query: EventQuery) -> EventPage {
        self.meter().log_events(&account(), &region(), group, &query).await.unwrap().unwrap()
    }

    /// All events of a group, page by page.
    async fn all_events(&self, group: &str, mut query: EventQuery) -> Vec<dayfly_meter::LogEvent> {
        let mut all = Vec::new();
        loop {
            let page = self.events(group, query.clone()).await;
            if query.newest_first {
                all.splice(0..0, page.events);
                query.token = Some(page.backward);
            } else {
                all.extend(page.events);
                query.token = Some(page.forward);
            }
            if !page.more {
                return all;
            }
        }
    }
}

fn account() -> AccountId {
    AccountId::default()
}

fn region() -> Region {
    "us-east-1".parse().unwrap()
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

fn group_of(usage: &Usage) -> String {
    format!("/aws/lambda/{}", usage.function.name)
}

fn usage(function: &str, started_at: Timestamp, duration_us: u64) -> Usage {
    let arn: FunctionArn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}").parse().unwrap();
    Usage {
        request_id: RequestId::random(),
        function: arn.qualified(Qualifier::Latest),
        instance_id: uuid::Uuid::new_v4().simple().to_string(),
        log_stream: format!("2026/11/23/[$LATEST]{function}"),
        attempt: 1,
        started_at,
        duration_us,
        billed_ms: duration_us.div_ceil(1_000),
        memory_mb: 128,
        memory_peak_bytes: 20 << 20,
        cpu_us: duration_us / 2,
        init_us: None,
        restore_us: None,
        ephemeral_storage_mb: 512,
        status: UsageStatus::Success,
        tags: Default::default(),
    }
}

fn line(at: Timestamp, source: LogSource, text: impl Into<String>) -> LogLine {
    LogLine { at, source, text: text.into() }
}

/// START, what the function said, END and REPORT.
fn lines(usage: &Usage, said: &[&str]) -> Vec<LogLine> {
    let id = usage.request_id;
    let end = usage.started_at + Duration::from_micros(usage.duration_us);
    let mut lines =
        vec![line(usage.started_at, LogSource::Platform, format!("START RequestId: {id} Version: $LATEST"))];
    lines.extend(said.iter().map(|text| line(usage.started_at, LogSource::Function, *text)));
    lines.push(line(end, LogSource::Platform, format!("END RequestId: {id}")));
    let report = format!(
        "REPORT RequestId: {id}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: 21 MB\t",
        usage.duration_us as f64 / 1e3,
        usage.billed_ms,
        usage.memory_mb
    );
    lines.push(line(end, LogSource::Platform, report));
    lines
}
