//! Deploys a folder with `app.py` and calls `app.handler` N times: `call FOLDER N [CLIENTS] [MEMORY_MB]`.
use dayfly_types::*;
use dayfly_worker::{Call, Handle, Options};
use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

struct Print;
impl LogSink for Print {
    fn lines(&self, _stream: &str, lines: Vec<LogLine>) {
        if std::env::var_os("QUIET").is_none() {
            for line in lines {
                println!("  {:?} {}", line.source, line.text);
            }
        }
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("launcher") {
        dayfly_sandbox::launcher::main()
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    let args: Vec<String> = std::env::args().collect();
    let (source, count): (&str, usize) = (&args[1], args[2].parse().unwrap());
    let clients: usize = args.get(3).map_or(1, |n| n.parse().unwrap());
    let memory_mb: u32 = args.get(4).map_or(128, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let zip = folder.path().join("code.zip");
    assert!(
        std::process::Command::new("python3")
            .current_dir(source)
            .args(["-m", "zipfile", "-c"])
            .arg(&zip)
            .args(std::fs::read_dir(source).unwrap().map(|e| e.unwrap().file_name()))
            .status()
            .unwrap()
            .success()
    );
    let sha = {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(std::fs::read(&zip).unwrap()))
    };
    let worker = Handle::start(Options {
        folder: folder.path().join("cache"),
        limits: Limits::default(),
        server_id: format!("example-{}", std::process::id()),
        credentials: Arc::new(|_| credentials::Credentials {
            access_key_id: "k".into(),
            secret_access_key: "s".into(),
            session_token: None,
        }),
        endpoint: Arc::new(|_| Box::new(())),
        zygote_idle: Duration::from_secs(300),
    })
    .await
    .unwrap();
    println!("{:?}", worker.runtimes());
    let runtime: Runtime = std::env::var("RUNTIME").unwrap_or("python3.11".into()).parse().unwrap();
    worker.publish(&sha, zip, runtime).await.unwrap();
    let arn: FunctionArn = "arn:aws:lambda:us-east-1:000000000000:function:app".parse().unwrap();
    let function = Arc::new(FunctionConfiguration {
        arn: arn.clone(),
        runtime,
        handler: "app.handler".into(),
        role: "arn:aws:iam::000000000000:role/x".into(),
        description: String::new(),
        timeout_s: 3,
        memory_mb,
        ephemeral_storage_mb: 512,
        environment: Default::default(),
        architecture: "x86_64".into(),
        tags: Default::default(),
        logging: function::LoggingConfig {
            format: "Text".into(),
            application_level: None,
            system_level: None,
            group: "/aws/lambda/app".into(),
        },
        code: CodeReference { sha256: sha, size_bytes: 0 },
        revision_id: "1".into(),
        last_modified: Timestamp::now(),
        state: function::State::Active,
        last_update: function::LastUpdate::Successful,
        other: Default::default(),
    });
    let started = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let (worker, function, arn) = (worker.clone(), function.clone(), arn.clone());
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for n in 0..count / clients {
                let at = Instant::now();
                let (early, answered) = tokio::sync::oneshot::channel();
                let call = Call {
                    function: function.clone(),
                    attempt: 1,
                    want_log_tail: false,
                    logs: Arc::new(Print),
                    early: Some(early),
                    invocation: Arc::new(Invocation {
                        request_id: RequestId::random(),
                        function: arn.clone(),
                        payload: bytes::Bytes::from(format!("{{\"n\":{n}}}")),
                        client_context: None,
                        tenant_id: None,
                        trace_header: None,
                        received_at: Timestamp::now(),
                    }),
                };
                let worker2 = worker.clone();
                let rest = tokio::spawn(async move { worker2.call(call).await });
                let outcome = match answered.await {
                    Ok(outcome) => outcome,
                    Err(_) => rest.await.unwrap().unwrap(),
                };
                times.push(at.elapsed());
                if n < 3 && client == 0 {
                    println!("{:?} {:?} {:?}", outcome.result, outcome.usage.duration_us, at.elapsed());
                }
            }
            times
        }));
    }
    let mut times: Vec<Duration> = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let wall = started.elapsed();
    times.sort();
    println!(
        "{} calls in {wall:?}: {:.0}/s p50 {:?} p99 {:?} max {:?}",
        times.len(),
        times.len() as f64 / wall.as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times.last().unwrap()
    );
    if let Some(s) = std::env::var_os("WAIT") {
        tokio::time::sleep(Duration::from_secs(s.to_string_lossy().parse().unwrap())).await;
    }
    let at = Instant::now();
    worker.drain(Duration::from_secs(5)).await;
    println!("drained in {:?}", at.elapsed());
    std::io::stdout().flush().unwrap();
}
