//! The worker in real sandboxes. This program is its own launcher, so it has a `main` that says so before the tests run.

#![allow(clippy::unwrap_used, missing_docs)]

mod jobs;

use dayfly_types::{
    CodeReference, FunctionConfiguration, Invocation, InvokeError, Limits, LogLine, LogSink, Qualifier, RequestId,
    Timestamp, UsageStatus,
    credentials::Credentials,
    function::{LastUpdate, LoggingConfig, State},
};
use dayfly_worker::{
    Call, Error, Handle, Options,
    code::compile::{Compile, Job},
    interpreters::{self, Interpreter},
};
use libtest_mimic::{Arguments, Trial};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use zip::{ZipWriter, write::SimpleFileOptions};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("launcher") {
        dayfly_sandbox::launcher::main()
    }
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 19] = [
        ("a_package_is_compiled_in_a_sandbox", a_package_is_compiled_in_a_sandbox),
        ("a_compiler_sees_and_reaches_nothing_of_the_host", a_compiler_sees_and_reaches_nothing_of_the_host),
        ("a_compiler_that_eats_memory_is_ended", a_compiler_that_eats_memory_is_ended),
        ("a_compiler_that_does_not_listen_is_told_of", a_compiler_that_does_not_listen_is_told_of),
        ("a_compiler_that_is_none_is_told_of", a_compiler_that_is_none_is_told_of),
        ("a_call_that_is_dropped_leaves_nothing", a_call_that_is_dropped_leaves_nothing),
        ("a_call_that_is_taken_back_ends_at_once_and_tells_what_it_used", a_call_that_is_taken_back),
        ("who_waits_for_a_version_that_is_retired_is_served", who_waits_for_a_version_that_is_retired_is_served),
        ("an_init_that_leaves_a_babbler_holds_up_nothing", an_init_that_leaves_a_babbler_holds_up_nothing),
        ("an_idle_version_is_gone_and_comes_again", an_idle_version_is_gone_and_comes_again),
        ("a_burst_of_calls_that_time_out_costs_only_them", a_burst_of_calls_that_time_out_costs_only_them),
        ("a_jobs_calls_take_and_give_bytes", jobs::a_jobs_calls_take_and_give_bytes),
        ("a_function_file_that_is_none_fails_in_init", jobs::a_function_file_that_is_none_fails_in_init),
        ("a_function_file_is_kept_as_long_as_it_is_used", jobs::a_function_file_is_kept_as_long_as_it_is_used),
        ("a_captured_array_is_in_memory_once", jobs::a_captured_array_is_in_memory_once),
        ("threads_follow_the_share_of_cpu", jobs::threads_follow_the_share_of_cpu),
        ("a_built_environment_is_seen", jobs::a_built_environment_is_seen),
        (
            "the_callers_own_environment_is_seen_and_nothing_else",
            jobs::the_callers_own_environment_is_seen_and_nothing_else,
        ),
        ("an_executable_that_cannot_run_the_job_is_refused", jobs::an_executable_that_cannot_run_the_job_is_refused),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            with_worker(test);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit()
}

type Test = fn(&Fixture);

struct Fixture {
    worker: Handle,
    server_id: String,
    folder: PathBuf,
    interpreter: Interpreter,
}

