//! Websites of buckets, for browsers: nobody signs these requests, and errors are pages. A site shows what its bucket's policy
//! lets everybody read. Called by `front`.

use super::{
    Call, KEY_BYTES_MAX, get_object,
    policy::everybody_may,
    website::{self, Redirect, RoutingRule, Website, no_website},
    xml::encoded,
};
use crate::{
    Gateway,
    authorise::{Caller, of_request},
    aws::{Error, Response, response},
    body,
    host::{self, Named},
    server::Peer,
    sigv4::{Claim, percent_decode},
};
use dayfly_objects::{Bucket, Error as ObjectsError, valid_bucket_name};
use dayfly_types::RequestId;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::LOCATION, request::Parts};
use hyper::body::Incoming;

/// The bucket in `/websites/BUCKET/PATH`.
const PATH: &str = "/websites/";
const REDIRECT: &str = "x-amz-website-redirect-location";

/// A place on a website.
#[derive(Debug, PartialEq, Eq)]
pub struct Address {
    bucket: String,
    /// As it came, without its first slash.
    path: String,
    /// What the site's root is called by the client.
    root: String,
}

/// Which website a request is for, if it is for one.
pub fn address(parts: &Parts) -> Option<Address> {
    let path = parts.uri.path();
    match host::named(parts) {
        Some(Named::Website(bucket)) => {
            let path = path.strip_prefix('/').unwrap_or(path).to_owned();
            return Some(Address { bucket, path, root: "/".to_owned() });
        }
        Some(_) => return None,
        None => {}
    }
    let rest = path.strip_prefix(PATH)?;
    // A bucket may be called like that.
    if Claim::read(parts).is_ok_and(|claim| claim.service == "s3") {
        return None;
    }
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some(Address { bucket: bucket.to_owned(), path: path.to_owned(), root: format!("{PATH}{bucket}/") })
}

/// Answers a request to a website. Never fails: every failure is a page.
pub async fn answer(
    gateway: &Gateway,
    peer: Peer,
    memory: &body::Memory,
    address: Address,
    parts: Parts,
    body: Incoming,
) -> Response {
    body::discard(body, &gateway.patience).await;
    let id = RequestId::random();
    let head = parts.method == Method::HEAD;
    let mut response = match visit(gateway, (id, peer), memory, &address, parts).await {
        Ok(response) => response,
        Err(error) => page(&error, head),
    };
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-amz-request-id"), value);
    }
    response
}

async fn visit(
    gateway: &Gateway,
    (id, peer): (RequestId, Peer),
    memory: &body::Memory,
    address: &Address,
    parts: Parts,
) -> Result<Response, Error> {
    if ![Method::GET, Method::HEAD].contains(&parts.method) {
        let message = "The specified method is not allowed against this resource.";
        return Err(Error::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message));
    }
    if !valid_bucket_name(&address.bucket) {
        return Err(ObjectsError::NoSuchBucket.into());
    }
    let bucket = gateway.options.objects.bucket(&address.bucket).await?;
    let website = website::of_bucket(&bucket).ok_or_else(no_website)?;
    if let Some(all) = &website.redirect_all_requests_to {
        let redirect =
            Redirect { protocol: all.protocol.clone(), host_name: Some(all.host_name.clone()), ..Redirect::default() };
        return redirected(&redirect, None, &address.path, address, &parts);
    }
    let key = String::from_utf8(percent_decode(&address.path, false).into_owned())
        .map_err(|_| Error::bad_request("InvalidURI", "Couldn't parse the specified URI."))?;
    if let Some(rule) = rule(&website, &key, None) {
        let prefix = rule.condition.as_ref().and_then(|condition| condition.key_prefix_equals.as_deref());
        return redirected(&rule.redirect, prefix, &key, address, &parts);
    }
    let suffix = website.index_document.as_ref().map_or("index.html", |index| index.suffix.as_str());
    let mut call = Call {
        gateway,
        memory,
        id,
        peer,
        query: Vec::new(),
        key: if key.is_empty() || key.ends_with('/') { format!("{key}{suffix}") } else { key.clone() },
        bucket: bucket.name.clone(),
        region: bucket.region.clone(),
        // Whoever reads is asked of the bucket's policy first, each time.
        principal: Caller::root(bucket.account.clone()),
        payload: None,
        parts,
    };
    let error = match read(&call, &bucket).await {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    if error.code == "NoSuchKey" && !key.ends_with('/') && !key.is_empty() {
        let index = format!("{key}/{suffix}");
        if gateway.options.objects.object(&bucket.name, &index).await.is_ok()
            && everybody_may(&bucket, "s3:GetObject", &index, &of_request(gateway, &call.parts, call.peer))
        {
            return found(StatusCode::FOUND, &format!("{}{}/", address.root, encoded(&key, true)));
        }
    }
    if let Some(rule) = rule(&website, &key, Some(error.status)) {
        let prefix = rule.condition.as_ref().and_then(|condition| condition.key_prefix_equals.as_deref());
        return redirected(&rule.redirect, prefix, &key, address, &call.parts);
    }
    // Of a range that is not there, the page would be no better.
    if let Some(document) = website.error_document.filter(|_| error.status != StatusCode::RANGE_NOT_SATISFIABLE) {
        call.key = document.key;
        for name in ["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
            call.parts.headers.remove(name);
        }
        if let Ok(mut response) = read(&call, &bucket).await {
            *response.status_mut() = error.status;
            return Ok(response);
        }
    }
    Err(error)
}

