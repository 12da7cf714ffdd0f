//! Clients that are broken, greedy or gone, and the end of the server.

use crate::harness::{KEY, SECRET, Server, create, parse, send, signed};
use dayfly_gateway::Patience;
use dayfly_types::Limits;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const INVOKE: &str = "/2015-03-31/functions/f/invocations";

/// What comes back for raw bytes, until the server closes.
async fn raw(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut all = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.expect("the connection is closed");
    all
}

async fn is_alive(server: &Server) -> bool {
    send(server.address, b"GET /-/health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.status == 200
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let server = Server::start(Limits::default()).await;
    let mut noise = Vec::new();
    let mut state = 1u32;
    for _ in 0..65_536 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((state >> 24) as u8);
    }
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        &noise,
    ] {
        let answer = raw(&server, garbage).await;
        assert!(answer.is_empty() || (400..=505).contains(&parse(&answer).status), "{answer:?}");
    }
    assert!(is_alive(&server).await);
}

#[tokio::test]
async fn hostile_targets_get_an_answer() {
    let server = Server::start(Limits::default()).await;
    for target in [
        "/%",
        "/%zz",
        "/%00",
        "//",
        "/../..",
        "/2015-03-31/functions/%ff%fe",
        "/2015-03-31/functions/%2e%2e",
        "/2015-03-31/functions//",
        "/?%=%",
        "*",
        "/\u{1}",
    ] {
        let answer =
            raw(&server, format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!((400..=404).contains(&parse(&answer).status), "{target:?}");
    }
    let long = format!("/2015-03-31/functions/{}", "a".repeat(60_000));
    let answer = server.lambda("GET", &long, &[], b"").await;
    assert_eq!((answer.status, answer.error()), (400, "ValidationException"));
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = Server::start(Limits { request_headers_bytes: 16 << 10, ..Limits::default() }).await;
    let large = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(20 << 10));
    assert_eq!(parse(&raw(&server, large.as_bytes()).await).status, 431);
    let many = format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", "a: b\r\n".repeat(500));
    assert_eq!(parse(&raw(&server, many.as_bytes()).await).status, 431);
    assert!(is_alive(&server).await);
}

#[tokio::test]
async fn a_body_over_its_limit_by_one_byte_is_refused_and_the_answer_is_read() {
    let limits =
        Limits { sync_payload_bytes: 1000, async_payload_bytes: 100, code_zip_bytes: 3000, ..Limits::default() };
    let server = Server::start(limits).await;
    server.create("f").await;
    let json = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    for (kind, most) in [("RequestResponse", 1000), ("Event", 100)] {
        let headers = [("x-amz-invocation-type", kind)];
        assert!(server.lambda("POST", INVOKE, &headers, json(most).as_bytes()).await.status < 300);
        let answer = server.lambda("POST", INVOKE, &headers, json(most + 1).as_bytes()).await;
        assert_eq!((answer.status, answer.error()), (413, "RequestTooLargeException"));
        let wanted =
            format!("{} byte payload is too large for the {kind} invocation type (limit {most} bytes)", most + 1);
        assert_eq!(answer.json()["message"], wanted);
    }
    // Much more than sockets hold: the server reads it to the end before it answers.
    let answer = server.lambda("POST", INVOKE, &[], json(16 << 20).as_bytes()).await;
    assert_eq!((answer.status, answer.error()), (413, "RequestTooLargeException"));
    let mut large = create("g");
    large["Description"] = "x".repeat(1 << 20).into();
    let answer = server.lambda("POST", "/2015-03-31/functions", &[], large.to_string().as_bytes()).await;
    assert_eq!((answer.status, answer.error()), (413, "RequestEntityTooLargeException"));
}

