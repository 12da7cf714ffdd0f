//! Amazon API Gateway's interface for HTTP APIs (version 2): paths and JSON. Here APIs and host names are made and changed;
//! what their callers send is answered by `http_in`.

mod apis;
mod cors;
mod deployments;
mod domains;
mod error;
mod operations;
mod parts;
mod stages;

pub use domains::{check as check_mapping, keep as keep_domain, put as put_mapping};

use super::{
    Error, Request, Response,
    apigateway::tags,
    response,
    routes::{Operation, find},
};
use crate::{
    Gateway,
    authorise::authorise,
    http_api::{APIS, Authorizer, HttpApi, Integration, Route},
    rest_api::random_id,
};
use dayfly_store::Store;
use dayfly_types::Timestamp;
use http::{StatusCode, request::Parts};
use operations::OPERATIONS;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// A request to API Gateway.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    operation: &'static str,
    segments: Vec<String>,
}

/// Whether a request to API Gateway is for this version of it.
pub fn is_meant(parts: &Parts) -> bool {
    let path = parts.uri.path();
    path == "/v2" || path.starts_with("/v2/")
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let Some(operation) = route(&request.parts) else {
        return Err(Error::unknown_operation(&format!("{} {}", request.parts.method, request.parts.uri.path())));
    };
    let call = Call { gateway, request, operation: operation.name, segments: request.segments() };
    call.authorise()?;
    match operation.name {
        "CreateApi" => apis::create(&call).await,
        "GetApi" => apis::get(&call).await,
        "GetApis" => apis::list(&call).await,
        "UpdateApi" => apis::update(&call).await,
        "DeleteApi" => apis::delete(&call).await,
        "DeleteCorsConfiguration" => apis::delete_cors(&call).await,
        "CreateRoute" => parts::create::<Route>(&call).await,
        "GetRoute" => parts::get::<Route>(&call).await,
        "GetRoutes" => parts::list::<Route>(&call).await,
        "UpdateRoute" => parts::update::<Route>(&call).await,
        "DeleteRoute" => parts::delete::<Route>(&call).await,
        "CreateIntegration" => parts::create::<Integration>(&call).await,
        "GetIntegration" => parts::get::<Integration>(&call).await,
        "GetIntegrations" => parts::list::<Integration>(&call).await,
        "UpdateIntegration" => parts::update::<Integration>(&call).await,
        "DeleteIntegration" => parts::delete::<Integration>(&call).await,
        "CreateAuthorizer" => parts::create::<Authorizer>(&call).await,
        "GetAuthorizer" => parts::get::<Authorizer>(&call).await,
        "GetAuthorizers" => parts::list::<Authorizer>(&call).await,
        "UpdateAuthorizer" => parts::update::<Authorizer>(&call).await,
        "DeleteAuthorizer" => parts::delete::<Authorizer>(&call).await,
        "CreateDeployment" => deployments::create(&call).await,
        "GetDeployment" => deployments::get(&call).await,
        "GetDeployments" => deployments::list(&call).await,
        "DeleteDeployment" => deployments::delete(&call).await,
        "CreateStage" => stages::create(&call).await,
        "GetStage" => stages::get(&call).await,
        "GetStages" => stages::list(&call).await,
        "UpdateStage" => stages::update(&call).await,
        "DeleteStage" => stages::delete(&call).await,
        "CreateDomainName" => domains::create(&call).await,
        "GetDomainName" => domains::get(&call).await,
        "GetDomainNames" => domains::list(&call).await,
        "UpdateDomainName" => domains::update(&call).await,
        "DeleteDomainName" => domains::delete(&call).await,
        "GetTags" => tags::get(&call.tagged()).await,
        "TagResource" => tags::add(&call.tagged(), StatusCode::CREATED).await,
        "UntagResource" => tags::remove(&call.tagged()).await,
        "CreateApiMapping" => domains::create_mapping(&call).await,
        "GetApiMapping" => domains::get_mapping(&call).await,
        "GetApiMappings" => domains::list_mappings(&call).await,
        "UpdateApiMapping" => domains::update_mapping(&call).await,
        "DeleteApiMapping" => domains::delete_mapping(&call).await,
        other => Err(Error::unsupported(other)),
    }
}

/// The operation that method and path name.
fn route(parts: &Parts) -> Option<&'static Operation> {
    find(OPERATIONS, parts)
}

