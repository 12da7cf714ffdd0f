//! Runs calls: a pool of zygotes and spares per function version, and the code cache. Called by the scheduler; knows
//! nothing of HTTP or of the store.
//!
//! Way of a call: `Handle::call` → a slot → `pool` (a spare, a clone or a boot) → `instance` (event in, answer out).
#![cfg_attr(test, allow(clippy::unwrap_used))]

use dayfly_sandbox::cgroup::{self, Cgroup, Cgroups};
use dayfly_types::{
    FunctionConfiguration, FunctionError, Invocation, InvokeError, JobFunction, Limits, LogSink, Outcome, Runtime,
    Timestamp, Usage, UsageStatus, credentials::Credentials,
};
use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinSet, time::Instant};
use tracing::Instrument;

mod aws_sdk;
pub mod builder;
pub mod code;
pub mod environment;
#[doc(hidden)]
pub mod floor;
pub mod interpreters;

mod compiler;
mod instance;
mod job;
mod log_pipe;
mod pool;
mod provisioned;
mod report;
mod slots;
mod spec;
mod tree;

pub use job::FunctionFile;
pub use provisioned::{Provision, Provisioning};

/// How a worker is set up.
pub struct Options {
    /// Folder of the unpacked code and of what the sandbox needs on disk; `cache/` in the data folder.
    pub folder: PathBuf,
    /// Limits that hold for every function.
    pub limits: Limits,
    /// What the operator decides about environments.
    pub environments: builder::Policy,
    /// Names this server among others on the machine (cgroups, reaping after a crash).
    pub server_id: String,
    /// Makes the credentials that a zygote's environment gets.
    pub credentials: Arc<dyn Fn(&FunctionConfiguration) -> Credentials + Send + Sync>,
    /// Takes the listener of each new sandbox network: loopback inside reaches only this. What it returns is kept as long
    /// as the sandbox lives; then it is dropped, and the listener is to be closed, for it keeps the network alive.
    pub endpoint: Arc<dyn Fn(std::net::TcpListener) -> EndpointGuard + Send + Sync>,
    /// A zygote that has not been used for so long ends.
    pub zygote_idle: Duration,
    /// Memory for calls, in MB; without it, what this machine has, but for an eighth.
    pub memory_mb: Option<u32>,
}

/// Dropped when a sandbox network is no longer needed.
pub type EndpointGuard = Box<dyn std::any::Any + Send + Sync>;

/// The worker. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    interpreters: Arc<Vec<interpreters::Interpreter>>,
    code: code::Cache,
    builder: builder::Builder,
    aws_sdk: aws_sdk::AwsSdk,
    functions: Arc<job::FunctionFiles>,
    versions: Arc<Mutex<Versions>>,
    draining: Arc<AtomicBool>,
}

/// The actors of function versions.
#[derive(Default)]
struct Versions {
    /// Those that take calls, by revision id.
    current: HashMap<String, pool::VersionHandle>,
    /// Instances to be kept ready, by revision id.
    provisioned: HashMap<String, provisioned::Wanted>,
    /// Those that only finish what they have begun.
    leaving: Vec<pool::VersionHandle>,
}

impl Versions {
    /// Takes an actor out of service, if `which` is true of the one that there is.
    fn dismiss(&mut self, revision_id: &str, which: impl Fn(&pool::VersionHandle) -> bool) {
        if self.current.get(revision_id).is_some_and(which)
            && let Some(version) = self.current.remove(revision_id)
        {
            version.retire();
            self.leaving.push(version);
        }
    }

    /// Forgets actors that have ended.
    fn tidy(&mut self) {
        self.current.retain(|_, version| !version.ended());
        self.leaving.retain(|version| !version.ended());
    }
}

/// What all versions share.
struct Shared {
    options: Options,
    sandbox: spec::Shared,
    cgroups: Cgroups,
    /// This program, which is also the launcher.
    binary: PathBuf,
    numbers: AtomicU64,
    endings: Arc<Endings>,
    slots: slots::Slots,
    ahead: pool::Ahead,
}