#[tokio::test]
async fn chunked_bodies_are_bounded_as_they_come() {
    let server = Server::start(Limits { sync_payload_bytes: 1000, ..Limits::default() }).await;
    server.create("f").await;
    let chunked = |body: &str| {
        let request = signed(server.address, "lambda", "POST", INVOKE, &[], body.as_bytes(), KEY, SECRET);
        let head = String::from_utf8(request).unwrap().split("\r\n\r\n").next().unwrap().to_owned();
        let head = head.replace(&format!("content-length: {}", body.len()), "transfer-encoding: chunked");
        let mut out = format!("{head}\r\n\r\n");
        for part in body.as_bytes().chunks(300) {
            out.push_str(&format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap()));
        }
        format!("{out}0\r\n\r\n")
    };
    let fits = format!("\"{}\"", "x".repeat(998));
    let answer = raw(&server, chunked(&fits).as_bytes()).await;
    assert_eq!(parse(&answer).status, 200);
    let answer = parse(&raw(&server, chunked(&format!("{fits} ")).as_bytes()).await);
    assert_eq!((answer.status, answer.error()), (413, "RequestTooLargeException"));
    let broken = chunked(&fits).replace("12c\r\n", "zz\r\n");
    let answer = raw(&server, broken.as_bytes()).await;
    assert!(answer.is_empty() || parse(&answer).status == 400, "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let server = Server::start(Limits::default()).await;
    server.create("f").await;
    let request = signed(server.address, "lambda", "POST", INVOKE, &[], b"1", KEY, SECRET);
    let request = String::from_utf8(request).unwrap().replace("connection: close\r\n", "");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n1") {
            head.push(timeout(Duration::from_secs(5), stream.read_u8()).await.unwrap().unwrap());
        }
        assert_eq!(parse(&head).status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_what_runs_and_closes_what_is_idle() {
    let mut server = Server::start(Limits::default()).await;
    server.create("f").await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /-/health HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    let (address, request) =
        (server.address, signed(server.address, "lambda", "POST", INVOKE, &[], b"\"slow\"", KEY, SECRET));
    let running = tokio::spawn(async move { send(address, &request).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    let begun = Instant::now();
    let serving = server.stop();
    assert_eq!(timeout(Duration::from_secs(2), idle.read(&mut buffer)).await.unwrap().unwrap(), 0, "idle is closed");
    let answer = running.await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "\"slow\""));
    for one in serving {
        timeout(Duration::from_secs(3), one).await.expect("no wait for the deadline").unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

/// Short times, so that the tests are short.
fn impatient() -> Patience {
    let short = Duration::from_millis(400);
    Patience { headers: short, silence: short, grace: Duration::from_millis(1200), answer: Duration::from_millis(1500) }
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let server = Server::start_with(Limits::default(), impatient()).await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for head in ["", "G", "GET / HTTP/1.1\r\nhost: h\r\nx: ", &preface[..9], preface] {
        let begun = Instant::now();
        raw(&server, head.as_bytes()).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{head:?} held the connection");
    }
}

#[tokio::test]
async fn slow_bodies_are_refused_whether_they_stop_or_trickle() {
    let server = Server::start_with(Limits::default(), impatient()).await;
    server.create("f").await;
    let request = signed(server.address, "lambda", "POST", INVOKE, &[], &[b' '; 1000], KEY, SECRET);
    let (head, _) = request.split_at(request.len() - 1000);
    let begun = Instant::now();
    let stopped = parse(&raw(&server, head).await);
    assert_eq!((stopped.status, stopped.error()), (408, "RequestTimeoutException"));

    let (mut read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
    write.write_all(head).await.unwrap();
    let trickle = tokio::spawn(async move {
        while write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut all = Vec::new();
    let _ = timeout(Duration::from_secs(5), read.read_to_end(&mut all)).await.expect("an end");
    trickle.abort();
    assert_eq!(parse(&all).status, 408);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let mut server = Server::start_with(Limits::default(), impatient()).await;
    server.create("f").await;
    // Longer than the sockets' buffers take.
    let payload = format!("\"{}\"", "x".repeat(6 << 20).split_at((6 << 20) - 2).0);
    let request = signed(server.address, "lambda", "POST", INVOKE, &[], payload.as_bytes(), KEY, SECRET);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    for one in server.stop() {
        timeout(Duration::from_secs(10), one).await.expect("the server ends").unwrap();
    }
    // Well within the five seconds that requests in flight would have.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    drop(stream);
}

#[tokio::test]
async fn a_request_refused_by_its_head_is_answered_although_it_has_a_body() {
    let server = Server::start(Limits::default()).await;
    let body = vec![b'x'; 5 << 20];
    let answer =
        send(server.address, &signed(server.address, "lambda", "POST", INVOKE, &[], &body, "AKIANOBODY", SECRET)).await;
    assert_eq!((answer.status, answer.error()), (403, "UnrecognizedClientException"));
}
