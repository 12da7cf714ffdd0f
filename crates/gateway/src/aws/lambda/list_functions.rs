//! ListFunctions.

use super::{
    dto,
    error::invalid_parameter,
    validate::{self, Violations},
};
use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request, Response, response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_types::FunctionName;
use http::StatusCode;
use serde_json::{Value, json};

/// Most functions in one answer, however many were asked for.
const PAGE_MAX: usize = 50;

pub async fn list_functions(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let account = request.principal.account().clone();
    authorise(&request.principal, "lambda:ListFunctions", "*", &account)?;
    let version = request.query("FunctionVersion");
    if let Some(version) = &version {
        validate::choice(version, "functionVersion", &["ALL"])?;
    }
    let limit = page_size(request)?;
    let after = match request.query("Marker").filter(|marker| !marker.is_empty()) {
        Some(marker) => Some(read_marker(&marker)?),
        None => None,
    };
    let functions = gateway.options.scheduler.functions();
    // One more than the page tells whether there is another.
    let after = after.as_ref().map(FunctionName::as_str);
    let mut found = functions.list(&account, &request.region, after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let shown = found.iter().map(|function| Value::Object(dto::configuration(function, version.is_some())));
    let mut body = json!({"Functions": shown.collect::<Vec<_>>()});
    if let Some(last) = found.last().filter(|_| more) {
        body["NextMarker"] = json!(STANDARD.encode(last.arn.name.as_str()));
    }
    Ok(response::json(StatusCode::OK, &body))
}

/// `MaxItems`, which a page need not reach.
pub fn page_size(request: &Request) -> Result<usize, Error> {
    let Some(text) = request.query("MaxItems") else { return Ok(PAGE_MAX) };
    let number: i64 =
        text.parse().map_err(|_| Error::bad_request("SerializationException", "MaxItems is not a number"))?;
    let mut violations = Violations::default();
    violations.check(number >= 1, &text, "maxItems", "Member must have value greater than or equal to 1");
    violations.check(number <= 10_000, &text, "maxItems", "Member must have value less than or equal to 10000");
    violations.finish()?;
    Ok(usize::try_from(number).unwrap_or(PAGE_MAX).min(PAGE_MAX))
}

fn read_marker(marker: &str) -> Result<FunctionName, Error> {
    let decoded = STANDARD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.and_then(|name| name.parse().ok()).ok_or_else(|| invalid_parameter("Invalid Marker"))
}
