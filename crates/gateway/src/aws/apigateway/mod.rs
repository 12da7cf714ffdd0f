//! Amazon API Gateway's interface for REST APIs: paths and JSON. Here APIs are imported, changed and deployed; what their
//! callers send is answered by `http_in`.

mod authorizers;
mod deployments;
mod domains;
mod dto;
pub mod error;
mod import;
mod import_method;
mod methods;
mod operations;
mod patch;
mod resources;
mod responses;
mod rest_apis;
mod stages;
pub mod tags;

pub use stages::check_variables;

use super::{
    Error, Request, Response, response,
    routes::{Operation, find},
};
use crate::{
    Gateway,
    authorise::authorise,
    rest_api::{APIS, RestApi},
    rows::Table,
};
use dayfly_store::Store;
use http::{StatusCode, request::Parts};
use operations::OPERATIONS;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Bytes of a document with an API's definition.
pub const BODY_BYTES_MAX: u64 = 6 << 20;

/// A request to API Gateway.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    segments: Vec<String>,
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let Some(operation) = route(&request.parts) else {
        return Err(Error::unknown_operation(&format!("{} {}", request.parts.method, request.parts.uri.path())));
    };
    let call = Call { gateway, request, segments: request.segments() };
    call.authorise()?;
    match operation.name {
        "ImportRestApi" => rest_apis::import(&call).await,
        "CreateRestApi" => rest_apis::create(&call).await,
        "PutRestApi" => rest_apis::put(&call).await,
        "GetRestApi" => rest_apis::get(&call).await,
        "GetRestApis" => rest_apis::list(&call).await,
        "UpdateRestApi" => rest_apis::update(&call).await,
        "DeleteRestApi" => rest_apis::delete(&call).await,
        "GetResources" => resources::list(&call).await,
        "GetResource" => resources::get(&call).await,
        "CreateResource" => resources::create(&call).await,
        "UpdateResource" => resources::update(&call).await,
        "DeleteResource" => resources::delete(&call).await,
        "GetMethod" => methods::get_method(&call).await,
        "PutMethod" => methods::put_method(&call).await,
        "DeleteMethod" => methods::delete_method(&call).await,
        "GetIntegration" => methods::get_integration(&call).await,
        "PutIntegration" => methods::put_integration(&call).await,
        "UpdateMethod" => methods::update_method(&call).await,
        "UpdateIntegration" => methods::update_integration(&call).await,
        "DeleteIntegration" => methods::delete_integration(&call).await,
        "PutMethodResponse" => responses::put_of_method(&call).await,
        "GetMethodResponse" => responses::get_of_method(&call).await,
        "UpdateMethodResponse" => responses::update_of_method(&call).await,
        "DeleteMethodResponse" => responses::delete_of_method(&call).await,
        "PutIntegrationResponse" => responses::put(&call).await,
        "GetIntegrationResponse" => responses::get(&call).await,
        "UpdateIntegrationResponse" => responses::update(&call).await,
        "DeleteIntegrationResponse" => responses::delete(&call).await,
        "CreateAuthorizer" => authorizers::create(&call).await,
        "GetAuthorizer" => authorizers::get(&call).await,
        "GetAuthorizers" => authorizers::list(&call).await,
        "UpdateAuthorizer" => authorizers::update(&call).await,
        "DeleteAuthorizer" => authorizers::delete(&call).await,
        "FlushStageAuthorizersCache" => authorizers::flush(&call).await,
        "CreateDeployment" => deployments::create(&call).await,
        "GetDeployment" => deployments::get(&call).await,
        "GetDeployments" => deployments::list(&call).await,
        "UpdateDeployment" => deployments::update(&call).await,
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
        "CreateBasePathMapping" => domains::create_mapping(&call).await,
        "GetBasePathMapping" => domains::get_mapping(&call).await,
        "GetBasePathMappings" => domains::list_mappings(&call).await,
        "UpdateBasePathMapping" => domains::update_mapping(&call).await,
        "DeleteBasePathMapping" => domains::delete_mapping(&call).await,
        "GetTags" => tags::get(&call.tagged()).await,
        "TagResource" => tags::add(&call.tagged(), StatusCode::NO_CONTENT).await,
        "UntagResource" => tags::remove(&call.tagged()).await,
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

    /// What the path's ARN names.
    fn tagged(&self) -> tags::Tagged<'_> {
        tags::Tagged { store: self.store(), request: self.request, arn: self.segment(1) }
    }

    /// A segment of the path.
    fn segment(&self, index: usize) -> &str {
        self.segments.get(index).map(String::as_str).unwrap_or_default()
    }

    /// The id of the API that the path names.
    fn api_id(&self) -> &str {
        self.segment(1)
    }

    fn authorise(&self) -> Result<(), Error> {
        let verb = self.request.parts.method.as_str();
        let resource = format!("arn:aws:apigateway:{}::{}", self.request.region, self.request.parts.uri.path());
        authorise(&self.request.principal, &format!("apigateway:{verb}"), &resource, &self.gateway.options.account)?;
        Ok(())
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let body: &[u8] = if self.request.body.is_empty() { b"{}" } else { &self.request.body };
        serde_json::from_slice(body).map_err(|failure| error::bad_request(format!("Invalid request body: {failure}")))
    }

    /// The API that the path names, if it is of the request's region.
    async fn api(&self) -> Result<RestApi, Error> {
        let read = APIS.get::<RestApi>(self.store(), self.api_id()).await?;
        let api = read.map(|read| read.value).filter(|api| api.region == self.request.region);
        api.ok_or_else(|| error::no_api(self.api_id()))
    }

    /// Changes the API that the path names.
    async fn change_api<R>(
        &self,
        mut change: impl FnMut(&mut RestApi) -> Result<R, Error>,
    ) -> Result<(RestApi, R), Error> {
        let region = &self.request.region;
        let change = |api: &mut RestApi| match api.region == *region {
            true => change(api),
            false => Err(error::no_api(&api.id)),
        };
        APIS.change(self.store(), self.api_id(), change).await?.ok_or_else(|| error::no_api(self.api_id()))
    }

    /// A row of a table of things that belong to the API of the path.
    async fn row<T: DeserializeOwned>(&self, table: Table, name: &str, what: &str) -> Result<T, Error> {
        let api = self.api().await?;
        let read = table.get(self.store(), &format!("{}/{name}", api.id)).await?;
        read.map(|read| read.value).ok_or_else(|| error::not_found(what))
    }

    /// A page of a list, from the end of the page that `position` names.
    fn page<T>(&self, all: &[T], id: impl Fn(&T) -> &str, shown: impl Fn(&T) -> Value) -> Response {
        let limit = self.request.query("limit").and_then(|text| text.parse().ok()).unwrap_or(25_usize).clamp(1, 500);
        let position = self.request.query("position").unwrap_or_default();
        let start = if position.is_empty() { 0 } else { all.partition_point(|one| id(one) <= position.as_str()) };
        let page = &all[start..all.len().min(start + limit)];
        let mut body = json!({"item": page.iter().map(shown).collect::<Vec<_>>()});
        if let Some(last) = page.last().filter(|_| start + page.len() < all.len()) {
            body["position"] = json!(id(last));
        }
        response::json(StatusCode::OK, &body)
    }
}

fn shown(body: &Value) -> Response {
    response::json(StatusCode::OK, body)
}

fn created(body: &Value) -> Response {
    response::json(StatusCode::CREATED, body)
}

fn accepted() -> Response {
    response::empty(StatusCode::ACCEPTED)
}
