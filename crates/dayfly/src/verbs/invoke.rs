//! `dayfly invoke`: one call. stdout carries the payload and nothing else.

use super::{Error, FUNCTIONS};
use crate::{
    cli,
    client::{Client, Request},
    output,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use std::io::{Read, Write};

/// Calls the function. A function error is printed like a result, and makes the verb fail.
pub async fn run(options: &cli::Invoke) -> Result<(), Error> {
    let body = payload(options.payload.as_deref())?;
    let context = options.client_context.as_deref().map(client_context).transpose()?;
    let client = Client::new(&options.target)?;
    let mut headers = vec![
        ("content-type", "application/json"),
        ("x-amz-invocation-type", if options.asynchronous { "Event" } else { "RequestResponse" }),
    ];
    if options.log {
        headers.push(("x-amz-log-type", "Tail"));
    }
    if let Some(context) = &context {
        headers.push(("x-amz-client-context", context));
    }
    let path = [FUNCTIONS[0], FUNCTIONS[1], options.name.as_str(), "invocations"];
    let request = Request { service: "lambda", method: "POST", path: &path, query: &[], headers: &headers, body };
    let response = client.send(request).await?;

    if let Some(tail) = response.header("x-amz-log-result").and_then(|tail| STANDARD.decode(tail).ok()) {
        std::io::stderr().lock().write_all(&tail)?;
    }
    let failed = response.header("x-amz-function-error").map(str::to_owned);
    if options.json {
        let payload: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        output::json(&json!({
            "StatusCode": response.status,
            "ExecutedVersion": response.header("x-amz-executed-version"),
            "RequestId": response.header("x-amzn-requestid"),
            "InstanceId": response.header("x-dayfly-instance-id"),
            "FunctionError": failed,
            "Payload": payload,
        }))?;
    } else if options.asynchronous {
        let id = response.header("x-amzn-requestid").unwrap_or("-");
        output::note(&format!("queued as {id}; see `dayfly logs {}`", options.name));
    } else {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&response.body)?;
        stdout.write_all(b"\n")?;
    }
    match failed {
        Some(_) => {
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            Err(Error::Function(body["errorType"].as_str().unwrap_or("Unhandled").to_owned()))
        }
        None => Ok(()),
    }
}

fn payload(given: Option<&str>) -> Result<Bytes, Error> {
    match given {
        None => Ok(Bytes::from_static(b"{}")),
        Some("-") => {
            let mut body = Vec::new();
            std::io::stdin().lock().read_to_end(&mut body)?;
            Ok(body.into())
        }
        Some(text) => match text.strip_prefix('@') {
            Some(path) => {
                std::fs::read(path).map(Bytes::from).map_err(|error| Error::Usage(format!("{path}: {error}")))
            }
            None => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => Ok(Bytes::copy_from_slice(text.as_bytes())),
                Err(error) => Err(Error::Usage(format!(
                    "the payload is not JSON ({error}): give JSON, @FILE, or - for stdin; a text needs its quotes, '\"like this\"'"
                ))),
            },
        },
    }
}

fn client_context(text: &str) -> Result<String, Error> {
    match serde_json::from_str::<serde_json::Map<String, Value>>(text) {
        Ok(_) => Ok(STANDARD.encode(text)),
        Err(error) => Err(Error::Usage(format!("--client-context is not a JSON object: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_from_argument_or_file() {
        assert_eq!(payload(None).unwrap(), "{}");
        assert_eq!(payload(Some("[1, 2]")).unwrap(), "[1, 2]");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"a\":1}").unwrap();
        assert_eq!(payload(Some(&format!("@{}", file.path().display()))).unwrap(), "{\"a\":1}");
        for bad in ["hello", "@/nonexistent/file", "{"] {
            assert_eq!(payload(Some(bad)).unwrap_err().exit_code(), 2, "{bad}");
        }
        assert!(client_context("[]").is_err());
        assert_eq!(client_context("{}").unwrap(), "e30=");
    }
}
