//! boto3 against the gateway. The interpreter is `$DAYFLY_TEST_PYTHON`, or `python3`; boto3 must be installed there.

use crate::harness::{KEY, SECRET, Server};
use dayfly_types::Limits;
use std::time::Duration;
use tokio::{process::Command, time::timeout};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_is_content() {
    let server = Server::start(Limits::default()).await;
    let python = std::env::var("DAYFLY_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let client = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/client.py"))
        .env("AWS_ENDPOINT_URL", format!("http://{}", server.address))
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_DEFAULT_REGION", "eu-central-1")
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(120), client).await.expect("the client ends").expect("python3 runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}