/// One call for `Handle::call`.
pub struct Call {
    /// The function version; shared by its calls.
    pub function: Arc<FunctionConfiguration>,
    /// The event.
    pub invocation: Arc<Invocation>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Whether `Outcome::log_tail` is wanted.
    pub want_log_tail: bool,
    /// Gets the outcome as soon as the function has answered, before the instance is torn down and its log is complete.
    /// Not used when the log tail is wanted, nor for calls that fail in other ways than by an answer.
    pub early: Option<oneshot::Sender<Outcome>>,
    /// Told when the call has an instance.
    pub started: Option<oneshot::Sender<()>>,
    /// Takes the call back: it waits no longer, or its instance is killed and what it used is in the outcome. To drop the
    /// future of the call kills the instance too, but leaves no outcome.
    pub cancel: Option<oneshot::Receiver<()>>,
    /// Takes the function's log lines as they come. All of them, REPORT included, have been handed over when the call returns.
    pub logs: Arc<dyn LogSink>,
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something; `dayfly doctor` tells more.
    #[error("this machine cannot run sandboxes: {0}")]
    Machine(#[from] cgroup::Error),
    /// A file operation failed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Handle {
    /// Starts a worker; reaps what an earlier server with the same id left behind.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let file_error = |path: PathBuf| move |source| Error::File { path, source };
        let binary = std::env::current_exe().map_err(file_error("/proc/self/exe".into()))?;
        let cgroups = Cgroups::open(&options.server_id)?;
        let sandbox = spec::Shared::prepare(&options.folder).map_err(file_error(options.folder.clone()))?;
        let memory = options.folder.join("interpreters.json");
        let interpreters = tokio::task::spawn_blocking({
            let memory = memory.clone();
            move || {
                let mut found = interpreters::find_again(&[], &memory);
                found.extend(interpreters::others(&found));
                found
            }
        });
        let interpreters = interpreters.await.unwrap_or_default();
        let slots = options.memory_mb.map_or_else(slots::Slots::of_machine, slots::Slots::new);
        let shared = Shared {
            options,
            sandbox,
            cgroups,
            binary,
            numbers: AtomicU64::new(1),
            endings: Arc::default(),
            slots,
            ahead: pool::Ahead::default(),
        };
        let shared = Arc::new(shared);
        let folder = &shared.options.folder;
        let compiler = Arc::new(compiler::Compiler::new(shared.clone()));
        let interpreters = Arc::new(interpreters);
        let policy = shared.options.environments.clone();
        let builder =
            builder::Builder::open(&folder.join("environments"), policy, interpreters.clone(), compiler.clone())
                .map_err(file_error(folder.clone()))?;
        let code = code::Cache::open(&folder.join("code"), &shared.options.limits, compiler)
            .map_err(file_error(folder.clone()))?;
        let environments = environment::Environments::new(folder, &memory, builder.clone());
        let functions =
            job::FunctionFiles::open(folder.join("functions"), environments).map_err(file_error(folder.clone()))?;
        let handle = Self {
            shared,
            interpreters,
            code,
            aws_sdk: aws_sdk::AwsSdk::new(builder.clone()),
            builder,
            functions: Arc::new(functions),
            versions: Arc::default(),
            draining: Arc::default(),
        };
        tokio::spawn(relieve(Arc::downgrade(&handle.versions), handle.shared.clone()));
        Ok(handle)
    }

    /// Memory for instances, in MB.
    pub fn capacity_mb(&self) -> u32 {
        self.shared.slots.capacity_mb()
    }

    /// Runtimes whose interpreter was found on this machine.
    pub fn runtimes(&self) -> Vec<Runtime> {
        self.interpreters.iter().map(|interpreter| interpreter.runtime).collect()
    }

    /// Builds environments, and keeps them.
    pub fn builder(&self) -> &builder::Builder {
        &self.builder
    }

