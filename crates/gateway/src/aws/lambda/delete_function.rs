//! DeleteFunction.

use super::{error::invalid_parameter, function};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_types::Qualifier;
use http::StatusCode;

pub async fn delete_function(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = function(gateway, request, "lambda:DeleteFunction", named)?;
    match arn.qualifier {
        None => gateway.options.scheduler.functions().delete(&arn).await?,
        Some(Qualifier::Latest) => {
            return Err(invalid_parameter("$LATEST version cannot be deleted without deleting the function."));
        }
        Some(Qualifier::Version(number)) => {
            gateway.options.scheduler.functions().delete_version(&arn, number).await?;
        }
        Some(Qualifier::Alias(_)) => {
            return Err(invalid_parameter("Deletion of aliases is not currently supported."));
        }
    }
    Ok(response::empty(StatusCode::NO_CONTENT))
}
