//! ImportRestApi, PutRestApi and their siblings.

use super::{
    Call, accepted, created, dto,
    error::{bad_request, no_api, unsupported},
    import::{self, Imported},
    patch::{self, Op},
    shown,
};
use crate::{
    aws::{Error, Response},
    rest_api::{APIS, DEPLOYMENTS, Definition, Deployment, RestApi, STAGES, Stage, random_id},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Largest `minimumCompressionSize`.
const COMPRESSION_MAX: u64 = 10 << 20;
const APIS_MAX: usize = 600;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct New {
    name: Option<String>,
    description: Option<String>,
    version: Option<String>,
    clone_from: Option<String>,
    binary_media_types: Vec<String>,
    minimum_compression_size: Option<u64>,
    api_key_source: Option<String>,
    endpoint_configuration: Endpoint,
    policy: Option<String>,
    tags: BTreeMap<String, String>,
    disable_execute_api_endpoint: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    types: Vec<String>,
}

pub async fn import(call: &Call<'_>) -> Result<Response, Error> {
    parameters(call)?;
    let imported = import::import(&call.request.body, None, false)?;
    let types = call.request.query("endpointConfigurationTypes");
    let types = types.map(|types| types.split(',').map(str::to_owned).collect()).unwrap_or_default();
    let mut api = new(call, Endpoint { types })?;
    apply(&mut api, imported)?;
    if api.name.is_empty() {
        return Err(bad_request("$.info.title: is missing"));
    }
    keep(call, api).await
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: New = call.body()?;
    for (field, there) in [("cloneFrom", given.clone_from.is_some()), ("policy", given.policy.is_some())] {
        if there {
            return Err(unsupported("CreateRestApi", field));
        }
    }
    let name = given.name.filter(|name| !name.is_empty()).ok_or_else(|| bad_request("No name was given"))?;
    let api = new(call, given.endpoint_configuration)?;
    check_compression(given.minimum_compression_size)?;
    let api = RestApi {
        name,
        description: given.description,
        version: given.version,
        binary_media_types: given.binary_media_types,
        minimum_compression_bytes: given.minimum_compression_size,
        api_key_source: given.api_key_source.unwrap_or(api.api_key_source),
        disable_endpoint: given.disable_execute_api_endpoint,
        tags: given.tags,
        ..api
    };
    keep(call, api).await
}

pub async fn put(call: &Call<'_>) -> Result<Response, Error> {
    parameters(call)?;
    let merge = match call.request.query("mode").as_deref() {
        None | Some("merge") => true,
        Some("overwrite") => false,
        Some(_) => return Err(bad_request("mode: must be merge or overwrite")),
    };
    let put = |api: &mut RestApi| {
        let imported = import::import(&call.request.body, Some(&api.definition), merge)?;
        apply(api, imported)
    };
    let (api, ()) = call.change_api(put).await?;
    Ok(shown(&dto::rest_api(&api)))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    Ok(shown(&dto::rest_api(&call.api().await?)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let mut all: Vec<RestApi> = APIS.all(call.store(), "").await?;
    all.retain(|api| api.region == call.request.region);
    Ok(call.page(&all, |api| &api.id, dto::rest_api))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let change = |api: &mut RestApi| {
        for patch in &patches {
            let parts = patch.parts();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            match parts.as_slice() {
                ["name"] => patch.value()?.clone_into(&mut api.name),
                ["description"] => api.description = patch.optional(),
                ["version"] => api.version = patch.optional(),
                ["apiKeySource"] => patch.value()?.clone_into(&mut api.api_key_source),
                ["disableExecuteApiEndpoint"] => api.disable_endpoint = patch.flag()?,
                ["minimumCompressionSize"] => {
                    let size = patch.optional().map(|text| text.parse());
                    let size = size.transpose().map_err(|_| bad_request("minimumCompressionSize: not a number"))?;
                    check_compression(size)?;
                    api.minimum_compression_bytes = size;
                }
                ["binaryMediaTypes", media_type] => {
                    api.binary_media_types.retain(|one| one != media_type);
                    match patch.op {
                        Op::Remove => {}
                        Op::Replace => api.binary_media_types.push(patch.value()?.to_owned()),
                        _ => api.binary_media_types.push((*media_type).to_owned()),
                    }
                }
                ["endpointConfiguration", "types", ..] => {
                    api.endpoint_types = vec![patch.value()?.to_owned()];
                }
                _ => return Err(patch.refuse()),
            }
        }
        Ok(())
    };
    let (api, ()) = call.change_api(change).await?;
    Ok(shown(&dto::rest_api(&api)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    // First the stages: from then on nobody is served.
    for stage in STAGES.all::<Stage>(call.store(), &format!("{}/", api.id)).await? {
        STAGES.delete::<Stage>(call.store(), &format!("{}/{}", api.id, stage.name), |_| Ok(())).await?;
    }
    for deployment in DEPLOYMENTS.all::<Deployment>(call.store(), &format!("{}/", api.id)).await? {
        let key = format!("{}/{}", api.id, deployment.id);
        DEPLOYMENTS.delete::<Deployment>(call.store(), &key, |_| Ok(())).await?;
    }
    match APIS.delete::<RestApi>(call.store(), &api.id, |_| Ok(())).await? {
        true => Ok(accepted()),
        false => Err(no_api(&api.id)),
    }
}

/// Parameters of an import that would change what it means.
fn parameters(call: &Call<'_>) -> Result<(), Error> {
    match call.request.query("basepath").as_deref() {
        None | Some("ignore") => Ok(()),
        Some(_) => Err(unsupported("basepath", "values other than ignore")),
    }
}

fn new(call: &Call<'_>, endpoint: Endpoint) -> Result<RestApi, Error> {
    let types = if endpoint.types.is_empty() { vec!["EDGE".to_owned()] } else { endpoint.types };
    if let Some(bad) = types.iter().find(|kind| !["EDGE", "REGIONAL", "PRIVATE"].contains(&kind.as_str())) {
        return Err(bad_request(format!("endpointConfiguration: {bad} is no endpoint type")));
    }
    if types.iter().any(|kind| kind == "PRIVATE") {
        return Err(unsupported("endpointConfiguration", "private APIs"));
    }
    let options = &call.gateway.options;
    Ok(RestApi {
        id: random_id(10),
        account: options.account.clone(),
        region: call.request.region.clone(),
        name: String::new(),
        description: None,
        version: None,
        created: options.clock.now(),
        binary_media_types: Vec::new(),
        minimum_compression_bytes: None,
        api_key_source: "HEADER".to_owned(),
        endpoint_types: types,
        disable_endpoint: false,
        tags: BTreeMap::new(),
        definition: Definition::empty(),
    })
}

fn apply(api: &mut RestApi, imported: Imported) -> Result<(), Error> {
    check_compression(imported.minimum_compression_bytes)?;
    api.name = imported.name.unwrap_or(std::mem::take(&mut api.name));
    api.description = imported.description.or(api.description.take());
    api.version = imported.version.or(api.version.take());
    api.binary_media_types = imported.binary_media_types.unwrap_or(std::mem::take(&mut api.binary_media_types));
    api.minimum_compression_bytes = imported.minimum_compression_bytes.or(api.minimum_compression_bytes);
    api.api_key_source = imported.api_key_source.unwrap_or(std::mem::take(&mut api.api_key_source));
    api.definition = imported.definition;
    Ok(())
}

fn check_compression(bytes: Option<u64>) -> Result<(), Error> {
    match bytes {
        Some(bytes) if bytes > COMPRESSION_MAX => {
            Err(bad_request(format!("Invalid minimum compression size, must be between 0 and {COMPRESSION_MAX}")))
        }
        _ => Ok(()),
    }
}

async fn keep(call: &Call<'_>, api: RestApi) -> Result<Response, Error> {
    if APIS.all::<Value>(call.store(), "").await?.len() >= APIS_MAX {
        let message = format!("There are {APIS_MAX} APIs, which is the limit");
        return Err(Error::new(http::StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", message));
    }
    if !APIS.create(call.store(), &api.id, &api).await? {
        return Err(Error::internal("a random id was given twice"));
    }
    Ok(created(&dto::rest_api(&api)))
}
