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
use dayfly_scheduler::functions;
use dayfly_types::{FunctionArn, FunctionConfiguration, FunctionReference, Qualifier};
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
    let all = version.is_some();
    let after = match request.query("Marker").filter(|marker| !marker.is_empty()) {
        Some(marker) => Some(read_marker(&marker)?),
        None => None,
    };
    let registry = gateway.options.scheduler.functions();
    // One more than the page tells whether there is another.
    let name = after.as_ref().map(|marker| marker.name.as_str());
    let list = registry.list(&account, &request.region, name, limit + 1).await?;
    let mut found = Vec::new();
    if let Some(FunctionReference { name, qualifier: Some(last), .. }) = after.filter(|_| all) {
        let arn = FunctionArn { region: request.region.clone(), account, name, qualifier: None };
        let from = if let Qualifier::Version(number) = last { number.saturating_add(1) } else { 0 };
        match registry.versions(&arn, from, limit + 1).await {
            Ok(versions) => found.extend(versions),
            Err(functions::Error::NotFound(_)) => {} // Deleted since the last page.
            Err(error) => return Err(error.into()),
        }
    }
    for function in list {
        let room = (limit + 1).saturating_sub(found.len());
        if room == 0 {
            break;
        }
        let versions = if all { registry.versions(&function.arn, 0, room - 1).await? } else { Vec::new() };
        found.push(function);
        found.extend(versions);
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let arn = |function: &FunctionConfiguration| if all { function.versioned_arn() } else { function.arn.clone() };
    let shown = found.iter().map(|function| Value::Object(dto::configuration(function, &arn(function))));
    let mut body = json!({"Functions": shown.collect::<Vec<_>>()});
    if let Some(last) = found.last().filter(|_| more) {
        let marker = if all { format!("{}:{}", last.arn.name, last.version()) } else { last.arn.name.to_string() };
        body["NextMarker"] = json!(STANDARD.encode(marker));
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

fn read_marker(marker: &str) -> Result<FunctionReference, Error> {
    let decoded = STANDARD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.and_then(|name| name.parse().ok()).ok_or_else(|| invalid_parameter("Invalid Marker"))
}
