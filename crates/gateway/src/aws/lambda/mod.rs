//! AWS Lambda's control and invoke API: REST paths and JSON.

mod aliases;
mod change;
mod code_package;
mod create_function;
mod delete_function;
pub mod dto;
mod error;
mod event_invoke;
mod event_source_mappings;
mod event_stream;
mod function_concurrency;
mod function_urls;
mod get_account_settings;
mod get_function;
mod invoke;
pub mod layers;
mod list_functions;
mod operations;
mod permissions;
mod provisioned_concurrency;
mod recursion;
mod tags;
mod update_function_code;
mod update_function_configuration;
mod validate;
mod versions;

use super::{
    Error, Request, Response,
    routes::{Operation, find},
};
use crate::{Gateway, authorise::authorise};
use dayfly_types::{FunctionArn, FunctionReference, Limits, Qualifier};
use http::{StatusCode, request::Parts};
use operations::OPERATIONS;
pub use validate::{environment as check_environment, host_architecture, tags as check_tags};

/// Room for the other fields of a request that carries a code package.
const FIELDS_BYTES: u64 = 256 << 10;
/// Largest body of operations without a payload or a package.
const SMALL_BODY_BYTES: u64 = 1 << 20;

/// The operation that method and path name.
pub fn route(parts: &Parts) -> Option<&'static Operation> {
    find(OPERATIONS, parts)
}

/// Largest body with a code package in base64.
pub fn upload_bytes(limits: &Limits) -> u64 {
    limits.code_zip_bytes.div_ceil(3).saturating_mul(4).saturating_add(FIELDS_BYTES)
}

/// Most bytes of the body, and the error for one byte more.
pub fn body_limit(parts: &Parts, limits: &Limits) -> (u64, Box<dyn FnOnce(u64, u64) -> Error + Send>) {
    let name = route(parts).map(|operation| operation.name).unwrap_or_default();
    match name {
        "Invoke" | "InvokeWithResponseStream" => invoke::body_limit(parts, limits),
        _ => {
            let upload = matches!(name, "CreateFunction" | "UpdateFunctionCode" | "PublishLayerVersion");
            let limit = if upload { upload_bytes(limits) } else { SMALL_BODY_BYTES };
            (
                limit,
                Box::new(move |_, limit| {
                    let message = format!("Request must be smaller than {limit} bytes for the {name} operation");
                    Error::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message)
                }),
            )
        }
    }
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: Request) -> Result<Response, Error> {
    let Some(operation) = route(&request.parts) else {
        return Err(Error::unknown_operation(&format!("{} {}", request.parts.method, request.parts.uri.path())));
    };
    let segments = request.segments();
    let named = segments.get(2).map(String::as_str).unwrap_or_default();
    let last = segments.last().map(String::as_str).unwrap_or_default();
    match operation.name {
        "Invoke" => invoke::invoke(gateway, request, named).await,
        "InvokeWithResponseStream" => invoke::invoke_with_response_stream(gateway, request, named).await,
        "CreateFunction" => create_function::create_function(gateway, request).await,
        "GetFunction" => get_function::get_function(gateway, &request, named).await,
        "GetFunctionConfiguration" => get_function::get_function_configuration(gateway, &request, named).await,
        "UpdateFunctionCode" => update_function_code::update_function_code(gateway, request, named).await,
        "UpdateFunctionConfiguration" => {
            update_function_configuration::update_function_configuration(gateway, &request, named).await
        }
        "DeleteFunction" => delete_function::delete_function(gateway, &request, named).await,
        "ListFunctions" => list_functions::list_functions(gateway, &request).await,
        "PublishLayerVersion" => layers::publish(gateway, request, named).await,
        "GetLayerVersion" => layers::get(gateway, &request, named, last).await,
        "GetLayerVersionByArn" => layers::get_by_arn(gateway, &request).await,
        "DeleteLayerVersion" => layers::delete(gateway, &request, named, last).await,
        "ListLayers" => layers::list(gateway, &request).await,
        "ListLayerVersions" => layers::list_versions(gateway, &request, named).await,
        "CreateEventSourceMapping" => event_source_mappings::create(gateway, &request).await,
        "GetEventSourceMapping" => event_source_mappings::get(gateway, &request, named).await,
        "UpdateEventSourceMapping" => event_source_mappings::update(gateway, &request, named).await,
        "DeleteEventSourceMapping" => event_source_mappings::delete(gateway, &request, named).await,
        "ListEventSourceMappings" => event_source_mappings::list(gateway, &request).await,
        "TagResource" => tags::tag_resource(gateway, &request, named).await,
        "UntagResource" => tags::untag_resource(gateway, &request, named).await,
        "ListTags" => tags::list_tags(gateway, &request, named).await,
        "GetAccountSettings" => get_account_settings::get_account_settings(gateway, &request).await,
        "AddPermission" => permissions::add_permission(gateway, &request, named).await,
        "GetPolicy" => permissions::get_policy(gateway, &request, named).await,
        "RemovePermission" => permissions::remove_permission(gateway, &request, named, last).await,
        "CreateFunctionUrlConfig" => function_urls::create(gateway, &request, named).await,
        "GetFunctionUrlConfig" => function_urls::get(gateway, &request, named).await,
        "UpdateFunctionUrlConfig" => function_urls::update(gateway, &request, named).await,
        "DeleteFunctionUrlConfig" => function_urls::delete(gateway, &request, named).await,
        "ListFunctionUrlConfigs" => function_urls::list(gateway, &request, named).await,
        "PublishVersion" => versions::publish(gateway, &request, named).await,
        "ListVersionsByFunction" => versions::list(gateway, &request, named).await,
        "CreateAlias" => aliases::create(gateway, &request, named).await,
        "GetAlias" => aliases::get(gateway, &request, named, last).await,
        "UpdateAlias" => aliases::update(gateway, &request, named, last).await,
        "DeleteAlias" => aliases::delete(gateway, &request, named, last).await,
        "ListAliases" => aliases::list(gateway, &request, named).await,
        "PutFunctionConcurrency" => function_concurrency::put(gateway, &request, named).await,
        "GetFunctionConcurrency" => function_concurrency::get(gateway, &request, named).await,
        "DeleteFunctionConcurrency" => function_concurrency::delete(gateway, &request, named).await,
        "PutProvisionedConcurrencyConfig" => provisioned_concurrency::put(gateway, &request, named).await,
        "GetProvisionedConcurrencyConfig" => provisioned_concurrency::get(gateway, &request, named).await,
        "DeleteProvisionedConcurrencyConfig" => provisioned_concurrency::delete(gateway, &request, named).await,
        "ListProvisionedConcurrencyConfigs" => provisioned_concurrency::list(gateway, &request, named).await,
        "PutFunctionEventInvokeConfig" => event_invoke::put(gateway, &request, named).await,
        "UpdateFunctionEventInvokeConfig" => event_invoke::update(gateway, &request, named).await,
        "GetFunctionEventInvokeConfig" => event_invoke::get(gateway, &request, named).await,
        "DeleteFunctionEventInvokeConfig" => event_invoke::delete(gateway, &request, named).await,
        "ListFunctionEventInvokeConfigs" => event_invoke::list(gateway, &request, named).await,
        "PutFunctionRecursionConfig" => recursion::put(gateway, &request, named).await,
        "GetFunctionRecursionConfig" => recursion::get(gateway, &request, named).await,
        other => Err(Error::unsupported(other)),
    }
}

