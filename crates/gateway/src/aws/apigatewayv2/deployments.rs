//! CreateDeployment and its siblings: copies of an API that requests see through stages which do not deploy by themselves.

use super::{
    Call, created,
    error::{bad_request, not_found},
    gone, ok, time,
};
use crate::{
    aws::{Error, Response},
    http_api::{DEPLOYMENTS, Deployment, HttpApi},
    rest_api::random_id,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    stage_name: Option<String>,
    description: Option<String>,
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: Given = call.body(&["stageName", "description"])?;
    let api = call.api().await?;
    if api.definition.routes.is_empty() {
        return Err(bad_request("Unable to deploy API because no routes exist in this API"));
    }
    if let Some(name) = &given.stage_name {
        let stage = api.stages.get(name).ok_or_else(|| not_found("stage"))?;
        if stage.auto_deploy {
            return Err(bad_request(format!("Stage {name} has autoDeploy: it has no deployments of its own")));
        }
    }
    let deployment = keep(call, &api, given.description).await?;
    if let Some(name) = &given.stage_name {
        let now = call.now();
        call.change_api(|api| {
            let stage = api.stages.get_mut(name).ok_or_else(|| not_found("stage"))?;
            stage.deployment = Some(deployment.id.clone());
            stage.updated = now;
            Ok(())
        })
        .await?;
    }
    Ok(created(&shown(&deployment)))
}

/// Keeps a copy of the API as it is.
pub async fn keep(call: &Call<'_>, api: &HttpApi, description: Option<String>) -> Result<Deployment, Error> {
    let definition = api.definition.clone();
    let deployment = Deployment { id: random_id(6), description, created: call.now(), definition };
    let key = format!("{}/{}", api.id, deployment.id);
    match DEPLOYMENTS.create(call.store(), &key, &deployment).await? {
        true => Ok(deployment),
        false => Err(Error::internal("a random id was given twice")),
    }
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let row = DEPLOYMENTS.get::<Deployment>(call.store(), &format!("{}/{}", api.id, call.segment(4))).await?;
    Ok(ok(&shown(&row.ok_or_else(|| not_found("deployment"))?.value)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let all: Vec<Deployment> = DEPLOYMENTS.all(call.store(), &format!("{}/", api.id)).await?;
    Ok(call.page(all.iter().map(|one| (&one.id, one)), shown))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let id = call.segment(4);
    if api.stages.values().any(|stage| !stage.auto_deploy && stage.deployment.as_deref() == Some(id)) {
        return Err(bad_request("Active stages pointing to this deployment must be moved or deleted"));
    }
    match DEPLOYMENTS.delete::<Deployment>(call.store(), &format!("{}/{id}", api.id), |_| Ok(())).await? {
        true => Ok(gone()),
        false => Err(not_found("deployment")),
    }
}

fn shown(deployment: &Deployment) -> Value {
    let mut shown = json!({
        "deploymentId": deployment.id,
        "createdDate": time(deployment.created),
        "deploymentStatus": "DEPLOYED",
        "autoDeployed": false,
    });
    if let Some(description) = &deployment.description {
        shown["description"] = json!(description);
    }
    shown
}