    /// Unpacks and byte-compiles the package at `zip` (SHA-256 `sha256`, hexadecimal) for `runtime`, unless that is
    /// done already. Builds boto3 if the code names it and it is not there.
    pub async fn publish(&self, sha256: &str, zip: PathBuf, runtime: Runtime) -> Result<(), code::Error> {
        let interpreter = self.interpreter(runtime).ok_or_else(|| {
            code::Error::Io(std::io::Error::other(format!("there is no interpreter for {runtime} on this machine")))
        })?;
        let known = self.code.path_of(sha256, runtime).is_some();
        let folder = self.code.publish(sha256, &zip, interpreter).await?;
        if runtime.python_minor().is_some() {
            self.aws_sdk.prepare(runtime, folder, known).await;
        }
        Ok(())
    }

    /// Unpacks, or builds, and puts together a function's layers for `runtime`, unless that is done already.
    pub async fn publish_layers(&self, layers: &[code::LayerSource], runtime: Runtime) -> Result<(), code::Error> {
        let interpreter = self.interpreter(runtime).ok_or_else(|| {
            code::Error::Io(std::io::Error::other(format!("there is no interpreter for {runtime} on this machine")))
        })?;
        self.code.publish_layers(layers, interpreter, &self.builder).await
    }

    /// Keeps a job's function file, whose SHA-256 (hexadecimal) the caller has checked, for calls of functions with
    /// this code and job, and finds out what their environment is. `file` is linked, or copied, and stays the caller's,
    /// who may remove it but not write to it. Calls need the lease that this gives.
    pub async fn publish_function_file(
        &self,
        sha256: &str,
        file: PathBuf,
        job: &JobFunction,
        runtime: Runtime,
    ) -> Result<FunctionFile, code::Error> {
        // The job's first calls come soon.
        let cgroups = self.shared.cgroups.clone();
        tokio::task::spawn_blocking(move || cgroups.rouse());
        let (functions, sha256, job) = (self.functions.clone(), sha256.to_owned(), job.clone());
        let interpreter = self.interpreter(runtime).cloned();
        let publish = move || functions.publish(&sha256, &file, &job, interpreter.as_ref(), runtime);
        tokio::task::spawn_blocking(publish).await.map_err(std::io::Error::other)?
    }

    /// What compiles this worker's packages. For tests of its walls; `publish` is what others want.
    #[doc(hidden)]
    pub fn compiler(&self) -> impl code::compile::Compile + use<> {
        compiler::Compiler::new(self.shared.clone())
    }

