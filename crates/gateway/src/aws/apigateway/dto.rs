//! Shapes of API Gateway's answers, with AWS's names.

use crate::rest_api::{
    Authorization, Authorizer, Deployment, Integration, IntegrationResponse, Method, Resource, RestApi, Stage,
};
use serde_json::{Map, Value, json};

/// `object` without what is null or an empty list or map.
pub fn compact(object: Value) -> Value {
    let keep = |value: &Value| match value {
        Value::Null => false,
        Value::Object(members) => !members.is_empty(),
        Value::Array(members) => !members.is_empty(),
        _ => true,
    };
    match object {
        Value::Object(members) => Value::Object(members.into_iter().filter(|(_, value)| keep(value)).collect()),
        other => other,
    }
}

pub fn rest_api(api: &RestApi) -> Value {
    compact(json!({
        "id": api.id,
        "name": api.name,
        "description": api.description,
        "createdDate": api.created.as_second(),
        "version": api.version,
        "binaryMediaTypes": api.binary_media_types,
        "minimumCompressionSize": api.minimum_compression_bytes,
        "apiKeySource": api.api_key_source,
        "endpointConfiguration": {"types": api.endpoint_types, "ipAddressType": "ipv4"},
        "tags": api.tags,
        "disableExecuteApiEndpoint": api.disable_endpoint,
        "rootResourceId": api.definition.root(),
    }))
}

/// A resource; with `embed`, its methods are shown whole.
pub fn resource(resource: &Resource, embed: bool) -> Value {
    let methods: Map<String, Value> = resource
        .methods
        .iter()
        .map(|(name, one)| (name.clone(), if embed { method(name, one) } else { json!({}) }))
        .collect();
    compact(json!({
        "id": resource.id,
        "parentId": resource.parent,
        "pathPart": resource.parent.as_ref().map(|_| &resource.part),
        "path": resource.path,
        "resourceMethods": methods,
    }))
}

pub fn method(name: &str, method: &Method) -> Value {
    let (kind, authorizer) = authorization(&method.authorization);
    compact(json!({
        "httpMethod": name,
        "authorizationType": kind,
        "authorizerId": authorizer,
        "apiKeyRequired": method.api_key_required,
        "operationName": method.operation_name,
        "requestParameters": method.request_parameters,
        "methodResponses": method.responses,
        "methodIntegration": method.integration.as_ref().map(integration),
    }))
}

pub fn integration(integration: &Integration) -> Value {
    let responses: Map<String, Value> = integration
        .responses
        .iter()
        .map(|(pattern, response)| (response.status.to_string(), integration_response(pattern, response)))
        .collect();
    compact(json!({
        "type": integration.kind,
        "httpMethod": integration.http_method,
        "uri": integration.uri,
        "credentials": integration.credentials,
        "requestTemplates": integration.request_templates,
        "passthroughBehavior": integration.passthrough,
        "contentHandling": integration.content_handling,
        "timeoutInMillis": integration.timeout_ms,
        "integrationResponses": responses,
    }))
}

/// A response of an integration, and when it is meant.
pub fn integration_response(pattern: &str, response: &IntegrationResponse) -> Value {
    let parameter = |(name, value): (&String, &String)| {
        (format!("method.response.header.{name}"), Value::String(format!("'{value}'")))
    };
    compact(json!({
        "statusCode": response.status.to_string(),
        "selectionPattern": (pattern != "default").then_some(pattern),
        "responseParameters": response.headers.iter().map(parameter).collect::<Map<_, _>>(),
        "responseTemplates": response.templates,
    }))
}

pub fn authorizer(authorizer: &Authorizer) -> Value {
    compact(json!({
        "id": authorizer.id,
        "name": authorizer.name,
        "type": authorizer.kind,
        "authType": "custom",
        "authorizerUri": authorizer.uri,
        "authorizerCredentials": authorizer.credentials,
        "identitySource": authorizer.identity_sources.join(","),
        "authorizerResultTtlInSeconds": authorizer.ttl_s,
    }))
}

pub fn deployment(deployment: &Deployment, with_summary: bool) -> Value {
    let mut shown = compact(json!({
        "id": deployment.id,
        "description": deployment.description,
        "createdDate": deployment.created.as_second(),
    }));
    if with_summary {
        let mut summary = Map::new();
        for resource in deployment.api.definition.resources.values().filter(|one| !one.methods.is_empty()) {
            let of_method = |(name, method): (&String, &Method)| {
                let (kind, _) = authorization(&method.authorization);
                (name.clone(), json!({"authorizationType": kind, "apiKeyRequired": method.api_key_required}))
            };
            summary.insert(resource.path.clone(), Value::Object(resource.methods.iter().map(of_method).collect()));
        }
        shown["apiSummary"] = Value::Object(summary);
    }
    shown
}

pub fn stage(stage: &Stage) -> Value {
    compact(json!({
        "deploymentId": stage.deployment,
        "stageName": stage.name,
        "description": stage.description,
        "cacheClusterEnabled": false,
        "cacheClusterStatus": "NOT_AVAILABLE",
        "variables": stage.variables,
        "tracingEnabled": stage.tracing,
        "tags": stage.tags,
        "createdDate": stage.created.as_second(),
        "lastUpdatedDate": stage.updated.as_second(),
    }))
}

/// The kind, and the authorizer if it is one.
pub fn authorization(authorization: &Authorization) -> (&'static str, Option<&str>) {
    match authorization {
        Authorization::None => ("NONE", None),
        Authorization::Iam => ("AWS_IAM", None),
        Authorization::Custom(id) => ("CUSTOM", Some(id)),
    }
}
