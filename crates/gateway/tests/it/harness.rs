//! A gateway to test against, and a client that signs by hand.

use async_trait::async_trait;
use bytes::Bytes;
use dayfly_gateway::{Gateway, Options, Patience};
use dayfly_scheduler::{Executor, Handle, Layers, Parts};
use dayfly_types::{
    AccountId, FunctionError, InvokeError, JobFunction, Limits, LogLine, LogSource, Outcome, Qualifier, Runtime,
    SystemClock, Timestamp, Usage, UsageStatus,
    credentials::{Credentials, SessionIssuer},
};
use dayfly_worker::{Call, Provision, Provisioning, code};
use dayfly_worker::{
    builder::Builder,
    code::compile::{Compile, Job, Take},
};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{any::Any, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use uuid::Uuid;

pub const KEY: &str = "AKIADAYFLYTEST000001";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A running gateway.
pub struct Server {
    pub address: SocketAddr,
    pub sandbox: SocketAddr,
    pub sessions: SessionIssuer,
    stop: Vec<oneshot::Sender<()>>,
    serving: Vec<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
struct NoCompiler;

impl Compile for NoCompiler {
    fn compile(&self, _: &Job<'_>, _: Take<'_>) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Server {
    pub async fn start(limits: Limits) -> Self {
        Self::start_with(limits, Patience::default()).await
    }

    pub async fn start_with(limits: Limits, patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = dayfly_store::embedded::open(folder.path()).unwrap();
        let meter = dayfly_meter::Handle::start(store.clone(), Default::default()).await.unwrap();
        let clock = Arc::new(SystemClock);
        let scheduler = Handle::start(Parts {
            store: store.clone(),
            worker: Arc::new(Scripted),
            meter: meter.clone(),
            clock: clock.clone(),
            limits: limits.clone(),
        })
        .await
        .unwrap();
        let sessions = SessionIssuer::new([7; 32]);
        let builder = Builder::open(
            &folder.path().join("environments"),
            Default::default(),
            Default::default(),
            Arc::new(NoCompiler),
        )
        .unwrap();
        let environments = dayfly_scheduler::Environments::start(builder);
        let layers = Layers::new(store.clone(), environments.clone(), clock.clone(), &limits);
        let queues = dayfly_triggers::Queues::start(store.clone(), clock.clone()).await.unwrap();
        let mappings =
            dayfly_triggers::Mappings::start(store.clone(), clock.clone(), queues.clone(), scheduler.clone())
                .await
                .unwrap();
        let calls = Arc::new(scheduler.clone());
        let deliveries = dayfly_triggers::Deliveries::start(store.clone(), clock.clone(), queues.clone(), calls);
        let events = dayfly_triggers::Events::start(store.clone(), clock.clone(), deliveries.clone()).await.unwrap();
        let schedules =
            dayfly_triggers::Schedules::start(store.clone(), clock.clone(), deliveries.clone()).await.unwrap();
        let gateway = Gateway::new(Options {
            scheduler,
            events,
            deliveries,
            schedules,
            layers,
            environments,
            meter,
            objects: dayfly_objects::Objects::start(store.clone(), clock.clone()),
            tables: dayfly_tables::Tables::start(store.clone(), clock.clone()).await.unwrap(),
            queues,
            mappings,
            store,
            clock,
            limits,
            account: AccountId::default(),
            root: Credentials {
                access_key_id: KEY.to_owned(),
                secret_access_key: SECRET.to_owned(),
                session_token: None,
            },
            sessions: sessions.clone(),
            region: "us-east-1".parse().unwrap(),
            public_endpoint: "http://127.0.0.1:1".to_owned(),
            secret: [9; 32],
        })
        .with_patience(patience);
        let (mut stop, mut serving, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for gateway in [gateway.clone(), gateway.for_sandbox()] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let (send, receive) = oneshot::channel();
            stop.push(send);
            serving.push(tokio::spawn(async move {
                gateway.serve(listener, async { drop(receive.await) }, Duration::from_secs(5)).await;
            }));
        }
        Self { address: addresses[0], sandbox: addresses[1], sessions, stop, serving, _folder: folder }
    }

    /// Tells the gateway to stop; its task ends once it has drained.
    pub fn stop(&mut self) -> Vec<JoinHandle<()>> {
        self.stop.clear();
        std::mem::take(&mut self.serving)
    }

    /// A signed request to Lambda.
    pub async fn lambda(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.address, &signed(self.address, "lambda", method, target, headers, body, KEY, SECRET)).await
    }

    /// A signed request of JSON 1.1.
    pub async fn json(&self, service: &str, target: &str, body: &Value) -> Answer {
        let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
        let body = body.to_string();
        let request = signed(self.address, service, "POST", "/", &headers, body.as_bytes(), KEY, SECRET);
        send(self.address, &request).await
    }

    /// Makes a function.
    pub async fn create(&self, name: &str) -> Value {
        let answer = self.lambda("POST", "/2015-03-31/functions", &[], create(name).to_string().as_bytes()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }
}

/// CreateFunction's body.
pub fn create(name: &str) -> Value {
    serde_json::json!({
        "FunctionName": name,
        "Runtime": "python3.11",
        "Role": "arn:aws:iam::000000000000:role/worker",
        "Handler": "app.handler",
        "Code": {"ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="},
    })
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// AWS's name of the error.
    pub fn error(&self) -> &str {
        self.header("x-amzn-errortype").unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A signed HTTP request, as bytes.
#[allow(clippy::too_many_arguments)]
pub fn signed(
    to: SocketAddr,
    service: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    key: &str,
    secret: &str,
) -> Vec<u8> {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // Clients encode the path a second time for the signature.
    let path = path.replace('%', "%25").replace(':', "%3A");
    let mut all: Vec<(&str, String)> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    all.push(("host", to.to_string()));
    all.push(("x-amz-date", now.clone()));
    all.sort();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let lines: String = all.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names = names.join(";");
    let hash = hex::encode(Sha256::digest(body));
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{hash}");
    let scope = format!("{}/us-east-1/{service}/aws4_request", &now[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let mut signing = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        signing = mac(&signing, part);
    }
    let signature = hex::encode(mac(&signing, &text));
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in &all {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!(
        "authorization: AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\r\n"
    ));
    [request.as_bytes(), body].concat()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Sends bytes and reads the answer until the server closes the connection.
pub async fn send(to: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut all = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.expect("an answer").unwrap();
    parse(&all)
}

pub fn parse(all: &[u8]) -> Answer {
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Answer { status, headers, body: all[end + 4..].to_vec() }
}

/// A worker that answers with the event, or fails when the event says so.
struct Scripted;

#[async_trait]
impl Executor for Scripted {
    fn runtimes(&self) -> Vec<Runtime> {
        vec![Runtime::Python { minor: 11 }, Runtime::Python { minor: 12 }]
    }

    async fn publish(&self, _sha256: &str, zip: PathBuf, _runtime: Runtime) -> Result<(), code::Error> {
        match std::fs::read(zip)?.starts_with(b"PK") {
            true => Ok(()),
            false => Err(code::Error::Invalid("Could not unzip uploaded file.".to_owned())),
        }
    }

    async fn publish_function_file(
        &self,
        _sha256: &str,
        file: PathBuf,
        _job: &JobFunction,
        _runtime: Runtime,
    ) -> Result<Box<dyn Any + Send>, code::Error> {
        match std::fs::read(file)?.starts_with(b"DAYFLYF1") {
            true => Ok(Box::new(())),
            false => Err(code::Error::Invalid("it is no function file".to_owned())),
        }
    }

    fn capacity_mb(&self) -> u32 {
        4096
    }

    async fn publish_layers(&self, _: &[code::LayerSource], _: Runtime) -> Result<(), code::Error> {
        Ok(())
    }

    fn provision(&self, _: Vec<Provision>) {}

    fn provisioning(&self, _: &str) -> Provisioning {
        Provisioning::default()
    }

    async fn call(&self, call: Call) -> Result<Outcome, InvokeError> {
        let id = call.invocation.request_id;
        let event = call.invocation.payload.clone();
        if event.starts_with(b"\"slow\"") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let result = match event.starts_with(b"\"fail\"") {
            true => Err(FunctionError {
                error_type: "ValueError".to_owned(),
                payload: Bytes::from_static(br#"{"errorMessage": "no", "errorType": "ValueError"}"#),
            }),
            false => Ok(event),
        };
        let stream = format!("2026/11/23/[$LATEST]{}", id.0.simple());
        let line = |source, text: String| LogLine { at: Timestamp::now(), source, text };
        let mut lines = vec![line(LogSource::Platform, format!("START RequestId: {id} Version: $LATEST"))];
        lines.extend((0..3).map(|number| line(LogSource::Function, format!("line {number}"))));
        lines.push(line(LogSource::Platform, format!("END RequestId: {id}")));
        lines.push(line(LogSource::Platform, format!("REPORT RequestId: {id}\tDuration: 1.50 ms\t")));
        call.logs.lines(&stream, lines);
        let status = if result.is_ok() { UsageStatus::Success } else { UsageStatus::Error };
        let usage = Usage {
            request_id: id,
            function: call.function.arn.qualified(Qualifier::Latest),
            instance_id: Uuid::new_v4().simple().to_string(),
            log_stream: stream,
            attempt: call.attempt,
            started_at: Timestamp::now(),
            duration_us: 1500,
            billed_ms: 2,
            memory_mb: call.function.memory_mb,
            memory_peak_bytes: 1 << 20,
            cpu_us: 1000,
            init_us: None,
            restore_us: None,
            ephemeral_storage_mb: 512,
            status,
            tags: call.function.tags.clone(),
        };
        let log_tail = call.want_log_tail.then(|| Bytes::from(format!("REPORT RequestId: {id}\n")));
        Ok(Outcome { executed_version: "$LATEST".to_owned(), result, usage, log_tail })
    }

    fn retire(&self, _revision_id: &str) {}
}
