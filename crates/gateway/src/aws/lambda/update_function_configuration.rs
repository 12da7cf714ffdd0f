//! UpdateFunctionConfiguration.

use super::{
    change::Change,
    create_function::pass_role,
    dto::{self, FunctionRequest},
    error::of_json,
    latest_function,
    validate::{self, Violations},
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use http::StatusCode;

pub async fn update_function_configuration(
    gateway: &Gateway,
    request: &Request,
    named: &str,
) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:UpdateFunctionConfiguration", named)?;
    let mut dto: FunctionRequest = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let mut violations = Violations::default();
    validate::fields(&dto, &gateway.options.limits, &mut violations);
    violations.finish()?;
    pass_role(gateway, request, dto.role.as_deref()).await?;
    let revision_id = dto.revision_id.take();
    let change = Change::of(dto, gateway).await?;
    let functions = gateway.options.scheduler.functions();
    let updated =
        functions.update(&arn, revision_id.as_deref(), Box::new(move |function| change.apply(function))).await?;
    Ok(response::json(StatusCode::OK, &dto::configuration(&updated, &updated.arn)))
}
