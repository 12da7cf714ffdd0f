//! PublishLayerVersion, GetLayerVersion, GetLayerVersionByArn, DeleteLayerVersion, ListLayers and ListLayerVersions.

use super::{
    dto::{self, PublishLayerRequest},
    error::{invalid_parameter, of_json},
    list_functions::page_size,
    validate::{self, Violations},
};
use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request, Response, response},
    front::offload,
    unsigned,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_scheduler::layers::{self, Description};
use dayfly_types::{LayerName, LayerVersion, LayerVersionArn};
use http::StatusCode;
use serde_json::{Value, json};

const NAME: &str = r"(arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\d{12}:layer:[a-zA-Z0-9-_]+)|[a-zA-Z0-9-_]+";
const ARN: &str = r"arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+";

pub async fn publish(gateway: &Gateway, request: Request, named: &str) -> Result<Response, Error> {
    let name = layer_name(&request, named)?;
    authorise_layer(&request, "lambda:PublishLayerVersion", &name)?;
    let body = request.body.clone();
    let parse = move || serde_json::from_slice::<PublishLayerRequest>(&body).map_err(|error| of_json(&error));
    let dto = offload(request.body.len(), parse).await?;
    let mut violations = Violations::default();
    violations.require(dto.content.is_some(), "content");
    let description = describe(&dto, &mut violations);
    violations.finish()?;
    let zip = dto.content.unwrap_or_default().package(gateway, &request).await?;
    let layers = &gateway.options.layers;
    let account = request.principal.account();
    let published = layers.publish(account, &request.region, &name, description, zip).await?;
    Ok(response::json(StatusCode::CREATED, &whole(gateway, &request, &published)))
}

/// The constraints of the API's model.
pub fn describe(dto: &PublishLayerRequest, violations: &mut Violations) -> Description {
    let text = dto.description.clone().unwrap_or_default();
    let fits = text.chars().count() <= 256;
    violations.check(fits, &text, "description", "Member must have length less than or equal to 256");
    if let Some(license) = &dto.license_info {
        let fits = license.chars().count() <= 512;
        violations.check(fits, license, "licenseInfo", "Member must have length less than or equal to 512");
    }
    let runtimes = dto.compatible_runtimes.clone().unwrap_or_default();
    let fits = runtimes.len() <= 15;
    let shown = format!("[{}]", runtimes.join(", "));
    violations.check(fits, &shown, "compatibleRuntimes", "Member must have length less than or equal to 15");
    let known = runtimes.iter().all(|runtime| super::operations::RUNTIMES.contains(&runtime.as_str()));
    let constraint = format!(
        "Member must satisfy constraint: [Member must satisfy enum value set: [{}]]",
        super::operations::RUNTIMES.join(", ")
    );
    violations.check(known, &shown, "compatibleRuntimes", &constraint);
    let architectures = dto.compatible_architectures.clone().unwrap_or_default();
    let known = architectures.iter().all(|one| ["x86_64", "arm64"].contains(&one.as_str())) && architectures.len() <= 2;
    violations.check(
        known,
        &format!("[{}]", architectures.join(", ")),
        "compatibleArchitectures",
        "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]",
    );
    Description { text, license: dto.license_info.clone(), runtimes, architectures }
}

pub async fn get(gateway: &Gateway, request: &Request, named: &str, version: &str) -> Result<Response, Error> {
    let arn = version_arn(request, named, version)?;
    answer(gateway, request, &arn).await
}

pub async fn get_by_arn(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let text = request.query("Arn").unwrap_or_default();
    let mut violations = Violations::default();
    let arn = parse_arn(&text, "arn", &mut violations);
    violations.finish()?;
    match arn {
        Some(arn) if arn.region == request.region => answer(gateway, request, &arn).await,
        _ => Err(not_found()),
    }
}

async fn answer(gateway: &Gateway, request: &Request, arn: &LayerVersionArn) -> Result<Response, Error> {
    authorise(&request.principal, "lambda:GetLayerVersion", &arn.to_string(), &arn.account)?;
    let version = gateway.options.layers.get(arn).await.map_err(|error| match error {
        layers::Error::NotFound(_) => not_found(),
        other => other.into(),
    })?;
    Ok(response::json(StatusCode::OK, &whole(gateway, request, &version)))
}

