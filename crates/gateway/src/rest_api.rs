//! REST APIs as they are kept: what `aws/apigateway` changes, and what `http_in` answers by.
//!
//! | table | key | value |
//! |---|---|---|
//! | `rest_apis` | id | [`RestApi`] as JSON |
//! | `rest_api_deployments` | `API/DEPLOYMENT` | [`Deployment`] as JSON, with a copy of the API as it was then |
//! | `rest_api_stages` | `API/STAGE` | [`Stage`] as JSON |

use crate::rows::Table;
use dayfly_types::{AccountId, Region, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

pub const APIS: Table = Table("rest_apis");
pub const DEPLOYMENTS: Table = Table("rest_api_deployments");
pub const STAGES: Table = Table("rest_api_stages");

/// An API as it is being edited. Requests see deployments of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestApi {
    pub id: String,
    pub account: AccountId,
    pub region: Region,
    pub name: String,
    pub description: Option<String>,
    pub version: Option<String>,
    pub created: Timestamp,
    /// Media types whose bodies are bytes, not text; may have `*`.
    pub binary_media_types: Vec<String>,
    /// Answers of so many bytes are compressed for clients that can take it.
    pub minimum_compression_bytes: Option<u64>,
    /// `HEADER` or `AUTHORIZER`.
    pub api_key_source: String,
    /// `EDGE`, `REGIONAL`, `PRIVATE`; kept, without a difference.
    pub endpoint_types: Vec<String>,
    /// Whether the default address is closed.
    pub disable_endpoint: bool,
    pub tags: BTreeMap<String, String>,
    pub definition: Definition,
}

/// What an API consists of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Definition {
    /// By id.
    pub resources: BTreeMap<String, Resource>,
    /// By id.
    pub authorizers: BTreeMap<String, Authorizer>,
}

/// A path, with its methods.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resource {
    pub id: String,
    pub parent: Option<String>,
    /// The last part of the path; empty for the root.
    pub part: String,
    /// `/`, or `/pets/{id}`.
    pub path: String,
    /// By name; `ANY` is for those that have no entry.
    pub methods: BTreeMap<String, Method>,
}

/// A method of a resource.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Method {
    pub authorization: Authorization,
    pub api_key_required: bool,
    pub operation_name: Option<String>,
    /// `method.request.path.NAME` and the like, and whether they must be there.
    pub request_parameters: BTreeMap<String, bool>,
    /// As AWS shows them, by status code.
    pub responses: BTreeMap<String, Value>,
    pub integration: Option<Integration>,
}

/// Who may call a method.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authorization {
    /// Anybody.
    #[default]
    None,
    /// Whoever signs with a key of the account.
    Iam,
    /// Whomever the authorizer with this id lets.
    Custom(String),
}

/// What answers a method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Integration {
    pub kind: IntegrationKind,
    /// Of the function, as API Gateway names functions; may have `${stageVariables.NAME}`.
    pub uri: Option<String>,
    pub http_method: Option<String>,
    /// The role to call with, in place of the function's permission.
    pub credentials: Option<String>,
    pub timeout_ms: u64,
    pub passthrough: String,
    pub content_handling: Option<String>,
    /// By media type.
    pub request_templates: BTreeMap<String, String>,
    /// By status code, or `default`.
    pub responses: BTreeMap<String, IntegrationResponse>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntegrationKind {
    /// A function gets the request as it is and gives the answer as it is.
    #[serde(rename = "AWS_PROXY")]
    Function,
    /// The answer is in the definition.
    #[serde(rename = "MOCK")]
    Mock,
}

/// What a mock answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IntegrationResponse {
    pub status: u16,
    /// Header and value.
    pub headers: BTreeMap<String, String>,
    /// By media type.
    pub templates: BTreeMap<String, String>,
}

/// A function that says who may call what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authorizer {
    pub id: String,
    pub name: String,
    /// `TOKEN` (it sees one header) or `REQUEST` (it sees the request).
    pub kind: AuthorizerKind,
    pub uri: String,
    pub credentials: Option<String>,
    /// `method.request.header.NAME` and the like.
    pub identity_sources: Vec<String>,
    /// How long its answer holds for the same identity; 0 is not at all.
    pub ttl_s: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuthorizerKind {
    Token,
    Request,
}

/// An API as it was when it was deployed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deployment {
    pub id: String,
    pub description: Option<String>,
    pub created: Timestamp,
    pub api: RestApi,
}

/// A deployment under a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub deployment: String,
    pub description: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub tracing: bool,
    pub tags: BTreeMap<String, String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A random id of letters and digits.
pub fn random_id(length: usize) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut left = Uuid::new_v4().as_u128();
    let mut id = String::with_capacity(length);
    for _ in 0..length {
        id.push(char::from(LETTERS[(left % 36) as usize]));
        left /= 36;
    }
    id
}

impl Definition {
    /// A definition with nothing but the root.
    pub fn empty() -> Self {
        let root = Resource {
            id: random_id(10),
            parent: None,
            part: String::new(),
            path: "/".to_owned(),
            methods: BTreeMap::new(),
        };
        Self { resources: BTreeMap::from([(root.id.clone(), root)]), authorizers: BTreeMap::new() }
    }

    /// The resource with this path.
    pub fn at(&self, path: &str) -> Option<&Resource> {
        self.resources.values().find(|resource| resource.path == path)
    }

    /// The id of the root.
    pub fn root(&self) -> &str {
        self.at("/").map(|root| root.id.as_str()).unwrap_or_default()
    }
}

/// The function's name or ARN in a URI that names a function the way API Gateway does.
pub fn function_of(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("arn:")?;
    let mut parts = rest.splitn(5, ':');
    let (_partition, service, _region) = (parts.next()?, parts.next()?, parts.next()?);
    let (lambda, path) = (parts.next()?, parts.next()?);
    (service == "apigateway" && lambda == "lambda").then_some(())?;
    path.strip_prefix("path/2015-03-31/functions/")?.strip_suffix("/invocations")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_function() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:web";
        let uri = format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations");
        assert_eq!(function_of(&uri), Some(arn));
        for bad in ["", "arn", arn, "arn:aws:apigateway:us-east-1:s3:path/2015-03-31/functions/f/invocations"] {
            assert_eq!(function_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_have_their_length_and_differ() {
        assert_eq!(random_id(10).len(), 10);
        assert_ne!(random_id(10), random_id(10));
    }
}
