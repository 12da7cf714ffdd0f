//! Requests of the world to functions: through the stages of REST APIs and HTTP APIs, and through function URLs. Called by `front` before
//! anything else, as these requests are nobody's AWS requests.
//!
//! The life of a request: `mod` (which API, by host or by path) → `rest` or `http_api` (stage, route, who may, what answers)
//! or `function_url` → `event` or `event_v2` (what the function gets) → `call` → `reply` (what the client gets).

mod authorizer;
mod call;
mod cors;
mod domain;
mod event;
mod event_v2;
mod function_url;
mod http_api;
mod http_authorizer;
mod http_routes;
mod jwt;
mod paths;
mod refusal;
mod reply;
mod rest;
mod routes;
mod signed;
mod statics;

use crate::{
    Gateway,
    aws::Response,
    body,
    host::{self, Named},
    server::Peer,
    sigv4::{Claim, percent_decode},
};
use dayfly_types::{FunctionUrlId, RequestId};
use http::{HeaderName, HeaderValue, request::Parts};
use hyper::body::Incoming;
use refusal::Refusal;
use tracing::{Instrument, info_span};

pub use authorizer::Decisions;
pub use call::function_of;
pub use http_api::HttpApis;
pub use jwt::{Keys, check_issuer};
pub use rest::Deployments;

/// The API in `/restapis/API/STAGE/_user_request_/PATH`.
const API_PATH: &str = "/restapis/";
const API_PATH_MARK: &str = "_user_request_";
/// The API in `/http-apis/API/PATH`.
const HTTP_API_PATH: &str = "/http-apis/";
/// The id in `/function-urls/ID/PATH`.
const URL_PATH: &str = "/function-urls/";

/// What a gateway remembers for these requests. Cheap to clone.
#[derive(Clone, Default)]
pub struct State {
    /// Deployments of REST APIs, ready to be asked.
    pub deployments: Deployments,
    /// HTTP APIs, likewise.
    pub http_apis: HttpApis,
    /// Keys of issuers of tokens.
    pub keys: Keys,
    /// Answers of authorizers.
    pub decisions: Decisions,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Address {
    /// An API, of either kind.
    Api {
        api: String,
        /// As it came; may begin with the name of a stage.
        path: String,
    },
    /// What a host name that somebody made leads to; `None` when it leads nowhere.
    Mapped(Option<domain::Target>),
    /// A stage of a REST API.
    RestApi {
        api: String,
        stage: String,
        /// Below the stage, as it came; begins with a slash.
        path: String,
    },
    /// A function's URL.
    FunctionUrl {
        id: String,
        /// As it came.
        path: String,
    },
}

/// A request on its way in.
struct Asked<'a> {
    gateway: &'a Gateway,
    memory: &'a body::Memory,
    id: RequestId,
    peer: Peer,
    parts: Parts,
    /// What comes before the path below the stage or URL, when that was named by path.
    prefix: Option<String>,
}

impl Asked<'_> {
    /// The body, which is taken out of `body`.
    async fn read(&self, body: &mut Option<Incoming>, limit: u64) -> Result<body::Held, Refusal> {
        let body = body.take().ok_or_else(Refusal::configuration)?;
        Ok(body::read(body, limit, self.memory, &self.gateway.patience).await?)
    }
}

/// Where a request goes, if it is one of these.
pub async fn address(gateway: &Gateway, parts: &Parts) -> Option<Address> {
    match domain::target(gateway, parts).await {
        Some(target) => Some(Address::Mapped(target)),
        None => address_of(parts),
    }
}

fn address_of(parts: &Parts) -> Option<Address> {
    let path = parts.uri.path();
    match host::named(parts) {
        Some(Named::Api(api)) => return Some(Address::Api { api, path: path.to_owned() }),
        Some(Named::FunctionUrl(id)) => return Some(Address::FunctionUrl { id, path: path.to_owned() }),
        Some(Named::Bucket(_) | Named::Website(_)) => return None,
        None => {}
    }
    let found = if let Some(rest) = path.strip_prefix(API_PATH) {
        let (api, rest) = rest.split_once('/')?;
        let (stage, rest) = rest.split_once('/')?;
        let rest = rest.strip_prefix(API_PATH_MARK)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Address::RestApi { api: api.to_owned(), stage: decoded(stage), path: or_root(rest) }
    } else if let Some(rest) = path.strip_prefix(HTTP_API_PATH) {
        let (api, path) = split(rest);
        Address::Api { api: api.to_owned(), path }
    } else {
        let (id, path) = split(path.strip_prefix(URL_PATH)?);
        id.parse::<FunctionUrlId>().ok()?;
        Address::FunctionUrl { id: id.to_owned(), path }
    };
    // A bucket may be called like that.
    let of_s3 = Claim::read(parts).is_ok_and(|claim| claim.service == "s3");
    (!of_s3).then_some(found)
}

