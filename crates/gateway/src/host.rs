//! What the name in `Host` says: some services put a resource into it.

use http::{header::HOST, request::Parts};
use std::net::IpAddr;

/// A resource in the host name.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// `BUCKET.s3.SUFFIX` or `BUCKET.localhost`.
    Bucket(String),
    /// `BUCKET.s3-website.SUFFIX` or `BUCKET.s3-website-REGION.SUFFIX`: a bucket's website.
    Website(String),
    /// `API.execute-api.SUFFIX`: a REST API.
    Api(String),
    /// `ID.lambda-url.SUFFIX`: a function's URL.
    FunctionUrl(String),
}

impl Named {
    /// The bucket, if it is one.
    pub fn bucket(self) -> Option<String> {
        match self {
            Self::Bucket(bucket) => Some(bucket),
            _ => None,
        }
    }
}

/// The resource that the host name holds; `None` for the plain name of the server, and for addresses.
pub fn named(parts: &Parts) -> Option<Named> {
    let host = host(parts)?;
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name).trim_end_matches('.').to_ascii_lowercase();
    // Such a name may be a bucket's too: `.s3.` decides.
    let before = |mark: &str| name.find(mark).map(|at| name[..at].to_owned()).filter(|id| !id.is_empty());
    if !name.contains(".s3.") {
        if let Some(bucket) = before(".s3-website.").or_else(|| before(".s3-website-")) {
            return Some(Named::Website(bucket));
        }
        if let Some(id) = before(".lambda-url.") {
            return Some(Named::FunctionUrl(id));
        }
        if let Some(id) = before(".execute-api.") {
            return Some(Named::Api(id));
        }
    }
    let bucket = match name.strip_suffix(".localhost") {
        // s3.localhost and bucket.s3.localhost are the forms below.
        Some(bucket) if bucket != "s3" && !bucket.ends_with(".s3") => Some(bucket),
        _ => name.find(".s3.").map(|at| &name[..at]),
    };
    bucket.filter(|bucket| !bucket.is_empty()).map(|bucket| Named::Bucket(bucket.to_owned()))
}

/// `NAME.HOST`, on the host and port that a client came to, as far as there are names below it: every name below `localhost`
/// is this machine; an address of another machine has none.
pub fn below(host: &str, name: &str) -> Option<String> {
    let (server, port) = match host.rsplit_once(':') {
        Some((server, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (server, format!(":{port}")),
        _ => (host, String::new()),
    };
    let suffix = match server.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => "localhost",
        Ok(_) => return None,
        Err(_) => server,
    };
    Some(format!("{name}.{suffix}{port}"))
}

/// The host and port that the client asked for.
pub fn host(parts: &Parts) -> Option<&str> {
    let header = || parts.headers.get(HOST).and_then(|value| value.to_str().ok());
    parts.uri.authority().map(http::uri::Authority::as_str).or_else(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_may_be_in_the_host_name() {
        for (host, bucket) in [
            ("127.0.0.1:4566", None),
            ("localhost:4566", None),
            ("s3.localhost:4566", None),
            ("s3.us-east-1.amazonaws.com", None),
            ("dayfly.example.com", None),
            ("[::1]:4566", None),
            ("data.localhost:4566", Some("data")),
            ("data.s3.localhost:4566", Some("data")),
            ("My.Data.s3.eu-west-1.example.com", Some("my.data")),
            (".s3.example.com", None),
            (".localhost", None),
        ] {
            let parts = http::Request::builder().uri("/").header("host", host).body(()).unwrap().into_parts().0;
            assert_eq!(named(&parts), bucket.map(|name| Named::Bucket(name.to_owned())), "{host}");
        }
    }

    #[test]
    fn an_api_and_a_function_url_may_be_in_the_host_name() {
        let named_in = |host: &str| {
            named(&http::Request::builder().uri("/").header("host", host).body(()).unwrap().into_parts().0)
        };
        let api = || Some(Named::Api("abc".to_owned()));
        assert_eq!(named_in("abc.execute-api.us-east-1.amazonaws.com"), api());
        assert_eq!(named_in("ABC.execute-api.localhost:4566"), api());
        assert_eq!(named_in("x.lambda-url.us-east-1.localhost:4566"), Some(Named::FunctionUrl("x".to_owned())));
        assert_eq!(named_in("abc.execute-api.s3.localhost"), Some(Named::Bucket("abc.execute-api".to_owned())));
        assert_eq!(named_in("execute-api.us-east-1.amazonaws.com"), None);
    }
}
