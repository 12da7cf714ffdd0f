//! UpdateFunctionCode.

use super::{
    dto::{self, CodeRequest, UpdateCodeRequest},
    error::of_json,
    latest_function,
    validate::{self, Violations},
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
    front::offload,
};
use http::StatusCode;

pub async fn update_function_code(gateway: &Gateway, request: Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, &request, "lambda:UpdateFunctionCode", named)?;
    let body = request.body.clone();
    let parse = move || serde_json::from_slice::<UpdateCodeRequest>(&body).map_err(|error| of_json(&error));
    let dto = offload(request.body.len(), parse).await?;
    let mut violations = Violations::default();
    validate::architectures(dto.architectures.as_deref(), &mut violations);
    violations.finish()?;
    let architecture = validate::own_architecture(dto.architectures)?;
    let UpdateCodeRequest {
        zip_file,
        s3_bucket,
        s3_key,
        s3_object_version,
        image_uri,
        revision_id,
        dry_run,
        publish,
        ..
    } = dto;
    let code = CodeRequest { zip_file, s3_bucket, s3_key, s3_object_version, image_uri };
    let zip = code.package(gateway, &request).await?;
    let functions = gateway.options.scheduler.functions();
    let dry_run = dry_run.unwrap_or_default();
    let mut updated = functions.update_code(&arn, revision_id.as_deref(), zip, architecture, dry_run).await?;
    if publish == Some(true) && !dry_run {
        updated = functions.publish_made(updated).await?;
    }
    Ok(response::json(StatusCode::OK, &dto::configuration(&updated, &updated.arn)))
}
