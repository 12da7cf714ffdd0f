//! A request to a function's URL: the proxy event, version 2.0, and answers that need not say much.

use super::{
    Asked, call, event,
    refusal::Refusal,
    reply::{self, Reply},
    signed::{self, Caller},
    statics,
};
use crate::{aws::Response, host, sigv4::query_pairs};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dayfly_types::{AccountId, FunctionUrlId, policy::like, url::Cors};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE, VARY,
    },
};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Longer than any function may run: its own timeout ends the call.
const PATIENCE: Duration = Duration::from_secs(1000);

/// Answers a request to `path` of the URL with this id.
pub async fn answer(asked: &Asked<'_>, id: &str, path: &str, body: &mut Option<Incoming>) -> Result<Response, Refusal> {
    let forbidden = || Refusal::url(StatusCode::FORBIDDEN, "AccessDeniedException", "Forbidden");
    let id: FunctionUrlId = id.parse().map_err(|_| forbidden())?;
    let functions = asked.gateway.options.scheduler.functions();
    let function = functions.by_url(&id).await.map_err(|_| Refusal::configuration())?.ok_or_else(forbidden)?;
    let access = functions.access_of_call(&function).await.map_err(|error| {
        tracing::debug!(%error, %function, "the function of a URL cannot be called");
        unavailable()
    })?;
    let url = access.url.as_ref().filter(|url| url.id == id).ok_or_else(forbidden)?;
    let headers = &asked.parts.headers;
    if let Some(cors) = &url.cors
        && asked.parts.method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    {
        let reply = Reply { status: StatusCode::OK, headers: allowed(cors, headers, true), body: Bytes::new() };
        return Ok(reply.into_response(None, headers));
    }
    if !url.signed && !access.policy.allows_public_url() {
        return Err(forbidden());
    }
    // Files are for everybody, as the page that names them is; a signature is for a call.
    if !url.signed
        && let Some(mut response) = statics::answer(asked, &function, path).await
    {
        if let Some(cors) = &url.cors {
            response.headers_mut().extend(allowed(cors, headers, false));
        }
        return Ok(response);
    }
    let held = asked.read(body, asked.gateway.options.limits.sync_payload_bytes as u64).await?;
    let caller = match url.signed {
        true => {
            let (action, resource) = ("lambda:InvokeFunctionUrl", function.to_string());
            Some(signed::caller(asked, &held.bytes, "lambda", action, &resource).map_err(Refusal::of_url)?)
        }
        false => None,
    };
    let event = event(asked, &id, path, &held.bytes, caller.as_ref(), &function.account);
    let given = call::invoke(asked, function, &event, PATIENCE).await?.map_err(|_| failed())?;
    let mut reply = reply(&given)?;
    if let Some(cors) = &url.cors {
        reply.headers.extend(allowed(cors, headers, false));
    }
    Ok(reply.into_response(None, headers))
}

fn failed() -> Refusal {
    Refusal::url(StatusCode::BAD_GATEWAY, "InternalServerErrorException", "Internal Server Error")
}

fn unavailable() -> Refusal {
    Refusal::url(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", "Service Unavailable")
}

fn event(
    asked: &Asked<'_>,
    id: &FunctionUrlId,
    path: &str,
    body: &[u8],
    caller: Option<&Caller>,
    account: &AccountId,
) -> Value {
    let now = asked.gateway.options.clock.now();
    let host = host::host(&asked.parts).unwrap_or_default();
    let domain = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let (headers, cookies) = headers(asked);
    let raw_query = asked.parts.uri.query().unwrap_or_default();
    let mut context = json!({
        // Who is not known is not of the account.
        "accountId": if caller.is_some() { account.as_str() } else { "anonymous" },
        "apiId": id,
        "domainName": domain,
        "domainPrefix": domain.split('.').next(),
        "http": {
            "method": asked.parts.method.as_str(),
            "path": path,
            "protocol": format!("{:?}", asked.parts.version),
            "sourceIp": asked.peer.source_ip(),
            "userAgent": event::header(asked, "user-agent"),
        },
        "requestId": asked.id.to_string(),
        "routeKey": "$default",
        "stage": "$default",
        "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        "timeEpoch": now.as_millisecond(),
    });
    if let Some(caller) = caller {
        context["authorizer"] = json!({"iam": {
            "accessKey": caller.access_key_id,
            "accountId": caller.account,
            "callerId": caller.id,
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": caller.arn,
            "userId": caller.id,
        }});
    }
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": raw_query,
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": false,
    });
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !raw_query.is_empty() {
        let mut query: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in query_pairs(raw_query) {
            query.entry(name).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
        }
        event["queryStringParameters"] = json!(query);
    }
    if !body.is_empty() {
        let media_type = event::header(asked, "content-type").unwrap_or_default();
        let (text, encoded) = match std::str::from_utf8(body) {
            Ok(text) if is_text(media_type) => (text.to_owned(), false),
            _ => (STANDARD.encode(body), true),
        };
        event["body"] = json!(text);
        event["isBase64Encoded"] = json!(encoded);
    }
    event
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

