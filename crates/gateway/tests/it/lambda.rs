//! Requests that no SDK would make, and what SDKs do not show.

use crate::harness::{Server, create};
use dayfly_types::Limits;
use serde_json::json;

const FUNCTIONS: &str = "/2015-03-31/functions";

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be_have_typed_errors() {
    let server = Server::start(Limits::default()).await;
    let deep = format!("{{\"x\": {}", "[".repeat(1 << 19));
    let nested = format!("{{\"VpcConfig\": {}{}}}", "{\"a\":".repeat(200), "}".repeat(200));
    for (body, error) in [
        (&b""[..], "InvalidRequestContentException"),
        (b"{", "InvalidRequestContentException"),
        (b"no json", "InvalidRequestContentException"),
        (deep.as_bytes(), "InvalidRequestContentException"),
        (b"\xff\xfe", "InvalidRequestContentException"),
        (nested.as_bytes(), "InvalidRequestContentException"),
        (b"[]", "SerializationException"),
        (b"7", "SerializationException"),
        (br#"{"FunctionName": 7}"#, "SerializationException"),
        (br#"{"FunctionName": "f", "MemorySize": "128"}"#, "SerializationException"),
        (br#"{"MemorySize": 1e300}"#, "SerializationException"),
        (br#"{"Code": {"ZipFile": "%%%"}}"#, "SerializationException"),
        (br#"{"FunctionName": "f", "FunctionName": "g"}"#, "SerializationException"),
        (b"{}", "ValidationException"),
    ] {
        let answer = server.lambda("POST", FUNCTIONS, &[], body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!((answer.status, answer.error()), (400, error), "{shown}");
        assert_eq!(answer.json()["Type"], "User");
    }
    let answer = server.lambda("POST", FUNCTIONS, &[], b"{}").await;
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("3 validation errors detected: Value null at 'functionName'"), "{message}");
}

#[tokio::test]
async fn unknown_fields_and_nulls_are_ignored_as_aws_does() {
    let server = Server::start(Limits::default()).await;
    let mut body = create("f");
    body["Nonsense"] = json!({"a": [1]});
    body["VpcConfig"] = json!(null);
    body["Environment"] = json!({"Variables": null, "Other": 1});
    let answer = server.lambda("POST", FUNCTIONS, &[], body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = answer.json();
    assert_eq!((&made["Timeout"], &made["MemorySize"]), (&json!(3), &json!(128)));
    assert_eq!(made["TracingConfig"], json!({"Mode": "PassThrough"}));
    assert_eq!(made["LoggingConfig"], json!({"LogFormat": "Text", "LogGroup": "/aws/lambda/f"}));
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_named() {
    let server = Server::start(Limits::default()).await;
    for (method, path) in
        [("GET", "/"), ("GET", "/2015-03-31"), ("PATCH", FUNCTIONS), ("GET", "/2015-03-31/functions/f/x")]
    {
        let answer = server.lambda(method, path, &[], b"").await;
        assert_eq!((answer.status, answer.error()), (404, "UnknownOperationException"), "{method} {path}");
    }
    let answer = server.lambda("POST", "/2014-11-13/functions/f/invoke-async/", &[], b"{}").await;
    assert_eq!((answer.status, answer.error()), (501, "NotImplementedException"));
    assert_eq!(answer.json()["message"], "Dayfly does not support InvokeAsync yet");
}

#[tokio::test]
async fn answers_carry_the_request_id_and_the_trace() {
    let server = Server::start(Limits::default()).await;
    server.create("f").await;
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let path = "/2015-03-31/functions/f/invocations";
    let answer = server.lambda("POST", path, &[("x-amzn-trace-id", trace)], b"{\"a\": 1}").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"a\": 1}"), "bytes as they came");
    assert_eq!(answer.header("x-amzn-trace-id"), Some(trace));
    assert_eq!(answer.header("x-amzn-requestid").map(str::len), Some(36));
    assert_eq!(answer.header("x-dayfly-duration-us"), Some("1500"));
    assert_eq!(answer.header("x-dayfly-memory-peak-bytes"), Some("1048576"));
    let event = server.lambda("POST", path, &[("x-amz-invocation-type", "Event")], b"{}").await;
    assert_eq!((event.status, event.header("x-amzn-requestid").map(str::len)), (202, Some(36)));
}

#[tokio::test]
async fn dayflys_own_service_answers_bills_and_usage() {
    let server = Server::start(Limits::default()).await;
    server.create("f").await;
    server.lambda("POST", "/2015-03-31/functions/f/invocations", &[], b"1").await;
    let info = server.json("dayfly", "Dayfly_20261101.GetServerInfo", &json!({})).await.json();
    assert_eq!((&info["account"], &info["runtimes"]), (&json!("000000000000"), &json!(["python3.11", "python3.12"])));
    // The record is durable a moment after the answer.
    let mut bill = json!(null);
    for _ in 0..200 {
        bill = server.json("dayfly", "Dayfly_20261101.GetBill", &json!({"by": "day"})).await.json();
        if bill["total"]["requests"] == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(bill["total"]["billed_ms"], 2, "{bill}");
    let usage = server.json("dayfly", "Dayfly_20261101.ListUsage", &json!({"newest_first": true})).await.json();
    assert_eq!(usage["usage"][0]["duration_us"], 1500, "{usage}");
    for (target, body, error) in [
        ("ListUsage", json!({"limit": 0}), "ValidationException"),
        ("GetBill", json!({"by": "planet"}), "SerializationException"),
        ("GetBill", json!({"unknown": 1}), "SerializationException"),
        ("Fly", json!({}), "UnknownOperationException"),
    ] {
        let answer = server.json("dayfly", &format!("Dayfly_20261101.{target}"), &body).await;
        assert_eq!(answer.json()["__type"], error, "{target} {body}");
    }
}
