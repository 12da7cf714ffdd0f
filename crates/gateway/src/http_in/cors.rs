//! What browsers are told about pages of other origins, by function URLs and HTTP APIs.

use dayfly_types::{policy::like, url::Cors};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
    request::Parts,
};

/// Whether a browser asks what it may ask.
pub fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(ORIGIN)
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser is told about the origin of a request; nothing when it is none of those allowed.
pub fn allowed(cors: &Cors, request: &HeaderMap, preflight: bool) -> HeaderMap {
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
