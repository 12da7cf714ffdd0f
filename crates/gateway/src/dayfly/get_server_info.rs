//! GetServerInfo.

use super::{dto, read};
use crate::{
    Gateway,
    aws::{Error, Request, Response, lambda::host_architecture, response},
};
use http::StatusCode;
use serde::de::IgnoredAny;

pub fn get_server_info(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let _: IgnoredAny = read(request, "GetServerInfo")?;
    let options = &gateway.options;
    Ok(response::json(
        StatusCode::OK,
        &dto::ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            account: options.account.to_string(),
            architecture: host_architecture(),
            runtimes: options.scheduler.runtimes(),
            limits: &options.limits,
            now: options.clock.now(),
        },
    ))
}
