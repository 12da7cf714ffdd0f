//! Gives a job's calls their turn and runs them, through the same admission and accounting as every other call.

use super::{
    Engine,
    job::{Job, Lines, Pending},
    outcome::{Account, Status, error_body},
};
use crate::{
    admission::Permit,
    call::{Uncommitted, Watch},
};
use bytes::Bytes;
use dayfly_store::Batch;
use dayfly_types::{Invocation, InvokeError};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{Instrument, debug_span};

/// Runs the calls of `job` until all have ended and no more come.
pub(super) async fn dispatch(engine: Arc<Engine>, job: Arc<Job>) {
    let places = Arc::new(Semaphore::new(job.in_flight as usize));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        if !job.has_work().await {
            break;
        }
        let permit = engine.admission.admit_in_turn(&job.function.arn).await;
        let uncommitted = match engine.calls.reserve().await {
            Ok(uncommitted) => uncommitted,
            Err(error @ InvokeError::ShuttingDown) => {
                job.stop(&error_body(&error));
                continue;
            }
            // The store is behind: the calls wait.
            Err(_) => continue,
        };
        if let Some(pending) = job.begin() {
            tokio::spawn(run(Arc::clone(&engine), Arc::clone(&job), pending, (place, permit), uncommitted));
        }
    }
    let _all_ended = places.acquire_many(job.in_flight).await;
    job.finish();
}

/// Runs one call to its end, however many attempts that takes.
async fn run(
    engine: Arc<Engine>,
    job: Arc<Job>,
    pending: Pending,
    _turn: (OwnedSemaphorePermit, Permit),
    uncommitted: Uncommitted,
) {
    let Pending { n, request_id, arguments, queued_at, room } = pending;
    let mut account = Account::new(n, request_id, queued_at, job.specification.memory_mb);
    let payload = match arguments {
        Some(arguments) => arguments,
        None => match engine.rows.arguments(job.id, n).await {
            Ok(Some(arguments)) => arguments,
            found => {
                tracing::error!(job = %job.id, n, error = ?found.err(), "the arguments of a call were lost");
                let body = error_body(&InvokeError::Internal("its arguments are not there".to_owned()));
                return job.ended(account.ended(Status::Lost), body, room, None);
            }
        },
    };
    let invocation = Arc::new(Invocation {
        request_id,
        function: job.function.arn.clone(),
        payload,
        client_context: None,
        tenant_id: None,
        trace_header: None,
        received_at: queued_at,
    });
    let Attempted { body, account: record } = attempts(&engine, &job, &invocation, &mut account, uncommitted).await;
    drop(invocation);
    let outcome = account.into_outcome();
    // Most likely it was this server's end that killed it: the next one runs it again.
    let left = job.is_suspended() && (outcome.status.died() || outcome.status == Status::Refused);
    if job.specification.detach && !left {
        return job.ended(outcome, body, room, record);
    }
    if let Some((batch, held)) = record {
        engine.calls.commit_soon(batch, held);
    }
    if left { job.left(n) } else { job.ended(outcome, body, room, None) }
}

/// How the attempts of a call ended.
struct Attempted {
    /// What the client gets beside the outcome.
    body: Bytes,
    /// The account of the last one, to be committed.
    account: Option<(Batch, Uncommitted)>,
}

impl Attempted {
    fn without_account(body: Bytes) -> Self {
        Self { body, account: None }
    }
}

async fn attempts(
    engine: &Engine,
    job: &Arc<Job>,
    invocation: &Arc<Invocation>,
    account: &mut Account,
    uncommitted: Uncommitted,
) -> Attempted {
    let n = account.outcome().n;
    let mut uncommitted = Some(uncommitted);
    let mut attempt = 1;
    loop {
        let Some(cancel) = job.arm(n) else {
            account.did_not_run(Status::Cancelled);
            return Attempted::without_account(Bytes::new());
        };
        let held = match uncommitted.take() {
            Some(held) => Ok(held),
            None => engine.calls.reserve().await,
        };
        let refused = match held {
            Err(error) => error,
            Ok(held) => {
                let (result, ran) = attempt_once(engine, job, invocation, (n, attempt), cancel).await;
                let batch = engine.calls.account(ran).await;
                match result {
                    Ok(outcome) => {
                        let body = account.ran(outcome, &engine.meter);
                        let last = attempt > job.specification.retries || job.is_suspended();
                        if last || !account.outcome().status.died() {
                            return Attempted { body, account: Some((batch, held)) };
                        }
                        engine.calls.commit_soon(batch, held);
                        attempt += 1;
                        continue;
                    }
                    Err(error) => {
                        uncommitted = Some(held);
                        error
                    }
                }
            }
        };
        match refused {
            InvokeError::Cancelled => {
                account.did_not_run(Status::Cancelled);
                return Attempted::without_account(Bytes::new());
            }
            // Other calls have the machine's memory: this one waits on.
            InvokeError::Throttled { retry_after, .. } => pause(engine, job, n, retry_after).await,
            error => {
                account.did_not_run(Status::Refused);
                return Attempted::without_account(error_body(&error));
            }
        }
    }
}

async fn attempt_once(
    engine: &Engine,
    job: &Arc<Job>,
    invocation: &Arc<Invocation>,
    (n, attempt): (u64, u32),
    cancel: oneshot::Receiver<()>,
) -> (Result<dayfly_types::Outcome, InvokeError>, crate::call::Ran) {
    let (started, has_started) = oneshot::channel();
    let lines = Box::new(Lines { job: Arc::clone(job), n });
    let watch = Watch { started: Some(started), cancel: Some(cancel), lines: Some(lines), ..Watch::default() };
    let call = engine.calls.run(Arc::clone(&job.function), Arc::clone(invocation), attempt, watch);
    let mut call = std::pin::pin!(call.instrument(debug_span!("scheduler.call")));
    let told = tokio::select! {
        biased;
        told = has_started => told.is_ok(),
        ended = &mut call => return ended,
    };
    if told && attempt == 1 {
        job.has_started(n);
    }
    call.await
}

/// Waits, but not when the call is taken back meanwhile.
async fn pause(engine: &Engine, job: &Job, n: u64, time: Duration) {
    let Some(cancelled) = job.arm(n) else { return };
    tokio::select! {
        _ = cancelled => {}
        () = engine.clock.sleep_until(engine.clock.now() + time) => {}
    }
}
