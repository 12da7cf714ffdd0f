//! What of detached jobs is on disk.
//!
//! | table | key | value |
//! |---|---|---|
//! | `jobs` | job | JSON: [`JobRow`] |
//! | `job_calls` | job, call | JSON: [`CallRow`] of a call without an outcome |
//! | `job_arguments` | job, call | its arguments |
//! | `job_outcomes` | job, call | JSON: the outcome of a call, until its client has it |
//! | `job_results` | job, call | its result, exception or error |
//!
//! A job is 16 bytes, a call 8, most significant first. The function file is a blob with the user `job/JOB`.

use super::{
    outcome::{CallOutcome, Counts, JobState},
    specification::Specification,
};
use bytes::Bytes;
use dayfly_store::{Batch, Error, Store, shared};
use dayfly_types::{AccountId, CodeReference, JobId, Region, RequestId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::PathBuf;

const JOBS: &str = "jobs";
const CALLS: &str = "job_calls";
const ARGUMENTS: &str = "job_arguments";
const OUTCOMES: &str = "job_outcomes";
const RESULTS: &str = "job_results";
/// Rows read or deleted at a time.
const PAGE: usize = 500;

/// A detached job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct JobRow {
    pub id: JobId,
    pub account: AccountId,
    pub region: Region,
    pub specification: Specification,
    pub code: CodeReference,
    pub created_at: Timestamp,
    /// All calls are here: from now on it goes on without its client.
    pub closed: bool,
    pub state: JobState,
    pub ended_at: Option<Timestamp>,
    pub counts: Counts,
    pub cost_usd: f64,
}

impl JobRow {
    /// A job that begins.
    pub fn new(
        id: JobId,
        (account, region): (&AccountId, &Region),
        specification: &Specification,
        code: CodeReference,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            account: account.clone(),
            region: region.clone(),
            specification: specification.clone(),
            code,
            created_at,
            closed: false,
            state: JobState::Running,
            ended_at: None,
            counts: Counts::default(),
            cost_usd: 0.0,
        }
    }
}

/// A call that has no outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CallRow {
    pub n: u64,
    pub request_id: RequestId,
    pub queued_at: Timestamp,
}

/// The rows of detached jobs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Rows {
    pub store: Store,
}

impl Rows {
    /// The function file of a job.
    pub async fn path(&self, row: &JobRow) -> Result<PathBuf, Error> {
        let path = self.store.blobs.path(&row.code.sha256).await?;
        path.ok_or_else(|| Error::Engine(format!("the function file of job {} is not in the store", row.id)))
    }

    /// All jobs, in no order of meaning.
    pub async fn jobs(&self) -> Result<Vec<JobRow>, Error> {
        self.all(JOBS, Vec::new(), vec![0xff; 17]).await
    }

    /// Calls without an outcome, in order.
    pub async fn calls(&self, job: JobId) -> Result<Vec<CallRow>, Error> {
        let (from, to) = of_job(job);
        self.all(CALLS, from, to).await
    }

    /// Outcomes that the client has not confirmed, in order of the calls.
    pub async fn outcomes(&self, job: JobId) -> Result<Vec<CallOutcome>, Error> {
        let (from, to) = of_job(job);
        self.all(OUTCOMES, from, to).await
    }

    /// The arguments of a call without an outcome.
    pub async fn arguments(&self, job: JobId, n: u64) -> Result<Option<Bytes>, Error> {
        Ok(self.store.tables.get(ARGUMENTS, &key(job, n)).await?.map(|row| row.value))
    }

    /// An outcome, unless it is confirmed.
    pub async fn outcome(&self, job: JobId, n: u64) -> Result<Option<(CallOutcome, Bytes)>, Error> {
        let key = key(job, n);
        let Some(outcome) = self.store.tables.get(OUTCOMES, &key).await? else { return Ok(None) };
        let body = self.store.tables.get(RESULTS, &key).await?.map(|row| row.value).unwrap_or_default();
        Ok(Some((decode(&outcome.value)?, body)))
    }

    /// Removes what there is of a job. Its row goes last, so that a crash in between is made up for at the next start.
    pub async fn remove(&self, job: JobId, code: &CodeReference) -> Result<(), Error> {
        let (from, to) = of_job(job);
        for table in [CALLS, ARGUMENTS, OUTCOMES, RESULTS] {
            loop {
                let rows = self.store.tables.scan(table, &from, &to, PAGE, false).await?;
                if rows.is_empty() {
                    break;
                }
                let batch = rows.into_iter().fold(Batch::new(), |batch, row| batch.delete(table, row.key));
                self.store.tables.commit(batch).await?;
            }
        }
        let batch = shared::unused(Batch::new(), &code.sha256, &user(job)).delete(JOBS, job.0.into_bytes().to_vec());
        self.store.tables.commit(batch).await?;
        self.store.shared.sweep(&code.sha256).await
    }

    async fn all<T: DeserializeOwned>(&self, table: &str, from: Vec<u8>, to: Vec<u8>) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut pages = self.store.tables.pages(table, from, to);
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                found.push(decode(&row.value)?);
            }
        }
        Ok(found)
    }
}

/// Adds the job's row.
pub(super) fn put_job(batch: Batch, row: &JobRow) -> Batch {
    batch.put(JOBS, row.id.0.into_bytes().to_vec(), encode(row))
}

/// Adds that the job needs its function file, which must be held until the batch is committed.
pub(super) fn use_code(batch: Batch, row: &JobRow) -> Batch {
    shared::used(batch, &row.code.sha256, &user(row.id))
}

/// Adds a call and its arguments.
pub(super) fn put_call(batch: Batch, job: JobId, call: &CallRow, arguments: Bytes) -> Batch {
    batch.put(CALLS, key(job, call.n), encode(call)).put(ARGUMENTS, key(job, call.n), arguments)
}

/// Adds the outcome of a call, in the place of the call.
pub(super) fn put_outcome(batch: Batch, job: JobId, outcome: &CallOutcome, body: Bytes) -> Batch {
    let key = Bytes::from(key(job, outcome.n));
    batch
        .delete(CALLS, key.clone())
        .delete(ARGUMENTS, key.clone())
        .put(OUTCOMES, key.clone(), encode(outcome))
        .put(RESULTS, key, body)
}

/// Adds that the client has this outcome.
pub(super) fn confirm(batch: Batch, job: JobId, n: u64) -> Batch {
    let key = Bytes::from(key(job, n));
    batch.delete(OUTCOMES, key.clone()).delete(RESULTS, key)
}

fn user(job: JobId) -> String {
    format!("job/{job}")
}

fn key(job: JobId, n: u64) -> Vec<u8> {
    [job.0.as_bytes().as_slice(), &n.to_be_bytes()].concat()
}

/// All calls of a job.
fn of_job(job: JobId) -> (Vec<u8>, Vec<u8>) {
    (job.0.as_bytes().to_vec(), [job.0.as_bytes().as_slice(), &[0xff; 9]].concat())
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    // Our rows have nothing that JSON could refuse.
    serde_json::to_vec(row).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| Error::Engine(format!("a row of a job: {error}")))
}
