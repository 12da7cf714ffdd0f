//! PublishVersion and ListVersionsByFunction.

use super::{dto, error::of_json, latest_function, list_functions, validate::Violations};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_scheduler::functions::Publish;
use dayfly_types::{FunctionConfiguration, Qualifier};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Given {
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
}

pub async fn publish(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:PublishVersion", named)?;
    let given: Given = match request.body.is_empty() {
        true => Given::default(),
        false => serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?,
    };
    check_description(given.description.as_deref())?;
    // What is no hash at all is not the code's either.
    let sha256 = given.code_sha256.filter(|text| !text.is_empty());
    let sha256 = sha256.map(|text| STANDARD.decode(text).map(hex::encode).unwrap_or_default());
    let asked = Publish {
        sha256,
        revision_id: given.revision_id.filter(|text| !text.is_empty()),
        description: given.description.filter(|text| !text.is_empty()),
    };
    let version = gateway.options.scheduler.functions().publish_version(&arn, asked).await?;
    Ok(response::json(StatusCode::CREATED, &dto::configuration(&version, &version.arn)))
}

pub async fn list(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:ListVersionsByFunction", named)?;
    let functions = gateway.options.scheduler.functions();
    let limit = list_functions::page_size(request)?;
    let marker = request.query("Marker").filter(|marker| !marker.is_empty());
    let mut found = Vec::new();
    let from = match marker {
        Some(marker) => marker.parse().map_err(|_| super::error::invalid_parameter("Invalid Marker"))?,
        None => {
            found.push(functions.get(&arn).await?);
            0
        }
    };
    found.extend(functions.versions(&arn, from, limit + 1 - found.len()).await?);
    // One more than the page is the first of the next.
    let next = found.get(limit).map(FunctionConfiguration::version);
    found.truncate(limit);
    let shown = found.iter().map(|version| Value::Object(dto::configuration(version, &version.versioned_arn())));
    let mut body = json!({"Versions": shown.collect::<Vec<_>>()});
    if let Some(Qualifier::Version(number)) = next {
        body["NextMarker"] = json!(number.to_string());
    }
    Ok(response::json(StatusCode::OK, &body))
}

/// The bound of descriptions of versions and aliases.
pub fn check_description(description: Option<&str>) -> Result<(), Error> {
    let mut violations = Violations::default();
    let text = description.unwrap_or_default();
    let constraint = "Member must have length less than or equal to 256";
    violations.check(text.chars().count() <= 256, text, "description", constraint);
    violations.finish()
}
