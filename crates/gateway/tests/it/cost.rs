//! What the gateway itself costs per request. Prints; asserts nothing, since machines differ.
//! `cargo test --release -p dayfly-gateway --test it -- --ignored --nocapture cost`

use crate::harness::{KEY, SECRET, Server, signed};
use dayfly_types::{Limits, Timestamp, credentials::Principal};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ROUNDS: usize = 5000;

/// Median time of one request of many over one connection, with the same bytes each time.
async fn median(to: std::net::SocketAddr, request: &[u8]) -> Duration {
    let request = String::from_utf8(request.to_vec()).unwrap().replace("connection: close\r\n", "");
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&buffer[..read]));
        times.push(begun.elapsed());
    }
    times.sort();
    times[ROUNDS / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cost() {
    let server = Server::start(Limits::default()).await;
    server.create("f").await;
    let to = server.address;
    let role = Principal::ExecutionRole {
        account: Default::default(),
        role_arn: "arn:aws:iam::000000000000:role/worker".to_owned(),
        session: "f".to_owned(),
    };
    let keys = server.sessions.issue(&role, Timestamp::now() + Duration::from_secs(600));
    let token = keys.session_token.clone().unwrap();
    let path = "/2015-03-31/functions/f/invocations";
    let dry = [("x-amz-invocation-type", "DryRun")];
    let session = [("x-amz-invocation-type", "DryRun"), ("x-amz-security-token", token.as_str())];
    let health = b"GET /-/health HTTP/1.1\r\nhost: h\r\n\r\n";
    for (what, request) in [
        ("unsigned health", health.to_vec()),
        ("Invoke DryRun, root key", signed(to, "lambda", "POST", path, &dry, b"{}", KEY, SECRET)),
        (
            "Invoke DryRun, session key",
            signed(to, "lambda", "POST", path, &session, b"{}", &keys.access_key_id, &keys.secret_access_key),
        ),
        ("Invoke, scripted worker", signed(to, "lambda", "POST", path, &[], b"{}", KEY, SECRET)),
    ] {
        println!("{what}: {:?}", median(to, &request).await);
    }
}
