//! ListJobs, GetJob, CancelJob, ListJobCalls.

use super::super::read;
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_scheduler::jobs::{CallView, Job, JobState, JobView};
use dayfly_types::JobId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListJobs {
    state: Option<JobState>,
    token: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GetJob {
    job: JobId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelJob {
    job: JobId,
    #[serde(default)]
    calls: Option<Vec<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListJobCalls {
    job: JobId,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Jobs {
    jobs: Vec<JobView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

#[derive(Debug, Serialize)]
struct Calls {
    calls: Vec<CallView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Jobs, newest first.
pub fn list_jobs(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto: ListJobs = read(request, "ListJobs")?;
    let (before, limit) = (place(dto.token.as_deref())?, page(dto.limit)?);
    let found = gateway.options.scheduler.jobs().list(request.principal.account(), dto.state, before, limit);
    let token = found.last().filter(|_| found.len() == limit).map(|(place, _)| place.to_string());
    let jobs = found.into_iter().map(|(_, job)| job).collect();
    Ok(response::json(StatusCode::OK, &Jobs { jobs, token }))
}

/// One job.
pub fn get_job(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let GetJob { job } = read(request, "GetJob")?;
    Ok(response::json(StatusCode::OK, &find(gateway, request, job)?.view()))
}

/// Takes a job, or some of its calls, back.
pub fn cancel_job(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    super::outside_sandbox(gateway)?;
    let CancelJob { job, calls } = read(request, "CancelJob")?;
    let job = find(gateway, request, job)?;
    match calls {
        Some(calls) => job.cancel_calls(&calls),
        None => job.cancel(),
    }
    Ok(response::json(StatusCode::OK, &job.view()))
}

/// Calls of a job, in order of their numbers.
pub fn list_job_calls(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let ListJobCalls { job, token, limit } = read(request, "ListJobCalls")?;
    let (after, limit) = (place(token.as_deref())?, page(limit)?);
    let calls = find(gateway, request, job)?.calls(after, limit);
    let token = calls.last().filter(|_| calls.len() == limit).map(|call| call.n().to_string());
    Ok(response::json(StatusCode::OK, &Calls { calls, token }))
}

fn find(gateway: &Gateway, request: &Request, id: JobId) -> Result<Arc<Job>, Error> {
    let found = gateway.options.scheduler.jobs().get(request.principal.account(), id);
    found.ok_or_else(|| Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("there is no job {id}")))
}

fn place(token: Option<&str>) -> Result<Option<u64>, Error> {
    let invalid = |_| Error::bad_request("ValidationException", "the token is not one that an earlier page gave");
    token.map(str::parse).transpose().map_err(invalid)
}

fn page(limit: Option<usize>) -> Result<usize, Error> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::bad_request("ValidationException", format!("limit must be between 1 and {PAGE_MAX}")))
}
