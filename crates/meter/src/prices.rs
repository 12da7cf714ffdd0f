//! The price table.

use serde::{Deserialize, Serialize};

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
