//! Between the front-ends and the worker: resolves names, admits, places, keeps asynchronous events until they are done.

use bytes::Bytes;
use dayfly_meter as meter;
use dayfly_store::Store;
use dayfly_types::{Clock, FunctionArn, FunctionConfiguration, Invocation, InvokeError, Limits, Outcome, Runtime};
use dayfly_worker as worker;
use std::{sync::Arc, time::Duration};

/// What a scheduler is made of.
pub struct Parts {
    /// Functions, events, code.
    pub store: Store,
    /// Runs the calls.
    pub worker: worker::Handle,
    /// Takes records and logs.
    pub meter: meter::Handle,
    /// Time for retries, ages, backoff.
    pub clock: Arc<dyn Clock>,
    /// Payload sizes, concurrency, queue lengths.
    pub limits: Limits,
}

/// The scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

impl Handle {
    /// Starts the scheduler and its pump of asynchronous events.
    pub async fn start(_parts: Parts) -> Result<Self, dayfly_store::Error> {
        Ok(Self {})
    }

    /// Runs a call and waits for it (`RequestResponse`). The record is taken by the meter whether or not the caller
    /// still waits: dropping the future does not stop the call's accounting.
    pub async fn invoke(&self, invocation: Invocation, want_log_tail: bool) -> Result<Outcome, InvokeError> {
        let _ = (invocation, want_log_tail);
        Err(InvokeError::ShuttingDown)
    }

    /// Keeps an event for later (`Event`). On disk when it returns.
    pub async fn enqueue(&self, invocation: Invocation) -> Result<(), InvokeError> {
        let _ = invocation;
        Err(InvokeError::ShuttingDown)
    }

    /// Runtimes that functions may have on this machine.
    pub fn runtimes(&self) -> Vec<Runtime> {
        Vec::new()
    }

    /// The functions: create, read, update, delete.
    pub fn functions(&self) -> &functions::Functions {
        unimplemented!()
    }

    /// No new calls or events; waits for what runs, at most `deadline`.
    pub async fn drain(&self, deadline: Duration) {
        let _ = deadline;
    }
}

pub mod functions {
    //! The registry of functions: rows of the store's `functions` table, and the code that belongs to them.

    use super::{Bytes, FunctionArn, FunctionConfiguration};
    use dayfly_types::{AccountId, FunctionName, Region};

    /// The registry.
    pub struct Functions {}

    /// Why the registry refused.
    #[derive(Debug, thiserror::Error)]
    pub enum Error {
        /// `ResourceNotFoundException`.
        #[error("Function not found: {0}")]
        NotFound(FunctionArn),
        /// `ResourceConflictException`.
        #[error("Function already exist: {0}")]
        Exists(FunctionName),
        /// `ResourceConflictException`: an update is under way.
        #[error(
            "The operation cannot be performed at this time. An update is in progress for resource: {0}"
        )]
        UpdateInProgress(FunctionArn),
        /// `PreconditionFailedException`.
        #[error(
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        )]
        RevisionMismatch,
        /// `CodeStorageExceededException` or another account limit.
        #[error("{0}")]
        Limit(String),
        /// The package is bad.
        #[error(transparent)]
        Code(#[from] dayfly_worker::code::Error),
        /// The store failed.
        #[error(transparent)]
        Store(#[from] dayfly_store::Error),
    }

    impl Functions {
        /// Stores the code, checks and unpacks it, then stores the function. The function may be returned `Pending`
        /// and become `Active` or `Failed` by itself; a package that is no sound zip is refused here.
        pub async fn create(&self, configuration: FunctionConfiguration, zip: Bytes) -> Result<FunctionConfiguration, Error> {
            let _ = (configuration, zip);
            unimplemented!()
        }

        /// The function's `$LATEST`.
        pub async fn get(&self, arn: &FunctionArn) -> Result<FunctionConfiguration, Error> {
            let _ = arn;
            unimplemented!()
        }

        /// Changes the configuration through `change` and gives it a new revision. `revision_id` is the precondition.
        pub async fn update(
            &self,
            arn: &FunctionArn,
            revision_id: Option<&str>,
            change: Box<dyn FnOnce(&mut FunctionConfiguration) + Send>,
        ) -> Result<FunctionConfiguration, Error> {
            let _ = (arn, revision_id, change);
            unimplemented!()
        }

        /// New code (and architecture). With `dry_run` only checks.
        pub async fn update_code(
            &self,
            arn: &FunctionArn,
            revision_id: Option<&str>,
            zip: Bytes,
            architecture: Option<String>,
            dry_run: bool,
        ) -> Result<FunctionConfiguration, Error> {
            let _ = (arn, revision_id, zip, architecture, dry_run);
            unimplemented!()
        }

        /// Changes tags only: no new revision, no `last_modified`.
        pub async fn update_tags(
            &self,
            arn: &FunctionArn,
            change: Box<dyn FnOnce(&mut std::collections::BTreeMap<String, String>) + Send>,
        ) -> Result<FunctionConfiguration, Error> {
            let _ = (arn, change);
            unimplemented!()
        }

        /// Removes the function, its events and (when no other uses it) its code. Calls in flight finish.
        pub async fn delete(&self, arn: &FunctionArn) -> Result<(), Error> {
            let _ = arn;
            unimplemented!()
        }

        /// At most `limit` functions of a region in order of name, after the name `after`.
        pub async fn list(
            &self,
            account: &AccountId,
            region: &Region,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<FunctionConfiguration>, Error> {
            let _ = (account, region, after, limit);
            unimplemented!()
        }

        /// Number of functions and bytes of code in a region (`GetAccountSettings`).
        pub async fn usage(&self, account: &AccountId, region: &Region) -> Result<(u64, u64), Error> {
            let _ = (account, region);
            unimplemented!()
        }

        /// The code package's bytes.
        pub async fn code(&self, configuration: &FunctionConfiguration) -> Result<Bytes, Error> {
            let _ = configuration;
            unimplemented!()
        }
    }
}