/// The answer that a function means: an object with a `statusCode` says all, anything else is the body itself.
fn reply(given: &[u8]) -> Result<Reply, Refusal> {
    let value: Value = serde_json::from_slice(given).map_err(|_| failed())?;
    let whole = |body: Bytes| {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Reply { status: StatusCode::OK, headers, body }
    };
    let object: Map<String, Value> = match value {
        Value::Object(object) if object.contains_key("statusCode") => object,
        Value::String(text) => return Ok(whole(text.into())),
        _ => return Ok(whole(Bytes::copy_from_slice(given))),
    };
    let mut headers = HeaderMap::new();
    reply::add_headers(&mut headers, object.get("headers")).map_err(|_| failed())?;
    for cookie in object.get("cookies").and_then(Value::as_array).into_iter().flatten() {
        let cookie = cookie.as_str().and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok());
        headers.append(SET_COOKIE, cookie.ok_or_else(failed)?);
    }
    let text = match object.get("body") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let encoded = object.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or_default();
    let body = if encoded { STANDARD.decode(text).map_err(|_| failed())?.into() } else { text.into() };
    Ok(Reply { status: reply::status_of(object.get("statusCode")).map_err(|_| failed())?, headers, body })
}

/// What a browser is told about the origin of a request; nothing when it is none of those allowed.
fn allowed(cors: &Cors, request: &HeaderMap, preflight: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(origin) = request.get(ORIGIN) else { return headers };
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let text = origin.to_str().unwrap_or_default();
    if !cors.allow_origins.iter().any(|pattern| like(pattern, text)) {
        return headers;
    }
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    let credentials = cors.allow_credentials == Some(true);
    let any = cors.allow_origins.iter().any(|pattern| pattern == "*") && !credentials;
    put(ACCESS_CONTROL_ALLOW_ORIGIN, if any { "*".to_owned() } else { text.to_owned() });
    if credentials {
        put(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true".to_owned());
    }
    if !cors.expose_headers.is_empty() {
        put(ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose_headers.join(","));
    }
    if preflight {
        put(ACCESS_CONTROL_ALLOW_METHODS, cors.allow_methods.join(","));
        put(ACCESS_CONTROL_ALLOW_HEADERS, cors.allow_headers.join(","));
        if let Some(seconds) = cors.max_age {
            put(ACCESS_CONTROL_MAX_AGE, seconds.to_string());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_need_not_say_much() {
        let of = |value: Value| {
            let reply = reply(value.to_string().as_bytes()).unwrap();
            (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap())
        };
        assert_eq!(of(json!("hello")), (200, "hello".to_owned()));
        assert_eq!(of(json!({"a": 1})), (200, r#"{"a":1}"#.to_owned()));
        assert_eq!(of(json!(null)), (200, "null".to_owned()));
        assert_eq!(of(json!({"statusCode": 404, "body": "no"})), (404, "no".to_owned()));
        assert_eq!(of(json!({"statusCode": 200, "body": "aGk=", "isBase64Encoded": true})), (200, "hi".to_owned()));
        assert!(reply(br#"{"statusCode": "x"}"#).is_err());
        assert!(reply(br#"{"statusCode": 200, "cookies": ["a\nb"]}"#).is_err());
    }

    #[test]
    fn origins_are_matched() {
        let cors = Cors {
            allow_origins: vec!["https://*.example.com".to_owned()],
            allow_credentials: Some(true),
            ..Cors::default()
        };
        let told = |origin: &'static str| {
            let request = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            allowed(&cors, &request, false).get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(told("https://a.example.com").unwrap(), "https://a.example.com");
        assert_eq!(told("https://example.org"), None);
    }
}
