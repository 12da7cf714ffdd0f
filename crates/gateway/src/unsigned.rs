//! What is answered without a signature: health, metrics, and code packages under a sealed URL.

use crate::{
    Gateway,
    aws::{Response, response},
    server::Peer,
    sigv4::query_pairs,
};
use dayfly_types::Timestamp;
use hmac::{Hmac, Mac};
use http::{Method, StatusCode, request::Parts};
use serde_json::json;
use sha2::Sha256;
use std::time::Duration;

const CODE: &str = "/-/code/";
/// Life of a code location, AWS's.
const CODE_LIFE: Duration = Duration::from_secs(600);

/// Answers a request for an unsigned path; `None` for every other path.
pub async fn answer(gateway: &Gateway, peer: Peer, parts: &Parts) -> Option<Response> {
    let path = parts.uri.path();
    if !path.starts_with("/-/") {
        return None;
    }
    if parts.method != Method::GET {
        return Some(response::empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    Some(match path {
        "/-/health" if !gateway.in_sandbox => response::json(StatusCode::OK, &json!({"status": "ok"})),
        "/-/metrics" if !gateway.in_sandbox && peer.is_local() => metrics(gateway),
        _ => match path.strip_prefix(CODE) {
            Some(sha256) => code(gateway, sha256, parts.uri.query().unwrap_or_default()).await,
            None => response::empty(StatusCode::NOT_FOUND),
        },
    })
}

/// A URL under which the package `sha256` can be downloaded for ten minutes by whoever has it.
pub fn code_location(gateway: &Gateway, host: Option<&str>, sha256: &str) -> String {
    let options = &gateway.options;
    let expires = (options.clock.now() + CODE_LIFE).as_second();
    let base = match host {
        Some(host) => format!("http://{host}"),
        None => options.public_endpoint.trim_end_matches('/').to_owned(),
    };
    let token = hex::encode(seal(&options.secret, sha256, expires).finalize().into_bytes());
    format!("{base}{CODE}{sha256}?expires={expires}&token={token}")
}

async fn code(gateway: &Gateway, sha256: &str, query: &str) -> Response {
    let options = &gateway.options;
    let pairs = query_pairs(query);
    let find = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let expires: i64 = find("expires").and_then(|text| text.parse().ok()).unwrap_or_default();
    let token = find("token").and_then(|text| hex::decode(text).ok()).unwrap_or_default();
    let sealed = seal(&options.secret, sha256, expires).verify_slice(&token).is_ok();
    if !sealed || Timestamp::from_second(expires).is_ok_and(|at| at <= options.clock.now()) {
        return response::empty(StatusCode::FORBIDDEN);
    }
    match options.store.blobs.get(sha256).await {
        Ok(Some(bytes)) => response::with_type(StatusCode::OK, "application/zip", bytes),
        Ok(None) => response::empty(StatusCode::NOT_FOUND),
        Err(error) => {
            tracing::error!(%error, sha256, "a code package could not be read");
            response::empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn metrics(gateway: &Gateway) -> Response {
    let text = gateway.options.meter.metrics_text();
    response::with_type(StatusCode::OK, "text/plain; version=0.0.4", text.into())
}

fn seal(secret: &[u8; 32], sha256: &str, expires: i64) -> Hmac<Sha256> {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(secret) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(b"code\0");
    mac.update(sha256.as_bytes());
    mac.update(b"\0");
    mac.update(&expires.to_be_bytes());
    mac
}
