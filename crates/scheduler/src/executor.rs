//! What the scheduler needs of a worker. A trait, so that retries, ages and accounting are tested without sandboxes.

use async_trait::async_trait;
use dayfly_types::{InvokeError, JobFunction, Outcome, Runtime};
use dayfly_worker::{
    self as worker, Call,
    code::{self, LayerSource},
};
use std::{any::Any, path::PathBuf};

/// Runs calls and prepares code. `dayfly_worker::Handle` is the real one; its methods say what each does.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Runtimes whose interpreter was found.
    fn runtimes(&self) -> Vec<Runtime>;

    /// Checks, unpacks and compiles a package, unless that is done already.
    async fn publish(&self, sha256: &str, zip: PathBuf, runtime: Runtime) -> Result<(), code::Error>;

    /// Keeps a job's function file, and looks for its environment. Calls need what this gives.
    async fn publish_function_file(
        &self,
        sha256: &str,
        file: PathBuf,
        job: &JobFunction,
        runtime: Runtime,
    ) -> Result<Box<dyn Any + Send>, code::Error>;

    /// Memory for instances, in MB.
    fn capacity_mb(&self) -> u32;

    /// Unpacks, or builds, and puts together a function's layers, unless that is done already.
    async fn publish_layers(&self, layers: &[LayerSource], runtime: Runtime) -> Result<(), code::Error>;

    /// Runs one call in a fresh instance.
    async fn call(&self, call: Call) -> Result<Outcome, InvokeError>;

    /// Keeps instances of these versions ready, and of no others. Told again now and then.
    fn provision(&self, wanted: Vec<worker::Provision>);

    /// How far it is with a revision of these.
    fn provisioning(&self, revision_id: &str) -> worker::Provisioning;

    /// Ends what is kept ready for a revision that will not be called again.
    fn retire(&self, revision_id: &str);
}

#[async_trait]
impl Executor for worker::Handle {
    fn runtimes(&self) -> Vec<Runtime> {
        self.runtimes()
    }

    async fn publish(&self, sha256: &str, zip: PathBuf, runtime: Runtime) -> Result<(), code::Error> {
        self.publish(sha256, zip, runtime).await
    }

    async fn publish_function_file(
        &self,
        sha256: &str,
        file: PathBuf,
        job: &JobFunction,
        runtime: Runtime,
    ) -> Result<Box<dyn Any + Send>, code::Error> {
        Ok(Box::new(self.publish_function_file(sha256, file, job, runtime).await?))
    }

    fn capacity_mb(&self) -> u32 {
        self.capacity_mb()
    }

    async fn publish_layers(&self, layers: &[LayerSource], runtime: Runtime) -> Result<(), code::Error> {
        self.publish_layers(layers, runtime).await
    }

    async fn call(&self, call: Call) -> Result<Outcome, InvokeError> {
        self.call(call).await
    }

    fn provision(&self, wanted: Vec<worker::Provision>) {
        self.provision(wanted);
    }

    fn provisioning(&self, revision_id: &str) -> worker::Provisioning {
        self.provisioning(revision_id)
    }

    fn retire(&self, revision_id: &str) {
        self.retire(revision_id);
    }
}
