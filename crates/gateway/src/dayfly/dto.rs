//! Shapes of Dayfly's own service. Bills and usage records are the meter's types, as JSON.

use dayfly_meter::bill::By;
use dayfly_types::{Limits, Runtime, Timestamp, Usage};
use serde::{Deserialize, Serialize};

/// GetBill: `{"by": "function" | "day" | {"tag": "team"}, "from": …, "to": …}`; all optional, by function.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GetBill {
    pub by: Option<By>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// ListUsage.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListUsage {
    pub function: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub newest_first: bool,
    pub token: Option<String>,
    pub limit: Option<usize>,
}

/// A page of usage records.
#[derive(Debug, Serialize)]
pub struct UsagePage {
    pub usage: Vec<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// GetServerInfo's answer.
#[derive(Debug, Serialize)]
pub struct ServerInfo<'a> {
    pub version: &'static str,
    pub account: String,
    pub architecture: &'static str,
    pub runtimes: Vec<Runtime>,
    pub limits: &'a Limits,
    pub now: Timestamp,
}
