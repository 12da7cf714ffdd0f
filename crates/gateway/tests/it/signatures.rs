//! Who gets in.

use crate::harness::{KEY, SECRET, Server, send, signed};
use dayfly_types::{Limits, Timestamp, credentials::Principal};
use serde_json::json;
use std::time::Duration;

const FUNCTIONS: &str = "/2015-03-31/functions";

#[tokio::test]
async fn unsigned_requests_get_the_error_of_their_protocol() {
    let server = Server::start(Limits::default()).await;
    let request =
        |line: &str, headers: &str| format!("{line} HTTP/1.1\r\nhost: h\r\n{headers}connection: close\r\n\r\n");
    let rest = send(server.address, request("GET /2015-03-31/functions", "").as_bytes()).await;
    assert_eq!((rest.status, rest.error()), (403, "MissingAuthenticationTokenException"));
    assert_eq!(rest.json()["message"], "Missing Authentication Token");
    let target = "x-amz-target: Logs_20140328.DescribeLogGroups\r\n";
    let logs = send(server.address, request("POST /", target).as_bytes()).await;
    assert_eq!((logs.status, &logs.json()["__type"]), (400, &json!("MissingAuthenticationTokenException")));
    let query = send(server.address, request("GET /?Action=GetCallerIdentity", "").as_bytes()).await;
    assert_eq!(query.status, 403);
    assert!(query.text().contains("<Code>MissingAuthenticationToken</Code>"), "{query:?}");
    for broken in
        ["authorization: Basic x\r\n", "authorization: AWS4-HMAC-SHA256 Credential=a\r\n", "authorization: \u{7f}\r\n"]
    {
        let answer = send(server.address, request("GET /2015-03-31/functions", broken).as_bytes()).await;
        assert!((400..=403).contains(&answer.status), "{broken:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_changed_byte_anywhere_breaks_the_signature() {
    let server = Server::start(Limits::default()).await;
    let body = br#"{"Tags": {"a": "1"}}"#;
    let target = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af";
    let request = signed(server.address, "lambda", "POST", target, &[], body, KEY, SECRET);
    let text = String::from_utf8(request).unwrap();
    let answer = send(server.address, text.as_bytes()).await;
    assert_eq!((answer.status, answer.error()), (404, "ResourceNotFoundException"), "the signature itself is good");
    for (from, to) in [
        (r#""1""#, r#""2""#),
        ("function%3Af ", "function%3Ag "),
        ("POST ", "PUT "),
        ("us-east-1/lambda", "us-east-2/lambda"),
        (&server.address.port().to_string(), "80"),
    ] {
        assert!(text.contains(from), "{from:?}");
        let answer = send(server.address, text.replacen(from, to, 1).as_bytes()).await;
        assert_eq!((answer.status, answer.error()), (403, "InvalidSignatureException"), "{from:?} to {to:?}");
    }
}

#[tokio::test]
async fn a_role_gets_in_with_its_token_until_it_expires() {
    let server = Server::start(Limits::default()).await;
    let role = Principal::ExecutionRole {
        account: Default::default(),
        role_arn: "arn:aws:iam::000000000000:role/worker".to_owned(),
        session: "f".to_owned(),
    };
    let identity = |life: i64, token: Option<&'static str>| {
        let keys = server.sessions.issue(&role, Timestamp::now() + Duration::from_secs(3600));
        let keys = if life < 0 { server.sessions.issue(&role, Timestamp::UNIX_EPOCH) } else { keys };
        let token = token.map(str::to_owned).or(keys.session_token.clone()).unwrap();
        let headers = [("x-amz-security-token", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let (key, secret) = (&keys.access_key_id, &keys.secret_access_key);
        let body = b"Action=GetCallerIdentity&Version=2011-06-15";
        let request = signed(server.sandbox, "sts", "POST", "/", &headers, body, key, secret);
        let to = server.sandbox;
        async move { send(to, &request).await }
    };
    let answer = identity(1, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().contains("<Arn>arn:aws:sts::000000000000:assumed-role/worker/f</Arn>"), "{answer:?}");
    for refused in [identity(-1, None).await, identity(1, Some("forged.token")).await] {
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains("<Code>InvalidClientTokenId</Code>"), "{refused:?}");
    }
}

#[tokio::test]
async fn unsigned_endpoints_are_few_and_not_for_sandboxes() {
    let server = Server::start(Limits::default()).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").into_bytes();
    assert_eq!(send(server.address, &get("/-/health")).await.status, 200);
    assert_eq!(send(server.address, &get("/-/metrics")).await.status, 200);
    for path in ["/-/health", "/-/metrics", "/-/", "/-/other"] {
        assert_eq!(send(server.sandbox, &get(path)).await.status, 404, "{path}");
    }
    let sha = "0".repeat(64);
    for address in [server.address, server.sandbox] {
        for path in
            [format!("/-/code/{sha}"), format!("/-/code/{sha}?expires=99999999999&token=00"), "/-/code/..".into()]
        {
            assert_eq!(send(address, &get(&path)).await.status, 403, "{path}");
        }
        assert_eq!(send(address, &get(FUNCTIONS)).await.status, 403);
    }
}

#[tokio::test]
async fn a_code_location_works_through_the_address_that_was_asked() {
    let server = Server::start(Limits::default()).await;
    server.create("f").await;
    let answer = server.lambda("GET", "/2015-03-31/functions/f", &[], b"").await;
    let location = answer.json()["Code"]["Location"].as_str().unwrap().to_owned();
    let base = format!("http://{}", server.address);
    let target = location.strip_prefix(&base).expect("the Host of the request");
    let get = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    assert!(send(server.address, get.as_bytes()).await.body.starts_with(b"PK"));
    let later = get.replace("expires=", "expires=9");
    assert_eq!(send(server.address, later.as_bytes()).await.status, 403);
}

#[tokio::test]
async fn functions_neither_build_nor_delete_environments() {
    let server = Server::start(Limits::default()).await;
    let body = br#"{"runtime": "python3.11", "requirements": ["six"]}"#;
    let ask = async |to, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        send(to, &signed(to, "dayfly", "POST", target, headers, body, KEY, SECRET)).await
    };
    assert_eq!(ask(server.sandbox, "/environments", &[], body).await.status, 403);
    // From outside it is looked at: this server has no Python.
    let answer = ask(server.address, "/environments", &[], body).await;
    assert!(answer.status == 400 && answer.text().contains("IncompatiblePython"), "{}", answer.text());
    let delete = [("x-amz-target", "Dayfly_20261101.DeleteEnvironment")];
    assert_eq!(ask(server.sandbox, "/", &delete, br#"{"id": "x"}"#).await.status, 403);
    assert_eq!(ask(server.address, "/", &delete, br#"{"id": "x"}"#).await.status, 404);
}
