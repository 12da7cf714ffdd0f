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
                job.refuse_rest(&error_body(&error));
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
    let invocation = Arc::new(Invocation {
        request_id,
        function: job.function.arn.clone(),
        payload: arguments,
        client_context: None,
        tenant_id: None,
        trace_header: None,
        received_at: queued_at,
    });
    let mut account = Account::new(n, request_id, queued_at, job.specification.memory_mb);
    let body = attempts(&engine, &job, &invocation, &mut account, uncommitted).await;
    drop(invocation);
    job.ended(account.into_outcome(), body, room);
}

async fn attempts(
    engine: &Engine,
    job: &Arc<Job>,
    invocation: &Arc<Invocation>,
    account: &mut Account,
    uncommitted: Uncommitted,
) -> Bytes {
    let n = account.outcome().n;
    let mut uncommitted = Some(uncommitted);
    let mut attempt = 1;
    loop {
        let Some(cancel) = job.arm(n) else {
            account.did_not_run(Status::Cancelled);
            return Bytes::new();
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
                        engine.calls.commit_soon(batch, held);
                        if !account.outcome().status.died() || attempt > job.specification.retries {
                            return body;
                        }
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
                return Bytes::new();
            }
            // Other calls have the machine's memory: this one waits on.
            InvokeError::Throttled { retry_after, .. } => pause(engine, job, n, retry_after).await,
            error => {
                account.did_not_run(Status::Refused);
                return error_body(&error);
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
    let lines: Option<Box<dyn dayfly_types::LogSink>> =
        if job.specification.logs { Some(Box::new(Lines { job: Arc::clone(job), n })) } else { None };
    let watch = Watch { started: Some(started), cancel: Some(cancel), lines, ..Watch::default() };
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
