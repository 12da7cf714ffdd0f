//! Which operation of a REST service a request is for, by method and path.

use http::request::Parts;

/// An operation: method, path as segments (`*` takes any), and a query parameter that tells it from its neighbours.
#[derive(Debug)]
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// The path between slashes.
    pub segments: &'static [&'static str],
    /// `name=value` that the query must have.
    pub query: Option<&'static str>,
}

/// The operation that method and path name: the first of `operations` that matches.
pub fn find(operations: &'static [Operation], parts: &Parts) -> Option<&'static Operation> {
    let method = parts.method.as_str();
    let query = parts.uri.query().unwrap_or_default();
    let segments = || parts.uri.path().split('/').filter(|segment| !segment.is_empty());
    operations.iter().find(|operation| {
        operation.method == method
            && operation.query.is_none_or(|wanted| query.split('&').any(|pair| pair == wanted))
            && {
                let mut given = segments();
                operation.segments.iter().all(|wanted| given.next().is_some_and(|s| *wanted == "*" || *wanted == s))
                    && given.next().is_none()
            }
    })
}