/// Answers a request. Never fails: every failure is an answer.
pub async fn answer(
    gateway: &Gateway,
    peer: Peer,
    memory: &body::Memory,
    address: Address,
    parts: Parts,
    body: Incoming,
) -> Response {
    let mut body = Some(body);
    let id = RequestId::random();
    let prefix = prefix(&parts, &address);
    let asked = Asked { gateway, memory, id, peer, parts, prefix };
    let result = async {
        match address {
            Address::Api { api, path } => match gateway.http_in.http_apis.get(&asked, &api).await? {
                Some(ready) => http_api::answer(&asked, &ready, None, &path, &path, &mut body).await,
                None => {
                    let (stage, rest) = path.strip_prefix('/').map(split).unwrap_or_default();
                    rest::answer(&asked, &api, &decoded(stage), &rest, None, &mut body).await
                }
            },
            Address::Mapped(None) => Err(Refusal::forbidden()),
            Address::Mapped(Some(domain::Target { api, stage, path })) => {
                let whole = asked.parts.uri.path();
                match gateway.http_in.http_apis.get(&asked, &api).await? {
                    Some(ready) => http_api::answer(&asked, &ready, Some(&stage), &path, whole, &mut body).await,
                    None => rest::answer(&asked, &api, &stage, &path, Some(whole), &mut body).await,
                }
            }
            Address::RestApi { api, stage, path } => rest::answer(&asked, &api, &stage, &path, None, &mut body).await,
            Address::FunctionUrl { id, path } => function_url::answer(&asked, &id, &path, &mut body).await,
        }
    };
    let result = result.instrument(info_span!("gateway.http", request_id = %id)).await;
    if let (Err(_), Some(body)) = (&result, body) {
        body::discard(body, &gateway.patience).await;
    }
    let mut response = result.unwrap_or_else(Refusal::into_response);
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), value);
    }
    response
}

fn prefix(parts: &Parts, address: &Address) -> Option<String> {
    let (Address::Api { path, .. } | Address::RestApi { path, .. } | Address::FunctionUrl { path, .. }) = address
    else {
        return None;
    };
    let whole = parts.uri.path();
    let by_path = host::named(parts).is_none();
    by_path.then(|| whole.strip_suffix(path.as_str()).unwrap_or(whole).to_owned())
}

/// The first part of a path, and the rest with its slash.
fn split(path: &str) -> (&str, String) {
    let end = path.find('/').unwrap_or(path.len());
    (&path[..end], or_root(&path[end..]))
}

fn or_root(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_decode(text, false)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, path: &str) -> Option<Address> {
        address_of(&http::Request::builder().uri(path).header("host", host).body(()).unwrap().into_parts().0)
    }

    fn rest_api(stage: &str, path: &str) -> Option<Address> {
        Some(Address::RestApi { api: "abc123".to_owned(), stage: stage.to_owned(), path: path.to_owned() })
    }

    fn api(path: &str) -> Option<Address> {
        Some(Address::Api { api: "abc123".to_owned(), path: path.to_owned() })
    }

    #[test]
    fn an_api_is_reached_by_host_and_by_path() {
        for host in ["abc123.execute-api.us-east-1.amazonaws.com", "abc123.execute-api.localhost:4566"] {
            assert_eq!(at(host, "/api/pets/1?x=1"), api("/api/pets/1"));
            assert_eq!(at(host, "/"), api("/"));
        }
        let plain = "127.0.0.1:4566";
        assert_eq!(at(plain, "/http-apis/abc123/pets/1"), api("/pets/1"));
        assert_eq!(at(plain, "/http-apis/abc123"), api("/"));
        assert_eq!(at(plain, "/restapis/abc123/api/_user_request_/pets//1"), rest_api("api", "/pets//1"));
        assert_eq!(at(plain, "/restapis/abc123/api/_user_request_"), rest_api("api", "/"));
        assert_eq!(at(plain, "/restapis/abc123/api/_user_request_x"), None);
        assert_eq!(at(plain, "/restapis/abc123/stages/api"), None);
        assert_eq!(at("bucket.s3.localhost", "/restapis/abc123/api/_user_request_/"), None);
    }

    #[test]
    fn a_function_url_is_reached_by_host_and_by_path() {
        let id = "0123456789abcdef0123456789abcdef";
        let expected = |path: &str| Some(Address::FunctionUrl { id: id.to_owned(), path: path.to_owned() });
        assert_eq!(at(&format!("{id}.lambda-url.us-east-1.localhost:4566"), "/a/b"), expected("/a/b"));
        assert_eq!(at("127.0.0.1:4566", &format!("/function-urls/{id}/a")), expected("/a"));
        assert_eq!(at("127.0.0.1:4566", &format!("/function-urls/{id}")), expected("/"));
        assert_eq!(at("127.0.0.1:4566", "/function-urls/short/a"), None);
    }
}
