//! CreateDomainName and CreateApiMapping with their siblings: host names of one's own, and the stages behind their paths.

use super::{
    Call, created,
    error::{bad_request, conflict, not_found, too_many},
    gone, merged, ok, time, typed,
};
use crate::{
    aws::{Error, Response},
    http_api::{APIS, DOMAINS, Domain, HttpApi, Mapping},
    rest_api::{self, random_id},
};
use dayfly_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DOMAINS_MAX: usize = 120;
const MAPPINGS_MAX: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    domain_name: Option<String>,
    #[serde(default)]
    domain_name_configurations: Vec<Value>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: Given = call.body(&["domainName", "domainNameConfigurations", "tags"])?;
    let domain = Domain {
        name: given.domain_name.unwrap_or_default(),
        region: call.request.region.clone(),
        created: call.now(),
        tags: given.tags,
        configurations: given.domain_name_configurations,
        mappings: BTreeMap::new(),
    };
    Ok(created(&shown(&keep(call.store(), domain).await?)))
}

/// Keeps a new host name, if it is one.
pub async fn keep(store: &Store, mut domain: Domain) -> Result<Domain, Error> {
    domain.name.make_ascii_lowercase();
    let name = &domain.name;
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let plain = name.contains('.') && !name.split('.').any(str::is_empty) && name.parse::<std::net::IpAddr>().is_err();
    if !letters || !plain || name.len() > 253 {
        return Err(bad_request("domainName must be a host name with a dot, such as api.example.com"));
    }
    if DOMAINS.all::<Value>(store, "").await?.len() >= DOMAINS_MAX {
        return Err(too_many("domain names", DOMAINS_MAX));
    }
    match DOMAINS.create(store, &domain.name, &domain).await? {
        true => Ok(domain),
        false => Err(conflict("The domain name you provided already exists.")),
    }
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    Ok(ok(&shown(&domain(call).await?)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let all: Vec<Domain> = DOMAINS.all(call.store(), "").await?;
    let here = all.iter().filter(|domain| domain.region == call.request.region).map(|domain| (&domain.name, domain));
    Ok(call.page(here, shown))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let given: Given = call.body(&["domainName", "domainNameConfigurations"])?;
    let configure = |domain: &mut Domain| {
        if !given.domain_name_configurations.is_empty() {
            domain.configurations.clone_from(&given.domain_name_configurations);
        }
        Ok(())
    };
    Ok(ok(&shown(&change(call, configure).await?)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    match DOMAINS.delete::<Domain>(call.store(), &name(call), |_| Ok(())).await? {
        true => Ok(gone()),
        false => Err(not_found("domain name")),
    }
}

pub async fn create_mapping(call: &Call<'_>) -> Result<Response, Error> {
    let mut given = call.given(&["apiId", "stage", "apiMappingKey"])?;
    given.insert("apiMappingId".to_owned(), json!(random_id(6)));
    let mapping: Mapping = typed(Value::Object(given))?;
    check(call.store(), &mapping).await?;
    change(call, |domain| put(domain, mapping.clone())).await?;
    Ok(created(&mapping))
}

pub async fn get_mapping(call: &Call<'_>) -> Result<Response, Error> {
    let domain = domain(call).await?;
    Ok(ok(domain.mappings.get(call.segment(4)).ok_or_else(|| not_found("API mapping"))?))
}

pub async fn list_mappings(call: &Call<'_>) -> Result<Response, Error> {
    Ok(call.page(&domain(call).await?.mappings, |mapping| json!(mapping)))
}

pub async fn update_mapping(call: &Call<'_>) -> Result<Response, Error> {
    let given = call.given(&["apiId", "stage", "apiMappingKey"])?;
    let domain = domain(call).await?;
    let before = domain.mappings.get(call.segment(4)).ok_or_else(|| not_found("API mapping"))?;
    let mapping = merged(before, given)?;
    check(call.store(), &mapping).await?;
    change(call, |domain| put(domain, mapping.clone())).await?;
    Ok(ok(&mapping))
}

pub async fn delete_mapping(call: &Call<'_>) -> Result<Response, Error> {
    let id = call.segment(4);
    change(call, |domain| domain.mappings.remove(id).map(|_| ()).ok_or_else(|| not_found("API mapping"))).await?;
    Ok(gone())
}

/// Adds a mapping, or sets the one with its id.
pub fn put(domain: &mut Domain, mapping: Mapping) -> Result<(), Error> {
    let same = |other: &Mapping| {
        other.api_mapping_id != mapping.api_mapping_id && other.api_mapping_key == mapping.api_mapping_key
    };
    if domain.mappings.values().any(same) {
        return Err(conflict("ApiMapping key already exists for this domain name"));
    }
    if domain.mappings.len() >= MAPPINGS_MAX && !domain.mappings.contains_key(&mapping.api_mapping_id) {
        return Err(too_many("mappings", MAPPINGS_MAX));
    }
    domain.mappings.insert(mapping.api_mapping_id.clone(), mapping);
    Ok(())
}

/// Whether there is a stage that the mapping leads to.
pub async fn check(store: &Store, mapping: &Mapping) -> Result<(), Error> {
    let key = &mapping.api_mapping_key;
    if key.len() > 300 || (!key.is_empty() && key.split('/').any(str::is_empty)) {
        return Err(bad_request(
            "apiMappingKey must be parts of a path with slashes between them, without one at its ends",
        ));
    }
    let http = APIS.get::<HttpApi>(store, &mapping.api_id).await?;
    let there = match http {
        Some(read) => read.value.stages.contains_key(&mapping.stage),
        None => {
            let key = format!("{}/{}", mapping.api_id, mapping.stage);
            rest_api::STAGES.get::<Value>(store, &key).await?.is_some()
        }
    };
    match there {
        true => Ok(()),
        false => Err(bad_request("Invalid stage identifier specified: apiId and stage must name a stage of an API")),
    }
}

async fn change(call: &Call<'_>, change: impl FnMut(&mut Domain) -> Result<(), Error>) -> Result<Domain, Error> {
    let changed = DOMAINS.change(call.store(), &name(call), change).await?;
    changed.map(|(domain, ())| domain).ok_or_else(|| not_found("domain name"))
}

fn name(call: &Call<'_>) -> String {
    call.segment(2).to_ascii_lowercase()
}

async fn domain(call: &Call<'_>) -> Result<Domain, Error> {
    let read = DOMAINS.get::<Domain>(call.store(), &name(call)).await?;
    let domain = read.map(|read| read.value).filter(|domain| domain.region == call.request.region);
    domain.ok_or_else(|| not_found("domain name"))
}

fn shown(domain: &Domain) -> Value {
    let configuration = |given: &Value| {
        let mut shown = given.clone();
        shown["apiGatewayDomainName"] = json!(domain.name);
        shown["domainNameStatus"] = json!("AVAILABLE");
        shown
    };
    let given: Vec<Value> = domain.configurations.iter().filter(|one| one.is_object()).map(configuration).collect();
    json!({
        "domainName": domain.name,
        "apiMappingSelectionExpression": "$request.basepath",
        "domainNameConfigurations": given,
        "tags": domain.tags,
        "createdDate": time(domain.created),
    })
}