/// The function that a path names, with its qualifier, once the request may do `action` on it.
fn function(gateway: &Gateway, request: &Request, action: &str, named: &str) -> Result<FunctionArn, Error> {
    let arn = named_function(gateway, request, named)?;
    authorise(&request.principal, action, &arn.to_string(), &arn.account)?;
    Ok(arn)
}

/// The function that a path names.
fn named_function(gateway: &Gateway, request: &Request, named: &str) -> Result<FunctionArn, Error> {
    let reference: FunctionReference = named.parse().map_err(|_| validate::function_name_error(named))?;
    let qualifier = match (reference.qualifier, request.query("Qualifier")) {
        (derived, None) => derived,
        (derived, Some(given)) => {
            let given: Qualifier = given.parse().map_err(|_| validate::qualifier_error(&given))?;
            if derived.is_some_and(|derived| derived != given) {
                return Err(Error::bad_request(
                    "InvalidParameterValueException",
                    "The derived qualifier from the function name does not match the specified qualifier.",
                ));
            }
            Some(given)
        }
    };
    if let Some(region) = &reference.region
        && *region != request.region
    {
        let message = format!("Functions from '{region}' are not reachable in this region ('{}')", request.region);
        return Err(Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message));
    }
    Ok(FunctionArn {
        region: request.region.clone(),
        account: reference.account.unwrap_or_else(|| gateway.options.account.clone()),
        name: reference.name,
        qualifier,
    })
}

/// The same for operations on the function as a whole, and those that change `$LATEST`.
fn latest_function(gateway: &Gateway, request: &Request, action: &str, named: &str) -> Result<FunctionArn, Error> {
    let arn = function(gateway, request, action, named)?;
    match arn.qualifier {
        None | Some(Qualifier::Latest) => Ok(arn.unqualified()),
        Some(_) => Err(error::invalid_parameter(
            "The function name must not have a qualifier that names a published version or an alias for this operation.",
        )),
    }
}
