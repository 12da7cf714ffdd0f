//! CreateResource and its siblings: the paths of an API.

use super::{
    Call, accepted, created, dto,
    error::{bad_request, conflict, not_found},
    import, patch, shown,
};
use crate::{
    aws::{Error, Response},
    rest_api::{Definition, Resource, RestApi},
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewResource {
    path_part: String,
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
    check_part(&part)?;
    let create = |api: &mut RestApi| {
        let parent = &resource(api, call)?.path;
        let path = format!("{}/{part}", parent.trim_end_matches('/'));
        if api.definition.at(&path).is_some() {
            return Err(taken(&part));
        }
        import::make(&mut api.definition, None, &path, "pathPart")
    };
    let (api, id) = call.change_api(create).await?;
    let made = api.definition.resources.get(&id).ok_or_else(|| not_found("Resource"))?;
    Ok(created(&dto::resource(made, true)))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let change = |api: &mut RestApi| {
        for patch in &patches {
            let this = resource(api, call)?;
            let parent = this.parent.clone().ok_or_else(|| bad_request("The root resource cannot be changed"))?;
            let (id, part) = (this.id.clone(), this.part.clone());
            match patch.path.as_str() {
                "/pathPart" => relocate(&mut api.definition, &id, &parent, patch.value()?)?,
                "/parentId" => relocate(&mut api.definition, &id, patch.value()?, &part)?,
                _ => return Err(patch.refuse()),
            }
        }
        Ok(())
    };
    let (api, ()) = call.change_api(change).await?;
    Ok(shown(&dto::resource(resource(&api, call)?, true)))
}

/// Gives a resource another parent or another last part; what is below it comes along.
fn relocate(definition: &mut Definition, id: &str, parent: &str, part: &str) -> Result<(), Error> {
    check_part(part)?;
    let old = definition.resources.get(id).ok_or_else(|| not_found("Resource"))?.path.clone();
    let below = format!("{old}/");
    let moves = |path: &str| path == old || path.starts_with(&below);
    let mut others = definition.clone();
    others.resources.retain(|_, one| !moves(&one.path));
    let above = &others.resources.get(parent).ok_or_else(|| not_found("Resource"))?.path;
    let new = format!("{}/{part}", above.trim_end_matches('/'));
    if others.at(&new).is_some() {
        return Err(taken(part));
    }
    if part.ends_with("+}") && definition.resources.values().any(|one| one.path.starts_with(&below)) {
        return Err(bad_request(format!("{part} takes the rest of a path and must be its last part")));
    }
    // Made there for trial: it has to fit like any other.
    import::make(&mut others, None, &new, "pathPart")?;
    for one in definition.resources.values_mut().filter(|one| moves(&one.path)) {
        one.path = format!("{new}{}", &one.path[old.len()..]);
        if one.id == id {
            one.parent = Some(parent.to_owned());
            part.clone_into(&mut one.part);
        }
    }
    Ok(())
}

fn check_part(part: &str) -> Result<(), Error> {
    match part.is_empty() || part.contains('/') {
        true => Err(bad_request("pathPart: must be one part of a path")),
        false => Ok(()),
    }
}

fn taken(part: &str) -> Error {
    conflict(format!("Another resource with the same parent already has this name: {part}"))
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

fn embed(call: &Call<'_>) -> bool {
    call.request.query_all("embed").iter().any(|what| what == "methods")
}

pub fn resource<'a>(api: &'a RestApi, call: &Call<'_>) -> Result<&'a Resource, Error> {
    api.definition.resources.get(call.segment(3)).ok_or_else(|| not_found("Resource"))
}

pub fn resource_mut<'a>(api: &'a mut RestApi, call: &Call<'_>) -> Result<&'a mut Resource, Error> {
    api.definition.resources.get_mut(call.segment(3)).ok_or_else(|| not_found("Resource"))
}
