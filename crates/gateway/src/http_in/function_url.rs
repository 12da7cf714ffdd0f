//! A request to a function's URL: the proxy event, version 2.0, and answers that need not say much.

use super::{
    Asked, call, cors,
    event_v2::{self, Routed},
    refusal::Refusal,
    reply::{self, Reply},
    signed, statics,
};
use crate::{aws::Response, http_api::DEFAULT};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dayfly_types::FunctionUrlId;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, SET_COOKIE},
};
use hyper::body::Incoming;
use serde_json::{Map, Value};
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
        && cors::is_preflight(&asked.parts)
    {
        let reply = Reply { status: StatusCode::OK, headers: cors::allowed(cors, headers, true), body: Bytes::new() };
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
            response.headers_mut().extend(cors::allowed(cors, headers, false));
        }
        return Ok(response);
    }
    let held = asked.read(body, asked.gateway.options.limits.sync_payload_bytes as u64).await?;
    let caller = match url.signed {
        true => {
            let (action, resource) = ("lambda:InvokeFunctionUrl", function.to_string());
            Some(signed::caller(asked, &held.bytes, "lambda", action, &resource).await.map_err(Refusal::of_url)?)
        }
        false => None,
    };
    let variables = BTreeMap::new();
    let routed = Routed {
        api: id.as_str(),
        // Who is not known is not of the account.
        account: if caller.is_some() { function.account.as_str() } else { "anonymous" },
        stage: DEFAULT,
        route_key: DEFAULT,
        path,
        parameters: &variables,
        variables: &variables,
        authorizer: caller.as_ref().map(event_v2::signed),
    };
    let mut event = event_v2::head(asked, &routed);
    event_v2::add_body(&mut event, asked, &held.bytes);
    let event = Value::Object(event);
    let given = call::invoke(asked, function, &event, PATIENCE).await?.map_err(|_| failed())?;
    let mut reply = reply(&given)?;
    if let Some(cors) = &url.cors {
        reply.headers.extend(cors::allowed(cors, headers, false));
    }
    Ok(reply.into_response(None, headers))
}

fn failed() -> Refusal {
    Refusal::url(StatusCode::BAD_GATEWAY, "InternalServerErrorException", "Internal Server Error")
}

fn unavailable() -> Refusal {
    Refusal::url(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", "Service Unavailable")
}

/// The answer that a function means: an object with a `statusCode` says all, anything else is the body itself.
pub fn reply(given: &[u8]) -> Result<Reply, Refusal> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
