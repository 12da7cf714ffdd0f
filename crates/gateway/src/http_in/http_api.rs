//! A request to a stage of an HTTP API.

use super::{
    Asked, call, cors, event, event_v2, function_url, http_authorizer,
    http_routes::Routes,
    refusal::Refusal,
    reply::Reply,
    rest::{BODY_BYTES_MAX, check_head},
    signed,
};
use crate::{
    aws::Response,
    http_api::{
        APIS, AuthorizationType, DEFAULT, DEPLOYMENTS, Definition, Deployment, HttpApi, Integration, Route, Stage,
    },
    rows::Newer,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// APIs that are kept in memory; when there are more, all go.
const APIS_MAX: usize = 1000;

/// APIs with the version of their row. Cheap to clone.
#[derive(Clone, Default)]
pub struct HttpApis(Arc<Mutex<Kept>>);

type Kept = HashMap<String, (u64, Arc<Ready>)>;

/// An API, ready to be asked.
pub struct Ready {
    api: HttpApi,
    /// By name.
    stages: HashMap<String, Served>,
}

/// What a stage serves.
struct Served {
    stage: Stage,
    deployment: String,
    definition: Definition,
    routes: Routes,
}

impl HttpApis {
    /// An API as it is now. One short read of the store for each request: an API that was changed, here or by another
    /// server, is seen at once.
    pub(super) async fn get(&self, asked: &Asked<'_>, id: &str) -> Result<Option<Arc<Ready>>, Refusal> {
        let store = &asked.gateway.options.store;
        let (version, kept) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unzip();
        let read = match APIS.get_newer::<HttpApi>(store, id, version).await? {
            Newer::Same => return Ok(kept),
            Newer::None => return Ok(None),
            Newer::Changed(read) => read,
        };
        let api = read.value;
        let mut stages = HashMap::new();
        for stage in api.stages.values() {
            let (deployment, definition) = match &stage.deployment {
                _ if stage.auto_deploy => (api.revision.clone(), api.definition.clone()),
                None => continue,
                Some(deployment) => {
                    let row = DEPLOYMENTS.get::<Deployment>(store, &format!("{id}/{deployment}")).await?;
                    let Some(row) = row else { continue };
                    (deployment.clone(), row.value.definition)
                }
            };
            let routes = Routes::of(&definition);
            stages.insert(stage.name.clone(), Served { stage: stage.clone(), deployment, definition, routes });
        }
        let ready = Arc::new(Ready { api, stages });
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= APIS_MAX {
            kept.clear();
        }
        kept.insert(id.to_owned(), (read.version, ready.clone()));
        Ok(Some(ready))
    }
}

/// What is known of a request once its route is found.
pub struct Routed<'a> {
    pub api: &'a HttpApi,
    pub stage: &'a Stage,
    pub deployment: &'a str,
    pub route: &'a Route,
    pub parameters: &'a BTreeMap<String, String>,
    /// As it came.
    pub path: &'a str,
    pub arn: &'a str,
}

/// Answers a request to `path` of an API: of the stage that a host name leads to, or else of the one that the path begins
/// with, or else of the one without a name. `whole` is the path as the client sees it.
pub async fn answer(
    asked: &Asked<'_>,
    ready: &Ready,
    stage: Option<&str>,
    path: &str,
    whole: &str,
    body: &mut Option<Incoming>,
) -> Result<Response, Refusal> {
    let Ready { api, stages } = ready;
    if api.disable_endpoint && stage.is_none() {
        return Err(Refusal::not_found());
    }
    let first = path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default();
    let (served, path) = match stage {
        Some(stage) => (stages.get(stage), path),
        None => match stages.get(first).filter(|_| first != DEFAULT) {
            Some(named) => (Some(named), path.get(1 + first.len()..).filter(|rest| !rest.is_empty()).unwrap_or("/")),
            None => (stages.get(DEFAULT), path),
        },
    };
    let served = served.ok_or_else(Refusal::not_found)?;
    check_head(asked)?;
    let headers = &asked.parts.headers;
    if let Some(cors) = &api.cors
        && cors::is_preflight(&asked.parts)
    {
        let headers = cors::allowed(cors, headers, true);
        return Ok(Reply { status: StatusCode::NO_CONTENT, headers, body: Bytes::new() }
            .into_response(None, &HeaderMap::new()));
    }
    let result = routed(asked, api, served, path, whole, body).await;
    // A page of another origin may read why it was refused, too.
    let mut response = result.unwrap_or_else(Refusal::into_response);
    if let Some(cors) = &api.cors {
        for name in [
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-expose-headers",
            "access-control-allow-methods",
            "access-control-allow-headers",
            "access-control-max-age",
        ] {
            response.headers_mut().remove(name);
        }
        response.headers_mut().extend(cors::allowed(cors, headers, false));
    }
    if let Ok(value) = HeaderValue::from_str(&asked.id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("apigw-requestid"), value);
    }
    Ok(response)
}

