//! DeleteLogGroup.

use super::{
    dto,
    error::{invalid_parameter, no_group},
    read,
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use http::StatusCode;

pub async fn delete_log_group(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::LogGroupName = read(request, "DeleteLogGroup")?;
    let name = dto.log_group_name.ok_or_else(|| invalid_parameter("logGroupName must be given."))?;
    let account = request.principal.account();
    match gateway.options.meter.delete_log_group(account, &request.region, &name).await {
        Ok(true) => Ok(response::empty(StatusCode::OK)),
        Ok(false) => Err(no_group()),
        Err(error) => Err(Error::internal(error)),
    }
}
