//! CreateDomainName and CreateBasePathMapping with their siblings: the host names that version 2 keeps too, in the words of version 1.

use super::{
    Call, accepted, created, dto,
    error::{not_found, unsupported},
    patch, shown,
};
use crate::{
    aws::{Error, Response, apigatewayv2},
    http_api::{DOMAINS, Domain, Mapping},
    rest_api::random_id,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The base path that is none, as it is written in paths and answers.
const NO_PATH: &str = "(none)";
/// There is no DNS here in which a host name could be an alias.
const NO_ZONE: &str = "none";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct New {
    domain_name: String,
    certificate_arn: Option<String>,
    regional_certificate_arn: Option<String>,
    endpoint_configuration: Endpoint,
    security_policy: Option<String>,
    tags: BTreeMap<String, String>,
    mutual_tls_authentication: Option<Value>,
    policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    types: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NewMapping {
    base_path: String,
    rest_api_id: String,
    stage: String,
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let given: New = call.body()?;
    let kind = given.endpoint_configuration.types.first().map_or("EDGE", String::as_str);
    if !["EDGE", "REGIONAL"].contains(&kind) || given.policy.is_some() {
        return Err(unsupported("CreateDomainName", "private domain names"));
    }
    if given.mutual_tls_authentication.is_some() {
        return Err(unsupported("CreateDomainName", "mutualTlsAuthentication"));
    }
    let configuration = json!({
        "certificateArn": given.regional_certificate_arn.or(given.certificate_arn),
        "endpointType": kind,
        "securityPolicy": given.security_policy.as_deref().unwrap_or("TLS_1_2"),
    });
    let domain = Domain {
        name: given.domain_name,
        region: call.request.region.clone(),
        created: call.gateway.options.clock.now(),
        tags: given.tags,
        configurations: vec![configuration],
        mappings: BTreeMap::new(),
    };
    Ok(created(&of_domain(&apigatewayv2::keep_domain(call.store(), domain).await?)))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    Ok(shown(&of_domain(&domain(call).await?)))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let mut all: Vec<Domain> = DOMAINS.all(call.store(), "").await?;
    all.retain(|domain| domain.region == call.request.region);
    Ok(call.page(&all, |domain| &domain.name, of_domain))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let patches = patch::read(call)?;
    let configure = |domain: &mut Domain| {
        let mut configuration = domain.configurations.first().cloned().unwrap_or_else(|| json!({}));
        for patch in &patches {
            let member = match patch.path.as_str() {
                "/securityPolicy" => "securityPolicy",
                "/certificateArn" | "/regionalCertificateArn" => "certificateArn",
                path if path.starts_with("/endpointConfiguration/types") => "endpointType",
                _ => return Err(patch.refuse()),
            };
            configuration[member] = json!(patch.value()?);
        }
        domain.configurations = vec![configuration];
        Ok(())
    };
    Ok(shown(&of_domain(&change(call, configure).await?)))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = domain(call).await?.name;
    match DOMAINS.delete::<Domain>(call.store(), &name, |_| Ok(())).await? {
        true => Ok(accepted()),
        false => Err(no_domain()),
    }
}

pub async fn create_mapping(call: &Call<'_>) -> Result<Response, Error> {
    let given: NewMapping = call.body()?;
    if given.stage.is_empty() {
        return Err(unsupported("CreateBasePathMapping", "mappings without a stage"));
    }
    let mapping = Mapping {
        api_mapping_id: random_id(6),
        api_id: given.rest_api_id,
        stage: given.stage,
        api_mapping_key: key(&given.base_path).to_owned(),
    };
    apigatewayv2::check_mapping(call.store(), &mapping).await?;
    change(call, |domain| apigatewayv2::put_mapping(domain, mapping.clone())).await?;
    Ok(created(&of_mapping(&mapping)))
}

pub async fn get_mapping(call: &Call<'_>) -> Result<Response, Error> {
    Ok(shown(&of_mapping(mapping(&domain(call).await?, call)?)))
}

pub async fn list_mappings(call: &Call<'_>) -> Result<Response, Error> {
    let domain = domain(call).await?;
    let all: Vec<&Mapping> = domain.mappings.values().collect();
    Ok(call.page(&all, |mapping| &mapping.api_mapping_id, |mapping| of_mapping(mapping)))
}

pub async fn update_mapping(call: &Call<'_>) -> Result<Response, Error> {
    let mut mapping = mapping(&domain(call).await?, call)?.clone();
    for patch in patch::read(call)? {
        match patch.path.as_str() {
            "/basePath" => key(patch.value()?).clone_into(&mut mapping.api_mapping_key),
            "/restapiId" | "/restApiId" => patch.value()?.clone_into(&mut mapping.api_id),
            "/stage" => patch.value()?.clone_into(&mut mapping.stage),
            _ => return Err(patch.refuse()),
        }
    }
    apigatewayv2::check_mapping(call.store(), &mapping).await?;
    change(call, |domain| apigatewayv2::put_mapping(domain, mapping.clone())).await?;
    Ok(shown(&of_mapping(&mapping)))
}

pub async fn delete_mapping(call: &Call<'_>) -> Result<Response, Error> {
    let gone = |domain: &mut Domain| {
        let id = mapping(domain, call)?.api_mapping_id.clone();
        domain.mappings.remove(&id);
        Ok(())
    };
    change(call, gone).await?;
    Ok(accepted())
}

fn key(base_path: &str) -> &str {
    if base_path == NO_PATH { "" } else { base_path }
}

/// The mapping whose base path ends the path.
fn mapping<'a>(domain: &'a Domain, call: &Call<'_>) -> Result<&'a Mapping, Error> {
    let wanted = key(call.segment(3));
    let found = domain.mappings.values().find(|mapping| mapping.api_mapping_key == wanted);
    found.ok_or_else(|| not_found("base path mapping"))
}

async fn domain(call: &Call<'_>) -> Result<Domain, Error> {
    let read = DOMAINS.get::<Domain>(call.store(), &call.segment(1).to_ascii_lowercase()).await?;
    let domain = read.map(|read| read.value).filter(|domain| domain.region == call.request.region);
    domain.ok_or_else(no_domain)
}

async fn change(call: &Call<'_>, mut change: impl FnMut(&mut Domain) -> Result<(), Error>) -> Result<Domain, Error> {
    let change = |domain: &mut Domain| match domain.region == call.request.region {
        true => change(domain),
        false => Err(no_domain()),
    };
    let changed = DOMAINS.change(call.store(), &call.segment(1).to_ascii_lowercase(), change).await?;
    changed.map(|(domain, ())| domain).ok_or_else(no_domain)
}

fn no_domain() -> Error {
    not_found("domain name")
}

fn of_mapping(mapping: &Mapping) -> Value {
    let path = if mapping.api_mapping_key.is_empty() { NO_PATH } else { &mapping.api_mapping_key };
    json!({"basePath": path, "restApiId": mapping.api_id, "stage": mapping.stage})
}

fn of_domain(domain: &Domain) -> Value {
    let configuration = domain.configurations.first().cloned().unwrap_or_default();
    let kind = configuration["endpointType"].as_str().unwrap_or("REGIONAL");
    let (certificate, alias, zone) = match kind {
        "EDGE" => ("certificateArn", "distributionDomainName", "distributionHostedZoneId"),
        _ => ("regionalCertificateArn", "regionalDomainName", "regionalHostedZoneId"),
    };
    dto::compact(json!({
        "domainName": domain.name,
        certificate: configuration["certificateArn"],
        alias: domain.name,
        zone: NO_ZONE,
        "securityPolicy": configuration["securityPolicy"],
        "endpointConfiguration": {"types": [kind], "ipAddressType": "ipv4"},
        "domainNameStatus": "AVAILABLE",
        "tags": domain.tags,
    }))
}
