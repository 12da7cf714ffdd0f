//! CreateStage and its siblings.

use super::{
    Call, created,
    error::{bad_request, conflict, not_found, too_many},
    gone, ok, time,
};
use crate::{
    aws::{Error, Response, apigateway::check_variables},
    http_api::{DEFAULT, DEPLOYMENTS, Deployment, HttpApi, Stage},
};
use dayfly_types::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const STAGES_MAX: usize = 10;
const MEMBERS: &[&str] = &["stageName", "autoDeploy", "deploymentId", "description", "stageVariables", "tags"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    stage_name: Option<String>,
    auto_deploy: Option<bool>,
    deployment_id: Option<String>,
    description: Option<String>,
    stage_variables: Option<BTreeMap<String, String>>,
    tags: Option<BTreeMap<String, String>>,
}

/// A stage with nothing but a name.
pub fn new(name: String, auto_deploy: bool, now: Timestamp) -> Stage {
    Stage {
        name,
        deployment: None,
        auto_deploy,
        description: None,
        variables: BTreeMap::new(),
        tags: BTreeMap::new(),
        created: now,
        updated: now,
    }
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: Given = call.body(MEMBERS)?;
    let name = given.stage_name.clone().unwrap_or_default();
    check_name(&name)?;
    check_deployment(call, &given).await?;
    let now = call.now();
    let (api, ()) = call
        .change_api(|api| {
            if api.stages.contains_key(&name) {
                return Err(conflict("Stage already exists"));
            }
            if api.stages.len() >= STAGES_MAX {
                return Err(too_many("stages", STAGES_MAX));
            }
            let mut stage = new(name.clone(), false, now);
            apply(&mut stage, &given)?;
            api.stages.insert(name.clone(), stage);
            Ok(())
        })
        .await?;
    Ok(created(&shown(&api, &name)?))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    Ok(ok(&shown(&call.api().await?, call.segment(4))?))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    Ok(call.page(&api.stages, |stage| shown(&api, &stage.name).unwrap_or_default()))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let given: Given = call.body(MEMBERS)?;
    check_deployment(call, &given).await?;
    let before = call.api().await?;
    let name = call.segment(4);
    let frozen = match before.stages.get(name) {
        // What it serves now is what it goes on to serve.
        Some(stage) if stage.auto_deploy && given.auto_deploy == Some(false) && given.deployment_id.is_none() => {
            Some(super::deployments::keep(call, &before, None).await?.id)
        }
        _ => None,
    };
    let now = call.now();
    let (api, ()) = call
        .change_api(|api| {
            let stage = api.stages.get_mut(name).ok_or_else(|| not_found("stage"))?;
            if let Some(deployment) = &frozen {
                stage.deployment = Some(deployment.clone());
            }
            stage.updated = now;
            apply(stage, &given)
        })
        .await?;
    Ok(ok(&shown(&api, name)?))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let remove = |api: &mut HttpApi| api.stages.remove(call.segment(4)).map(|_| ()).ok_or_else(|| not_found("stage"));
    call.change_api(remove).await?;
    Ok(gone())
}

fn apply(stage: &mut Stage, given: &Given) -> Result<(), Error> {
    stage.auto_deploy = given.auto_deploy.unwrap_or(stage.auto_deploy);
    if let Some(deployment) = &given.deployment_id {
        if stage.auto_deploy {
            return Err(bad_request("Deployment ID cannot be set on a stage that has autoDeploy"));
        }
        stage.deployment = Some(deployment.clone());
    }
    if let Some(variables) = &given.stage_variables {
        check_variables(variables)?;
        stage.variables.clone_from(variables);
    }
    if given.description.is_some() {
        stage.description.clone_from(&given.description);
    }
    if let Some(tags) = &given.tags {
        stage.tags.clone_from(tags);
    }
    Ok(())
}

async fn check_deployment(call: &Call<'_>, given: &Given) -> Result<(), Error> {
    let Some(id) = &given.deployment_id else { return Ok(()) };
    let row = DEPLOYMENTS.get::<Deployment>(call.store(), &format!("{}/{id}", call.api_id())).await?;
    row.map(|_| ()).ok_or_else(|| not_found("deployment"))
}

fn check_name(name: &str) -> Result<(), Error> {
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if name == DEFAULT || (word && (1..=128).contains(&name.len())) {
        return Ok(());
    }
    Err(bad_request("Stage name only allows a-zA-Z0-9_-, or $default"))
}

fn shown(api: &HttpApi, name: &str) -> Result<Value, Error> {
    let stage = api.stages.get(name).ok_or_else(|| not_found("stage"))?;
    let mut shown = json!({
        "stageName": stage.name,
        "autoDeploy": stage.auto_deploy,
        "createdDate": time(stage.created),
        "lastUpdatedDate": time(stage.updated),
        "defaultRouteSettings": {"detailedMetricsEnabled": false},
        "routeSettings": {},
        "stageVariables": stage.variables,
        "tags": stage.tags,
    });
    let deployment = if stage.auto_deploy { Some(&api.revision) } else { stage.deployment.as_ref() };
    if let Some(deployment) = deployment {
        shown["deploymentId"] = json!(deployment);
    }
    if stage.auto_deploy {
        let message = format!("Successfully deployed stage with deployment ID '{}'", api.revision);
        shown["lastDeploymentStatusMessage"] = json!(message);
    }
    if let Some(description) = &stage.description {
        shown["description"] = json!(description);
    }
    Ok(shown)
}
