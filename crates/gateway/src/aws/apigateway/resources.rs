//! Resources, their methods and integrations, and authorizers.

use super::{
    Call, accepted, created, dto,
    error::{bad_request, conflict, not_found, unsupported},
    import::{self, At},
    import_method, shown,
};
use crate::{
    aws::{Error, Response, response},
    rest_api::{Authorization, Method, Resource, RestApi},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const METHODS: &[&str] = &["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "ANY"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewResource {
    path_part: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NewMethod {
    authorization_type: String,
    authorizer_id: Option<String>,
    api_key_required: bool,
    operation_name: Option<String>,
    request_parameters: BTreeMap<String, bool>,
    request_validator_id: Option<String>,
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let embed = embed(call);
    let all: Vec<&Resource> = api.definition.resources.values().collect();
    Ok(call.page(&all, |resource| &resource.id, |resource| dto::resource(resource, embed)))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    Ok(shown(&dto::resource(resource(&api, call)?, embed(call))))
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let part = call.body::<NewResource>()?.path_part;
    if part.is_empty() || part.contains('/') {
        return Err(bad_request("pathPart: must be one part of a path"));
    }
    let create = |api: &mut RestApi| {
        let parent = &resource(api, call)?.path;
        let path = format!("{}/{part}", parent.trim_end_matches('/'));
        if api.definition.at(&path).is_some() {
            return Err(conflict(format!("Another resource with the same parent already has this name: {part}")));
        }
        import::make(&mut api.definition, None, &path, "pathPart")
    };
    let (api, id) = call.change_api(create).await?;
    let made = api.definition.resources.get(&id).ok_or_else(|| not_found("Resource"))?;
    Ok(created(&dto::resource(made, true)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let delete = |api: &mut RestApi| {
        let path = resource(api, call)?.path.clone();
        if path == "/" {
            return Err(bad_request("The root resource cannot be deleted"));
        }
        let below = format!("{path}/");
        api.definition.resources.retain(|_, one| one.path != path && !one.path.starts_with(&below));
        Ok(())
    };
    call.change_api(delete).await?;
    Ok(accepted())
}

pub async fn get_method(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    Ok(shown(&dto::method(call.segment(5), method(&api, call)?)))
}

pub async fn put_method(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.segment(5).to_owned();
    if !METHODS.contains(&name.as_str()) {
        return Err(bad_request("Invalid HTTP method"));
    }
    let given: NewMethod = call.body()?;
    if given.request_validator_id.is_some() {
        return Err(unsupported("PutMethod", "requestValidatorId"));
    }
    let put = |api: &mut RestApi| {
        let authorization = match given.authorization_type.as_str() {
            "NONE" => Authorization::None,
            "AWS_IAM" => Authorization::Iam,
            "CUSTOM" => {
                let id = given.authorizer_id.clone().filter(|id| api.definition.authorizers.contains_key(id));
                Authorization::Custom(id.ok_or_else(|| not_found("authorizer"))?)
            }
            other => return Err(unsupported("authorizationType", other)),
        };
        let method = Method {
            authorization,
            api_key_required: given.api_key_required,
            operation_name: given.operation_name.clone(),
            request_parameters: given.request_parameters.clone(),
            ..Method::default()
        };
        let methods = &mut resource_mut(api, call)?.methods;
        if methods.contains_key(&name) {
            return Err(conflict("Method already exists for this resource"));
        }
        methods.insert(name.clone(), method.clone());
        Ok(method)
    };
    let (_, method) = call.change_api(put).await?;
    Ok(created(&dto::method(&name, &method)))
}

pub async fn delete_method(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.segment(5);
    let gone = |resource: &mut Resource| resource.methods.remove(name).map(drop).ok_or_else(|| not_found("Method"));
    call.change_api(|api| gone(resource_mut(api, call)?)).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn get_integration(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let integration = method(&api, call)?.integration.as_ref().ok_or_else(|| not_found("Integration"))?;
    Ok(shown(&dto::integration(integration)))
}

pub async fn put_integration(call: &Call<'_>) -> Result<Response, Error> {
    let mut given: Map<String, Value> = call.body()?;
    // The method of the request to the function: the method itself is in the path.
    if let Some(method) = given.remove("integrationHttpMethod") {
        given.insert("httpMethod".to_owned(), method);
    }
    // Those of a mock come by PutIntegrationResponse.
    given.remove("responses");
    let integration = import_method::integration(At { place: "PutIntegration", object: &given })?;
    let put = |api: &mut RestApi| {
        let method = resource_mut(api, call)?.methods.get_mut(call.segment(5)).ok_or_else(|| not_found("Method"))?;
        method.integration = Some(integration.clone());
        Ok(())
    };
    call.change_api(put).await?;
    Ok(created(&dto::integration(&integration)))
}

pub async fn get_authorizer(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let found = api.definition.authorizers.get(call.segment(3)).ok_or_else(|| not_found("authorizer"))?;
    Ok(shown(&dto::authorizer(found)))
}

pub async fn list_authorizers(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let all: Vec<_> = api.definition.authorizers.values().collect();
    Ok(call.page(&all, |one| &one.id, |one| dto::authorizer(one)))
}

fn embed(call: &Call<'_>) -> bool {
    call.request.query_all("embed").iter().any(|what| what == "methods")
}

fn resource<'a>(api: &'a RestApi, call: &Call<'_>) -> Result<&'a Resource, Error> {
    api.definition.resources.get(call.segment(3)).ok_or_else(|| not_found("Resource"))
}

fn resource_mut<'a>(api: &'a mut RestApi, call: &Call<'_>) -> Result<&'a mut Resource, Error> {
    api.definition.resources.get_mut(call.segment(3)).ok_or_else(|| not_found("Resource"))
}

fn method<'a>(api: &'a RestApi, call: &Call<'_>) -> Result<&'a Method, Error> {
    resource(api, call)?.methods.get(call.segment(5)).ok_or_else(|| not_found("Method"))
}
