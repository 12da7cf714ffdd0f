//! HTTP APIs (version 2) as they are kept: what `aws/apigatewayv2` changes, and what `http_in` answers by.
//!
//! | table | key | value |
//! |---|---|---|
//! | `http_apis` | id | [`HttpApi`] as JSON, with its stages |
//! | `http_api_deployments` | `API/DEPLOYMENT` | [`Deployment`] as JSON, with a copy of the definition as it was then |
//! | `http_domains` | host name | [`Domain`] as JSON, with its mappings |
//!
//! The members of routes, integrations and authorizers have AWS's names: they are shown as they are kept.

use crate::rows::Table;
use dayfly_types::{AccountId, Region, Timestamp, url::Cors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const APIS: Table = Table("http_apis");
pub const DEPLOYMENTS: Table = Table("http_api_deployments");
pub const DOMAINS: Table = Table("http_domains");

/// The stage that has no name in the path, and the route that takes what no other does.
pub const DEFAULT: &str = "$default";

/// An API with its stages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HttpApi {
    pub id: String,
    pub account: AccountId,
    pub region: Region,
    pub name: String,
    pub description: Option<String>,
    pub version: Option<String>,
    pub created: Timestamp,
    /// What browsers are told about other origins.
    pub cors: Option<Cors>,
    /// Whether the default address is closed.
    pub disable_endpoint: bool,
    pub tags: BTreeMap<String, String>,
    pub definition: Definition,
    /// Names the definition as it is now: what a stage that deploys by itself shows as its deployment.
    pub revision: String,
    /// By name.
    pub stages: BTreeMap<String, Stage>,
}

/// What an API consists of. Each by its id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Definition {
    pub routes: BTreeMap<String, Route>,
    pub integrations: BTreeMap<String, Integration>,
    pub authorizers: BTreeMap<String, Authorizer>,
}

/// Which requests go where.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    pub route_id: String,
    /// `GET /pets/{id}`, `ANY /{proxy+}` or `$default`.
    pub route_key: String,
    /// `integrations/ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default)]
    pub authorization_type: AuthorizationType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_id: Option<String>,
    /// Scopes of which a token needs one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_scopes: Vec<String>,
    #[serde(default)]
    pub api_key_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_name: Option<String>,
}

impl Route {
    /// The id of the integration that answers.
    pub fn integration(&self) -> Option<&str> {
        self.target.as_deref()?.strip_prefix("integrations/")
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizationType {
    /// Anybody.
    #[default]
    #[serde(rename = "NONE")]
    None,
    /// Whoever signs with a key of the account.
    #[serde(rename = "AWS_IAM")]
    Iam,
    /// Whoever has a token of an issuer.
    #[serde(rename = "JWT")]
    Jwt,
    /// Whomever a function lets.
    #[serde(rename = "CUSTOM")]
    Custom,
}

/// The function that answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Integration {
    pub integration_id: String,
    /// `AWS_PROXY`.
    pub integration_type: String,
    /// The function's ARN, or the form that REST APIs use; may have `${stageVariables.NAME}`.
    pub integration_uri: String,
    #[serde(default = "post")]
    pub integration_method: String,
    #[serde(default = "version_1")]
    pub payload_format_version: String,
    #[serde(default = "longest")]
    pub timeout_in_millis: u64,
    #[serde(default = "internet")]
    pub connection_type: String,
    /// The role to call with, in place of the function's permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Who says who may use a route.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorizer {
    pub authorizer_id: String,
    pub name: String,
    pub authorizer_type: AuthorizerType,
    /// `$request.header.NAME` and the like.
    #[serde(default)]
    pub identity_source: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_configuration: Option<JwtConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_credentials_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_payload_format_version: Option<String>,
    /// How long its answer holds for the same identity; 0 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_result_ttl_in_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_simple_responses: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuthorizerType {
    /// Tokens of an issuer.
    Jwt,
    /// A function.
    Request,
}

/// Whose tokens, and for whom.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtConfiguration {
    pub audience: Vec<String>,
    pub issuer: String,
}

/// An API as it was when it was deployed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deployment {
    pub id: String,
    pub description: Option<String>,
    pub created: Timestamp,
    pub definition: Definition,
}

/// A deployment under a name; or the API as it is, when it deploys by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    /// Not that of a stage that deploys by itself: see [`HttpApi::revision`].
    pub deployment: Option<String>,
    pub auto_deploy: bool,
    pub description: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A host name that leads to stages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Domain {
    pub name: String,
    pub region: Region,
    pub created: Timestamp,
    pub tags: BTreeMap<String, String>,
    /// As they were given; TLS is the server's.
    pub configurations: Vec<serde_json::Value>,
    /// By id.
    pub mappings: BTreeMap<String, Mapping>,
}

/// Which stage a path below a host name leads to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mapping {
    pub api_mapping_id: String,
    pub api_id: String,
    pub stage: String,
    /// Path without slashes at its ends; empty for all that no other takes.
    #[serde(default)]
    pub api_mapping_key: String,
}

fn post() -> String {
    "POST".to_owned()
}

fn version_1() -> String {
    "1.0".to_owned()
}

fn longest() -> u64 {
    30_000
}

fn internet() -> String {
    "INTERNET".to_owned()
}
