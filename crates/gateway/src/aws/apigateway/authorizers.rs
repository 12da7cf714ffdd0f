//! CreateAuthorizer and its siblings: functions that say who may call a method.

use super::{
    Call, accepted, created, dto,
    error::{bad_request, not_found},
    import::{self, At},
    patch, shown,
};
use crate::{
    aws::{Error, Response},
    rest_api::{Authorization, Authorizer, RestApi, random_id},
};
use serde_json::{Map, Value};

const AUTHORIZERS_MAX: usize = 10;
/// What UpdateAuthorizer changes.
const PLACES: &[&str] =
    &["/name", "/type", "/authorizerUri", "/authorizerCredentials", "/identitySource", "/authorizerResultTtlInSeconds"];

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: Map<String, Value> = call.body()?;
    let authorizer = read(&given, random_id(6), "CreateAuthorizer")?;
    let create = |api: &mut RestApi| {
        let authorizers = &mut api.definition.authorizers;
        if authorizers.len() >= AUTHORIZERS_MAX {
            return Err(bad_request(format!("An API has at most {AUTHORIZERS_MAX} authorizers")));
        }
        check_name(authorizers.values(), &authorizer)?;
        authorizers.insert(authorizer.id.clone(), authorizer.clone());
        Ok(())
    };
    call.change_api(create).await?;
    Ok(created(&dto::authorizer(&authorizer)))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    Ok(shown(&dto::authorizer(authorizer(&call.api().await?, call)?)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    let all: Vec<_> = api.definition.authorizers.values().collect();
    Ok(call.page(&all, |one| &one.id, |one| dto::authorizer(one)))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let change = |api: &mut RestApi| {
        let before = authorizer(api, call)?;
        let changed = patch::on(dto::authorizer(before), &patches, PLACES)?;
        let new = read(&changed, before.id.clone(), "UpdateAuthorizer")?;
        check_name(api.definition.authorizers.values(), &new)?;
        api.definition.authorizers.insert(new.id.clone(), new.clone());
        Ok(new)
    };
    let (_, authorizer) = call.change_api(change).await?;
    Ok(shown(&dto::authorizer(&authorizer)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let delete = |api: &mut RestApi| {
        let id = authorizer(api, call)?.id.clone();
        let mut methods = api.definition.resources.values().flat_map(|resource| resource.methods.values());
        if methods.any(|method| method.authorization == Authorization::Custom(id.clone())) {
            return Err(bad_request("Cannot delete an authorizer that methods use"));
        }
        api.definition.authorizers.remove(&id);
        Ok(())
    };
    call.change_api(delete).await?;
    Ok(accepted())
}

/// The cached answers of a stage's authorizers are forgotten.
pub async fn flush(call: &Call<'_>) -> Result<Response, Error> {
    let stage: crate::rest_api::Stage = call.row(crate::rest_api::STAGES, call.segment(3), "stage").await?;
    call.gateway.http_in.decisions.forget(call.api_id(), &stage.name);
    Ok(accepted())
}

fn read(given: &Map<String, Value>, id: String, place: &str) -> Result<Authorizer, Error> {
    let given = At { place, object: given };
    let name = given.text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| bad_request(format!("{place}.name: is missing")))?;
    Ok(Authorizer { id, ..import::authorizer_of(given, name, None)? })
}

fn check_name<'a>(mut all: impl Iterator<Item = &'a Authorizer>, new: &Authorizer) -> Result<(), Error> {
    match all.any(|one| one.name == new.name && one.id != new.id) {
        true => Err(bad_request("Authorizer name must be unique. Another one of this API has the name")),
        false => Ok(()),
    }
}

fn authorizer<'a>(api: &'a RestApi, call: &Call<'_>) -> Result<&'a Authorizer, Error> {
    api.definition.authorizers.get(call.segment(3)).ok_or_else(|| not_found("authorizer"))
}