/// Runs a test with a worker of its own, and asserts that it leaves no temporary folder.
fn with_worker(test: Test) {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let folder = tempfile::tempdir().unwrap();
    let server_id = format!("test-{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
    let options = Options {
        folder: folder.path().join("cache"),
        limits: Limits::default(),
        server_id: server_id.clone(),
        credentials: Arc::new(|_| Credentials {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        }),
        endpoint: Arc::new(|_| Box::new(())),
        environments: dayfly_worker::builder::Policy::default(),
        zygote_idle: Duration::from_secs(1),
        memory_mb: None,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let worker = match runtime.block_on(Handle::start(options)) {
        Ok(worker) => worker,
        Err(Error::Machine(error)) => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let interpreter = interpreters::find(&[]).pop().unwrap();
    let fixture = Fixture { worker: worker.clone(), server_id, folder: folder.path().to_owned(), interpreter };
    let _context = runtime.enter();
    let done = catch_unwind(AssertUnwindSafe(|| test(&fixture)));
    runtime.block_on(worker.drain(Duration::ZERO));
    for entry in fs::read_dir(folder.path().join("cache/code")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name} was left behind");
    }
    if let Err(failure) = done {
        resume_unwind(failure);
    }
}

fn a_package_is_compiled_in_a_sandbox(fixture: &Fixture) {
    let files = [("main.py", "x = 1\n"), ("package/part.py", "y = 2\n"), ("wrong.py", "print 'two'\n")];
    let sha256 = publish(fixture, &files);
    let tag = &fixture.interpreter.cache_tag;
    let tree = fixture.folder.join(format!("cache/code/{sha256}-{tag}"));
    for (folder, name, made) in [("", "main", true), ("package", "part", true), ("", "wrong", false)] {
        let path = tree.join(folder).join(format!("__pycache__/{name}.{tag}.pyc"));
        assert_eq!(path.exists(), made, "{name}");
        if made {
            let own = fs::metadata(&fixture.folder).unwrap().uid();
            assert_eq!(fs::metadata(path).unwrap().uid(), own, "written by the server, not by the compiler");
        }
    }
}

/// Publishes these files, and gives the package's SHA-256.
fn publish(fixture: &Fixture, files: &[(&str, &str)]) -> String {
    let mut archive = ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    let bytes = archive.finish().unwrap().into_inner();
    let zip = fixture.folder.join("code.zip");
    fs::write(&zip, &bytes).unwrap();
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let published = fixture.worker.publish(&sha256, zip, fixture.interpreter.runtime);
    tokio::runtime::Handle::current().block_on(published).unwrap();
    sha256
}

/// A program in the package that stands for an interpreter that was taken over. It answers with `say`.
fn taken_over(fixture: &Fixture, body: &str) -> (PathBuf, Interpreter) {
    let tree = fixture.folder.join("tree");
    fs::create_dir(&tree).unwrap();
    let program = tree.join("compiler");
    let interpreter = fixture.interpreter.executable.display();
    let text = format!(
        "#!{interpreter} -IS\n\
         import os, struct\n\
         while os.read(4, 4096):\n    pass\n\
         def say(text):\n    os.write(4, struct.pack('<II', 0, len(text)) + text.encode())\n\
         {body}\n"
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(tree.join("a.py"), "x = 1\n").unwrap();
    (tree, Interpreter { executable: "/var/task/compiler".into(), ..fixture.interpreter.clone() })
}

/// What it answers, and how the job ends.
fn compile(fixture: &Fixture, tree: &Path, interpreter: &Interpreter) -> (String, io::Result<()>) {
    let mut said = String::new();
    let sources = [PathBuf::from("a.py")];
    let job = Job { interpreter, tree, root: tree, sources: &sources };
    let done = fixture.worker.compiler().compile(&job, &mut |_, bytes| {
        said += &String::from_utf8_lossy(bytes);
        Ok(())
    });
    (said, done)
}

const PROBE: &str = r#"
import socket
def outcome(work):
    try:
        return repr(work())
    except OSError as error:
        return "refused"
def write(path):
    with open(path, "w") as file:
        return file.write("x")
def connect():
    with socket.socket() as one:
        one.settimeout(2)
        one.connect(("169.254.169.254", 80))
def become_root():
    os.setuid(0)
secrets = ["/etc/shadow", "/etc/passwd", "/home", "/var/run", "/var/runtime", FOLDER, SOURCES]
lines = [
    "uid %d" % os.getuid(),
    "pid %d of %d" % (os.getpid(), len([name for name in os.listdir("/proc") if name.isdigit()])),
    "sees %s" % [path for path in secrets if os.path.exists(path)],
    "tree %s" % outcome(lambda: write("/var/task/new")),
    "root %s" % outcome(lambda: write("/new")),
    "network %s" % outcome(connect),
    "privilege %s" % outcome(become_root),
    "signal %s" % outcome(lambda: os.kill(SERVER, 0)),
    "environment %s" % sorted(set(os.environ) - {"LC_CTYPE"}),
]
say("\n".join(lines))
"#;

fn a_compiler_sees_and_reaches_nothing_of_the_host(fixture: &Fixture) {
    let (server, sources) = (std::process::id(), env!("CARGO_MANIFEST_DIR"));
    let body = format!("FOLDER = {:?}\nSOURCES = {sources:?}\nSERVER = {server}\n{PROBE}", fixture.folder);
    let (tree, interpreter) = taken_over(fixture, &body);
    let (said, done) = compile(fixture, &tree, &interpreter);
    done.unwrap();
    // As root, functions have an id of their own; else there is but one.
    let uid = if rustix::process::getuid().is_root() { 993 } else { 0 };
    let expected = format!(
        "uid {uid}\npid 1 of 1\nsees []\ntree refused\nroot refused\nnetwork refused\nprivilege refused\n\
         signal refused\nenvironment []"
    );
    assert_eq!(said, expected);
    assert!(!tree.join("new").exists());
}

fn a_compiler_that_eats_memory_is_ended(fixture: &Fixture) {
    let (tree, interpreter) = taken_over(fixture, "say('first')\nhoard = [bytearray(1 << 24) for _ in range(1000)]");
    let (said, done) = compile(fixture, &tree, &interpreter);
    assert_eq!(said, "first", "what it had compiled is kept");
    let error = done.unwrap_err().to_string();
    assert!(error.contains("signal: Some(9)"), "{error}");
}

fn a_compiler_that_does_not_listen_is_told_of(fixture: &Fixture) {
    let (tree, interpreter) = taken_over(fixture, "os.close(4)\nimport time\ntime.sleep(1000)");
    let started = Instant::now();
    let (said, done) = compile(fixture, &tree, &interpreter);
    assert_eq!(said, "");
    assert_eq!(done.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(30), "it is not waited for");
}

fn a_compiler_that_is_none_is_told_of(fixture: &Fixture) {
    let (tree, interpreter) = taken_over(fixture, "");
    fs::remove_file(tree.join("compiler")).unwrap();
    let (said, done) = compile(fixture, &tree, &interpreter);
    assert_eq!(said, "");
    let error = done.unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
}

/// A function of one file, whose `handler` is called.
fn function(fixture: &Fixture, source: &str) -> Arc<FunctionConfiguration> {
    let sha256 = publish(fixture, &[("app.py", source)]);
    Arc::new(FunctionConfiguration {
        arn: "arn:aws:lambda:us-east-1:000000000000:function:test".parse().unwrap(),
        runtime: fixture.interpreter.runtime,
        handler: "app.handler".to_owned(),
        role: "arn:aws:iam::000000000000:role/test".to_owned(),
        description: String::new(),
        timeout_s: 2,
        memory_mb: 128,
        ephemeral_storage_mb: 512,
        environment: Default::default(),
        architecture: "x86_64".to_owned(),
        tags: Default::default(),
        logging: LoggingConfig {
            format: "Text".to_owned(),
            application_level: None,
            system_level: None,
            group: "/aws/lambda/test".to_owned(),
        },
        code: CodeReference { sha256, size_bytes: 0 },
        revision_id: "1".to_owned(),
        last_modified: Timestamp::now(),
        state: State::Active,
        last_update: LastUpdate::Successful,
        other: Default::default(),
        layers: Vec::new(),
        job: None,
    })
}

/// Keeps what the function writes.
#[derive(Default)]
struct Log(Mutex<String>);

impl LogSink for Log {
    fn lines(&self, _: &str, lines: Vec<LogLine>) {
        self.0.lock().unwrap().extend(lines.into_iter().map(|line| line.text + "\n"));
    }
}

impl Log {
    fn has(&self, text: &str) -> bool {
        self.text().contains(text)
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

fn call(function: &Arc<FunctionConfiguration>, event: &str, logs: &Arc<Log>) -> Call {
    let invocation = Invocation {
        request_id: RequestId::random(),
        function: function.arn.qualified(Qualifier::Latest),
        received_at: Timestamp::now(),
        payload: event.to_owned().into(),
        client_context: None,
        trace_header: None,
        tenant_id: None,
    };
    Call {
        function: function.clone(),
        invocation: Arc::new(invocation),
        attempt: 1,
        want_log_tail: false,
        early: None,
        started: None,
        cancel: None,
        logs: logs.clone(),
    }
}

/// Waits until something holds, for as long as a busy machine may need.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Cgroups of zygotes and instances of this worker.
fn cgroups(fixture: &Fixture) -> Vec<PathBuf> {
    cgroup_folders(&fixture.server_id)
}

fn cgroup_folders(server_id: &str) -> Vec<PathBuf> {
    let folder = format!("dayfly-{server_id}");
    let mounts = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(|mount| Path::new(mount).join(&folder));
    let Some(folder) = mounts.iter().find(|folder| folder.is_dir()) else { return Vec::new() };
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = |name: &str| name.starts_with("instance-") || name.starts_with("zygote-");
    entries.filter(|entry| entry.file_name().to_str().is_some_and(named)).map(|entry| entry.path()).collect()
}

fn a_call_that_is_taken_back(fixture: &Fixture) {
    let source = "import time\ndef handler(event, context):\n    print('begun', flush=True)\n    time.sleep(event)\n";
    let function = function(fixture, source);
    let (worker, log) = (fixture.worker.clone(), Arc::new(Log::default()));
    tokio::runtime::Handle::current().block_on(async {
        let (cancel, cancelled) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        let running = tokio::spawn({
            let call = Call { started: Some(started), cancel: Some(cancelled), ..call(&function, "1000", &log) };
            let worker = worker.clone();
            async move { worker.call(call).await }
        });
        has_started.await.unwrap();
        until("the call runs", || log.has("begun")).await;
        let asked = Instant::now();
        cancel.send(()).unwrap();
        let outcome = running.await.unwrap().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(outcome.usage.status, UsageStatus::Cancelled);
        assert_eq!(outcome.result.unwrap_err().error_type, "Sandbox.Cancelled");
        assert!(outcome.usage.billed_ms > 0 && outcome.usage.memory_peak_bytes > 0);
        assert!(log.has("Status: cancelled"));
        // Before it has an instance, there is nothing to account for.
        let (cancel, cancelled) = oneshot::channel();
        cancel.send(()).unwrap();
        let early = worker.call(Call { cancel: Some(cancelled), ..call(&function, "0", &log) }).await;
        assert!(matches!(early, Err(InvokeError::Cancelled)), "{early:?}");
        worker.retire(&function.revision_id);
        until("its instance, the spares and the zygote are gone", || cgroups(fixture).is_empty()).await;
    });
}

fn a_call_that_is_dropped_leaves_nothing(fixture: &Fixture) {
    let source = "import time\ndef handler(event, context):\n    print('begun', flush=True)\n    time.sleep(event)\n";
    let function = function(fixture, source);
    let (worker, log) = (fixture.worker.clone(), Arc::new(Log::default()));
    tokio::runtime::Handle::current().block_on(async {
        let running = tokio::spawn({
            let (worker, call) = (worker.clone(), call(&function, "1000", &log));
            async move { worker.call(call).await }
        });
        until("the call runs", || log.has("begun")).await;
        assert!(!cgroups(fixture).is_empty());
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        worker.retire(&function.revision_id);
        until("its instance, the spares and the zygote are gone", || cgroups(fixture).is_empty()).await;
    });
}

fn who_waits_for_a_version_that_is_retired_is_served(fixture: &Fixture) {
    let source = "import time\ntime.sleep(0.5)\ndef handler(event, context):\n    return event\n";
    let function = function(fixture, source);
    let (worker, log) = (fixture.worker.clone(), Arc::new(Log::default()));
    tokio::runtime::Handle::current().block_on(async {
        let waiting = worker.call(call(&function, "7", &log));
        let retire = async {
            until("init has begun", || log.has("INIT_START")).await;
            worker.retire(&function.revision_id);
        };
        let both = async { tokio::join!(waiting, retire) };
        let (outcome, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
        assert_eq!(outcome.unwrap().result.unwrap(), "7");
    });
}

fn an_idle_version_is_gone_and_comes_again(fixture: &Fixture) {
    let function = function(fixture, "def handler(event, context):\n    return event\n");
    let (worker, log) = (fixture.worker.clone(), Arc::new(Log::default()));
    tokio::runtime::Handle::current().block_on(async {
        for event in ["1", "2"] {
            assert_eq!(worker.call(call(&function, event, &log)).await.unwrap().result.unwrap(), event);
            assert!(!cgroups(fixture).is_empty());
            until("the zygote and the spares are gone", || cgroups(fixture).is_empty()).await;
        }
    });
}

fn an_init_that_leaves_a_babbler_holds_up_nothing(fixture: &Fixture) {
    let source = "import os\nif not os.fork():\n    while True:\n        os.write(1, b'x' * 65536)\nos._exit(3)\n";
    let function = function(fixture, source);
    let (worker, log) = (fixture.worker.clone(), Arc::new(Log::default()));
    tokio::runtime::Handle::current().block_on(async {
        let call = worker.call(call(&function, "{}", &log));
        let outcome = tokio::time::timeout(Duration::from_secs(30), call).await.unwrap().unwrap();
        assert_eq!(outcome.result.unwrap_err().error_type, "Runtime.ExitError");
    });
}

fn a_burst_of_calls_that_time_out_costs_only_them(fixture: &Fixture) {
    let source = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return event\n";
    let function = function(fixture, source);
    let (worker, log) = (fixture.worker.clone(), Arc::new(Log::default()));
    tokio::runtime::Handle::current().block_on(async {
        let call = |event: &str| {
            let (worker, call) = (worker.clone(), call(&function, event, &log));
            async move { worker.call(call).await }
        };
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            calls.spawn(call("1000"));
        }
        while let Some(outcome) = calls.join_next().await {
            assert_eq!(outcome.unwrap().unwrap().result.unwrap_err().error_type, "Sandbox.Timedout");
        }
        assert_eq!(call("0").await.unwrap().result.unwrap(), "0");
    });
}
