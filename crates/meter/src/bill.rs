//! Bills: exact sums of usage records, priced.

use crate::{keys, prices::Prices};
use dayfly_types::{Timestamp, Usage, UsageStatus};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

/// `/tmp` that costs nothing.
const EPHEMERAL_FREE_MB: u64 = 512;
/// Name of the row of the calls that have no such tag.
const UNTAGGED: &str = "(untagged)";

/// What the rows of a bill stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A row per function ARN.
    Function,
    /// A row per value of this tag.
    Tag(String),
    /// A row per UTC day.
    Day,
}

/// Which records, and how they are grouped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BillQuery {
    /// Grouping.
    pub by: By,
    /// Calls that started at or after this time.
    pub from: Option<Timestamp>,
    /// Calls that started before this time.
    pub to: Option<Timestamp>,
}

/// A bill. Counts and sums are exact integers; costs are computed from the sums.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bill {
    /// Currency of the costs.
    pub currency: String,
    /// In order of cost, highest first (days: in order of day).
    pub rows: Vec<BillRow>,
    /// The sum of the rows.
    pub total: BillRow,
}

/// One row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BillRow {
    /// Function ARN, tag value or day; empty for the total.
    pub name: String,
    /// Calls (attempts).
    pub requests: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Sum of billed milliseconds.
    pub billed_ms: u64,
    /// Sum of billed milliseconds times memory size in MB.
    pub mb_ms: u64,
    /// Sum of billed milliseconds times `/tmp` size above 512 MB, in MB.
    pub ephemeral_mb_ms: u64,
    /// Sum of CPU microseconds.
    pub cpu_us: u64,
    /// Cost of requests, memory and `/tmp`, in the bill's currency.
    pub cost: f64,
}

/// Which usage records.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UsageQuery {
    /// Only of this function (unqualified ARN as text).
    pub function: Option<String>,
    /// Calls that started at or after this time.
    pub from: Option<Timestamp>,
    /// Calls that started before this time.
    pub to: Option<Timestamp>,
    /// Newest first.
    pub newest_first: bool,
    /// A token of an earlier page.
    pub token: Option<String>,
    /// Most records.
    pub limit: usize,
}

/// What a bill reads of a usage record; the rest is skipped unread.
#[derive(Deserialize)]
pub(crate) struct Billable<'a> {
    #[serde(borrow)]
    function: Cow<'a, str>,
    billed_ms: u64,
    memory_mb: u64,
    cpu_us: u64,
    ephemeral_storage_mb: u64,
    status: UsageStatus,
    #[serde(borrow, default)]
    tags: HashMap<Cow<'a, str>, Cow<'a, str>>,
}

/// Sums in the making: as many rows as there are functions, tag values or days, never as many as there are records.
pub(crate) struct Sums<'a> {
    by: &'a By,
    rows: BTreeMap<String, BillRow>,
}

impl<'a> Sums<'a> {
    pub fn new(by: &'a By) -> Self {
        Self { by, rows: BTreeMap::new() }
    }

    pub fn add(&mut self, record: &Billable<'_>, started_us: i64) {
        let day;
        let name = match self.by {
            By::Function => unqualified(&record.function),
            By::Tag(tag) => record.tags.get(tag.as_str()).map_or(UNTAGGED, |value| value.as_ref()),
            By::Day => {
                day = keys::timestamp(started_us).strftime("%Y-%m-%d").to_string();
                &day
            }
        };
        // Not `entry`: that would copy the name of every record.
        if !self.rows.contains_key(name) {
            self.rows.insert(name.to_owned(), BillRow { name: name.to_owned(), ..BillRow::default() });
        }
        if let Some(row) = self.rows.get_mut(name) {
            row.count(record);
        }
    }

    pub fn bill(self, prices: &Prices) -> Bill {
        let mut total = BillRow::default();
        let mut rows: Vec<BillRow> = self.rows.into_values().collect();
        for row in &mut rows {
            row.cost = prices.cost(row);
            total.join(row);
        }
        total.cost = prices.cost(&total);
        if *self.by != By::Day {
            rows.sort_by(|a, b| b.cost.total_cmp(&a.cost));
        }
        Bill { currency: prices.currency.clone(), rows, total }
    }
}

impl BillRow {
    /// The sums of one record.
    pub(crate) fn of(usage: &Usage) -> Self {
        let mut row = Self::default();
        row.count(&Billable {
            function: Cow::Borrowed(""),
            billed_ms: usage.billed_ms,
            memory_mb: usage.memory_mb.into(),
            cpu_us: usage.cpu_us,
            ephemeral_storage_mb: usage.ephemeral_storage_mb.into(),
            status: usage.status,
            tags: HashMap::new(),
        });
        row
    }

    fn count(&mut self, record: &Billable<'_>) {
        let ephemeral_mb = record.ephemeral_storage_mb.saturating_sub(EPHEMERAL_FREE_MB);
        self.requests += 1;
        self.errors += u64::from(record.status != UsageStatus::Success);
        self.billed_ms = self.billed_ms.saturating_add(record.billed_ms);
        self.mb_ms = self.mb_ms.saturating_add(record.billed_ms.saturating_mul(record.memory_mb));
        self.ephemeral_mb_ms = self.ephemeral_mb_ms.saturating_add(record.billed_ms.saturating_mul(ephemeral_mb));
        self.cpu_us = self.cpu_us.saturating_add(record.cpu_us);
    }

    fn join(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.billed_ms = self.billed_ms.saturating_add(other.billed_ms);
        self.mb_ms = self.mb_ms.saturating_add(other.mb_ms);
        self.ephemeral_mb_ms = self.ephemeral_mb_ms.saturating_add(other.ephemeral_mb_ms);
        self.cpu_us = self.cpu_us.saturating_add(other.cpu_us);
    }
}

/// `arn:aws:lambda:REGION:ACCOUNT:function:NAME` of the same with a qualifier.
fn unqualified(arn: &str) -> &str {
    arn.match_indices(':').nth(6).map_or(arn, |(end, _)| &arn[..end])
}
