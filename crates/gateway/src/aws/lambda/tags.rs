//! TagResource, UntagResource and ListTags, of functions.

use super::{
    dto::TagRequest,
    error::{invalid_parameter, of_json},
    function,
    validate::{self, Violations},
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_types::FunctionArn;
use http::StatusCode;
use serde_json::json;

pub async fn list_tags(gateway: &Gateway, request: &Request, resource: &str) -> Result<Response, Error> {
    let arn = resource_arn(gateway, request, "lambda:ListTags", resource)?;
    let found = gateway.options.scheduler.functions().get(&arn).await?;
    Ok(response::json(StatusCode::OK, &json!({"Tags": found.tags})))
}

pub async fn tag_resource(gateway: &Gateway, request: &Request, resource: &str) -> Result<Response, Error> {
    let arn = resource_arn(gateway, request, "lambda:TagResource", resource)?;
    let dto: TagRequest = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let mut violations = Violations::default();
    violations.require(dto.tags.is_some(), "tags");
    violations.finish()?;
    let added = dto.tags.unwrap_or_default();
    let functions = gateway.options.scheduler.functions();
    // Two taggings at once may pass this together; the bound then gives by one request's tags, which are bounded too.
    let mut after = functions.get(&arn).await?.tags;
    after.extend(added.clone());
    validate::tags(&added, after.len(), &gateway.options.limits)?;
    functions.update_tags(&arn, Box::new(move |tags| tags.extend(added))).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn untag_resource(gateway: &Gateway, request: &Request, resource: &str) -> Result<Response, Error> {
    let arn = resource_arn(gateway, request, "lambda:UntagResource", resource)?;
    let keys = request.query_all("tagKeys");
    let mut violations = Violations::default();
    violations.require(!keys.is_empty(), "tagKeys");
    violations.finish()?;
    let remove = move |tags: &mut std::collections::BTreeMap<String, String>| {
        tags.retain(|key, _| !keys.contains(key));
    };
    gateway.options.scheduler.functions().update_tags(&arn, Box::new(remove)).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

fn resource_arn(gateway: &Gateway, request: &Request, action: &str, resource: &str) -> Result<FunctionArn, Error> {
    if resource.parse::<FunctionArn>().is_err() {
        let resource: String = resource.chars().take(200).collect();
        return Err(invalid_parameter(format!("{resource} is not the ARN of a function")));
    }
    let arn = function(gateway, request, action, resource)?;
    match arn.qualifier {
        None => Ok(arn),
        Some(_) => Err(invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        )),
    }
}
