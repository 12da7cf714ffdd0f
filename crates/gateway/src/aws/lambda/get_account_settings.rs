//! GetAccountSettings.

use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request, Response, response},
};
use http::StatusCode;
use serde_json::json;

/// AWS's default of code kept per region. Dayfly has no such wall, and the shape has no way to say so.
const TOTAL_CODE_BYTES: u64 = 75 << 30;

pub async fn get_account_settings(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let account = request.principal.account();
    authorise(&request.principal, "lambda:GetAccountSettings", "*", account)?;
    let limits = &gateway.options.limits;
    let reserved = gateway.options.scheduler.functions().all_reserved(account, &request.region).await?;
    let (functions, bytes) = gateway.options.scheduler.functions().usage(account, &request.region).await?;
    Ok(response::json(
        StatusCode::OK,
        &json!({
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_BYTES,
                "CodeSizeUnzipped": limits.code_unzipped_bytes,
                "CodeSizeZipped": limits.code_zip_bytes,
                "ConcurrentExecutions": limits.concurrency,
                "UnreservedConcurrentExecutions": limits.concurrency.saturating_sub(reserved),
            },
            "AccountUsage": {"TotalCodeSize": bytes, "FunctionCount": functions},
        }),
    ))
}