async fn routed(
    asked: &Asked<'_>,
    api: &HttpApi,
    served: &Served,
    path: &str,
    whole: &str,
    body: &mut Option<Incoming>,
) -> Result<Response, Refusal> {
    let Served { stage, deployment, definition, routes } = served;
    let method = asked.parts.method.as_str();
    let (route, parameters) = routes.find(method, path).ok_or_else(Refusal::not_found)?;
    let integration = route.integration().and_then(|id| definition.integrations.get(id));
    let integration = integration.ok_or_else(Refusal::failed)?;
    let place = match route.route_key.split_once(' ') {
        Some((_, path)) => format!("{method}{path}"),
        None => DEFAULT.to_owned(),
    };
    let arn = format!("arn:aws:execute-api:{}:{}:{}/{}/{place}", api.region, api.account, api.id, stage.name);
    let routed = Routed { api, stage, deployment, route, parameters: &parameters, path: whole, arn: &arn };
    let held = asked.read(body, BODY_BYTES_MAX).await.map_err(Refusal::of_http_api)?;
    let (mut caller, mut authorizer) = (None, None);
    match route.authorization_type {
        AuthorizationType::None => {}
        AuthorizationType::Iam => {
            let by = signed::caller(asked, &held.bytes, "execute-api", "execute-api:Invoke", &arn).await;
            caller = Some(by.map_err(|_| Refusal::closed())?);
        }
        AuthorizationType::Jwt | AuthorizationType::Custom => {
            let id = route.authorizer_id.as_deref().unwrap_or_default();
            let known = definition.authorizers.get(id).ok_or_else(Refusal::failed)?;
            authorizer = Some(http_authorizer::authorise(asked, &routed, known).await?);
        }
    }
    let function = call::function(&integration.integration_uri, &stage.variables).ok_or_else(Refusal::failed)?;
    let credentials = integration.credentials_arn.as_deref();
    call::permitted(asked, &function, credentials, &arn).await.map_err(Refusal::of_http_api)?;
    let event = match integration.payload_format_version.as_str() {
        "1.0" => event_1(asked, &routed, caller.as_ref(), authorizer, &held.bytes),
        _ => {
            let authorizer = caller.as_ref().map(event_v2::signed).or(authorizer.map(|given| given.version_2));
            let mut event = head_2(asked, &routed, authorizer);
            event_v2::add_body(&mut event, asked, &held.bytes);
            event
        }
    };
    let given = invoke(asked, integration, function, event).await?;
    let reply = match integration.payload_format_version.as_str() {
        "1.0" => Reply::of_http(&given),
        _ => function_url::reply(&given),
    };
    Ok(reply.map_err(|_| Refusal::failed())?.into_response(None, &asked.parts.headers))
}

async fn invoke(
    asked: &Asked<'_>,
    integration: &Integration,
    function: dayfly_types::FunctionArn,
    event: Map<String, Value>,
) -> Result<Bytes, Refusal> {
    let patience = Duration::from_millis(integration.timeout_in_millis);
    let given = call::invoke(asked, function, &Value::Object(event), patience).await.map_err(Refusal::of_http_api)?;
    given.map_err(|_| Refusal::failed())
}

/// The event of version 2.0, without the body.
pub fn head_2(asked: &Asked<'_>, routed: &Routed<'_>, authorizer: Option<Value>) -> Map<String, Value> {
    event_v2::head(
        asked,
        &event_v2::Routed {
            api: &routed.api.id,
            account: routed.api.account.as_str(),
            stage: &routed.stage.name,
            route_key: &routed.route.route_key,
            path: routed.path,
            parameters: routed.parameters,
            variables: &routed.stage.variables,
            authorizer,
        },
    )
}

/// The event of version 1.0, without the body.
pub fn head_1(asked: &Asked<'_>, routed: &Routed<'_>, caller: Option<&signed::Caller>) -> Map<String, Value> {
    let key = &routed.route.route_key;
    let resource_path = key.split_once(' ').map_or(key.as_str(), |(_, path)| path);
    let known = event::Routed {
        api: &routed.api.id,
        account: &routed.api.account,
        region: &routed.api.region,
        stage: &routed.stage.name,
        deployment: Some(routed.deployment),
        variables: &routed.stage.variables,
        resource_id: key,
        resource_path,
        operation_name: routed.route.operation_name.as_deref(),
        path: routed.path,
        full_path: routed.path,
        parameters: routed.parameters,
    };
    let mut event = event::head(asked, &known, caller);
    event.insert("version".to_owned(), json!("1.0"));
    event
}

fn event_1(
    asked: &Asked<'_>,
    routed: &Routed<'_>,
    caller: Option<&signed::Caller>,
    authorizer: Option<http_authorizer::Known>,
    body: &[u8],
) -> Map<String, Value> {
    let mut event = head_1(asked, routed, caller);
    if let (Some(known), Some(Value::Object(context))) = (authorizer, event.get_mut("requestContext")) {
        context.insert("authorizer".to_owned(), known.version_1);
    }
    let (text, encoded) = event_v2::body_of(asked, body);
    event.insert("body".to_owned(), if body.is_empty() { Value::Null } else { json!(text) });
    event.insert("isBase64Encoded".to_owned(), json!(encoded && !body.is_empty()));
    event
}
