//! Methods of resources and their integrations, put and changed one by one.

use super::{
    Call, created, dto,
    error::{bad_request, conflict, not_found, unsupported},
    import::At,
    import_method, patch,
    resources::{resource, resource_mut},
    shown,
};
use crate::{
    aws::{Error, Response, response},
    rest_api::{Authorization, Definition, Integration, Method, Resource, RestApi},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const METHODS: &[&str] = &["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "ANY"];
/// What UpdateIntegration changes; what ends with a slash is a map.
const INTEGRATION_PLACES: &[&str] = &[
    "/uri",
    "/httpMethod",
    "/credentials",
    "/passthroughBehavior",
    "/contentHandling",
    "/timeoutInMillis",
    "/requestTemplates/",
];

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
        let authorization = authorization(&api.definition, &given.authorization_type, given.authorizer_id.as_deref())?;
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

pub async fn update_method(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let change = |api: &mut RestApi| {
        let mut method = method(api, call)?.clone();
        let (kind, id) = dto::authorization(&method.authorization);
        let (mut kind, mut id) = (kind.to_owned(), id.map(str::to_owned));
        for patch in &patches {
            let parts = patch.parts();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            match parts.as_slice() {
                ["authorizationType"] => patch.value()?.clone_into(&mut kind),
                ["authorizerId"] => id = patch.optional(),
                ["apiKeyRequired"] => method.api_key_required = patch.flag()?,
                ["operationName"] => method.operation_name = patch.optional(),
                ["requestParameters", name] if patch.op == patch::Op::Remove => {
                    method.request_parameters.remove(*name);
                }
                ["requestParameters", name] => {
                    method.request_parameters.insert((*name).to_owned(), patch.flag()?);
                }
                _ => return Err(patch.refuse()),
            }
        }
        method.authorization = authorization(&api.definition, &kind, id.as_deref())?;
        *method_mut(api, call)? = method;
        Ok(())
    };
    let (api, ()) = call.change_api(change).await?;
    Ok(shown(&dto::method(call.segment(5), method(&api, call)?)))
}

fn authorization(definition: &Definition, kind: &str, authorizer: Option<&str>) -> Result<Authorization, Error> {
    Ok(match kind {
        "NONE" => Authorization::None,
        "AWS_IAM" => Authorization::Iam,
        "CUSTOM" => {
            let id = authorizer.filter(|id| definition.authorizers.contains_key(*id));
            Authorization::Custom(id.ok_or_else(|| not_found("authorizer"))?.to_owned())
        }
        other => return Err(unsupported("authorizationType", other)),
    })
}

pub async fn delete_method(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.segment(5);
    let gone = |resource: &mut Resource| resource.methods.remove(name).map(drop).ok_or_else(|| not_found("Method"));
    call.change_api(|api| gone(resource_mut(api, call)?)).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn get_integration(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    Ok(shown(&dto::integration(integration(&api, call)?)))
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
        method_mut(api, call)?.integration = Some(integration.clone());
        Ok(())
    };
    call.change_api(put).await?;
    Ok(created(&dto::integration(&integration)))
}

pub async fn update_integration(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let change = |api: &mut RestApi| {
        let mut changed = patch::on(dto::integration(integration(api, call)?), &patches, INTEGRATION_PLACES)?;
        changed.remove("integrationResponses");
        let new = import_method::integration(At { place: "UpdateIntegration", object: &changed })?;
        let integration = integration_mut(api, call)?;
        let responses = std::mem::take(&mut integration.responses);
        *integration = Integration { responses, ..new };
        Ok(())
    };
    let (api, ()) = call.change_api(change).await?;
    Ok(shown(&dto::integration(integration(&api, call)?)))
}

pub async fn delete_integration(call: &Call<'_>) -> Result<Response, Error> {
    let gone = |method: &mut Method| method.integration.take().map(drop).ok_or_else(|| not_found("Integration"));
    call.change_api(|api| gone(method_mut(api, call)?)).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// The method that the path names.
pub fn method<'a>(api: &'a RestApi, call: &Call<'_>) -> Result<&'a Method, Error> {
    resource(api, call)?.methods.get(call.segment(5)).ok_or_else(|| not_found("Method"))
}

pub fn method_mut<'a>(api: &'a mut RestApi, call: &Call<'_>) -> Result<&'a mut Method, Error> {
    resource_mut(api, call)?.methods.get_mut(call.segment(5)).ok_or_else(|| not_found("Method"))
}

/// The integration of the method that the path names.
pub fn integration<'a>(api: &'a RestApi, call: &Call<'_>) -> Result<&'a Integration, Error> {
    method(api, call)?.integration.as_ref().ok_or_else(|| not_found("Integration"))
}

pub fn integration_mut<'a>(api: &'a mut RestApi, call: &Call<'_>) -> Result<&'a mut Integration, Error> {
    method_mut(api, call)?.integration.as_mut().ok_or_else(|| not_found("Integration"))
}
