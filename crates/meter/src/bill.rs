//! Bills: exact sums of usage records, priced.

use dayfly_types::Timestamp;
use serde::{Deserialize, Serialize};

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
