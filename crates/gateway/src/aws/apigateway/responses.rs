//! Responses of methods, which are only shown, and of integrations, which say what a mock answers.

use super::{
    Call, created, dto,
    error::{bad_request, conflict, not_found},
    import::At,
    import_method,
    methods::{integration, integration_mut, method, method_mut},
    patch::{self, Op},
    shown,
};
use crate::{
    aws::{Error, Response, response},
    rest_api::{Integration, IntegrationResponse, RestApi},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The key of the response for which no other is meant.
const DEFAULT: &str = "default";
/// What UpdateIntegrationResponse changes; what ends with a slash is a map.
const PLACES: &[&str] = &["/selectionPattern", "/responseParameters/", "/responseTemplates/"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NewResponse {
    response_parameters: BTreeMap<String, bool>,
    response_models: BTreeMap<String, String>,
}

pub async fn put_of_method(call: &Call<'_>) -> Result<Response, Error> {
    let given: NewResponse = call.body()?;
    let status = status(call)?;
    let response = json!({
        "statusCode": status.to_string(),
        "responseParameters": given.response_parameters,
        "responseModels": given.response_models,
    });
    let put = |api: &mut RestApi| {
        let responses = &mut method_mut(api, call)?.responses;
        match responses.insert(status.to_string(), response.clone()) {
            Some(_) => Err(conflict("Response already exists for this resource")),
            None => Ok(()),
        }
    };
    call.change_api(put).await?;
    Ok(created(&response))
}

pub async fn get_of_method(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let found = method(&api, call)?.responses.get(call.segment(7));
    Ok(shown(found.ok_or_else(|| not_found("Response status code"))?))
}

pub async fn update_of_method(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let change = |api: &mut RestApi| {
        let responses = &mut method_mut(api, call)?.responses;
        let response = responses.get_mut(call.segment(7)).ok_or_else(|| not_found("Response status code"))?;
        for patch in &patches {
            let parts = patch.parts();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let (["responseParameters" | "responseModels"], name) = parts.split_at(parts.len().min(1)) else {
                return Err(patch.refuse());
            };
            let [name] = name else { return Err(patch.refuse()) };
            let value = match (patch.op, parts[0]) {
                (Op::Remove, _) => Value::Null,
                (_, "responseParameters") => Value::Bool(patch.flag()?),
                _ => json!(patch.value()?),
            };
            let map = response[parts[0]].as_object_mut().ok_or_else(|| patch.refuse())?;
            match value {
                Value::Null => drop(map.remove(*name)),
                value => drop(map.insert((*name).to_owned(), value)),
            }
        }
        Ok(response.clone())
    };
    let (_, response) = call.change_api(change).await?;
    Ok(shown(&response))
}

pub async fn delete_of_method(call: &Call<'_>) -> Result<Response, Error> {
    let gone = |api: &mut RestApi| {
        let removed = method_mut(api, call)?.responses.remove(call.segment(7));
        removed.map(drop).ok_or_else(|| not_found("Response status code"))
    };
    call.change_api(gone).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn put(call: &Call<'_>) -> Result<Response, Error> {
    let mut given: Map<String, Value> = call.body()?;
    given.insert("statusCode".to_owned(), json!(status(call)?));
    let put = |api: &mut RestApi| set(integration_mut(api, call)?, &given, "PutIntegrationResponse");
    let (_, (pattern, response)) = call.change_api(put).await?;
    Ok(created(&dto::integration_response(&pattern, &response)))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let (pattern, response) = find(integration(&api, call)?, status(call)?)?;
    Ok(shown(&dto::integration_response(pattern, response)))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let status = status(call)?;
    let change = |api: &mut RestApi| {
        let integration = integration_mut(api, call)?;
        let (pattern, response) = find(integration, status)?;
        let changed = patch::on(dto::integration_response(pattern, response), &patches, PLACES)?;
        set(integration, &changed, "UpdateIntegrationResponse")
    };
    let (_, (pattern, response)) = call.change_api(change).await?;
    Ok(shown(&dto::integration_response(&pattern, &response)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let status = status(call)?;
    let gone = |api: &mut RestApi| {
        let integration = integration_mut(api, call)?;
        let pattern = find(integration, status)?.0.clone();
        integration.responses.remove(&pattern);
        Ok(())
    };
    call.change_api(gone).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// Keeps a response in place of that with the same status.
fn set(
    integration: &mut Integration,
    given: &Map<String, Value>,
    place: &str,
) -> Result<(String, IntegrationResponse), Error> {
    let given = At { place, object: given };
    let response = import_method::integration_response(given, integration.kind)?;
    let pattern = given.text("selectionPattern")?.filter(|pattern| !pattern.is_empty()).unwrap_or(DEFAULT).to_owned();
    integration.responses.retain(|_, other| other.status != response.status);
    if integration.responses.contains_key(&pattern) {
        return Err(conflict(format!("{place}: another status has the same selectionPattern")));
    }
    integration.responses.insert(pattern.clone(), response.clone());
    Ok((pattern, response))
}

fn find(integration: &Integration, status: u16) -> Result<(&String, &IntegrationResponse), Error> {
    let found = integration.responses.iter().find(|(_, response)| response.status == status);
    found.ok_or_else(|| not_found("Integration response"))
}

/// The status that ends the path.
fn status(call: &Call<'_>) -> Result<u16, Error> {
    let status = call.segments.last().and_then(|text| text.parse().ok()).filter(|status| (100..600).contains(status));
    status.ok_or_else(|| bad_request("statusCode: must be an HTTP status"))
}
