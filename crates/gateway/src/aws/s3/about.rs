//! What the headers of a request say of an object, and what cannot be had.

use super::error::{invalid_argument, not_implemented};
use crate::{aws::Error, sigv4::query_pairs};
use dayfly_objects::{About, Condition};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;

/// Headers that are kept and given back.
const KEPT: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];
/// Most bytes of user metadata, AWS's.
const METADATA_BYTES_MAX: usize = 2 << 10;
/// Most tags of an object, AWS's.
const TAGS_MAX: usize = 10;
const META: &str = "x-amz-meta-";
/// Headers that ask for what Dayfly has not, and its name.
const NOT_SERVED: [(&str, &str); 7] = [
    ("x-amz-server-side-encryption", "server-side encryption"),
    ("x-amz-copy-source-server-side-encryption", "server-side encryption"),
    ("x-amz-object-lock", "object lock"),
    ("x-amz-write-offset-bytes", "appending to objects"),
    ("x-amz-mfa", "MFA delete"),
    ("x-amz-bypass-governance-retention", "object lock"),
    ("x-amz-create-session-mode", "directory buckets"),
];

/// Headers, metadata and tags of a new object.
pub fn of_headers(headers: &HeaderMap) -> Result<About, Error> {
    refuse_not_served(headers)?;
    let mut about = About::default();
    for name in KEPT {
        let Some(value) = headers.get(name) else { continue };
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let value = if name == "content-encoding" { without_chunked(&value) } else { value };
        if !value.is_empty() {
            about.headers.insert(name.to_owned(), value);
        }
    }
    about.headers.entry("content-type".to_owned()).or_insert_with(|| "binary/octet-stream".to_owned());
    for (name, _) in headers {
        if let Some(short) = name.as_str().strip_prefix(META) {
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            about.metadata.insert(short.to_owned(), values.join(","));
        }
    }
    let bytes: usize = about.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(Error::bad_request(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    if let Some(tags) = headers.get("x-amz-tagging") {
        about.tags = tags_of(query_pairs(tags.to_str().unwrap_or_default()))?;
    }
    Ok(about)
}

/// The same, into an answer.
pub fn into_headers(about: &About, headers: &mut HeaderMap) {
    let mut put = |name: String, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    };
    for (name, value) in &about.headers {
        put(name.clone(), value);
    }
    for (name, value) in &about.metadata {
        put(format!("{META}{name}"), value);
    }
    if !about.tags.is_empty() {
        put("x-amz-tagging-count".to_owned(), &about.tags.len().to_string());
    }
}

/// Checks tags.
pub fn tags_of(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Error> {
    let invalid = |message: &'static str| Error::bad_request("InvalidTag", message);
    if pairs.len() > TAGS_MAX {
        return Err(Error::bad_request("BadRequest", "Object tags cannot be greater than 10"));
    }
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        let length = key.chars().count();
        if length == 0 || length > 128 || key.starts_with("aws:") {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

/// The condition of a write.
pub fn condition(headers: &HeaderMap) -> Result<Condition, Error> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (header("if-match"), header("if-none-match")) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some(tag), None) => Ok(Condition::Tag(tag.trim().trim_matches('"').to_owned())),
        _ => Err(not_implemented("this combination of If-Match and If-None-Match on a write")),
    }
}

/// Who may see an object follows from the account alone, as in a bucket whose ACLs are disabled.
pub fn refuse_acl(headers: &HeaderMap) -> Result<(), Error> {
    let acl = headers.get("x-amz-acl").map(|value| value.to_str().unwrap_or_default());
    let grants = headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"));
    if grants || !matches!(acl, None | Some("private" | "bucket-owner-full-control")) {
        return Err(Error::bad_request("AccessControlListNotSupported", "The bucket does not allow ACLs"));
    }
    Ok(())
}

fn refuse_not_served(headers: &HeaderMap) -> Result<(), Error> {
    refuse_acl(headers)?;
    for name in headers.keys() {
        if let Some((_, what)) = NOT_SERVED.iter().find(|(prefix, _)| name.as_str().starts_with(prefix)) {
            return Err(not_implemented(what));
        }
    }
    match headers.get("x-amz-storage-class").map(|value| value.to_str().unwrap_or_default()) {
        None | Some("STANDARD") => Ok(()),
        Some(_) => Err(Error::bad_request("InvalidStorageClass", "The storage class you specified is not valid")),
    }
}

/// `aws-chunked` is how the request came, not what the object is.
fn without_chunked(encoding: &str) -> String {
    let kept: Vec<_> = encoding.split(',').map(str::trim).filter(|part| *part != "aws-chunked").collect();
    kept.join(", ")
}

/// An entity tag in quotes, as headers and documents have it.
pub fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// `COPY` or `REPLACE`; the first is the default.
pub fn replaces(headers: &HeaderMap, name: &str) -> Result<bool, Error> {
    match headers.get(name).map(|value| value.to_str().unwrap_or_default()) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(invalid_argument(format!("Unknown {name}."))),
    }
}