/// The object, if everybody may read it.
async fn read(call: &Call<'_>, bucket: &Bucket) -> Result<Response, Error> {
    if !everybody_may(bucket, "s3:GetObject", &call.key, &of_request(call.gateway, &call.parts, call.peer)) {
        return Err(super::access_denied("Access Denied"));
    }
    if call.key.len() > KEY_BYTES_MAX {
        return Err(ObjectsError::NoSuchKey.into());
    }
    let mut response = get_object::get_object(call).await?;
    match response.headers_mut().remove(REDIRECT) {
        Some(to) => found(StatusCode::MOVED_PERMANENTLY, to.to_str().unwrap_or_default()),
        None => Ok(response),
    }
}

/// The first rule for this key and this error.
fn rule<'a>(website: &'a Website, key: &str, error: Option<StatusCode>) -> Option<&'a RoutingRule> {
    website.routing_rules.routing_rule.iter().find(|rule| {
        let condition = rule.condition.clone().unwrap_or_default();
        let code = condition.http_error_code_returned_equals;
        let same = match (code, error) {
            (None, None) => true,
            (Some(code), Some(error)) => code == error.as_str(),
            _ => false,
        };
        same && condition.key_prefix_equals.is_none_or(|prefix| key.starts_with(&prefix))
    })
}

fn redirected(
    redirect: &Redirect,
    prefix: Option<&str>,
    key: &str,
    address: &Address,
    parts: &Parts,
) -> Result<Response, Error> {
    let key = match (&redirect.replace_key_with, &redirect.replace_key_prefix_with) {
        (Some(with), _) => with.clone(),
        (None, Some(with)) => format!("{with}{}", key.strip_prefix(prefix.unwrap_or_default()).unwrap_or(key)),
        (None, None) => key.to_owned(),
    };
    let code = redirect.http_redirect_code.as_ref().and_then(|code| code.parse().ok());
    let status = code.and_then(|code: u16| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    let path = encoded(&key, true);
    let location = match (&redirect.host_name, &redirect.protocol) {
        (None, None) => format!("{}{path}", address.root),
        (Some(host), protocol) => format!("{}://{host}/{path}", protocol.as_deref().unwrap_or("http")),
        (None, Some(protocol)) => {
            format!("{protocol}://{}{}{path}", host::host(parts).unwrap_or_default(), address.root)
        }
    };
    found(status, &location)
}

fn found(status: StatusCode, location: &str) -> Result<Response, Error> {
    let mut response = response::empty(status);
    let location = HeaderValue::from_str(location).map_err(super::error::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn page(error: &Error, head: bool) -> Response {
    let reason = error.status.canonical_reason().unwrap_or_default();
    let title = format!("{} {reason}", error.status.as_str());
    let message = response::xml_text(&error.message);
    let text = format!(
        "<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n<li>Code: {}</li>\n<li>Message: \
         {message}</li>\n</ul>\n</body>\n</html>\n",
        error.code
    );
    let text = if head { String::new() } else { text };
    response::with_type(error.status, "text/html; charset=utf-8", text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_website_is_reached_by_host_and_by_path() {
        let at = |host: &str, path: &str| {
            let request = http::Request::builder().uri(path).header("host", host).body(()).unwrap();
            address(&request.into_parts().0).map(|address| (address.bucket, address.path, address.root))
        };
        let found = |path: &str, root: &str| Some(("my.site".to_owned(), path.to_owned(), root.to_owned()));
        assert_eq!(at("my.site.s3-website.localhost:4566", "/a/b?c"), found("a/b", "/"));
        assert_eq!(at("my.site.s3-website-eu-west-1.amazonaws.com", "/"), found("", "/"));
        assert_eq!(at("my.site.s3-website.eu-west-1.amazonaws.com", "/"), found("", "/"));
        assert_eq!(at("127.0.0.1:4566", "/websites/my.site"), found("", "/websites/my.site/"));
        assert_eq!(at("127.0.0.1:4566", "/websites/my.site/a%20b"), found("a%20b", "/websites/my.site/"));
        assert_eq!(at("my.site.s3.localhost", "/websites/a/b"), None);
        assert_eq!(at("127.0.0.1:4566", "/my.site/index.html"), None);
    }
}
