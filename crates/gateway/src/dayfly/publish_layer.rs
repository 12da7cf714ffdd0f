//! PublishLayer: a layer version of an environment that this server has built. It has the environment's files, and no zip.

use super::{dto, read};
use crate::{
    Gateway,
    aws::{
        Error, Request, Response,
        lambda::{dto as lambda_dto, layers},
        response,
    },
};
use dayfly_scheduler::layers::Description;
use http::StatusCode;

const DESCRIPTION_LENGTH_MAX: usize = 256;

pub async fn publish_layer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::PublishLayer = read(request, "PublishLayer")?;
    let name = layers::layer_name(request, &dto.name)?;
    let text = dto.description.unwrap_or_default();
    if text.chars().count() > DESCRIPTION_LENGTH_MAX {
        let message = format!("description must have at most {DESCRIPTION_LENGTH_MAX} characters");
        return Err(Error::bad_request("ValidationException", message));
    }
    let (built, _) = gateway.options.environments.get(&dto.environment).ok_or_else(|| {
        let message = format!("Environment not found: {:.100}", dto.environment);
        Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    })?;
    let description = Description { text, runtimes: vec![built.runtime.to_string()], ..Description::default() };
    let (account, region) = (request.principal.account(), &request.region);
    let layers = &gateway.options.layers;
    let version = layers.publish_environment(account, region, &name, description, &built.id).await?;
    Ok(response::json(StatusCode::OK, &lambda_dto::layer_version(&version)))
}
