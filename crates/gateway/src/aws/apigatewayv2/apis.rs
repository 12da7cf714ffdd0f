//! CreateApi and its siblings.

use super::{
    Call, cors, created,
    error::{bad_request, too_many, unsupported},
    gone, ok, parts, stages, time,
};
use crate::{
    aws::{Error, Response},
    host,
    http_api::{APIS, AuthorizationType, DEFAULT, DEPLOYMENTS, Definition, Deployment, HttpApi, Integration, Route},
    rest_api::random_id,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const APIS_MAX: usize = 600;
const MEMBERS: &[&str] = &[
    "name",
    "protocolType",
    "description",
    "version",
    "corsConfiguration",
    "disableExecuteApiEndpoint",
    "apiKeySelectionExpression",
    "routeSelectionExpression",
    "tags",
    "target",
    "routeKey",
    "credentialsArn",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    name: Option<String>,
    protocol_type: Option<String>,
    description: Option<String>,
    version: Option<String>,
    cors_configuration: Option<Value>,
    disable_execute_api_endpoint: Option<bool>,
    route_selection_expression: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    /// Of the quick form: what answers, to which requests, with which role.
    target: Option<String>,
    route_key: Option<String>,
    credentials_arn: Option<String>,
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: Given = call.body(MEMBERS)?;
    match given.protocol_type.as_deref() {
        Some("HTTP") => {}
        Some("WEBSOCKET") => return Err(unsupported(call.operation, "protocolType WEBSOCKET")),
        _ => return Err(bad_request("protocolType must be HTTP or WEBSOCKET")),
    }
    let mut api = HttpApi {
        id: random_id(10),
        account: call.gateway.options.account.clone(),
        region: call.request.region.clone(),
        name: String::new(),
        description: None,
        version: None,
        created: call.now(),
        cors: None,
        disable_endpoint: false,
        tags: BTreeMap::new(),
        definition: Definition::default(),
        revision: random_id(6),
        stages: BTreeMap::new(),
    };
    apply(&mut api, &given)?;
    if let Some(target) = &given.target {
        quick(call, &mut api, &given, target)?;
    } else if given.route_key.is_some() || given.credentials_arn.is_some() {
        return Err(bad_request("routeKey and credentialsArn need a target"));
    }
    if APIS.all::<Value>(call.store(), "").await?.len() >= APIS_MAX {
        return Err(too_many("APIs", APIS_MAX));
    }
    match APIS.create(call.store(), &api.id, &api).await? {
        true => Ok(created(&shown(call, &api))),
        false => Err(Error::internal("a random id was given twice")),
    }
}

/// The quick form: a route, its integration, and the stage without a name, which deploys by itself.
fn quick(call: &Call<'_>, api: &mut HttpApi, given: &Given, target: &str) -> Result<(), Error> {
    if target.starts_with("http:") || target.starts_with("https:") {
        return Err(unsupported(call.operation, "a URL as target (HTTP_PROXY)"));
    }
    let integration = Integration {
        integration_id: random_id(7),
        integration_type: "AWS_PROXY".to_owned(),
        integration_uri: target.to_owned(),
        integration_method: "POST".to_owned(),
        payload_format_version: "2.0".to_owned(),
        timeout_in_millis: 30_000,
        connection_type: "INTERNET".to_owned(),
        credentials_arn: given.credentials_arn.clone(),
        description: None,
    };
    let route = Route {
        route_id: random_id(7),
        route_key: given.route_key.clone().unwrap_or_else(|| DEFAULT.to_owned()),
        target: Some(format!("integrations/{}", integration.integration_id)),
        authorization_type: AuthorizationType::None,
        authorizer_id: None,
        authorization_scopes: Vec::new(),
        api_key_required: false,
        operation_name: None,
    };
    parts::add(&mut api.definition, integration)?;
    parts::add(&mut api.definition, route)?;
    let stage = stages::new(DEFAULT.to_owned(), true, call.now());
    api.stages.insert(stage.name.clone(), stage);
    Ok(())
}

fn apply(api: &mut HttpApi, given: &Given) -> Result<(), Error> {
    if let Some(name) = &given.name {
        api.name.clone_from(name);
    }
    if !(1..=128).contains(&api.name.len()) {
        return Err(bad_request("name must have 1 to 128 characters"));
    }
    if given.route_selection_expression.as_deref().is_some_and(|text| ![SELECTION, SELECTION_IN_BRACES].contains(&text))
    {
        return Err(bad_request(format!("routeSelectionExpression of an HTTP API is {SELECTION}")));
    }
    if given.description.is_some() {
        api.description.clone_from(&given.description);
    }
    if given.version.is_some() {
        api.version.clone_from(&given.version);
    }
    if let Some(given) = &given.cors_configuration {
        api.cors = Some(cors::read(given.clone())?);
    }
    if let Some(tags) = &given.tags {
        api.tags.clone_from(tags);
    }
    api.disable_endpoint = given.disable_execute_api_endpoint.unwrap_or(api.disable_endpoint);
    Ok(())
}

/// The one that HTTP APIs have, in both ways to write it.
const SELECTION: &str = "$request.method $request.path";
const SELECTION_IN_BRACES: &str = "${request.method} ${request.path}";

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    Ok(ok(&shown(call, &call.api().await?)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let all: Vec<HttpApi> = APIS.all(call.store(), "").await?;
    let here = all.iter().filter(|api| api.region == call.request.region).map(|api| (&api.id, api));
    Ok(call.page(here, |api| shown(call, api)))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let given: Given = call.body(MEMBERS)?;
    if given.target.is_some() || given.route_key.is_some() || given.credentials_arn.is_some() {
        return Err(unsupported(call.operation, "target, routeKey and credentialsArn"));
    }
    let (api, ()) = call.change_api(|api| apply(api, &given)).await?;
    Ok(ok(&shown(call, &api)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    APIS.delete::<HttpApi>(call.store(), &api.id, |_| Ok(())).await?;
    for deployment in DEPLOYMENTS.all::<Deployment>(call.store(), &format!("{}/", api.id)).await? {
        let key = format!("{}/{}", api.id, deployment.id);
        DEPLOYMENTS.delete::<Deployment>(call.store(), &key, |_| Ok(())).await?;
    }
    Ok(gone())
}

pub async fn delete_cors(call: &Call<'_>) -> Result<Response, Error> {
    call.change_api(|api| {
        api.cors = None;
        Ok(())
    })
    .await?;
    Ok(gone())
}

fn shown(call: &Call<'_>, api: &HttpApi) -> Value {
    let server = host::host(&call.request.parts).unwrap_or("localhost");
    let scheme = call.gateway.scheme();
    // An address of another machine has no names below it.
    let endpoint = host::below(server, &format!("{}.execute-api", api.id))
        .map_or_else(|| format!("{scheme}://{server}/http-apis/{}", api.id), |name| format!("{scheme}://{name}"));
    let mut shown = json!({
        "apiId": api.id,
        "apiEndpoint": endpoint,
        "apiKeySelectionExpression": "$request.header.x-api-key",
        "createdDate": time(api.created),
        "disableExecuteApiEndpoint": api.disable_endpoint,
        "name": api.name,
        "protocolType": "HTTP",
        "routeSelectionExpression": SELECTION,
        "tags": api.tags,
    });
    for (name, value) in [("description", &api.description), ("version", &api.version)] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    if let Some(given) = &api.cors {
        shown["corsConfiguration"] = cors::shown(given);
    }
    shown
}
