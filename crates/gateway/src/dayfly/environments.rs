//! `POST /environments` builds one and tells how it goes; ListEnvironments, GetEnvironment and DeleteEnvironment.

use super::{dto, read};
use crate::{
    Gateway,
    authorise::authorise,
    aws::{
        Error, Request, Response,
        response::{self, Body},
    },
    front::offload,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dayfly_scheduler::{
    Environments,
    environments::{self, Built, platform},
};
use dayfly_types::{EnvironmentSource, Packages, Runtime, Timestamp, environment::RequirementError};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{io, sync::Arc, time::SystemTime};
use tokio::sync::mpsc;

/// Lines of an answer that wait for the client. A client that is slower misses steps, never the end.
const LINES: usize = 64;
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// Answers `POST /environments`: one JSON object a line, steps first, then the environment or an error.
pub async fn build(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    outside_only(gateway, request, "BuildEnvironment")?;
    let body = request.body.clone();
    let (source, modules) = offload(body.len(), move || read_source(&body)).await?;
    let environments = gateway.options.environments.clone();
    environments.check(&source).map_err(refusal)?;
    let id = source.id();
    if source.modules.is_some() && modules.is_none() && environments.get(&id).is_none() {
        let message = "the environment is not there yet: send the modules along";
        return Err(Error::new(StatusCode::CONFLICT, "ModulesMissing", message));
    }
    let (lines, pieces) = mpsc::channel(LINES);
    tokio::spawn(run(environments, source, modules, lines));
    let mut response = Response::new(Body::Pieces(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

async fn run(
    environments: Environments,
    source: EnvironmentSource,
    modules: Option<Bytes>,
    lines: mpsc::Sender<io::Result<Bytes>>,
) {
    let steps = lines.clone();
    let progress = Arc::new(move |step| {
        let _slow_or_gone = steps.try_send(Ok(line(&step)));
    });
    let last = match environments.build(&source, modules, progress).await {
        Ok(built) => line(&dto::Environment { built, used_at: Some(Timestamp::now()) }),
        Err(error) => {
            if matches!(error, environments::Error::Io(_)) {
                tracing::error!(%error, "an environment could not be built");
            }
            line(&json!({"error": {"type": error.kind(), "message": error.to_string()}}))
        }
    };
    // The client may be gone.
    let _ = lines.send(Ok(last)).await;
}

fn line(what: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(what).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// What is asked for, and the zip of its modules.
fn read_source(body: &[u8]) -> Result<(EnvironmentSource, Option<Bytes>), Error> {
    let dto: dto::BuildEnvironment = serde_json::from_slice(body)
        .map_err(|error| Error::bad_request("SerializationException", error.to_string()))?;
    let invalid = |text: String| Error::bad_request("InvalidEnvironment", text);
    let runtime: Runtime = dto.runtime.parse().map_err(|text| Error::bad_request("IncompatiblePython", text))?;
    if runtime.python_minor().is_none() {
        return Err(Error::bad_request("IncompatiblePython", format!("{runtime} is no Python")));
    }
    let refuse = |error: RequirementError| invalid(error.to_string());
    let packages = match (dto.requirements, dto.pinned, dto.uv_lock) {
        (lines, None, None) => Packages::of_requirements(lines.iter().flatten().map(String::as_str)).map_err(refuse)?,
        (None, Some(pins), None) => Packages::of_pins(pins.iter().map(String::as_str)).map_err(refuse)?,
        (None, None, Some(lock)) => Packages::UvLock(lock),
        _ => return Err(invalid("give one of requirements, pinned and uv_lock".to_owned())),
    };
    let (hash, zip) = match dto.modules {
        None => (None, None),
        Some(dto::Modules { sha256, zip: None }) => (Some(sha256), None),
        Some(dto::Modules { sha256, zip: Some(zip) }) => {
            let zip = STANDARD.decode(zip).map_err(|error| invalid(format!("modules.zip: {error}")))?;
            if hex::encode(Sha256::digest(&zip)) != sha256 {
                return Err(invalid("modules.sha256 is not the hash of modules.zip".to_owned()));
            }
            (Some(sha256), Some(Bytes::from(zip)))
        }
    };
    let platform = dto.platform.unwrap_or_else(platform);
    Ok((EnvironmentSource { runtime, platform, packages, modules: hash }, zip))
}

pub async fn list(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::ListEnvironments = read(request, "ListEnvironments")?;
    let limit = dto.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Error::bad_request("ValidationException", format!("limit must be between 1 and {PAGE_MAX}")));
    }
    let mut found = gateway.options.environments.list().await.map_err(refusal)?;
    found.retain(|(built, _)| dto.token.as_ref().is_none_or(|token| built.id > *token));
    let more = found.len() > limit;
    found.truncate(limit);
    let token = found.last().filter(|_| more).map(|(built, _)| built.id.clone());
    let environments = found.into_iter().map(shape).collect();
    Ok(response::json(StatusCode::OK, &dto::EnvironmentPage { environments, token }))
}

pub fn get(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::EnvironmentId = read(request, "GetEnvironment")?;
    let found = gateway.options.environments.get(&dto.id).ok_or_else(|| not_found(&dto.id))?;
    Ok(response::json(StatusCode::OK, &shape(found)))
}

pub async fn delete(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::EnvironmentId = read(request, "DeleteEnvironment")?;
    outside_only(gateway, request, "DeleteEnvironment")?;
    gateway.options.environments.get(&dto.id).ok_or_else(|| not_found(&dto.id))?;
    gateway.options.environments.delete(&dto.id).await.map_err(refusal)?;
    Ok(response::json(StatusCode::OK, &json!({})))
}

/// Functions could fill the disk with environments, or take others' away.
fn outside_only(gateway: &Gateway, request: &Request, action: &str) -> Result<(), Error> {
    authorise(&request.principal, &format!("dayfly:{action}"), "*", request.principal.account())?;
    if gateway.in_sandbox {
        let message = format!("{action} is not open to functions");
        return Err(Error::new(StatusCode::FORBIDDEN, "AccessDeniedException", message));
    }
    Ok(())
}

fn shape((built, used): (Built, SystemTime)) -> dto::Environment {
    dto::Environment { built, used_at: Timestamp::try_from(used).ok() }
}

fn not_found(id: &str) -> Error {
    let id: String = id.chars().take(100).collect();
    Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("Environment not found: {id}"))
}

fn refusal(error: environments::Error) -> Error {
    match error {
        environments::Error::Io(error) => Error::internal(error),
        environments::Error::InUse => Error::new(StatusCode::CONFLICT, error.kind(), error.to_string()),
        other => Error::bad_request(other.kind(), other.to_string()),
    }
}
