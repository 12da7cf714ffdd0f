//! CreateDeployment and its siblings: copies of an API that requests see through a stage.

use super::{
    Call, accepted, created, dto,
    error::{bad_request, not_found},
    patch, shown, stages,
};
use crate::{
    aws::{Error, Response},
    rest_api::{DEPLOYMENTS, Deployment, RestApi, STAGES, Stage, random_id},
};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct New {
    stage_name: Option<String>,
    stage_description: Option<String>,
    description: Option<String>,
    variables: Option<BTreeMap<String, String>>,
    canary_settings: Option<serde_json::Value>,
    tracing_enabled: Option<bool>,
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: New = call.body()?;
    if given.canary_settings.is_some() {
        return Err(super::error::unsupported("CreateDeployment", "canarySettings"));
    }
    let stage = given.stage_name.filter(|name| !name.is_empty());
    if let Some(name) = &stage {
        stages::check_name(name)?;
    }
    if let Some(variables) = &given.variables {
        stages::check_variables(variables)?;
    }
    let api = call.api().await?;
    complete(&api)?;
    let now = call.gateway.options.clock.now();
    let deployment = Deployment { id: random_id(6), description: given.description, created: now, api };
    let key = format!("{}/{}", deployment.api.id, deployment.id);
    if !DEPLOYMENTS.create(call.store(), &key, &deployment).await? {
        return Err(Error::internal("a random id was given twice"));
    }
    if let Some(name) = stage {
        let new = Stage {
            name,
            deployment: deployment.id.clone(),
            description: given.stage_description.clone(),
            variables: given.variables.clone().unwrap_or_default(),
            tracing: given.tracing_enabled.unwrap_or_default(),
            tags: BTreeMap::new(),
            created: now,
            updated: now,
        };
        let key = format!("{}/{}", deployment.api.id, new.name);
        let change = |stage: &mut Stage| {
            stage.deployment.clone_from(&deployment.id);
            stage.updated = now;
            stage.description = given.stage_description.clone().or(stage.description.take());
            stage.tracing = given.tracing_enabled.unwrap_or(stage.tracing);
            if let Some(variables) = &given.variables {
                stage.variables.clone_from(variables);
            }
            Ok(())
        };
        if !STAGES.create(call.store(), &key, &new).await? {
            STAGES.change(call.store(), &key, change).await?;
        }
    }
    Ok(created(&dto::deployment(&deployment, false)))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let deployment: Deployment = call.row(DEPLOYMENTS, call.segment(3), "Deployment").await?;
    let summary = call.request.query_all("embed").iter().any(|what| what == "apisummary");
    Ok(shown(&dto::deployment(&deployment, summary)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let all: Vec<Deployment> = DEPLOYMENTS.all(call.store(), &format!("{}/", api.id)).await?;
    Ok(call.page(&all, |one| &one.id, |one| dto::deployment(one, false)))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let before: Deployment = call.row(DEPLOYMENTS, call.segment(3), "Deployment").await?;
    let patches = patch::read(call)?;
    let change = |deployment: &mut Deployment| {
        for patch in &patches {
            match patch.path.as_str() {
                "/description" => deployment.description = patch.optional(),
                _ => return Err(patch.refuse()),
            }
        }
        Ok(())
    };
    let key = format!("{}/{}", before.api.id, before.id);
    let changed = DEPLOYMENTS.change(call.store(), &key, change).await?;
    let (deployment, ()) = changed.ok_or_else(|| not_found("Deployment"))?;
    Ok(shown(&dto::deployment(&deployment, false)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let deployment: Deployment = call.row(DEPLOYMENTS, call.segment(3), "Deployment").await?;
    let stages: Vec<Stage> = STAGES.all(call.store(), &format!("{}/", deployment.api.id)).await?;
    if stages.iter().any(|stage| stage.deployment == deployment.id) {
        return Err(bad_request("Active stages pointing to this deployment must be moved or deleted"));
    }
    let key = format!("{}/{}", deployment.api.id, deployment.id);
    match DEPLOYMENTS.delete::<Deployment>(call.store(), &key, |_| Ok(())).await? {
        true => Ok(accepted()),
        false => Err(not_found("Deployment")),
    }
}

/// Whether every method of an API has an answer.
fn complete(api: &RestApi) -> Result<(), Error> {
    let mut methods = api.definition.resources.values().flat_map(|one| one.methods.values()).peekable();
    if methods.peek().is_none() {
        return Err(bad_request("The REST API doesn't contain any methods"));
    }
    if methods.any(|method| method.integration.is_none()) {
        return Err(bad_request("No integration defined for method"));
    }
    Ok(())
}