impl Call<'_> {
    fn store(&self) -> &Store {
        &self.gateway.options.store
    }

    fn now(&self) -> Timestamp {
        self.gateway.options.clock.now()
    }

    /// What the path's ARN names.
    fn tagged(&self) -> tags::Tagged<'_> {
        tags::Tagged { store: self.store(), request: self.request, arn: self.segment(2) }
    }

    /// A segment of the path.
    fn segment(&self, index: usize) -> &str {
        self.segments.get(index).map(String::as_str).unwrap_or_default()
    }

    /// The id of the API that the path names.
    fn api_id(&self) -> &str {
        self.segment(2)
    }

    fn authorise(&self) -> Result<(), Error> {
        let verb = self.request.parts.method.as_str();
        let resource = format!("arn:aws:apigateway:{}::{}", self.request.region, self.request.parts.uri.path());
        authorise(&self.request.principal, &format!("apigateway:{verb}"), &resource, &self.gateway.options.account)?;
        Ok(())
    }

    /// The members of the body that say something. One that is not of `known` is refused by its name.
    fn given(&self, known: &[&str]) -> Result<Map<String, Value>, Error> {
        let body: &[u8] = if self.request.body.is_empty() { b"{}" } else { &self.request.body };
        let mut given: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|failure| error::bad_request(format!("Invalid request body: {failure}")))?;
        given.retain(|name, value| {
            let empty = match value {
                Value::Null => true,
                Value::Object(members) => members.is_empty(),
                Value::Array(members) => members.is_empty(),
                _ => false,
            };
            !empty || (!value.is_null() && known.contains(&name.as_str()))
        });
        match given.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(error::unsupported(self.operation, name)),
            None => Ok(given),
        }
    }

    /// The body as a structure, whose members are `known`.
    fn body<T: DeserializeOwned>(&self, known: &[&str]) -> Result<T, Error> {
        typed(Value::Object(self.given(known)?))
    }

    /// The API that the path names, if it is of the request's region.
    async fn api(&self) -> Result<HttpApi, Error> {
        let read = APIS.get::<HttpApi>(self.store(), self.api_id()).await?;
        let api = read.map(|read| read.value).filter(|api| api.region == self.request.region);
        api.ok_or_else(|| error::not_found("API"))
    }

    /// Changes the API that the path names.
    async fn change_api<R>(
        &self,
        mut change: impl FnMut(&mut HttpApi) -> Result<R, Error>,
    ) -> Result<(HttpApi, R), Error> {
        let region = &self.request.region;
        let change = |api: &mut HttpApi| match api.region == *region {
            true => change(api),
            false => Err(error::not_found("API")),
        };
        APIS.change(self.store(), self.api_id(), change).await?.ok_or_else(|| error::not_found("API"))
    }

    /// The same for what a stage that deploys by itself serves.
    async fn change_definition<R>(
        &self,
        mut change: impl FnMut(&mut HttpApi) -> Result<R, Error>,
    ) -> Result<(HttpApi, R), Error> {
        self.change_api(|api| {
            api.revision = random_id(6);
            change(api)
        })
        .await
    }

    /// A page of a list in the order of its ids: those behind `nextToken`.
    fn page<'a, T: 'a>(
        &self,
        all: impl IntoIterator<Item = (&'a String, &'a T)>,
        shown: impl Fn(&T) -> Value,
    ) -> Response {
        let most =
            self.request.query("maxResults").and_then(|text| text.parse().ok()).unwrap_or(100_usize).clamp(1, 500);
        let after = self.request.query("nextToken").unwrap_or_default();
        let mut rest = all.into_iter().filter(|(id, _)| id.as_str() > after.as_str()).peekable();
        let (mut items, mut last) = (Vec::new(), None);
        while let Some((id, one)) = rest.next_if(|_| items.len() < most) {
            items.push(shown(one));
            last = Some(id);
        }
        let mut body = json!({"items": items});
        if let Some(last) = last.filter(|_| rest.peek().is_some()) {
            body["nextToken"] = json!(last);
        }
        ok(&body)
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|failure| error::bad_request(format!("Invalid request input: {failure}")))
}

/// `before` with the members of `given` in place of its own.
fn merged<T: Serialize + DeserializeOwned>(before: &T, given: Map<String, Value>) -> Result<T, Error> {
    let mut whole = match serde_json::to_value(before) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    whole.extend(given);
    typed(Value::Object(whole))
}

/// A point in time, as this interface writes it.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn ok(body: &impl Serialize) -> Response {
    response::json(StatusCode::OK, body)
}

fn created(body: &impl Serialize) -> Response {
    response::json(StatusCode::CREATED, body)
}

fn gone() -> Response {
    response::empty(StatusCode::NO_CONTENT)
}