    /// Runs one call in a fresh instance: takes a spare, or clones, or boots.
    pub async fn call(&self, mut call: Call) -> Result<Outcome, InvokeError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(InvokeError::ShuttingDown);
        }
        let mut cancel = Cancel(call.cancel.take());
        let begun = async {
            let (slots, memory_mb) = (&self.shared.slots, call.function.memory_mb);
            while !slots.has(memory_mb) && self.shared.ahead.evict_oldest(&self.shared) {}
            let slot = slots.take(memory_mb).await?;
            Ok::<_, InvokeError>((slot, self.take(&call).await?))
        };
        let (_slot, taken) = tokio::select! {
            biased;
            () = cancel.asked() => return Err(InvokeError::Cancelled),
            begun = begun => begun?,
        };
        match taken {
            Ok(taken) => Ok(instance::run(call, taken, cancel).instrument(tracing::debug_span!("worker.call")).await),
            Err(failed) => Ok(*failed),
        }
    }

    /// An instance for `call`, or the outcome of a call whose init failed.
    async fn take(&self, call: &Call) -> Result<Result<pool::Taken, Box<Outcome>>, InvokeError> {
        // A version that is being retired while we ask for an instance is asked for anew, once.
        for last in [false, true] {
            let version = self.version(&call.function)?;
            let take = version.take(call.logs.clone()).instrument(tracing::debug_span!("worker.take"));
            match take.await {
                Ok(taken) => return Ok(Ok(taken)),
                Err(pool::Refusal::Init { error_type, body, init_us, status, pays, stream }) => {
                    let failed = init_failure(call, error_type, body, init_us, status, pays, &stream);
                    return Ok(Err(Box::new(failed)));
                }
                Err(pool::Refusal::Internal(reason)) => return Err(InvokeError::Internal(reason)),
                Err(pool::Refusal::Retired) if last => {}
                // Room for a successor.
                Err(pool::Refusal::Retired) => {
                    self.versions().dismiss(&call.function.revision_id, |current| current.is(&version));
                }
            }
        }
        Err(InvokeError::ShuttingDown)
    }

    /// Ends zygotes and spares of a function version that will not be called again (updated or deleted);
    /// calls in flight finish. `revision_id` is the configuration's.
    pub fn retire(&self, revision_id: &str) {
        self.versions().dismiss(revision_id, |_| true);
    }

    /// No new calls; waits for the running ones until `deadline` has passed, kills the rest, and leaves nothing behind.
    pub async fn drain(&self, deadline: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let Versions { current, leaving, .. } = std::mem::take(&mut *self.versions());
        let versions: Vec<_> = current.into_values().chain(leaving).collect();
        for version in &versions {
            version.retire();
        }
        let until = Instant::now() + deadline;
        for version in &versions {
            if tokio::time::timeout_at(until, version.gone()).await.is_err() {
                version.give_up();
                let _ = tokio::time::timeout(Duration::from_secs(10), version.gone()).await;
            }
        }
        self.shared.ahead.close(&self.shared);
        self.shared.endings.join().await;
        let cgroups = self.shared.cgroups.clone();
        let _ = tokio::task::spawn_blocking(move || cgroups.remove()).await;
    }

    fn interpreter(&self, runtime: Runtime) -> Option<&interpreters::Interpreter> {
        self.interpreters.iter().find(|interpreter| interpreter.runtime == runtime)
    }

    fn versions(&self) -> std::sync::MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self, function: &Arc<FunctionConfiguration>) -> Result<pool::VersionHandle, InvokeError> {
        let mut versions = self.versions();
        // Asked under the lock: what the drain does not find here is not made afterwards.
        if self.draining.load(Ordering::Relaxed) {
            return Err(InvokeError::ShuttingDown);
        }
        if let Some(version) = versions.current.get(&function.revision_id) {
            // Its tags may have changed, which makes no new revision.
            if version.reuse() == function.reuse() {
                return Ok(version.clone());
            }
            versions.dismiss(&function.revision_id, |_| true);
        }
        let kept = versions.provisioned.get(&function.revision_id).and_then(provisioned::Wanted::kept);
        let version = pool::start(self.shared.clone(), self.recipe(function, kept)?);
        versions.current.insert(function.revision_id.clone(), version.clone());
        Ok(version)
    }

    fn recipe(
        &self,
        function: &Arc<FunctionConfiguration>,
        kept: Option<pool::Kept>,
    ) -> Result<pool::Recipe, InvokeError> {
        let not_ready = |reason: &str| InvokeError::NotReady(reason.to_owned());
        let (sha256, runtime) = (&function.code.sha256, function.runtime);
        let (interpreter, code) = match &function.job {
            Some(job) => {
                let published = self.functions.get(sha256, job, runtime);
                let published = published.ok_or_else(|| not_ready("its function file is not here"))?;
                (published.seen.interpreter.clone(), pool::Code::Job(published))
            }
            None => {
                let interpreter = self.interpreter(runtime).cloned().ok_or_else(|| {
                    InvokeError::NotReady(format!("there is no interpreter for {runtime} on this machine"))
                })?;
                let code = self.code.path_of(sha256, runtime);
                (interpreter, pool::Code::Package(code.ok_or_else(|| not_ready("its code is not unpacked here"))?))
            }
        };
        let layers = self.code.layers_path_of(&function.layers, runtime);
        let layers = layers.map_err(|_| not_ready("its layers are not unpacked here"))?;
        let sdk = self.aws_sdk.packages(runtime);
        Ok(pool::Recipe { function: function.clone(), interpreter, code, layers, sdk, kept })
    }
}

