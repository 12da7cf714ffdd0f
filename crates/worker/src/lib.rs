//! Runs calls: a pool of zygotes and spares per function version, and the code cache. Called by the scheduler; knows
//! nothing of HTTP or of the store.

use bytes::Bytes;
use dayfly_types::{
    FunctionConfiguration, Invocation, InvokeError, Limits, LogSink, Outcome, Runtime, credentials::Credentials,
};
use std::{path::PathBuf, sync::Arc, time::Duration};

pub mod code;
pub mod interpreters;

/// How a worker is set up.
pub struct Options {
    /// Folder of the unpacked code and of what the sandbox needs on disk; `cache/` in the data folder.
    pub folder: PathBuf,
    /// Limits that hold for every function.
    pub limits: Limits,
    /// Names this server among others on the machine (cgroups, reaping after a crash).
    pub server_id: String,
    /// Makes the credentials that a zygote's environment gets.
    pub credentials: Arc<dyn Fn(&FunctionConfiguration) -> Credentials + Send + Sync>,
    /// Takes the listener of each new sandbox network: loopback inside reaches only this.
    pub endpoint: Arc<dyn Fn(std::net::TcpListener) + Send + Sync>,
}

/// The worker. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

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
    /// Takes the function's log lines as they come. All of them, REPORT included, have been handed over when the call returns.
    pub logs: Arc<dyn LogSink>,
}

impl Handle {
    /// Starts a worker; reaps what an earlier server with the same id left behind.
    pub async fn start(_options: Options) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// Runtimes whose interpreter was found on this machine.
    pub fn runtimes(&self) -> Vec<Runtime> {
        Vec::new()
    }

    /// Unpacks and byte-compiles the package at `zip` (SHA-256 `sha256`, hexadecimal) for `runtime`, unless that is
    /// done already.
    pub async fn publish(&self, _sha256: &str, _zip: PathBuf, _runtime: Runtime) -> Result<(), code::Error> {
        Ok(())
    }

    /// Runs one call in a fresh instance: takes a spare, or clones, or boots.
    pub async fn call(&self, call: Call) -> Result<Outcome, InvokeError> {
        let _ = call;
        Err(InvokeError::ShuttingDown)
    }

    /// Ends zygotes and spares of a function version that will not be called again (updated or deleted);
    /// calls in flight finish. `revision_id` is the configuration's.
    pub fn retire(&self, _revision_id: &str) {}

    /// No new calls; waits for the running ones until `deadline` has passed, kills the rest, and leaves nothing behind.
    pub async fn drain(&self, _deadline: Duration) {}
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something; `dayfly doctor` tells more.
    #[error("this machine cannot run sandboxes: {0}")]
    Machine(String),
    /// A file operation failed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

#[allow(dead_code)]
fn unused(_: Bytes) {}
