//! The price table.

use crate::bill::BillRow;
use serde::{Deserialize, Serialize};

/// MB in a GB times milliseconds in a second: what a sum in MB milliseconds is divided by.
const MB_MS_PER_GB_SECOND: f64 = 1_024.0 * 1_000.0;

/// Prices in US dollars. The default is AWS Lambda's public price for x86, us-east-1, first tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// Currency that is printed.
    pub currency: String,
    /// Per GB-second of configured memory (GB = 1,024 MB).
    pub per_gb_second: f64,
    /// Per million requests.
    pub per_million_requests: f64,
    /// Per GB-second of `/tmp` above 512 MB.
    pub per_gb_second_ephemeral: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            currency: "USD".to_owned(),
            per_gb_second: 0.000_016_666_7,
            per_million_requests: 0.20,
            per_gb_second_ephemeral: 0.000_000_030_9,
        }
    }
}

impl Prices {
    /// What the sums of a row cost. Computed once from exact sums, so that no rounding adds up.
    pub fn cost(&self, row: &BillRow) -> f64 {
        row.requests as f64 / 1e6 * self.per_million_requests
            + row.mb_ms as f64 / MB_MS_PER_GB_SECOND * self.per_gb_second
            + row.ephemeral_mb_ms as f64 / MB_MS_PER_GB_SECOND * self.per_gb_second_ephemeral
    }
}
