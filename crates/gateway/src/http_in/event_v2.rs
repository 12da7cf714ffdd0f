//! What a function behind an HTTP API or a function URL gets to see: the proxy event, version 2.0.

use super::{Asked, event, signed::Caller};
use crate::{host, sigv4::query_pairs};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::header::COOKIE;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is known of a request once its route is found.
pub struct Routed<'a> {
    pub api: &'a str,
    pub account: &'a str,
    pub stage: &'a str,
    pub route_key: &'a str,
    /// As it came.
    pub path: &'a str,
    pub parameters: &'a BTreeMap<String, String>,
    pub variables: &'a BTreeMap<String, String>,
    /// What is known of who asks.
    pub authorizer: Option<Value>,
}

/// `requestContext.authorizer` of a request that is signed.
pub fn signed(caller: &Caller) -> Value {
    json!({"iam": {
        "accessKey": caller.access_key_id,
        "accountId": caller.account,
        "callerId": caller.id,
        "cognitoIdentity": null,
        "principalOrgId": null,
        "userArn": caller.arn,
        "userId": caller.id,
    }})
}

/// Everything of the event but the body.
pub fn head(asked: &Asked<'_>, routed: &Routed<'_>) -> Map<String, Value> {
    let now = asked.gateway.options.clock.now();
    let host = host::host(&asked.parts).unwrap_or_default();
    let domain = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let (headers, cookies) = headers(asked);
    let raw_query = asked.parts.uri.query().unwrap_or_default();
    let mut context = json!({
        "accountId": routed.account,
        "apiId": routed.api,
        "domainName": domain,
        "domainPrefix": domain.split('.').next(),
        "http": {
            "method": asked.parts.method.as_str(),
            "path": routed.path,
            "protocol": format!("{:?}", asked.parts.version),
            "sourceIp": asked.peer.source_ip(),
            "userAgent": event::header(asked, "user-agent"),
        },
        "requestId": asked.id.to_string(),
        "routeKey": routed.route_key,
        "stage": routed.stage,
        "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        "timeEpoch": now.as_millisecond(),
    });
    if let Some(authorizer) = &routed.authorizer {
        context["authorizer"] = authorizer.clone();
    }
    let mut event = Map::from_iter([
        ("version".to_owned(), json!("2.0")),
        ("routeKey".to_owned(), json!(routed.route_key)),
        ("rawPath".to_owned(), json!(routed.path)),
        ("rawQueryString".to_owned(), json!(raw_query)),
        ("headers".to_owned(), json!(headers)),
        ("requestContext".to_owned(), context),
        ("isBase64Encoded".to_owned(), json!(false)),
    ]);
    if !cookies.is_empty() {
        event.insert("cookies".to_owned(), json!(cookies));
    }
    if !raw_query.is_empty() {
        let mut query: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in query_pairs(raw_query) {
            query.entry(name).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
        }
        event.insert("queryStringParameters".to_owned(), json!(query));
    }
    for (name, map) in [("pathParameters", routed.parameters), ("stageVariables", routed.variables)] {
        if !map.is_empty() {
            event.insert(name.to_owned(), json!(map));
        }
    }
    event
}

/// `body` and `isBase64Encoded`, when there is a body.
pub fn add_body(event: &mut Map<String, Value>, asked: &Asked<'_>, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let (text, encoded) = body_of(asked, body);
    event.insert("body".to_owned(), json!(text));
    event.insert("isBase64Encoded".to_owned(), json!(encoded));
}

/// A body as text, and whether that is base64.
pub fn body_of(asked: &Asked<'_>, body: &[u8]) -> (String, bool) {
    let media_type = event::header(asked, "content-type").unwrap_or_default();
    match std::str::from_utf8(body) {
        Ok(text) if is_text(media_type) => (text.to_owned(), false),
        _ => (STANDARD.encode(body), true),
    }
}

/// Headers in lower case, several values with commas between them; and the cookies.
fn headers(asked: &Asked<'_>) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut all, mut cookies) = (BTreeMap::<String, String>::new(), Vec::new());
    for (name, value) in &asked.parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == COOKIE {
            cookies.extend(value.split(';').map(|cookie| cookie.trim().to_owned()).filter(|cookie| !cookie.is_empty()));
        } else if !event::is_hop(name) {
            all.entry(name.as_str().to_owned()).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
        }
    }
    all.extend(event::forwarded(asked).map(|(name, value)| (name.to_owned(), value)));
    (all, cookies)
}

/// Whether a body of this media type is handed on as text.
fn is_text(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.starts_with("text/")
        || media_type.ends_with("+json")
        || media_type.ends_with("+xml")
        || ["application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded"]
            .contains(&media_type.as_str())
}
