//! What the unit tests share: a scheduler over a real store in a temporary folder, a clock that is moved by hand, and
//! a worker that does what the test's script says.

use crate::{AsyncPolicy, Executor, Handle, Parts, functions::Functions};
use async_trait::async_trait;
use bytes::Bytes;
use dayfly_meter as meter;
use dayfly_store::{Batch, Change, Row, Store, Tables, embedded};
use dayfly_types::{
    Clock, CodeReference, FunctionArn, FunctionConfiguration, FunctionError, Invocation, InvokeError, JobFunction,
    Limits, LogLine, LogSource, ManualClock, Outcome, RequestId, Runtime, Timestamp, Usage, UsageStatus,
    function::{LastUpdate, LoggingConfig, State},
};
use dayfly_worker::{Call, Provision, Provisioning, code};
use std::{
    any::Any,
    collections::{BTreeMap, HashSet},
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What the handler does: its result, or why the call did not run.
pub(crate) type Answer = Result<Result<Bytes, FunctionError>, InvokeError>;
type Handler = Box<dyn Fn(&Call) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The worker of a test.
pub(crate) struct Script {
    clock: Arc<dyn Clock>,
    handler: Handler,
    /// Calls as they began.
    pub calls: Mutex<Vec<Seen>>,
    /// Instances that are kept ready, by revision.
    pub provisioned: Mutex<BTreeMap<String, u32>>,
    /// Revisions that were retired.
    pub retired: Mutex<Vec<String>>,
    /// Publishing what is not published yet takes one of these and gives it back.
    pub may_publish: Semaphore,
    published: Mutex<HashSet<(String, Runtime)>>,
    /// What publishing a package whose hash is here ends with.
    pub bad_packages: Mutex<Vec<String>>,
    /// Status of a call that failed with an error of this type.
    status: Mutex<fn(&str) -> UsageStatus>,
}

/// A call as the worker saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub request_id: RequestId,
    pub attempt: u32,
    pub revision_id: String,
    pub at: Timestamp,
}

