//! UpdateFunctionCode.

use super::{
    create_function::refuse_publish,
    dto::{self, UpdateCodeRequest},
    error::{invalid_parameter, of_json},
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
    refuse_publish(dto.publish)?;
    if dto.s3_bucket.is_some() || dto.s3_key.is_some() || dto.image_uri.is_some() {
        return Err(invalid_parameter(
            "Dayfly does not support packages in S3 or images yet: give the package as ZipFile",
        ));
    }
    let zip = dto.zip_file.ok_or_else(|| invalid_parameter("Please provide a source for function code."))?.0;
    let architecture = validate::own_architecture(dto.architectures)?;
    let functions = gateway.options.scheduler.functions();
    let dry_run = dto.dry_run.unwrap_or_default();
    let updated = functions.update_code(&arn, dto.revision_id.as_deref(), zip, architecture, dry_run).await?;
    Ok(response::json(StatusCode::OK, &dto::configuration(&updated, false)))
}