pub async fn delete(gateway: &Gateway, request: &Request, named: &str, version: &str) -> Result<Response, Error> {
    let arn = version_arn(request, named, version)?;
    authorise(&request.principal, "lambda:DeleteLayerVersion", &arn.to_string(), &arn.account)?;
    gateway.options.layers.delete(&arn).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn list(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let account = request.principal.account().clone();
    authorise(&request.principal, "lambda:ListLayers", "*", &account)?;
    let filter = Filter::of(request)?;
    let limit = page_size(request)?;
    let after = match marker(request)? {
        Some(name) => Some(name.parse::<LayerName>().map_err(|_| invalid_parameter("Invalid Marker"))?),
        None => None,
    };
    let layers = &gateway.options.layers;
    let wanted = |version: &LayerVersion| filter.wants(version);
    let mut found = layers.list(&account, &request.region, after.as_ref(), limit + 1, wanted).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let shown: Vec<Value> = found
        .iter()
        .map(|version| {
            let (name, arn) = (version.arn.name.as_str(), version.arn.layer());
            json!({"LayerName": name, "LayerArn": arn, "LatestMatchingVersion": dto::layer_version(version)})
        })
        .collect();
    let mut body = json!({"Layers": shown});
    if let Some(last) = found.last().filter(|_| more) {
        body["NextMarker"] = json!(STANDARD.encode(last.arn.name.as_str()));
    }
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn list_versions(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let name = layer_name(request, named)?;
    authorise_layer(request, "lambda:ListLayerVersions", &name)?;
    let filter = Filter::of(request)?;
    let limit = page_size(request)?;
    let before = match marker(request)? {
        Some(number) => Some(number.parse().map_err(|_| invalid_parameter("Invalid Marker"))?),
        None => None,
    };
    let layers = &gateway.options.layers;
    let wanted = |version: &LayerVersion| filter.wants(version);
    let account = request.principal.account();
    let mut found = layers.versions(account, &request.region, &name, before, limit + 1, wanted).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let mut body = json!({"LayerVersions": found.iter().map(dto::layer_version).collect::<Vec<_>>()});
    if let Some(last) = found.last().filter(|_| more) {
        body["NextMarker"] = json!(STANDARD.encode(last.arn.version.to_string()));
    }
    Ok(response::json(StatusCode::OK, &body))
}

/// The layers that a function is to have.
pub async fn of_function(gateway: &Gateway, given: Vec<String>) -> Result<Vec<dayfly_types::Layer>, Error> {
    let mut violations = Violations::default();
    let parsed: Vec<_> = given.iter().filter_map(|text| parse_arn(text, "layers", &mut violations)).collect();
    violations.finish()?;
    Ok(gateway.options.layers.resolve(&parsed).await?)
}

/// `CompatibleRuntime` and `CompatibleArchitecture` of a list.
struct Filter {
    runtime: Option<String>,
    architecture: Option<String>,
}

impl Filter {
    fn of(request: &Request) -> Result<Self, Error> {
        let (runtime, architecture) = (request.query("CompatibleRuntime"), request.query("CompatibleArchitecture"));
        if let Some(runtime) = &runtime {
            validate::choice(runtime, "compatibleRuntime", super::operations::RUNTIMES)?;
        }
        if let Some(architecture) = &architecture {
            validate::choice(architecture, "compatibleArchitecture", &["x86_64", "arm64"])?;
        }
        Ok(Self { runtime, architecture })
    }

    fn wants(&self, version: &LayerVersion) -> bool {
        self.runtime.as_ref().is_none_or(|runtime| version.runtimes.contains(runtime))
            && self.architecture.as_ref().is_none_or(|architecture| version.architectures.contains(architecture))
    }
}

fn marker(request: &Request) -> Result<Option<String>, Error> {
    let Some(marker) = request.query("Marker").filter(|marker| !marker.is_empty()) else { return Ok(None) };
    let decoded = STANDARD.decode(&marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(Some).ok_or_else(|| invalid_parameter("Invalid Marker"))
}

/// A layer's name, which may be given as its ARN.
pub fn layer_name(request: &Request, named: &str) -> Result<LayerName, Error> {
    let own = format!("arn:aws:lambda:{}:{}:layer:", request.region, request.principal.account());
    let name = named.strip_prefix(&own).unwrap_or(named);
    name.parse().map_err(|_| {
        let mut violations = Violations::default();
        let constraint = format!("Member must satisfy regular expression pattern: {NAME}");
        violations.check(false, named, "layerName", &constraint);
        violations.finish().err().unwrap_or_else(not_found)
    })
}

fn version_arn(request: &Request, named: &str, version: &str) -> Result<LayerVersionArn, Error> {
    let name = layer_name(request, named)?;
    let number = version.parse::<i64>();
    let number = number.map_err(|_| Error::bad_request("SerializationException", "VersionNumber is not a number"))?;
    let (region, account) = (request.region.clone(), request.principal.account().clone());
    match u64::try_from(number) {
        Ok(version) if version > 0 => Ok(LayerVersionArn { region, account, name, version }),
        _ => Err(invalid_parameter("Layer Version Cannot be less than 1.")),
    }
}

fn parse_arn(text: &str, field: &str, violations: &mut Violations) -> Option<LayerVersionArn> {
    let parsed = text.parse().ok();
    let constraint = format!("Member must satisfy regular expression pattern: {ARN}");
    violations.check(parsed.is_some(), text, field, &constraint);
    parsed
}

fn authorise_layer(request: &Request, action: &str, name: &LayerName) -> Result<(), Error> {
    let account = request.principal.account();
    let arn = format!("arn:aws:lambda:{}:{account}:layer:{name}", request.region);
    Ok(authorise(&request.principal, action, &arn, account)?)
}

fn not_found() -> Error {
    Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", "The resource you requested does not exist.")
}

/// A layer version with where its content is.
fn whole(gateway: &Gateway, request: &Request, version: &LayerVersion) -> Value {
    let mut body = dto::layer_version(version);
    body["LayerArn"] = json!(version.arn.layer());
    let content = &version.content;
    body["Content"] = json!({"CodeSha256": dto::sha256_base64(&content.sha256()), "CodeSize": content.size_bytes()});
    // Packages that this server has built were never a zip.
    if let Some(code) = content.zip() {
        body["Content"]["Location"] = json!(unsigned::code_location(gateway, request.header("host"), &code.sha256));
    }
    body
}
