//! ListUsage.

use super::{dto, read};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_meter::bill::UsageQuery;
use http::StatusCode;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

pub async fn list_usage(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::ListUsage = read(request, "ListUsage")?;
    let limit = dto.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Error::bad_request("ValidationException", format!("limit must be between 1 and {PAGE_MAX}")));
    }
    let query = UsageQuery {
        function: dto.function,
        from: dto.from,
        to: dto.to,
        newest_first: dto.newest_first,
        token: dto.token,
        limit,
    };
    let found = gateway.options.meter.usage(request.principal.account(), &query).await;
    let (usage, token) = found?;
    Ok(response::json(StatusCode::OK, &dto::UsagePage { usage, token }))
}
