//! Invoke: a call's first and last step.

use super::{
    error::{invalid_content, invalid_parameter},
    event_stream, function, named_function, permissions, validate,
};
use crate::{
    Gateway,
    authorise::{More, authorise_with},
    aws::{Error, Request, Response, response},
    front::offload,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dayfly_triggers::lineage;
use dayfly_types::{FunctionArn, Invocation, Limits, Usage};
use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use serde::de::IgnoredAny;

const TYPE: &str = "x-amz-invocation-type";

/// Most bytes of the payload, by the kind of call, and the error for one byte more.
pub fn body_limit(parts: &Parts, limits: &Limits) -> (u64, Box<dyn FnOnce(u64, u64) -> Error + Send>) {
    let event = parts.headers.get(TYPE).is_some_and(|value| value == "Event");
    let (kind, limit) =
        if event { ("Event", limits.async_payload_bytes) } else { ("RequestResponse", limits.sync_payload_bytes) };
    (
        limit as u64,
        Box::new(move |actual, limit| {
            let message =
                format!("{actual} byte payload is too large for the {kind} invocation type (limit {limit} bytes)");
            Error::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", message)
        }),
    )
}

/// The function that a call is for, when the caller's policies or the function's own allow the call.
async fn invoked(gateway: &Gateway, request: &Request, named: &str) -> Result<FunctionArn, Error> {
    const ACTION: &str = "lambda:InvokeFunction";
    let denied = match function(gateway, request, ACTION, named) {
        Err(denied) if !request.principal.is_unbounded() && denied.status == StatusCode::FORBIDDEN => denied,
        result => return result,
    };
    let Ok(arn) = named_function(gateway, request, named) else { return Err(denied) };
    let Ok(access) = gateway.options.scheduler.functions().access(&arn).await else { return Err(denied) };
    let policy = permissions::policy(&access.policy, &arn);
    let more = More { policy: policy.as_ref(), ..More::default() };
    authorise_with(&request.principal, ACTION, &arn.to_string(), &arn.account, more)?;
    Ok(arn)
}

/// What the request of a call asks for.
struct Asked {
    kind: String,
    want_log_tail: bool,
    invocation: Invocation,
}

async fn asked(gateway: &Gateway, request: Request, named: &str, kinds: &[&str]) -> Result<Asked, Error> {
    let arn = invoked(gateway, &request, named).await?;
    let kind = request.header(TYPE).unwrap_or("RequestResponse").to_owned();
    validate::choice(&kind, "invocationType", kinds)?;
    let log_type = request.header("x-amz-log-type").unwrap_or("None");
    validate::choice(log_type, "logType", &["None", "Tail"])?;
    let want_log_tail = log_type == "Tail" && kind == "RequestResponse";
    let client_context = client_context(&request, gateway.options.limits.client_context_bytes)?;
    let tenant_id = request.header("x-amz-tenant-id").map(str::to_owned);
    if tenant_id.as_ref().is_some_and(|id| id.len() > 256) {
        return Err(invalid_parameter("The tenant id is longer than 256 characters"));
    }
    if request.parts.headers.contains_key("x-amz-durable-execution-name") {
        return Err(invalid_parameter("Dayfly does not support durable executions yet"));
    }
    let payload = check_json(request.body.clone()).await?;
    let trace_header = trace(gateway, &request, &arn).await?;
    let invocation = Invocation {
        request_id: request.id,
        function: arn,
        payload,
        client_context,
        tenant_id,
        trace_header,
        received_at: gateway.options.clock.now(),
    };
    Ok(Asked { kind, want_log_tail, invocation })
}

pub async fn invoke(gateway: &Gateway, request: Request, named: &str) -> Result<Response, Error> {
    let trace = request.parts.headers.get("x-amzn-trace-id").cloned();
    let Asked { kind, want_log_tail, invocation } =
        asked(gateway, request, named, &["Event", "RequestResponse", "DryRun"]).await?;
    let scheduler = &gateway.options.scheduler;
    match kind.as_str() {
        "Event" => {
            scheduler.enqueue(invocation).await?;
            Ok(response::empty(StatusCode::ACCEPTED))
        }
        "DryRun" => dry_run(gateway, &invocation).await,
        _ => {
            let outcome = scheduler.invoke(invocation, want_log_tail).await?;
            let (payload, failed) = match outcome.result {
                Ok(payload) => (payload, false),
                Err(error) => (error.payload, true),
            };
            let mut response = response::with_type(StatusCode::OK, "application/json", payload);
            if failed {
                response.headers_mut().insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
            }
            if let Some(tail) = outcome.log_tail
                && let Ok(tail) = HeaderValue::from_str(&STANDARD.encode(tail))
            {
                response.headers_mut().insert("x-amz-log-result", tail);
            }
            tell(&mut response, outcome.executed_version, outcome.usage, trace);
            Ok(response)
        }
    }
}

async fn dry_run(gateway: &Gateway, invocation: &Invocation) -> Result<Response, Error> {
    gateway.options.scheduler.functions().get(&invocation.function).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// InvokeWithResponseStream: the answer comes as event-stream messages, `PayloadChunk`s and then `InvokeComplete`.
pub async fn invoke_with_response_stream(gateway: &Gateway, request: Request, named: &str) -> Result<Response, Error> {
    let trace = request.parts.headers.get("x-amzn-trace-id").cloned();
    let Asked { kind, want_log_tail, invocation } =
        asked(gateway, request, named, &["RequestResponse", "DryRun"]).await?;
    if kind == "DryRun" {
        return dry_run(gateway, &invocation).await;
    }
    let outcome = gateway.options.scheduler.invoke(invocation, want_log_tail).await?;
    let body = event_stream::answer(outcome.result, outcome.log_tail.as_deref());
    let mut response = response::with_type(StatusCode::OK, "application/vnd.amazon.eventstream", body);
    tell(&mut response, outcome.executed_version, outcome.usage, trace);
    Ok(response)
}

/// The trace header of the call, on which the functions that called each other are counted.
async fn trace(gateway: &Gateway, request: &Request, arn: &FunctionArn) -> Result<Option<String>, Error> {
    let (given, now) = (request.header("x-amzn-trace-id"), gateway.options.clock.now());
    if let Some(trace) = lineage::call(given, arn, now, false) {
        return Ok(Some(trace));
    }
    if gateway.options.scheduler.functions().loops_of_call(arn).await? {
        return Ok(lineage::call(given, arn, now, true));
    }
    Err(Error::bad_request(
        "RecursiveInvocationException",
        "Lambda has detected your function being invoked in a recursive loop with other AWS resources and stopped your \
         function's invocation.",
    ))
}

/// Which version ran, and what it used, in headers of Dayfly's own.
fn tell(response: &mut Response, executed_version: String, usage: Usage, trace: Option<HeaderValue>) {
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-amz-executed-version", executed_version);
    put("x-dayfly-instance-id", usage.instance_id);
    put("x-dayfly-billed-ms", usage.billed_ms.to_string());
    put("x-dayfly-duration-us", usage.duration_us.to_string());
    put("x-dayfly-memory-peak-bytes", usage.memory_peak_bytes.to_string());
    if let Some(trace) = trace {
        headers.insert("x-amzn-trace-id", trace);
    }
}

/// The decoded JSON text of `X-Amz-Client-Context`.
fn client_context(request: &Request, limit: usize) -> Result<Option<String>, Error> {
    let Some(header) = request.parts.headers.get("x-amz-client-context").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let malformed = || invalid_content("Client context must be a valid Base64-encoded JSON object.");
    let decoded = STANDARD.decode(header.as_bytes()).map_err(|_| malformed())?;
    if decoded.len() > limit {
        return Err(invalid_content(format!("Client context must be no more than {limit} bytes when decoded.")));
    }
    let text = String::from_utf8(decoded).map_err(|_| malformed())?;
    serde_json::from_str::<IgnoredAny>(&text).map_err(|_| malformed())?;
    if !text.trim_start().starts_with('{') {
        return Err(malformed());
    }
    Ok(Some(text))
}

/// Refuses what is not JSON. The bytes go on as they came.
async fn check_json(payload: Bytes) -> Result<Bytes, Error> {
    if payload.is_empty() {
        return Ok(payload);
    }
    offload(payload.len(), move || {
        let broken = |what: String| invalid_content(format!("Could not parse request body into json: {what}"));
        // The parser below skips over strings without looking at their encoding.
        let text = std::str::from_utf8(&payload).map_err(|error| broken(error.to_string()))?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| broken(error.to_string()))?;
        Ok(payload)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(text: impl Into<Bytes>) -> bool {
        check_json(text.into()).await.is_ok()
    }

    #[tokio::test]
    async fn payloads_are_json_or_nothing() {
        for good in ["", "null", "0", "\"text\"", " {\"a\": [1, {}]} "] {
            assert!(taken(good).await, "{good:?}");
        }
        for bad in ["{", "nul", "{'a': 1}", "1 2", "\u{feff}1", "NaN", "\"\n\""] {
            assert!(!taken(bad).await, "{bad:?}");
        }
        assert!(!taken(&b"\"\xff\""[..]).await, "not UTF-8");
    }

    #[tokio::test]
    async fn deep_nesting_does_not_overflow_the_stack() {
        let depth = 1 << 20;
        assert!(taken("[".repeat(depth) + &"]".repeat(depth)).await);
        assert!(!taken("[".repeat(depth)).await);
    }
}
