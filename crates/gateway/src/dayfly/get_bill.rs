//! GetBill.

use super::{dto, read};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_meter::bill::{BillQuery, By};
use http::StatusCode;

pub async fn get_bill(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: dto::GetBill = read(request, "GetBill")?;
    let query = BillQuery { by: dto.by.unwrap_or(By::Function), from: dto.from, to: dto.to };
    let bill = gateway.options.meter.bill(request.principal.account(), &query).await.map_err(Error::internal)?;
    Ok(response::json(StatusCode::OK, &bill))
}
