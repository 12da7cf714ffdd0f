//! The registry of functions: their configuration, their code, and the road from Pending to Active. Called by the
//! gateway to change functions and by the scheduler to find the one a call is for.

mod cache;
mod concurrency;
mod event_invoke;
mod packages;
mod provisioned;
mod rows;
mod settle;
#[cfg(test)]
mod tests;
mod versions;

pub use event_invoke::EventInvoke;
pub use provisioned::{Provisioned, ProvisionedState};
pub use rows::{Access, Alias};
pub use versions::{AliasChange, Publish};

pub(crate) use cache::Resolved;

use crate::{admission::Admission, executor::Executor};
use bytes::Bytes;
use cache::Cache;
use dayfly_meter as meter;
use dayfly_store::{Error as StoreError, Store, locks::Locks};
use dayfly_types::{
    AccountId, Clock, FunctionArn, FunctionConfiguration, FunctionName, FunctionUrl, FunctionUrlId, InvokeError,
    Limits, Region,
    function::{LastUpdate, State},
};
use packages::{Held, Packages};
use rows::{Read, Rows, Stored, VersionChange, key};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::sync::Notify;
use uuid::Uuid;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Functions {
    inner: Arc<Inner>,
}

struct Inner {
    rows: Rows,
    packages: Packages,
    cache: Arc<Cache>,
    executor: Arc<dyn Executor>,
    admission: Admission,
    clock: Arc<dyn Clock>,
    meter: meter::Handle,
    /// What is kept ready, or where, may have changed.
    provisioning: Arc<Notify>,
    /// One change of a function at a time.
    changing: Locks,
    /// One reading of a function into the cache at a time.
    loading: Locks,
}

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
    #[error("The operation cannot be performed at this time. An update is in progress for resource: {0}")]
    UpdateInProgress(FunctionArn),
    /// `PreconditionFailedException`.
    #[error(
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    )]
    RevisionMismatch,
    /// `ResourceConflictException`: what is there already, or is in use.
    #[error("{0}")]
    Conflict(String),
    /// `InvalidParameterValueException`.
    #[error("{0}")]
    Invalid(String),
    /// `ProvisionedConcurrencyConfigNotFoundException`.
    #[error("No Provisioned Concurrency Config found for this function")]
    NotProvisioned,
    /// `ResourceNotFoundException`.
    #[error("Cannot find alias arn: {0}")]
    NoAlias(FunctionArn),
    /// `CodeStorageExceededException` or another account limit.
    #[error("{0}")]
    Limit(String),
    /// The package is bad.
    #[error(transparent)]
    Code(#[from] dayfly_worker::code::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a caller does to a function, or to a part of one.
pub type Change<T> = Box<dyn FnOnce(&mut T) + Send>;

/// How long a request waits for its code to be unpacked and compiled before it is answered `Pending` or `InProgress`.
const PATIENCE: Duration = Duration::from_secs(5);

impl Functions {
    /// Opens the registry; takes up what a server that died left unfinished.
    pub(crate) async fn start(
        store: Store,
        executor: Arc<dyn Executor>,
        admission: Admission,
        clock: Arc<dyn Clock>,
        meter: meter::Handle,
        limits: &Limits,
    ) -> Result<Self, StoreError> {
        let cache = Arc::new(Cache::default());
        cache.follow(store.tables.as_ref());
        let inner = Inner {
            rows: Rows::new(store.clone(), limits),
            packages: Packages::new(store.clone()),
            cache,
            executor,
            admission,
            clock,
            meter,
            provisioning: Arc::default(),
            changing: Locks::default(),
            loading: Locks::default(),
        };
        let functions = Self { inner: Arc::new(inner) };
        store.shared.sweep_marked().await?;
        for (account, region, reserved) in functions.inner.rows.all_reserved().await? {
            functions.inner.admission.set_reserved(&account, &region, reserved);
        }
        for stored in functions.inner.rows.settling().await? {
            functions.settle_later(&stored, None);
        }
        functions.keep_provisioned();
        Ok(functions)
    }

    /// Stores the code, checks and unpacks it, then stores the function. Returned `Pending` when that takes longer
    /// than a few seconds; the function becomes `Active` or `Failed` by itself then. A package that is found bad
    /// before that is refused here. Sets code reference, state, revision and time of change.
    pub async fn create(
        &self,
        configuration: FunctionConfiguration,
        zip: Bytes,
    ) -> Result<FunctionConfiguration, Error> {
        self.detached(|this| async move { this.create_now(configuration, zip).await }).await
    }

    /// What the ARN names: `$LATEST`, a version, or the version that an alias names first.
    pub async fn get(&self, arn: &FunctionArn) -> Result<FunctionConfiguration, Error> {
        let stored = self.read(arn).await?.stored;
        self.named(&stored, arn).await?.ok_or_else(|| Error::NotFound(arn.clone()))
    }

    /// Changes the configuration through `change` and gives it a new revision. `revision_id` is the precondition.
    /// ARN, code and state are not `change`'s to touch.
    pub async fn update(
        &self,
        arn: &FunctionArn,
        revision_id: Option<&str>,
        change: Change<FunctionConfiguration>,
    ) -> Result<FunctionConfiguration, Error> {
        let (arn, revision_id) = (arn.clone(), revision_id.map(str::to_owned));
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read_for_change(&arn, revision_id.as_deref()).await?;
            let mut next = read.stored.function.clone();
            change(&mut next);
            let was = &read.stored.function;
            (next.arn, next.code, next.state) = (was.arn.clone(), was.code.clone(), was.state.clone());
            this.replace(&read, next).await
        })
        .await
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
        let (arn, revision_id) = (arn.clone(), revision_id.map(str::to_owned));
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read_for_change(&arn, revision_id.as_deref()).await?;
            let held = this.inner.packages.put(zip).await?;
            let sha256 = held.code.sha256.clone();
            let mut next = read.stored.function.clone();
            next.code = held.code.clone();
            next.architecture = architecture.unwrap_or(next.architecture);
            let result = if dry_run { this.check(next).await } else { this.replace(&read, next).await };
            drop(held);
            if dry_run || result.is_err() {
                this.sweep([sha256.as_str()]).await;
            }
            result
        })
        .await
    }

    /// Changes tags only: no new revision, no `last_modified`.
    pub async fn update_tags(
        &self,
        arn: &FunctionArn,
        change: Change<BTreeMap<String, String>>,
    ) -> Result<FunctionConfiguration, Error> {
        let arn = arn.clone();
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            let mut next = read.stored.clone();
            change(&mut next.function.tags);
            if let Some(update) = &mut next.update {
                update.tags = next.function.tags.clone();
            }
            this.write(&arn, Some(&read), Some(&next)).await?;
            Ok(next.visible().clone())
        })
        .await
    }

    /// Changes who may call the function, and where. What `change` refuses changes nothing.
    ///
    /// # Errors
    /// `NotFound`, and those of the store; what `change` says comes in the inner result.
    pub async fn update_access<T: Send + 'static, E: Send + 'static>(
        &self,
        arn: &FunctionArn,
        change: impl FnOnce(&mut Access) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Error> {
        let arn = arn.clone();
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            this.named(&read.stored, &arn).await?.ok_or_else(|| Error::NotFound(arn.clone()))?;
            let mut next = read.stored.clone();
            let result = change(next.access_mut(arn.qualifier.as_ref()));
            if result.is_ok() {
                this.write(&arn, Some(&read), Some(&next)).await?;
            }
            Ok(result)
        })
        .await
    }

    /// Who may call the function, and where, as it is in the store.
    pub async fn access(&self, arn: &FunctionArn) -> Result<Access, Error> {
        let stored = self.read(arn).await?.stored;
        self.named(&stored, arn).await?.ok_or_else(|| Error::NotFound(arn.clone()))?;
        Ok(stored.access(arn.qualifier.as_ref()))
    }

    /// The URLs of the function and of its aliases, and what each calls.
    pub async fn urls(&self, arn: &FunctionArn) -> Result<Vec<(FunctionArn, FunctionUrl)>, Error> {
        let stored = self.read(arn).await?.stored;
        let own = stored.access.url.map(|url| (arn.unqualified(), url));
        let others = stored.qualified_access.into_iter();
        let others = others.filter_map(|(name, access)| Some((arn.qualified(name), access.url?)));
        Ok(own.into_iter().chain(others).collect())
    }

    /// The same as calls see it: from memory unless the function changed since the last call.
    pub async fn access_of_call(&self, arn: &FunctionArn) -> Result<Arc<Access>, InvokeError> {
        Ok(self.resolve(arn).await?.access)
    }

    /// What calls run, as they see it: one version, or the two that an alias shares its calls between.
    pub async fn configurations_of_call(
        &self,
        arn: &FunctionArn,
    ) -> Result<impl Iterator<Item = Arc<FunctionConfiguration>> + use<>, InvokeError> {
        let resolved = self.resolve_all(arn).await?;
        Ok([Some(resolved.function), resolved.other.map(|(_, other)| other)].into_iter().flatten())
    }

    /// The function whose URL has this id.
    pub async fn by_url(&self, id: &FunctionUrlId) -> Result<Option<FunctionArn>, Error> {
        Ok(self.inner.rows.by_url(id).await?)
    }

    /// Removes the function, and its code when no other uses it. Calls in flight finish; the pump ends its events as
    /// they become due.
    pub async fn delete(&self, arn: &FunctionArn) -> Result<(), Error> {
        let arn = arn.clone();
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            let versions = this.inner.rows.versions(&arn, 0, usize::MAX).await?;
            let gone: Vec<_> = versions.iter().map(VersionChange::Gone).collect();
            this.write_with(&arn, Some(&read), None, &gone).await?;
            this.tell_reserved(&arn).await?;
            for function in versions.iter().chain([&read.stored.function]) {
                this.inner.executor.retire(&function.revision_id);
            }
            this.sweep_unused(&read.stored, None).await;
            this.sweep_versions(&versions).await;
            Ok(())
        })
        .await
    }

    /// At most `limit` functions of a region in order of name, after the name `after`.
    pub async fn list(
        &self,
        account: &AccountId,
        region: &Region,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<FunctionConfiguration>, Error> {
        let read = self.inner.rows.list(account, region, after, limit).await?;
        Ok(read.into_iter().map(|read| read.stored.visible().clone()).collect())
    }

    /// Number of functions and bytes of code in a region (`GetAccountSettings`).
    pub async fn usage(&self, account: &AccountId, region: &Region) -> Result<(u64, u64), Error> {
        let totals = self.inner.rows.totals(account, region).await?;
        Ok((totals.functions, totals.code_bytes))
    }

    /// The code package's bytes.
    pub async fn code(&self, configuration: &FunctionConfiguration) -> Result<Bytes, Error> {
        Ok(self.inner.packages.get(&configuration.code.sha256).await?)
    }

    /// The function that a call is for; from memory unless it changed since the last call.
    pub(crate) async fn resolve(&self, arn: &FunctionArn) -> Result<Resolved, InvokeError> {
        Ok(self.resolve_all(arn).await?.routed())
    }

    /// The same, with all that calls may run.
    async fn resolve_all(&self, arn: &FunctionArn) -> Result<Resolved, InvokeError> {
        let key = key(arn);
        match self.inner.cache.get(&key, arn) {
            Some(resolved) => Ok(resolved),
            None => self.load(arn, key).await,
        }
    }

    /// Reads a function into memory. Its code is published again, which costs nothing when it is still unpacked, and
    /// makes the code cache a cache: it may be emptied while the server is down.
    async fn load(&self, arn: &FunctionArn, key: String) -> Result<Resolved, InvokeError> {
        let inner = &self.inner;
        let internal = |error: StoreError| InvokeError::Internal(error.to_string());
        let _alone = inner.loading.write(&key).await;
        if let Some(resolved) = inner.cache.get(&key, arn) {
            return Ok(resolved);
        }
        let changes = inner.cache.changes();
        let Some(Read { stored, .. }) = inner.rows.read(arn).await.map_err(internal)? else {
            return Err(InvokeError::FunctionNotFound(arn.clone()));
        };
        let Some((function, other)) = self.runs(&stored, arn).await.map_err(internal)? else {
            return Err(InvokeError::FunctionNotFound(arn.clone()));
        };
        let state = match function.state {
            State::Active => None,
            State::Pending => Some("Pending"),
            State::Failed { .. } => Some("Failed"),
        };
        if let Some(state) = state {
            return Err(InvokeError::NotReady(format!("The function is currently in the following state: {state}")));
        }
        for function in [Some(&function), other.as_ref().map(|(_, other)| other)].into_iter().flatten() {
            match self.publish_patiently(function).await {
                Ok(None) => {}
                Ok(Some(_goes_on)) => {
                    return Err(InvokeError::Internal(format!("code of {arn} is being unpacked again")));
                }
                Err(error) => return Err(InvokeError::Internal(format!("code of {arn}: {error}"))),
            }
        }
        let resolved = Resolved {
            id: stored.id,
            access: Arc::new(stored.access(arn.qualifier.as_ref())),
            reserved: stored.reserved,
            provisioned: stored.provisioned(arn.qualifier.as_ref()),
            loops: stored.loops,
            event_invoke: stored.event_invoke(arn.qualifier.as_ref()).cloned().map(Arc::new),
            timeout_s_max: stored.function.timeout_s.max(stored.published.timeout_s_max),
            function: Arc::new(function),
            other: other.map(|(weight, function)| (weight, Arc::new(function))),
        };
        inner.cache.keep(key, arn, resolved.clone(), changes);
        Ok(resolved)
    }

    async fn create_now(
        &self,
        configuration: FunctionConfiguration,
        zip: Bytes,
    ) -> Result<FunctionConfiguration, Error> {
        let arn = configuration.arn.unqualified();
        let _alone = self.inner.changing.write(&key(&arn)).await;
        if self.inner.rows.read(&arn).await?.is_some() {
            return Err(Error::Exists(arn.name));
        }
        let held = self.inner.packages.put(zip).await?;
        let sha256 = held.code.sha256.clone();
        let function = FunctionConfiguration {
            arn: arn.clone(),
            code: held.code.clone(),
            revision_id: Uuid::new_v4().to_string(),
            last_modified: self.inner.clock.now(),
            state: State::Pending,
            last_update: LastUpdate::Successful,
            ..configuration
        };
        let layers = self.hold_layers(&function).await;
        let result = self.store_new(&arn, Stored::new(function)).await;
        drop((held, layers));
        if result.is_err() {
            self.sweep([sha256.as_str()]).await;
        }
        match result {
            Err(Error::Store(StoreError::Conflict { table })) if table == rows::FUNCTIONS => {
                Err(Error::Exists(arn.name))
            }
            result => result,
        }
    }

    async fn store_new(&self, arn: &FunctionArn, mut stored: Stored) -> Result<FunctionConfiguration, Error> {
        let publishing = self.publish_patiently(&stored.function).await?;
        if publishing.is_none() {
            stored.settle(Ok(()));
        }
        self.write(arn, None, Some(&stored)).await?;
        if publishing.is_some() {
            self.settle_later(&stored, publishing);
        }
        Ok(stored.function)
    }

    /// Puts `next` in the place of what calls run now, at once or once its code is ready.
    async fn replace(&self, read: &Read, mut next: FunctionConfiguration) -> Result<FunctionConfiguration, Error> {
        let was = &read.stored.function;
        next.revision_id = Uuid::new_v4().to_string();
        next.last_modified = self.inner.clock.now();
        let layers = self.hold_layers(&next).await;
        let same_code = next.code == was.code
            && next.layers == was.layers
            && next.runtime == was.runtime
            && was.state == State::Active;
        let publishing = if same_code { None } else { self.publish_patiently(&next).await? };
        let arn = next.arn.clone();
        next.last_update = LastUpdate::InProgress;
        let mut stored = Stored { update: Some(Box::new(next)), ..read.stored.clone() };
        if publishing.is_none() {
            stored.settle(Ok(()));
        }
        match self.write(&arn, Some(read), Some(&stored)).await {
            Err(Error::Store(StoreError::Conflict { table })) if table == rows::FUNCTIONS => {
                return Err(Error::UpdateInProgress(arn));
            }
            result => result?,
        }
        if publishing.is_some() {
            self.settle_later(&stored, publishing);
        } else {
            self.inner.executor.retire(&was.revision_id);
            drop(layers);
            self.sweep_unused(&read.stored, Some(&stored)).await;
        }
        Ok(stored.visible().clone())
    }

    /// Only says whether `next` could be.
    async fn check(&self, next: FunctionConfiguration) -> Result<FunctionConfiguration, Error> {
        settle::ended(self.publish(&next).await?.await)?;
        Ok(next)
    }

    /// Keeps the zips of a function's layers until they are said to be used.
    async fn hold_layers(&self, function: &FunctionConfiguration) -> Vec<Held> {
        let mut held = Vec::new();
        for code in function.layers.iter().filter_map(|layer| layer.content.zip()) {
            held.push(self.inner.packages.hold(code).await);
        }
        held
    }

    async fn read(&self, arn: &FunctionArn) -> Result<Read, Error> {
        self.inner.rows.read(arn).await?.ok_or_else(|| Error::NotFound(arn.clone()))
    }

    async fn read_for_change(&self, arn: &FunctionArn, revision_id: Option<&str>) -> Result<Read, Error> {
        let read = self.read(arn).await?;
        if revision_id.is_some_and(|expected| expected != read.stored.visible().revision_id) {
            return Err(Error::RevisionMismatch);
        }
        if read.stored.is_settling() {
            return Err(Error::UpdateInProgress(arn.unqualified()));
        }
        Ok(read)
    }

    async fn write(&self, arn: &FunctionArn, old: Option<&Read>, new: Option<&Stored>) -> Result<(), Error> {
        self.write_with(arn, old, new, &[]).await
    }

    async fn write_with(
        &self,
        arn: &FunctionArn,
        old: Option<&Read>,
        new: Option<&Stored>,
        versions: &[VersionChange<'_>],
    ) -> Result<(), Error> {
        {
            let _changing = self.inner.cache.changing(key(arn));
            self.inner.rows.write(arn, old, new, versions).await?;
        }
        let provisions = |stored: &Stored| !stored.provisioned.is_empty();
        if old.is_some_and(|old| provisions(&old.stored)) || new.is_some_and(provisions) {
            self.inner.provisioning.notify_one();
        }
        Ok(())
    }

    /// Sweeps packages that lost a user. A failure leaves the mark for the next start.
    async fn sweep<'a>(&self, packages: impl IntoIterator<Item = &'a str>) {
        for sha256 in packages {
            if let Err(error) = self.inner.packages.sweep(sha256).await {
                tracing::warn!(sha256, %error, "a code package stays until the next start");
            }
        }
    }

    /// Sweeps packages of versions that are gone.
    async fn sweep_versions(&self, versions: &[FunctionConfiguration]) {
        let packages: Vec<&str> =
            versions.iter().flat_map(rows::packages_of).map(|code| code.sha256.as_str()).collect();
        self.sweep(packages).await;
    }

    /// Sweeps packages that a function needed before and does not need after.
    async fn sweep_unused(&self, before: &Stored, after: Option<&Stored>) {
        let after = after.map(Stored::packages).unwrap_or_default();
        let unused: Vec<&str> = before.packages().into_iter().filter(|sha256| !after.contains(sha256)).collect();
        self.sweep(unused).await;
    }

    /// Runs a change to its end even when the client that asked for it is gone.
    async fn detached<T, F>(&self, change: impl FnOnce(Self) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        tokio::spawn(change(self.clone())).await.unwrap_or_else(|error| {
            Err(StoreError::Engine(format!("a change of a function ended early: {error}")).into())
        })
    }
}
