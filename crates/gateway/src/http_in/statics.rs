//! Static files of a web application: requests to its URL that no call is made for. `dayfly deploy` puts the files into the
//! object store, and where they are into the function's environment, which goes with each version.

use super::{Asked, decoded};
use crate::aws::{Response, s3};
use dayfly_types::{FunctionArn, FunctionConfiguration};
use http::{Method, StatusCode};

/// The variable that says where on the URL the files are, and which: `/PATH/=HASH`.
const VARIABLE: &str = "DAYFLY_STATIC";
/// Keys are `FUNCTION/HASH/NAME`. A function's variable cannot name another bucket, or another function's files.
const BUCKET: &str = "dayfly-static";

/// The file that a request is for. `None` where there is none: it may be the application's then. While two versions share the
/// traffic, a page of either finds its files.
pub async fn answer(asked: &Asked<'_>, function: &FunctionArn, path: &str) -> Option<Response> {
    if ![Method::GET, Method::HEAD].contains(&asked.parts.method) {
        return None;
    }
    let functions = asked.gateway.options.scheduler.functions();
    for configuration in functions.configurations_of_call(function).await.ok()? {
        if let Some(response) = of_version(asked, function, &configuration, path).await {
            return Some(response);
        }
    }
    None
}

async fn of_version(
    asked: &Asked<'_>,
    function: &FunctionArn,
    configuration: &FunctionConfiguration,
    path: &str,
) -> Option<Response> {
    let (prefix, hash) = configuration.environment.get(VARIABLE)?.split_once('=')?;
    let name = decoded(path.strip_prefix(prefix)?);
    if name.is_empty() || hash.is_empty() || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let key = format!("{}/{hash}/{name}", function.name);
    let from = (asked.id, asked.peer);
    match s3::read_object(asked.gateway, asked.memory, from, &asked.parts, BUCKET, key).await {
        Ok(response) => Some(response),
        Err(error) if error.status == StatusCode::NOT_FOUND => None,
        Err(error) => {
            tracing::debug!(%function, code = %error.code, "a static file cannot be read");
            Some(error_response(error.status))
        }
    }
}

fn error_response(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