/// Whether a call is taken back.
struct Cancel(Option<oneshot::Receiver<()>>);

impl Cancel {
    /// Resolves when it is; never when nobody can any more.
    async fn asked(&mut self) {
        if let Some(word) = &mut self.0
            && word.await.is_ok()
        {
            return;
        }
        self.0 = None;
        std::future::pending().await
    }
}

/// The outcome of a call whose init failed.
fn init_failure(
    call: &Call,
    error_type: String,
    body: bytes::Bytes,
    init_us: u64,
    status: UsageStatus,
    pays: bool,
    stream: &str,
) -> Outcome {
    let function = &call.function;
    let request_id = call.invocation.request_id;
    let duration_us = if pays { init_us } else { 0 };
    let usage = Usage {
        request_id,
        function: function.versioned_arn(),
        instance_id: uuid::Uuid::new_v4().simple().to_string(),
        log_stream: stream.to_owned(),
        attempt: call.attempt,
        started_at: Timestamp::now(),
        duration_us,
        billed_ms: if pays { report::billed_ms(duration_us) } else { 0 },
        memory_mb: function.memory_mb,
        memory_peak_bytes: 0,
        cpu_us: 0,
        init_us: None,
        restore_us: None,
        ephemeral_storage_mb: function.ephemeral_storage_mb,
        status,
        tags: function.tags.clone(),
    };
    let mut lines = instance::Lines::new(call, stream);
    lines.platform(report::start(request_id, &function.version().to_string()));
    let payload = if status == UsageStatus::Timeout {
        let (body, text) = report::timed_out(request_id, function.timeout_s);
        lines.platform(text);
        body.into()
    } else {
        report::with_request_id(&body, request_id)
    };
    lines.platform(report::end(request_id));
    lines.platform(report::report(&usage));
    Outcome {
        executed_version: function.version().to_string(),
        result: Err(FunctionError { error_type, payload }),
        usage,
        log_tail: lines.into_tail(),
    }
}

/// Lets idle zygotes go while the machine is short of memory, and forgets actors that have ended.
async fn relieve(versions: std::sync::Weak<Mutex<Versions>>, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(versions) = versions.upgrade() else { return };
        let mut versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.tidy();
        shared.ahead.look_after(&shared);
        if !(versions.current.is_empty() && shared.ahead.is_empty()) && short_of_memory() {
            shared.ahead.evict(&shared);
            versions.current.values().for_each(pool::VersionHandle::evict_if_idle);
        }
    }
}

/// Less than a twentieth of the machine's memory can be had.
fn short_of_memory() -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    matches!((field("MemTotal:"), field("MemAvailable:")), (Some(total), Some(available)) if available < total / 20)
}

impl Shared {
    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes a cgroup once its last process is gone, without making anybody wait.
    fn bury(self: &Arc<Self>, cgroup: Cgroup) {
        if !cgroup.remove() {
            let shared = self.clone();
            self.endings.spawn(async move { shared.bury_now(cgroup).await });
        }
    }

    /// Removes a cgroup, waiting for its last process. What stays is removed at the end of the drain.
    async fn bury_now(&self, cgroup: Cgroup) {
        cgroup.hurry();
        for _ in 0..400 {
            if cgroup.remove() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Clean-up under way, so that a drain can wait for it.
#[derive(Default)]
struct Endings(Mutex<JoinSet<()>>);

impl Endings {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        // A call that is dropped with the runtime has nobody left to clean up: the drain has been, or the next start will.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            tasks.spawn_on(work, &runtime);
        }
    }

    async fn join(&self) {
        loop {
            let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            if tasks.is_empty() {
                return;
            }
            while tasks.join_next().await.is_some() {}
        }
    }
}
