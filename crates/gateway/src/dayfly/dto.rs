//! Shapes of Dayfly's own service. Bills and usage records are the meter's types, as JSON.

use dayfly_meter::bill::By;
use dayfly_scheduler::environments::Built;
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

/// `POST /environments`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildEnvironment {
    pub runtime: String,
    pub platform: Option<String>,
    pub requirements: Option<Vec<String>>,
    pub pinned: Option<Vec<String>>,
    pub uv_lock: Option<String>,
    pub modules: Option<Modules>,
}

/// A zip with modules: its hash, and itself in base64, unless the environment is there already.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    pub sha256: String,
    pub zip: Option<String>,
}

/// ListEnvironments.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListEnvironments {
    pub token: Option<String>,
    pub limit: Option<usize>,
}

/// GetEnvironment, DeleteEnvironment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentId {
    pub id: String,
}

/// PublishLayer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishLayer {
    pub name: String,
    pub environment: String,
    pub description: Option<String>,
}

/// An environment.
#[derive(Debug, Serialize)]
pub struct Environment {
    #[serde(flatten)]
    pub built: Built,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
}

/// A page of environments.
#[derive(Debug, Serialize)]
pub struct EnvironmentPage {
    pub environments: Vec<Environment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}
