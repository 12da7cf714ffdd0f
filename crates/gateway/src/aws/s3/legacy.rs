//! Signature Version 2 in a URL: what boto3 still makes of `generate_presigned_url` for S3 when nobody names a version.
//! Nothing else is taken in version 2.

use crate::{
    Gateway,
    authorise::Caller,
    server::Peer,
    signer::{Refused, key},
    sigv4::{self, query_pairs},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_types::Timestamp;
use hmac::{Hmac, Mac};
use http::request::Parts;
use sha1::Sha1;

/// Parameters that are part of the resource that is signed.
const SIGNED_PARAMETERS: [&str; 26] = [
    "accelerate",
    "acl",
    "cors",
    "delete",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Whether the URL is signed so.
pub fn is_presigned(parts: &Parts) -> bool {
    let pairs = query_pairs(parts.uri.query().unwrap_or_default());
    let has = |name: &str| pairs.iter().any(|(key, _)| key == name);
    has("AWSAccessKeyId") && has("Signature") && has("Expires")
}

/// Who signed the URL. `bucket` is the bucket in the host name.
pub async fn verify(gateway: &Gateway, parts: &Parts, bucket: Option<&str>, peer: Peer) -> Result<Caller, Refused> {
    let pairs = query_pairs(parts.uri.query().unwrap_or_default());
    let find = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let expires = find("Expires").unwrap_or_default();
    let now = gateway.options.clock.now();
    let until = expires.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    if until.ok_or(sigv4::Error::Mismatch)? < now {
        return Err(sigv4::Error::Expired(format!("the URL was valid until {expires}")).into());
    }
    let access_key_id = find("AWSAccessKeyId").unwrap_or_default();
    let (principal, secret) = key(gateway, access_key_id, find("x-amz-security-token"), now).await?;
    let Ok(mut mac) = <Hmac<Sha1> as Mac>::new_from_slice(secret.as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(string_to_sign(parts, bucket, expires, &pairs).as_bytes());
    let signature = STANDARD.decode(find("Signature").unwrap_or_default()).unwrap_or_default();
    mac.verify_slice(&signature).map_err(|_| sigv4::Error::Mismatch)?;
    Ok(principal.asking(gateway, parts, peer, "us-east-1"))
}

fn string_to_sign(parts: &Parts, bucket: Option<&str>, expires: &str, pairs: &[(String, String)]) -> String {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut text = format!("{}\n{}\n{}\n{expires}\n", parts.method, header("content-md5"), header("content-type"));
    let mut amazon: Vec<(String, String)> = Vec::new();
    for name in parts.headers.keys().filter(|name| name.as_str().starts_with("x-amz-")) {
        let values = parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        amazon.push((name.as_str().to_owned(), values.collect::<Vec<_>>().join(",")));
    }
    amazon.extend(pairs.iter().filter(|(key, _)| key.starts_with("x-amz-")).cloned());
    amazon.sort_unstable();
    for (name, value) in amazon {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    if let Some(bucket) = bucket {
        text.push_str(&format!("/{bucket}"));
    }
    text.push_str(parts.uri.path());
    let mut signed: Vec<&(String, String)> =
        pairs.iter().filter(|(key, _)| SIGNED_PARAMETERS.contains(&key.as_str())).collect();
    signed.sort_unstable();
    for (index, (name, value)) in signed.into_iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        if !value.is_empty() {
            text.push_str(&format!("={value}"));
        }
    }
    text
}
