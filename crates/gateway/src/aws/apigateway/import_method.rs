//! The methods of an OpenAPI document: who may call them, and what answers.

use super::{
    error::{bad_request, unsupported},
    import::{At, Scheme},
};
use crate::{
    aws::Error,
    rest_api::{Authorization, Integration, IntegrationKind, IntegrationResponse, Method, function_of},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest and shortest time for an integration.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 50..=29_000;

/// An operation of a path.
pub fn method(given: At<'_>, schemes: &BTreeMap<String, Scheme>, global: Option<&[Value]>) -> Result<Method, Error> {
    if given.text("x-amazon-apigateway-request-validator")?.is_some() {
        return Err(unsupported(given.place, "x-amazon-apigateway-request-validator"));
    }
    let mut method = Method { operation_name: given.text("operationId")?.map(str::to_owned), ..Method::default() };
    secure(&mut method, given, schemes, given.list("security")?.or(global).unwrap_or_default())?;
    for parameter in given.list("parameters")?.unwrap_or_default() {
        let (place, name) = (parameter["in"].as_str(), parameter["name"].as_str());
        let place = match place {
            Some("query") => "querystring",
            Some(place @ ("path" | "header")) => place,
            _ => continue,
        };
        if let Some(name) = name {
            let required = parameter["required"].as_bool().unwrap_or_default();
            method.request_parameters.insert(format!("method.request.{place}.{name}"), required);
        }
    }
    for (status, response) in given.object("responses")?.into_iter().flatten() {
        let headers = response["headers"].as_object().into_iter().flatten();
        let headers: Map<String, Value> =
            headers.map(|(name, _)| (format!("method.response.header.{name}"), json!(false))).collect();
        let shown = json!({"statusCode": status, "responseParameters": headers});
        method.responses.insert(status.clone(), shown);
    }
    if let Some(object) = given.object("x-amazon-apigateway-integration")? {
        let place = format!("{}.x-amazon-apigateway-integration", given.place);
        method.integration = Some(integration(At { place: &place, object })?);
    }
    Ok(method)
}

fn secure(
    method: &mut Method,
    given: At<'_>,
    schemes: &BTreeMap<String, Scheme>,
    security: &[Value],
) -> Result<(), Error> {
    if let Some(object) = given.object("x-amazon-apigateway-auth")? {
        match object.get("type").and_then(Value::as_str) {
            Some(kind) if kind.eq_ignore_ascii_case("AWS_IAM") => method.authorization = Authorization::Iam,
            Some(kind) if kind.eq_ignore_ascii_case("NONE") => {}
            _ => {
                return Err(bad_request(format!(
                    "{}.x-amazon-apigateway-auth.type: must be AWS_IAM or NONE",
                    given.place
                )));
            }
        }
    }
    for name in security.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        let place = format!("{}.security", given.place);
        match schemes.get(name) {
            None => return Err(bad_request(format!("{place}: {name} is not defined"))),
            Some(Scheme::ApiKey) => method.api_key_required = true,
            Some(Scheme::Iam) => method.authorization = Authorization::Iam,
            Some(Scheme::Authorizer(id)) => method.authorization = Authorization::Custom(id.clone()),
            // API Gateway leaves such a method open. That is rarely what its author wants.
            Some(Scheme::Other) => return Err(unsupported(&place, &format!("the kind of security of {name}"))),
        }
    }
    Ok(())
}

/// An integration, checked: what is kept here can be answered.
pub fn integration(given: At<'_>) -> Result<Integration, Error> {
    let place = given.place;
    let kind = match given.text("type")?.map(str::to_ascii_lowercase).as_deref() {
        Some("aws_proxy") => IntegrationKind::Function,
        Some("mock") => IntegrationKind::Mock,
        Some(other) => return Err(unsupported(place, &format!("integrations of type {other}"))),
        None => return Err(bad_request(format!("{place}.type: is missing"))),
    };
    let uri = given.text("uri")?.map(str::to_owned);
    if kind == IntegrationKind::Function && uri.as_deref().and_then(function_of).is_none() {
        return Err(bad_request(format!("{place}.uri: must name a Lambda function")));
    }
    let timeout_ms = given.number("timeoutInMillis")?.unwrap_or(*TIMEOUT_MS.end());
    if !TIMEOUT_MS.contains(&timeout_ms) {
        return Err(bad_request(format!("{place}.timeoutInMillis: must be between 50 and 29000 ms")));
    }
    let mut responses = BTreeMap::new();
    for (pattern, response) in given.object("responses")?.into_iter().flatten() {
        let place = format!("{place}.responses.{pattern}");
        let object = response.as_object().ok_or_else(|| bad_request(format!("{place}: must be an object")))?;
        responses.insert(pattern.clone(), integration_response(At { place: &place, object }, kind)?);
    }
    Ok(Integration {
        kind,
        uri,
        http_method: given.text("httpMethod")?.map(str::to_owned),
        credentials: given.text("credentials")?.map(str::to_owned),
        timeout_ms,
        passthrough: given.text("passthroughBehavior")?.unwrap_or("when_no_match").to_uppercase(),
        content_handling: given.text("contentHandling")?.map(str::to_owned),
        request_templates: templates(given, "requestTemplates", kind)?,
        responses,
    })
}

/// A response of an integration, checked.
pub fn integration_response(given: At<'_>, kind: IntegrationKind) -> Result<IntegrationResponse, Error> {
    let status = given.number("statusCode")?.and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| (100..600).contains(status));
    let status = status.ok_or_else(|| bad_request(format!("{}.statusCode: must be an HTTP status", given.place)))?;
    let mut headers = BTreeMap::new();
    for (name, value) in given.object("responseParameters")?.into_iter().flatten() {
        let header = name.strip_prefix("method.response.header.");
        let text = value.as_str().and_then(|text| text.strip_prefix('\'')?.strip_suffix('\''));
        match (header, text, kind) {
            (Some(header), Some(text), _) => drop(headers.insert(header.to_owned(), text.to_owned())),
            // What a function answers is not mapped.
            (_, _, IntegrationKind::Function) => {}
            _ => {
                let place = format!("{}.responseParameters.{name}", given.place);
                return Err(unsupported(&place, "values other than texts in single quotes"));
            }
        }
    }
    Ok(IntegrationResponse { status, headers, templates: templates(given, "responseTemplates", kind)? })
}

/// Templates by media type. Only a mock has a use for them, and only those that are plain text can be filled in.
fn templates(given: At<'_>, name: &str, kind: IntegrationKind) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    for (media_type, template) in given.object(name)?.into_iter().flatten() {
        let text = template.as_str().unwrap_or_default();
        if kind == IntegrationKind::Mock && text.contains(['$', '#']) {
            return Err(unsupported(&format!("{}.{name}.{media_type}", given.place), "templates with variables"));
        }
        found.insert(media_type.clone(), text.to_owned());
    }
    Ok(found)
}
