//! A request to a stage of a REST API.

use super::{
    Asked, authorizer, call, decoded,
    event::{self, Routed},
    refusal::Refusal,
    reply::{self, Reply},
    routes::Routes,
    signed,
};
use crate::{
    aws::Response,
    rest_api::{Authorization, DEPLOYMENTS, Deployment, Integration, IntegrationKind, RestApi, STAGES, Stage},
    rows::Newer,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use hyper::body::Incoming;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Largest request, AWS's.
pub const BODY_BYTES_MAX: u64 = 10 << 20;
/// Largest request line and headers, AWS's.
const HEADERS_BYTES_MAX: usize = 10_240;
/// Stages that are kept in memory; when there are more, all go.
const STAGES_MAX: usize = 1000;

/// Deployments by stage, with the version of the stage's row. Cheap to clone.
#[derive(Clone, Default)]
pub struct Deployments(Arc<Mutex<Kept>>);

type Kept = HashMap<String, (u64, Arc<Deployed>)>;

/// A deployment, ready to be asked.
struct Deployed {
    stage: Stage,
    api: RestApi,
    routes: Routes,
}

impl Deployments {
    /// What a stage serves now. One short read of the store for each request: a stage that was changed, here or by another
    /// server, is seen at once.
    async fn get(&self, asked: &Asked<'_>, api: &str, stage: &str) -> Result<Option<Arc<Deployed>>, Refusal> {
        let store = &asked.gateway.options.store;
        let key = format!("{api}/{stage}");
        let (version, kept) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned().unzip();
        let read = match STAGES.get_newer::<Stage>(store, &key, version).await? {
            Newer::Same => return Ok(kept),
            Newer::None => return Ok(None),
            Newer::Changed(read) => read,
        };
        let row = format!("{api}/{}", read.value.deployment);
        let Some(deployment) = DEPLOYMENTS.get::<Deployment>(store, &row).await? else { return Ok(None) };
        let api = deployment.value.api;
        let routes = Routes::of(&api.definition);
        let deployed = Arc::new(Deployed { stage: read.value, api, routes });
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= STAGES_MAX {
            kept.clear();
        }
        kept.insert(key, (read.version, deployed.clone()));
        Ok(Some(deployed))
    }
}

/// Answers a request to `path` of a stage. `mapped` is the whole path, when the client sees it below a host name of its own.
pub async fn answer(
    asked: &Asked<'_>,
    api: &str,
    stage: &str,
    path: &str,
    mapped: Option<&str>,
    body: &mut Option<Incoming>,
) -> Result<Response, Refusal> {
    let deployed = asked.gateway.http_in.deployments.get(asked, api, stage).await?.ok_or_else(Refusal::forbidden)?;
    let Deployed { stage, api, routes } = &*deployed;
    if api.disable_endpoint && mapped.is_none() {
        return Err(Refusal::forbidden());
    }
    check_head(asked)?;
    let http_method = asked.parts.method.as_str();
    let found = routes.find(&api.definition, http_method, path).ok_or_else(Refusal::missing_token)?;
    let integration = found.method.integration.as_ref().ok_or_else(Refusal::configuration)?;
    // There are no keys that a request could have.
    if found.method.api_key_required {
        return Err(Refusal::forbidden());
    }
    let held = asked.read(body, BODY_BYTES_MAX).await?;
    let full_path = mapped.map_or_else(|| format!("/{}{path}", stage.name), str::to_owned);
    let routed = Routed {
        api: &api.id,
        account: &api.account,
        region: &api.region,
        stage: &stage.name,
        deployment: Some(&stage.deployment),
        variables: &stage.variables,
        resource_id: &found.resource.id,
        resource_path: &found.resource.path,
        operation_name: found.method.operation_name.as_deref(),
        path: mapped.unwrap_or(path),
        full_path: &full_path,
        parameters: &found.parameters,
    };
    let prefix = format!("arn:aws:execute-api:{}:{}:{}/{}", api.region, api.account, api.id, stage.name);
    let method_arn = format!("{prefix}/{http_method}{}", decoded(path));
    let caller = match found.method.authorization {
        Authorization::Iam => {
            let action = "execute-api:Invoke";
            Some(signed::caller(asked, &held.bytes, "execute-api", action, &method_arn).await?)
        }
        _ => None,
    };
    let mut event = event::head(asked, &routed, caller.as_ref());
    if let Authorization::Custom(id) = &found.method.authorization {
        let authorizer = api.definition.authorizers.get(id).ok_or_else(Refusal::authorizer)?;
        let context = authorizer::authorise(asked, &routed, authorizer, &method_arn, &event).await?;
        if let Some(Value::Object(request)) = event.get_mut("requestContext") {
            request.insert("authorizer".to_owned(), Value::Object(context));
        }
    }
    let mut response = match integration.kind {
        IntegrationKind::Mock => mock(asked, integration)?,
        IntegrationKind::Function => {
            let source = format!("{prefix}/{http_method}{}", with_stars(&found.resource.path));
            proxy(asked, &routed, api, integration, &source, event, held.bytes.clone()).await?
        }
    };
    if let Ok(value) = HeaderValue::from_str(&asked.id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-amz-apigw-id"), value);
    }
    Ok(response)
}

async fn proxy(
    asked: &Asked<'_>,
    routed: &Routed<'_>,
    api: &RestApi,
    integration: &Integration,
    source: &str,
    mut event: Map<String, Value>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let headers = &asked.parts.headers;
    let uri = integration.uri.as_deref().unwrap_or_default();
    let function = call::function(uri, routed.variables).ok_or_else(Refusal::configuration)?;
    call::permitted(asked, &function, integration.credentials.as_deref(), source).await?;
    let body = match api.minimum_compression_bytes {
        Some(_) => reply::unpacked(headers, body, BODY_BYTES_MAX)?,
        None => body,
    };
    let (text, encoded) = event::body(headers, &body, &api.binary_media_types);
    event.insert("body".to_owned(), text);
    event.insert("isBase64Encoded".to_owned(), Value::Bool(encoded));
    let patience = Duration::from_millis(integration.timeout_ms);
    let given = call::invoke(asked, function, &Value::Object(event), patience).await?;
    let given = given.map_err(|_| Refusal::bad_answer())?;
    let reply = Reply::of_rest(&given, headers, &api.binary_media_types)?;
    Ok(reply.into_response(api.minimum_compression_bytes, headers))
}

/// The answer of a mock: its request template says the status, and that the headers and the text.
fn mock(asked: &Asked<'_>, integration: &Integration) -> Result<Response, Refusal> {
    let headers = &asked.parts.headers;
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let templates = &integration.request_templates;
    let template = templates.get(&media_type).or_else(|| templates.get("$default"));
    let template = match (template, integration.passthrough.as_str()) {
        (Some(template), _) => template,
        (None, "NEVER") => return Err(Refusal::media_type()),
        (None, "WHEN_NO_TEMPLATES") if !templates.is_empty() => return Err(Refusal::media_type()),
        (None, _) => return Err(Refusal::configuration()),
    };
    let status = mock_status(template).ok_or_else(Refusal::configuration)?;
    let status = reply::status_of(Some(&status))?;
    let responses = &integration.responses;
    let response = responses.get(status.as_str()).or_else(|| responses.get("default"));
    let response = response.ok_or_else(Refusal::configuration)?;
    let mut out = http::HeaderMap::new();
    let given = response.headers.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    reply::add_headers(&mut out, Some(&Value::Object(given)))?;
    let text = response.templates.get("application/json").or_else(|| response.templates.values().next());
    let status = http::StatusCode::from_u16(response.status).map_err(|_| Refusal::configuration())?;
    let body = text.cloned().unwrap_or_default().into();
    Ok(Reply { status, headers: out, body }.into_response(None, headers))
}

/// `statusCode` in a mock's request template. AWS also takes it without quotes, as tools like to write it: `{statusCode:200}`.
fn mock_status(template: &str) -> Option<Value> {
    if let Ok(asked_for) = serde_json::from_str::<Value>(template) {
        return Some(asked_for.get("statusCode").cloned().unwrap_or_default());
    }
    let (_, rest) = template.split_once("statusCode")?;
    let rest = rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':')?.trim_start();
    let digits = rest.trim_start_matches(['"', '\'']).split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse::<u16>().ok().map(Value::from)
}

/// The path of a resource as permissions name it: any value for what varies.
fn with_stars(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "*".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// API Gateway takes smaller heads than the server does.
pub fn check_head(asked: &Asked<'_>) -> Result<(), Refusal> {
    let headers = asked.parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let line = asked.parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if headers > HEADERS_BYTES_MAX || line > HEADERS_BYTES_MAX {
        return Err(Refusal::head_too_large());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mock_says_its_status_also_without_quotes() {
        for template in ["{\"statusCode\": 204}", "{statusCode:204}", "{ 'statusCode' : 204 }"] {
            assert_eq!(mock_status(template), Some(Value::from(204)), "{template}");
        }
        assert_eq!(mock_status("{}"), Some(Value::Null));
        for bad in ["", "{", "{statusCode}", "{statusCode:x}", "{statusCode:99999}"] {
            assert_eq!(mock_status(bad), None, "{bad}");
        }
    }
}
