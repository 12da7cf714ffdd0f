//! Jobs: many calls of one function that a client sends along. The registry, and the way in. A job's calls are calls like
//! any other: same admission, same slots, same accounts. What is a job's alone is their order, the bounds on what is in
//! memory for a client, retries of calls that died, and cancelling.
//!
//! `specification` is what the client asks for, `job` the bookkeeping of one job, `run` what makes its calls run.

mod job;
mod outcome;
mod run;
mod specification;
#[cfg(test)]
mod tests;

pub use job::{Event, Held, Job, Refusal, Room};
pub use outcome::{CallOutcome, CallView, Counts, JobState, JobView, Status};
pub use specification::Specification;

use crate::{admission::Admission, call::Calls, executor::Executor};
use dayfly_meter as meter;
use dayfly_types::{AccountId, Clock, CodeReference, InvokeError, JobId, Limits, Region};
use dayfly_worker::code;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
};
use tokio::sync::{Semaphore, mpsc};

/// Most jobs at once in an account.
const RUNNING_MAX: usize = 256;
/// Ended jobs that are remembered.
const ENDED_MAX: usize = 1_000;
/// Outcomes of calls of ended jobs that are remembered, over all jobs.
const OUTCOMES_MAX: usize = 200_000;
/// Arguments of all jobs that may be in memory, in KiB.
const ARGUMENTS_KIB: usize = 1 << 20;

/// A function file that a client has sent: on this machine, and of this content.
pub struct FunctionFile {
    /// Where it is. Needed only until the job has begun.
    pub path: PathBuf,
    /// Its hash and size.
    pub code: CodeReference,
}

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
}

#[derive(Default)]
struct Registry {
    draining: bool,
    by_id: HashMap<JobId, Arc<Job>>,
    /// In order of their beginning.
    in_order: BTreeMap<u64, JobId>,
    next: u64,
}

impl Jobs {
    pub(crate) fn new(
        admission: Admission,
        calls: Calls,
        executor: Arc<dyn Executor>,
        meter: meter::Handle,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        let arguments = Arc::new(Semaphore::new(ARGUMENTS_KIB));
        let registry = Mutex::default();
        Self { engine: Arc::new(Engine { admission, calls, executor, meter, clock, limits, arguments, registry }) }
    }

    /// Whether a job could be as it is described, and begin now.
    pub fn check(&self, specification: &Specification) -> Result<(), Error> {
        specification.check(&self.engine.limits).map_err(Error::Invalid)?;
        let runtimes = self.engine.executor.runtimes();
        let needs_ours = !matches!(specification.environment, dayfly_types::Environment::Local { .. });
        if needs_ours && !runtimes.contains(&specification.runtime) {
            let had: Vec<String> = runtimes.iter().map(ToString::to_string).collect();
            let (wanted, had) = (specification.runtime, had.join(", "));
            return Err(Error::Invalid(format!("there is no interpreter for {wanted} on this server; it has {had}")));
        }
        self.registry().admits()
    }

    /// Begins a job. Its events come through the receiver; when that is dropped, they are thrown away.
    pub async fn begin(
        &self,
        specification: Specification,
        place: (&AccountId, &Region),
        file: FunctionFile,
    ) -> Result<(Arc<Job>, mpsc::UnboundedReceiver<Event>), Error> {
        self.check(&specification)?;
        let engine = &self.engine;
        let id = JobId::random();
        let function = Arc::new(specification.function(id, place, file.code, engine.clock.now()));
        let Some(of_job) = &function.job else { unreachable!("the configuration was made for a job") };
        let code = &function.code.sha256;
        let lease = engine.executor.publish_function_file(code, file.path, of_job, function.runtime).await?;
        let processors = available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        let in_flight = specification.in_flight(engine.executor.capacity_mb(), processors);
        let (events, received) = mpsc::unbounded_channel();
        let (arguments, clock) = (Arc::clone(&engine.arguments), Arc::clone(&engine.clock));
        let job = Arc::new(Job::new(id, specification, function, in_flight, arguments, clock, events));
        self.registry().add(&job)?;
        tokio::spawn({
            let (engine, job) = (Arc::clone(engine), Arc::clone(&job));
            async move {
                run::dispatch(Arc::clone(&engine), Arc::clone(&job)).await;
                engine.executor.retire(&job.function.revision_id);
                drop(lease);
            }
        });
        Ok((job, received))
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
        let mut registry = self.registry();
        registry.draining = true;
        let jobs: Vec<Arc<Job>> = registry.by_id.values().cloned().collect();
        drop(registry);
        let body = outcome::error_body(&InvokeError::ShuttingDown);
        jobs.iter().for_each(|job| job.refuse_rest(&body));
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.engine.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn admits(&self) -> Result<(), Error> {
        if self.draining {
            return Err(Error::ShuttingDown);
        }
        let running = self.by_id.values().filter(|job| !job.has_ended()).count();
        if running < RUNNING_MAX { Ok(()) } else { Err(Error::TooMany) }
    }

    fn add(&mut self, job: &Arc<Job>) -> Result<(), Error> {
        self.admits()?;
        self.forget_some();
        self.in_order.insert(self.next, job.id);
        self.next += 1;
        self.by_id.insert(job.id, Arc::clone(job));
        Ok(())
    }

    /// The oldest of those that have ended, while there are too many.
    fn forget_some(&mut self) {
        let ended = |job: &&Arc<Job>| job.has_ended();
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
            if !job.has_ended() || (count <= ENDED_MAX && outcomes <= OUTCOMES_MAX) {
                return true;
            }
            count -= 1;
            outcomes -= job.remembered().min(outcomes);
            by_id.remove(id);
            false
        });
    }
}
