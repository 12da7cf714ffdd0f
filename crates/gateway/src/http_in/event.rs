//! What a function behind a REST API gets to see: the proxy event, version 1.0.

use super::{Asked, signed::Caller};
use crate::{host, sigv4::query_pairs};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_types::{AccountId, Region};
use http::{HeaderMap, HeaderName, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is known of a request once its route is found.
pub struct Routed<'a> {
    pub api: &'a str,
    pub account: &'a AccountId,
    pub region: &'a Region,
    pub stage: &'a str,
    pub deployment: Option<&'a str>,
    pub variables: &'a BTreeMap<String, String>,
    pub resource_id: &'a str,
    pub resource_path: &'a str,
    pub operation_name: Option<&'a str>,
    /// As functions see it.
    pub path: &'a str,
    /// As the client sees it.
    pub full_path: &'a str,
    pub parameters: &'a BTreeMap<String, String>,
}

/// Everything of the event but the body.
pub fn head(asked: &Asked<'_>, routed: &Routed<'_>, caller: Option<&Caller>) -> Map<String, Value> {
    let (headers, multi_headers) = headers(asked);
    let (query, multi_query) = query(asked);
    let some = |map: Map<String, Value>| if map.is_empty() { Value::Null } else { Value::Object(map) };
    let texts = |map: &BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
    let event = json!({
        "resource": routed.resource_path,
        "path": routed.path,
        "httpMethod": asked.parts.method.as_str(),
        "headers": some(headers),
        "multiValueHeaders": some(multi_headers),
        "queryStringParameters": some(query),
        "multiValueQueryStringParameters": some(multi_query),
        "pathParameters": texts(routed.parameters),
        "stageVariables": texts(routed.variables),
        "requestContext": context(asked, routed, caller),
    });
    match event {
        Value::Object(event) => event,
        _ => Map::new(),
    }
}

/// `body` and `isBase64Encoded`.
pub fn body(headers: &HeaderMap, body: &[u8], binary_media_types: &[String]) -> (Value, bool) {
    if body.is_empty() {
        return (Value::Null, false);
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_binary(media_type, binary_media_types) {
        return (Value::String(STANDARD.encode(body)), true);
    }
    (Value::String(String::from_utf8_lossy(body).into_owned()), false)
}

/// Whether a media type is one of `binary`, which may have `*`.
pub fn is_binary(media_type: &str, binary: &[String]) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    binary.iter().any(|pattern| {
        let pattern = pattern.to_ascii_lowercase();
        pattern == "*/*" || (!media_type.is_empty() && dayfly_types::policy::like(&pattern, &media_type))
    })
}

/// The value of a header, if it is text.
pub fn header<'a>(asked: &'a Asked<'_>, name: &str) -> Option<&'a str> {
    asked.parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The headers of a request with those that API Gateway adds: the last value of each, and all.
fn headers(asked: &Asked<'_>) -> (Map<String, Value>, Map<String, Value>) {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &asked.parts.headers {
        if !is_hop(name) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            all.entry(title(name.as_str())).or_default().push(value);
        }
    }
    for (name, value) in forwarded(asked) {
        all.insert(title(name), vec![value]);
    }
    let single = all.iter().filter_map(|(name, values)| Some((name.clone(), json!(values.last()?)))).collect();
    (single, all.into_iter().map(|(name, values)| (name, json!(values))).collect())
}

/// What a front-end adds to say where a request came from, and what it took off its path.
pub fn forwarded(asked: &Asked<'_>) -> impl Iterator<Item = (&'static str, String)> {
    let source = asked.peer.source_ip();
    let scheme = asked.gateway.scheme();
    let before = header(asked, "x-forwarded-for");
    let port = host::host(&asked.parts)
        .and_then(|host| host.rsplit_once(':'))
        .map_or(if scheme == "https" { "443" } else { "80" }, |(_, port)| port);
    let trace = header(asked, "x-amzn-trace-id").map_or_else(
        || {
            let id = asked.id.to_string().replace('-', "");
            format!("Root=1-{:08x}-{}", asked.gateway.options.clock.now().as_second(), &id[..24])
        },
        str::to_owned,
    );
    let prefix = asked.prefix.as_ref().map(|prefix| ("x-forwarded-prefix", prefix.clone()));
    let always = [
        ("x-amzn-trace-id", trace),
        ("x-forwarded-for", before.map_or_else(|| source.clone(), |before| format!("{before}, {source}"))),
        ("x-forwarded-port", port.to_owned()),
        ("x-forwarded-proto", scheme.to_owned()),
    ];
    always.into_iter().chain(prefix)
}

/// Headers that are for the connection, and one that is not for the client to say: links are made with it.
pub fn is_hop(name: &HeaderName) -> bool {
    const OF_CONNECTION: [&str; 7] =
        ["connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"];
    OF_CONNECTION.contains(&name.as_str()) || name == "x-forwarded-prefix"
}

fn query(asked: &Asked<'_>) -> (Map<String, Value>, Map<String, Value>) {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in query_pairs(asked.parts.uri.query().unwrap_or_default()) {
        all.entry(name).or_default().push(value);
    }
    let single = all.iter().filter_map(|(name, values)| Some((name.clone(), json!(values.last()?)))).collect();
    (single, all.into_iter().map(|(name, values)| (name, json!(values))).collect())
}

fn context(asked: &Asked<'_>, routed: &Routed<'_>, caller: Option<&Caller>) -> Value {
    let now = asked.gateway.options.clock.now();
    let host = host::host(&asked.parts).unwrap_or_default();
    let domain = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let mut context = json!({
        "resourceId": routed.resource_id,
        "resourcePath": routed.resource_path,
        "httpMethod": asked.parts.method.as_str(),
        "extendedRequestId": asked.id.to_string(),
        "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        "path": routed.full_path,
        "accountId": routed.account,
        "protocol": format!("{:?}", asked.parts.version),
        "stage": routed.stage,
        "domainPrefix": domain.split('.').next(),
        "requestTimeEpoch": now.as_millisecond(),
        "requestId": asked.id.to_string(),
        "identity": {
            "cognitoIdentityPoolId": null,
            "accountId": caller.map(|caller| &caller.account),
            "cognitoIdentityId": null,
            "caller": caller.map(|caller| &caller.id),
            "sourceIp": asked.peer.source_ip(),
            "principalOrgId": null,
            "accessKey": caller.map(|caller| &caller.access_key_id),
            "cognitoAuthenticationType": null,
            "cognitoAuthenticationProvider": null,
            "userArn": caller.map(|caller| &caller.arn),
            "userAgent": header(asked, "user-agent"),
            "user": caller.map(|caller| &caller.id),
        },
        "domainName": domain,
        "deploymentId": routed.deployment,
        "apiId": routed.api,
    });
    if let Some(name) = routed.operation_name {
        context["operationName"] = json!(name);
    }
    context
}

/// `content-type` as `Content-Type`, the way most clients write it: HTTP does not tell, functions look for it.
fn title(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|character| {
            let titled = if start { character.to_ascii_uppercase() } else { character };
            start = character == '-';
            titled
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_matched() {
        let types = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert!(is_binary("image/PNG; x=1", &types(&["image/*"])));
        assert!(is_binary("", &types(&["*/*"])));
        assert!(!is_binary("", &types(&["image/*"])));
        assert!(!is_binary("application/json", &types(&["image/*", "application/octet-stream"])));
    }

    #[test]
    fn names_of_headers_are_titled() {
        assert_eq!(title("x-forwarded-for"), "X-Forwarded-For");
        assert_eq!(title("host"), "Host");
    }
}