impl Script {
    pub(crate) fn new<F>(clock: Arc<dyn Clock>, handler: impl Fn(&Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self {
            clock,
            handler: Box::new(move |call| Box::pin(handler(call))),
            calls: Mutex::default(),
            provisioned: Mutex::default(),
            retired: Mutex::default(),
            may_publish: Semaphore::new(1000),
            published: Mutex::default(),
            bad_packages: Mutex::default(),
            status: Mutex::new(|_| UsageStatus::Error),
        }
    }

    pub(crate) fn set_status(&self, status: fn(&str) -> UsageStatus) {
        *self.status.lock().unwrap() = status;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Executor for Script {
    fn runtimes(&self) -> Vec<Runtime> {
        vec![Runtime::Python { minor: 12 }]
    }

    async fn publish(&self, sha256: &str, zip: PathBuf, runtime: Runtime) -> Result<(), code::Error> {
        let package = (sha256.to_owned(), runtime);
        if self.published.lock().unwrap().contains(&package) {
            return Ok(());
        }
        let _turn = self.may_publish.acquire().await.unwrap();
        std::fs::metadata(zip)?;
        if self.bad_packages.lock().unwrap().iter().any(|bad| bad == sha256) {
            return Err(code::Error::Invalid("Could not unzip uploaded file.".to_owned()));
        }
        self.published.lock().unwrap().insert(package);
        Ok(())
    }

    async fn publish_function_file(
        &self,
        sha256: &str,
        file: PathBuf,
        _: &JobFunction,
        runtime: Runtime,
    ) -> Result<Box<dyn Any + Send>, code::Error> {
        self.publish(sha256, file, runtime).await?;
        Ok(Box::new(()))
    }

    fn capacity_mb(&self) -> u32 {
        8192
    }

    async fn publish_layers(&self, _: &[code::LayerSource], _: Runtime) -> Result<(), code::Error> {
        Ok(())
    }

    fn provision(&self, wanted: Vec<Provision>) {
        let wanted = wanted.into_iter().map(|it| (it.function.revision_id.clone(), it.count));
        *self.provisioned.lock().unwrap() = wanted.collect();
    }

    fn provisioning(&self, revision_id: &str) -> Provisioning {
        let count = self.provisioned.lock().unwrap().get(revision_id).copied();
        Provisioning { ready: count.unwrap_or(0), reached: count.is_some(), failure: None }
    }

    async fn call(&self, mut call: Call) -> Result<Outcome, InvokeError> {
        let (id, started_at) = (call.invocation.request_id, self.clock.now());
        self.calls.lock().unwrap().push(Seen {
            request_id: id,
            attempt: call.attempt,
            revision_id: call.function.revision_id.clone(),
            at: started_at,
        });
        let stream = format!("2026/11/23/[$LATEST]{}", Uuid::new_v4().simple());
        let say = |source, text: String| {
            call.logs.lines(&stream, vec![LogLine { at: self.clock.now(), source, text }]);
        };
        say(LogSource::Platform, format!("START RequestId: {id} Version: $LATEST"));
        say(LogSource::Function, "at work".to_owned());
        let handled = (self.handler)(&call);
        if let Some(started) = call.started.take() {
            let _ = started.send(());
        }
        let cancel = call.cancel.take();
        let cancelled = async {
            let asked = match cancel {
                Some(cancel) => cancel.await.is_ok(),
                None => false,
            };
            if !asked {
                std::future::pending::<()>().await;
            }
        };
        let mut status = UsageStatus::Success;
        let result = tokio::select! {
            result = handled => result?,
            () = cancelled => {
                status = UsageStatus::Cancelled;
                Err(FunctionError { error_type: "Sandbox.Cancelled".to_owned(), payload: Bytes::new() })
            }
        };
        if let (Err(error), UsageStatus::Success) = (&result, status) {
            status = self.status.lock().unwrap()(&error.error_type);
        }
        say(LogSource::Platform, format!("END RequestId: {id}"));
        say(LogSource::Platform, format!("REPORT RequestId: {id}\tDuration: 1.00 ms\tBilled Duration: 1 ms\t"));
        let usage = Usage {
            request_id: id,
            function: call.function.versioned_arn(),
            instance_id: Uuid::new_v4().simple().to_string(),
            log_stream: stream,
            attempt: call.attempt,
            started_at,
            duration_us: 1000,
            billed_ms: 1,
            memory_mb: call.function.memory_mb,
            memory_peak_bytes: 1 << 20,
            cpu_us: 500,
            init_us: None,
            restore_us: None,
            ephemeral_storage_mb: 512,
            status,
            tags: call.function.tags.clone(),
        };
        Ok(Outcome { executed_version: call.function.version().to_string(), result, usage, log_tail: None })
    }

    fn retire(&self, revision_id: &str) {
        self.retired.lock().unwrap().push(revision_id.to_owned());
    }
}

/// A scheduler and all that it stands on.
pub(crate) struct World {
    _folder: tempfile::TempDir,
    pub store: Store,
    pub clock: ManualClock,
    pub meter: meter::Handle,
    pub script: Arc<Script>,
    pub handle: Handle,
}

impl World {
    pub(crate) async fn new<F>(handler: impl Fn(&Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::with(Limits::default(), AsyncPolicy::default(), handler).await
    }

    pub(crate) async fn with<F>(
        limits: Limits,
        policy: AsyncPolicy,
        handler: impl Fn(&Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let store = embedded::open(folder.path()).unwrap();
        let clock = ManualClock::new("2026-11-23T12:00:00Z".parse().unwrap());
        let script = Arc::new(Script::new(Arc::new(clock.clone()), handler));
        let (meter, handle) = start(&store, &script, Arc::new(clock.clone()), limits, policy).await;
        Self { _folder: folder, store, clock, meter, script, handle }
    }

    pub(crate) fn functions(&self) -> &Functions {
        self.handle.functions()
    }

    pub(crate) async fn create(&self, name: &str) -> FunctionConfiguration {
        self.functions().create(configuration(name), zip(name)).await.unwrap()
    }

    pub(crate) fn invocation(&self, name: &str) -> Invocation {
        Invocation { received_at: self.clock.now(), ..invocation(name, b"{}") }
    }

    /// A second scheduler over the same store, as after a restart.
    pub(crate) async fn again(&self) -> Handle {
        let clock = Arc::new(self.clock.clone());
        start(&self.store, &self.script, clock, Limits::default(), AsyncPolicy::default()).await.1
    }

    pub(crate) async fn usage(&self) -> Vec<Usage> {
        usage(&self.meter).await
    }
}

pub(crate) async fn start(
    store: &Store,
    script: &Arc<Script>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    policy: AsyncPolicy,
) -> (meter::Handle, Handle) {
    let meter = meter::Handle::start(store.clone(), meter::prices::Prices::default()).await.unwrap();
    let worker = Arc::<Script>::clone(script);
    let parts = Parts { store: store.clone(), worker, meter: meter.clone(), clock, limits };
    (meter, Handle::start_with(parts, policy).await.unwrap())
}

/// All usage records.
pub(crate) async fn usage(meter: &meter::Handle) -> Vec<Usage> {
    let mut query = meter::bill::UsageQuery { limit: 1000, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let (page, token) = meter.usage(&Default::default(), &query).await.unwrap();
        all.extend(page);
        match token {
            Some(token) => query.token = Some(token),
            None => return all,
        }
    }
}

/// Waits, in real time, for what other tasks are about to do.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    for _ in 0..20_000 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to be that {what}");
}

pub(crate) fn fine() -> Answer {
    Ok(Ok(Bytes::from_static(b"null")))
}

pub(crate) fn failed() -> Answer {
    Ok(Err(FunctionError { error_type: "ValueError".to_owned(), payload: Bytes::from_static(b"{}") }))
}

pub(crate) fn arn(name: &str) -> FunctionArn {
    format!("arn:aws:lambda:eu-west-1:000000000000:function:{name}").parse().unwrap()
}

pub(crate) fn invocation(name: &str, payload: &[u8]) -> Invocation {
    Invocation {
        request_id: RequestId::random(),
        function: arn(name),
        payload: Bytes::copy_from_slice(payload),
        client_context: None,
        tenant_id: None,
        trace_header: None,
        received_at: Timestamp::now(),
    }
}

/// A package; the scripted worker does not look inside.
pub(crate) fn zip(content: &str) -> Bytes {
    Bytes::copy_from_slice(content.as_bytes())
}

pub(crate) fn configuration(name: &str) -> FunctionConfiguration {
    FunctionConfiguration {
        arn: arn(name),
        runtime: Runtime::Python { minor: 12 },
        handler: "app.handler".to_owned(),
        role: "arn:aws:iam::000000000000:role/r".to_owned(),
        description: String::new(),
        timeout_s: 3,
        memory_mb: 128,
        ephemeral_storage_mb: 512,
        environment: BTreeMap::new(),
        architecture: "x86_64".to_owned(),
        tags: BTreeMap::new(),
        logging: LoggingConfig {
            format: "Text".to_owned(),
            application_level: None,
            system_level: None,
            group: format!("/aws/lambda/{name}"),
        },
        code: CodeReference { sha256: String::new(), size_bytes: 0 },
        revision_id: String::new(),
        last_modified: Timestamp::UNIX_EPOCH,
        state: State::Pending,
        last_update: LastUpdate::Successful,
        other: BTreeMap::new(),
        layers: Vec::new(),
        job: None,
    }
}

pub(crate) fn line(source: LogSource, text: &str) -> LogLine {
    LogLine { at: "2026-11-23T12:00:00Z".parse().unwrap(), source, text: text.to_owned() }
}

/// Counts what goes to the tables.
pub(crate) struct CountedTables {
    inner: Arc<dyn Tables>,
    reads: AtomicUsize,
    commits: AtomicUsize,
}

impl CountedTables {
    pub(crate) fn new(inner: Arc<dyn Tables>) -> Self {
        Self { inner, reads: AtomicUsize::new(0), commits: AtomicUsize::new(0) }
    }

    /// Reads and commits so far.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.reads.load(Ordering::SeqCst), self.commits.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Tables for CountedTables {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Row>, dayfly_store::Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get(table, key).await
    }

    async fn scan(
        &self,
        table: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
        backwards: bool,
    ) -> Result<Vec<Row>, dayfly_store::Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.scan(table, from, to, limit, backwards).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), dayfly_store::Error> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(batch).await
    }

    fn watch(&self, table: &str) -> tokio::sync::broadcast::Receiver<Change> {
        self.inner.watch(table)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
