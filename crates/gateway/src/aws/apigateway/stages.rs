//! CreateStage and its siblings: names under which a deployment is reached.

use super::{
    Call, accepted, created, dto,
    error::{bad_request, conflict, not_found, unsupported},
    patch, shown,
};
use crate::{
    aws::{Error, Response},
    rest_api::{DEPLOYMENTS, Deployment, STAGES, Stage},
};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct New {
    stage_name: String,
    deployment_id: String,
    description: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    canary_settings: Option<serde_json::Value>,
    #[serde(default)]
    tracing_enabled: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: New = call.body()?;
    check_name(&given.stage_name)?;
    check_variables(&given.variables)?;
    if given.canary_settings.is_some() {
        return Err(unsupported("CreateStage", "canarySettings"));
    }
    let deployment: Deployment = call.row(DEPLOYMENTS, &given.deployment_id, "Deployment").await?;
    let now = call.gateway.options.clock.now();
    let stage = Stage {
        name: given.stage_name,
        deployment: deployment.id,
        description: given.description,
        variables: given.variables,
        tracing: given.tracing_enabled,
        tags: given.tags,
        created: now,
        updated: now,
    };
    match STAGES.create(call.store(), &format!("{}/{}", call.api_id(), stage.name), &stage).await? {
        true => Ok(created(&dto::stage(&stage))),
        false => Err(conflict("Stage already exists")),
    }
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    Ok(shown(&dto::stage(&call.row(STAGES, call.segment(3), "stage").await?)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let mut all: Vec<Stage> = STAGES.all(call.store(), &format!("{}/", api.id)).await?;
    if let Some(id) = call.request.query("deploymentId") {
        all.retain(|stage| stage.deployment == id);
    }
    Ok(shown(&json!({"item": all.iter().map(dto::stage).collect::<Vec<_>>()})))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let patches = patch::read(call)?;
    for patch in patches.iter().filter(|patch| patch.path == "/deploymentId") {
        call.row::<Deployment>(DEPLOYMENTS, patch.value()?, "Deployment").await?;
    }
    let now = call.gateway.options.clock.now();
    let change = |stage: &mut Stage| {
        for patch in &patches {
            let parts = patch.parts();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            match parts.as_slice() {
                ["deploymentId"] => patch.value()?.clone_into(&mut stage.deployment),
                ["description"] => stage.description = patch.optional(),
                ["tracingEnabled"] => stage.tracing = patch.flag()?,
                ["variables", name] => patch.apply(&mut stage.variables, (*name).to_owned())?,
                _ => return Err(patch.refuse()),
            }
        }
        check_variables(&stage.variables)?;
        stage.updated = now;
        Ok(())
    };
    let changed = STAGES.change(call.store(), &format!("{}/{}", api.id, call.segment(3)), change).await?;
    let (stage, ()) = changed.ok_or_else(|| not_found("stage"))?;
    Ok(shown(&dto::stage(&stage)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let key = format!("{}/{}", api.id, call.segment(3));
    match STAGES.delete::<Stage>(call.store(), &key, |_| Ok(())).await? {
        true => Ok(accepted()),
        false => Err(not_found("stage")),
    }
}

pub fn check_name(name: &str) -> Result<(), Error> {
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if word && (1..=128).contains(&name.len()) {
        return Ok(());
    }
    Err(bad_request("Stage name only allows a-zA-Z0-9_-"))
}

pub fn check_variables(variables: &BTreeMap<String, String>) -> Result<(), Error> {
    let name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let value = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#&=,%+@".contains(&byte));
    match variables.iter().find(|(key, text)| !name(key) || !value(text)) {
        Some((key, _)) => {
            let key: String = key.chars().take(64).collect();
            Err(bad_request(format!(
                "Stage variables {key}: names have letters, digits and _, values letters, digits and -._~:/?#&=,%+@"
            )))
        }
        None => Ok(()),
    }
}
