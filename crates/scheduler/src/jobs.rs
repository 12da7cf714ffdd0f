//! Jobs: many calls of one function that a client sends along. The registry, and the way in. A job's calls are calls like
//! any other: same admission, same slots, same accounts. What is a job's alone is their order, the bounds on what is in
//! memory for a client, retries of calls that died, and cancelling.
//!
//! `specification` is what the client asks for, `job` the bookkeeping of one job, `run` what makes its calls run. A detached
//! job is on disk (`rows`, kept so by `keeper`), its outcomes until a client has them (`fetch`); `restore` takes up
//! what an earlier server had.

mod fetch;
mod job;
mod keeper;
mod outcome;
mod restore;
mod rows;
mod run;
mod specification;
#[cfg(test)]
mod tests;

pub use fetch::{Fetched, Fetcher};
pub use job::{Event, Held, Job, Refusal, Room};
pub use outcome::{CallOutcome, CallView, Counts, JobState, JobView, Status};
pub use specification::Specification;

use crate::{admission::Admission, call::Calls, executor::Executor};
use dayfly_meter as meter;
use dayfly_store::{Batch, Error as StoreError, NewBlob, Store};
use dayfly_types::{AccountId, Clock, CodeReference, FunctionConfiguration, InvokeError, JobId, Limits, Region};
use dayfly_worker::code;
use rows::{JobRow, Rows};
use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
};
use tokio::sync::{Semaphore, mpsc, watch};

/// Most jobs at once in an account.
const RUNNING_MAX: usize = 256;
/// Ended jobs that are remembered.
const ENDED_MAX: usize = 1_000;
/// Outcomes of calls of ended jobs that are remembered, over all jobs.
const OUTCOMES_MAX: usize = 200_000;
/// Arguments of all jobs that may be in memory, in KiB.
const ARGUMENTS_KIB: usize = 1 << 20;

/// Why a job does not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The description is not one of a job.
    #[error("{0}")]
    Invalid(String),
    /// The environment cannot be had, or the function file not be kept.
    #[error(transparent)]
    Environment(#[from] code::Error),
    /// There are too many.
    #[error("{RUNNING_MAX} jobs run already")]
    TooMany,
    /// The server drains.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The jobs of a server. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    engine: Arc<Engine>,
}

/// What running jobs share.
struct Engine {
    admission: Admission,
    calls: Calls,
    executor: Arc<dyn Executor>,
    meter: meter::Handle,
    clock: Arc<dyn Clock>,
    limits: Limits,
    arguments: Arc<Semaphore>,
    registry: Mutex<Registry>,
    rows: Rows,
    draining: watch::Sender<bool>,
}

#[derive(Default)]
struct Registry {
    by_id: HashMap<JobId, Arc<Job>>,
    /// In order of their beginning.
    in_order: BTreeMap<u64, JobId>,
    next: u64,
}

impl Jobs {
    /// The jobs, with the detached ones that an earlier server had.
    pub(crate) async fn start(
        store: Store,
        admission: Admission,
        calls: Calls,
        executor: Arc<dyn Executor>,
        meter: meter::Handle,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let arguments = Arc::new(Semaphore::new(ARGUMENTS_KIB));
        let registry = Mutex::default();
        let rows = Rows { store };
        let engine = Engine {
            admission,
            calls,
            executor,
            meter,
            clock,
            limits,
            arguments,
            registry,
            rows,
            draining: watch::Sender::new(false),
        };
        let jobs = Self { engine: Arc::new(engine) };
        jobs.restore().await?;
        tokio::spawn(restore::forget_old(Arc::downgrade(&jobs.engine)));
        Ok(jobs)
    }

    /// Whether a job could be as it is described, and begin now.
    pub fn check(&self, specification: &Specification) -> Result<(), Error> {
        specification.check(&self.engine.limits).map_err(Error::Invalid)?;
        let runtimes = self.engine.executor.runtimes();
        let needs_ours = !matches!(specification.environment, dayfly_types::Environment::Local { .. });
        let is_python = specification.runtime.python_minor().is_some();
        if !is_python || (needs_ours && !runtimes.contains(&specification.runtime)) {
            let had: Vec<String> = runtimes.iter().map(ToString::to_string).collect();
            let (wanted, had) = (specification.runtime, had.join(", "));
            return Err(Error::Invalid(format!("there is no interpreter for {wanted} on this server; it has {had}")));
        }
        self.admits(&self.registry())
    }

    /// Begins a job whose function file is `file`. Its events come through the receiver; when that is dropped, they are
    /// thrown away.
    pub async fn begin(
        &self,
        specification: Specification,
        place: (&AccountId, &Region),
        file: Box<dyn NewBlob>,
    ) -> Result<(Arc<Job>, mpsc::UnboundedReceiver<Event>), Error> {
        self.check(&specification)?;
        let engine = &self.engine;
        let (id, created_at) = (JobId::random(), engine.clock.now());
        let code = CodeReference { sha256: file.sha256(), size_bytes: file.bytes() };
        let function = Arc::new(specification.function(id, place, code.clone(), created_at));
        let row = JobRow::new(id, place, &specification, code, created_at);
        let lease = if specification.detach {
            self.keep_file(&function, &row, file).await?
        } else {
            self.publish(&function, file.path()?).await?
        };
        let (events, received) = mpsc::unbounded_channel();
        let (keeper, changes) = if specification.detach {
            let (keeper, changes) = mpsc::unbounded_channel();
            (Some(keeper), Some(changes))
        } else {
            (None, None)
        };
        let job = Arc::new(Job::new(job::Parts {
            in_flight: self.in_flight(&specification),
            id,
            specification,
            function,
            created_at,
            all_arguments: Arc::clone(&engine.arguments),
            clock: Arc::clone(&engine.clock),
            events: Some(events),
            keeper,
        }));
        let mut registry = self.registry();
        self.admits(&registry)?;
        registry.add(&job);
        drop(registry);
        if let Some(changes) = changes {
            let clock = Arc::clone(&engine.clock);
            tokio::spawn(keeper::run(engine.rows.clone(), row, Arc::downgrade(&job), clock, changes));
        }
        self.dispatch(&job, lease);
        Ok((job, received))
    }

