//! Calls the function behind an API.

use super::{Asked, refusal::Refusal};
use bytes::Bytes;
use dayfly_types::{FunctionArn, Invocation, InvokeError};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// The service in whose name functions are called.
const SERVICE: &str = "apigateway.amazonaws.com";

/// What a function gave: its JSON, or the JSON of its error.
pub type Given = Result<Bytes, Bytes>;

/// The function that a URI names, once the stage's variables are filled in.
pub fn function(uri: &str, variables: &BTreeMap<String, String>) -> Option<FunctionArn> {
    let mut name = function_of(uri)?.to_owned();
    for (key, value) in variables {
        name = name.replace(&format!("${{stageVariables.{key}}}"), value);
    }
    name.parse().ok()
}

/// The function's ARN in a URI: alone, or the way REST APIs name functions.
pub fn function_of(uri: &str) -> Option<&str> {
    crate::rest_api::function_of(uri).or_else(|| Some(uri).filter(|uri| uri.starts_with("arn:aws:lambda:")))
}

/// Whether the function lets API Gateway call it for `source`. With a role to call with it need not.
pub async fn permitted(
    asked: &Asked<'_>,
    function: &FunctionArn,
    credentials: Option<&str>,
    source: &str,
) -> Result<(), Refusal> {
    if credentials.is_some() {
        return Ok(());
    }
    let functions = asked.gateway.options.scheduler.functions();
    let access = functions.access_of_call(function).await.map_err(|error| {
        tracing::debug!(%error, %function, "an API's function cannot be called");
        Refusal::configuration()
    })?;
    if access.policy.allows_service(SERVICE, source, &asked.gateway.options.account) {
        return Ok(());
    }
    tracing::debug!(%function, source, "a function does not permit its API to call it");
    Err(Refusal::configuration())
}

/// Calls the function and waits for it at most `patience`.
pub async fn invoke(
    asked: &Asked<'_>,
    function: FunctionArn,
    event: &Value,
    patience: Duration,
) -> Result<Given, Refusal> {
    let payload = serde_json::to_vec(event).map_err(|_| Refusal::configuration())?;
    let invocation = Invocation {
        request_id: asked.id,
        function,
        payload: payload.into(),
        client_context: None,
        tenant_id: None,
        trace_header: super::event::header(asked, "x-amzn-trace-id").map(str::to_owned),
        received_at: asked.gateway.options.clock.now(),
    };
    let call = asked.gateway.options.scheduler.invoke(invocation, false);
    let outcome = tokio::time::timeout(patience, call).await.map_err(|_| Refusal::timed_out())?;
    match outcome {
        Ok(outcome) => Ok(outcome.result.map_err(|error| error.payload)),
        Err(InvokeError::PayloadTooLarge { .. }) => Err(Refusal::too_large()),
        Err(InvokeError::Throttled { .. }) => Err(Refusal::busy()),
        Err(error) => {
            tracing::debug!(%error, "an API's function cannot be called");
            Err(Refusal::configuration())
        }
    }
}