    /// Puts the function file of a detached job, and its row, on disk.
    async fn keep_file(
        &self,
        function: &FunctionConfiguration,
        row: &JobRow,
        file: Box<dyn NewBlob>,
    ) -> Result<Box<dyn Any + Send>, Error> {
        let rows = &self.engine.rows;
        let held = rows.store.shared.keep(file).await?;
        let lease = self.publish(function, rows.path(row).await?).await;
        if lease.is_ok() {
            rows.store.tables.commit(rows::use_code(rows::put_job(Batch::new(), row), row)).await?;
        }
        drop(held);
        if lease.is_err() {
            rows.store.shared.sweep(&row.code.sha256).await?;
        }
        Ok(lease?)
    }

    async fn publish(
        &self,
        function: &FunctionConfiguration,
        path: PathBuf,
    ) -> Result<Box<dyn Any + Send>, code::Error> {
        let Some(job) = &function.job else { unreachable!("the configuration was made for a job") };
        self.engine.executor.publish_function_file(&function.code.sha256, path, job, function.runtime).await
    }

    fn in_flight(&self, specification: &Specification) -> u32 {
        let processors = available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        specification.in_flight(self.engine.executor.capacity_mb(), processors)
    }

    /// Makes the calls run; `lease` is on the function file.
    fn dispatch(&self, job: &Arc<Job>, lease: Box<dyn Any + Send>) {
        let (engine, job) = (Arc::clone(&self.engine), Arc::clone(job));
        tokio::spawn(async move {
            run::dispatch(Arc::clone(&engine), Arc::clone(&job)).await;
            engine.executor.retire(&job.function.revision_id);
            drop(lease);
        });
    }

    /// Outcomes of a detached job, for a client that fetches them; `None` when there is no such job. Who fetched them until
    /// now gets no more.
    pub fn fetch(&self, account: &AccountId, id: JobId) -> Option<Fetcher> {
        let job = self.get(account, id).filter(|job| job.specification.detach)?;
        Some(Fetcher::new(job, self.engine.rows.clone(), self.engine.draining.subscribe()))
    }

    /// The job, when it is remembered.
    pub fn get(&self, account: &AccountId, id: JobId) -> Option<Arc<Job>> {
        let job = self.registry().by_id.get(&id).cloned();
        job.filter(|job| job.function.arn.account == *account)
    }

    /// At most `limit` jobs, newest first, those before the place `before`; with the place of each.
    pub fn list(
        &self,
        account: &AccountId,
        state: Option<JobState>,
        before: Option<u64>,
        limit: usize,
    ) -> Vec<(u64, JobView)> {
        let registry = self.registry();
        let places = registry.in_order.range(..before.unwrap_or(u64::MAX)).rev();
        let jobs = places.filter_map(|(place, id)| Some((*place, registry.by_id.get(id)?)));
        jobs.filter(|(_, job)| job.function.arn.account == *account)
            .map(|(place, job)| (place, job.view()))
            .filter(|(_, view)| state.is_none_or(|state| view.state == state))
            .take(limit)
            .collect()
    }

    /// Jobs that have not ended.
    pub fn running(&self) -> usize {
        self.registry().by_id.values().filter(|job| !job.has_ended()).count()
    }

    /// No new jobs, and no call that does not run yet.
    pub(crate) fn drain(&self) {
        let registry = self.registry();
        self.engine.draining.send_replace(true);
        let jobs: Vec<Arc<Job>> = registry.by_id.values().cloned().collect();
        drop(registry);
        let body = outcome::error_body(&InvokeError::ShuttingDown);
        jobs.iter().filter(|job| !job.has_ended()).for_each(|job| job.stop(&body));
    }

    fn admits(&self, registry: &Registry) -> Result<(), Error> {
        if *self.engine.draining.borrow() {
            return Err(Error::ShuttingDown);
        }
        let running = registry.by_id.values().filter(|job| !job.has_ended()).count();
        if running < RUNNING_MAX { Ok(()) } else { Err(Error::TooMany) }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.engine.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn add(&mut self, job: &Arc<Job>) {
        self.forget_some();
        self.insert(job);
    }

    fn insert(&mut self, job: &Arc<Job>) {
        self.in_order.insert(self.next, job.id);
        self.next += 1;
        self.by_id.insert(job.id, Arc::clone(job));
    }

    fn forget(&mut self, job: &Job) {
        self.by_id.remove(&job.id);
        self.in_order.retain(|_, id| *id != job.id);
    }

    /// The oldest of those that have ended, while there are too many.
    fn forget_some(&mut self) {
        let ended = |job: &&Arc<Job>| job.has_ended() && job.is_fetched();
        let (mut count, mut outcomes) = (0, 0);
        for job in self.by_id.values().filter(ended) {
            count += 1;
            outcomes += job.remembered();
        }
        if count <= ENDED_MAX && outcomes <= OUTCOMES_MAX {
            return;
        }
        let by_id = &mut self.by_id;
        self.in_order.retain(|_, id| {
            let Some(job) = by_id.get(id) else { return false };
            if !ended(&job) || (count <= ENDED_MAX && outcomes <= OUTCOMES_MAX) {
                return true;
            }
            count -= 1;
            outcomes -= job.remembered().min(outcomes);
            by_id.remove(id);
            false
        });
    }
}
