//! Jobs over a scripted worker and a clock that is moved by hand.

use super::*;
use crate::testing::{Answer, World, eventually, failed};
use bytes::Bytes;
use dayfly_types::{FunctionError, UsageStatus};
use dayfly_worker::Call;
use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

fn specification(more: &str) -> Specification {
    serde_json::from_str(&format!(r#"{{"name": "f", "runtime": "python3.12"{more}}}"#)).unwrap()
}

async fn begin(world: &World, more: &str) -> (Arc<Job>, mpsc::UnboundedReceiver<Event>) {
    let mut file = world.store.blobs.begin().await.unwrap();
    file.write(Bytes::from_static(b"a function file")).await.unwrap();
    let region = "eu-west-1".parse().unwrap();
    world.handle.jobs().begin(specification(more), (&AccountId::default(), &region), file).await.unwrap()
}

async fn submit(job: &Job, n: u64, arguments: &'static [u8]) {
    let room = job.room(arguments.len()).await;
    job.submit(n, Bytes::from_static(arguments), room).unwrap();
}

/// All outcomes up to the end, by number.
async fn outcomes(mut events: mpsc::UnboundedReceiver<Event>) -> (BTreeMap<u64, (CallOutcome, Bytes)>, Counts) {
    let mut outcomes = BTreeMap::new();
    loop {
        match events.recv().await.expect("the job ends with its counts") {
            Event::Outcome { outcome, body, held } => {
                drop(held);
                assert!(outcomes.insert(outcome.n, (outcome, body)).is_none());
            }
            Event::Done(counts) => return (outcomes, counts),
            _ => {}
        }
    }
}

fn died() -> Answer {
    Ok(Err(FunctionError { error_type: "Runtime.ExitError".to_owned(), payload: Bytes::from_static(b"{}") }))
}

/// Runs until it is cancelled.
fn until_cancelled(call: &Call) -> impl Future<Output = Answer> + Send + use<> {
    let started = call.started.is_some();
    async move {
        assert!(started);
        std::future::pending().await
    }
}

#[tokio::test]
async fn every_call_has_one_outcome_and_one_account() {
    let world = World::new(|call| {
        let event = call.invocation.payload.clone();
        async move {
            match &event[..] {
                b"raise" => {
                    Ok(Err(FunctionError { error_type: "Function.Raised".to_owned(), payload: "pickled".into() }))
                }
                b"fail" => failed(),
                _ => Ok(Ok(event)),
            }
        }
    })
    .await;
    let (job, events) = begin(&world, r#", "memory_mb": 256, "tags": {"team": "a"}"#).await;
    for (n, arguments) in [b"fine".as_slice(), b"raise", b"fail"].into_iter().enumerate() {
        submit(&job, n as u64 * 10, arguments).await;
    }
    job.close();
    let (outcomes, counts) = outcomes(events).await;
    assert_eq!(counts, Counts { calls: 3, succeeded: 1, failed: 2, cancelled: 0 });
    let status: Vec<(u64, Status)> = outcomes.iter().map(|(n, (outcome, _))| (*n, outcome.status)).collect();
    assert_eq!(status, [(0, Status::Success), (10, Status::Raised), (20, Status::Refused)]);
    assert_eq!((&outcomes[&0].1, &outcomes[&10].1), (&Bytes::from("fine"), &Bytes::from("pickled")));
    eventually("all records are there", || async { world.usage().await.len() == 3 }).await;
    for usage in world.usage().await {
        assert_eq!(usage.function.name, job.function.arn.name);
        assert_eq!((usage.memory_mb, usage.tags["team"].as_str()), (256, "a"));
    }
    eventually("the zygote is let go", || async { world.script.retired.lock().unwrap().len() == 1 }).await;
    let view = job.view();
    assert_eq!((view.state, view.running), (JobState::Ended, 0));
    assert!(
        world
            .functions()
            .list(&AccountId::default(), &"eu-west-1".parse().unwrap(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn only_so_many_calls_run_and_only_twice_as_many_are_taken() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new({
        let (running, most, gate) = (running.clone(), most.clone(), gate.clone());
        move |_| {
            let (running, most, gate) = (running.clone(), most.clone(), gate.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                crate::testing::fine()
            }
        }
    })
    .await;
    let (job, mut events) = begin(&world, r#", "max_in_flight": 3"#).await;
    for n in 0..6 {
        submit(&job, n, b"").await;
    }
    let seventh = job.room(0);
    tokio::pin!(seventh);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut seventh).await.is_err());
    assert_eq!((running.load(Ordering::SeqCst), job.view().running), (3, 3));
    gate.add_permits(6);
    // Room comes back when the client has an outcome, not when the call ends.
    eventually("all calls end", || async { job.view().counts.succeeded == 6 }).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut seventh).await.is_err());
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Outcome { .. }) {
            break;
        }
    }
    let _room = seventh.await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn numbers_ascend_and_nothing_comes_after_the_end() {
    let world = World::new(|_| async { crate::testing::fine() }).await;
    let (job, _events) = begin(&world, "").await;
    submit(&job, 5, b"").await;
    assert_eq!(job.submit(5, Bytes::new(), job.room(0).await), Err(Refusal::Order));
    assert_eq!(job.submit(4, Bytes::new(), job.room(0).await), Err(Refusal::Order));
    job.close();
    assert_eq!(job.submit(6, Bytes::new(), job.room(0).await), Err(Refusal::Closed));
}

#[tokio::test]
async fn what_died_is_tried_again_and_what_raised_is_not() {
    let world = World::new(|call| {
        let (attempt, event) = (call.attempt, call.invocation.payload.clone());
        async move {
            match &event[..] {
                b"raise" => Ok(Err(FunctionError { error_type: "Function.Raised".to_owned(), payload: Bytes::new() })),
                b"dies twice" if attempt == 3 => crate::testing::fine(),
                _ => died(),
            }
        }
    })
    .await;
    world.script.set_status(|error_type| match error_type {
        "Runtime.ExitError" => UsageStatus::Exit,
        _ => UsageStatus::Error,
    });
    let (job, events) = begin(&world, r#", "retries": 2"#).await;
    for (n, arguments) in [b"raise".as_slice(), b"dies", b"dies twice"].into_iter().enumerate() {
        submit(&job, n as u64, arguments).await;
    }
    job.close();
    let (outcomes, _) = outcomes(events).await;
    let found: Vec<_> =
        outcomes.values().map(|(outcome, _)| (outcome.status, outcome.attempt, outcome.billed_ms)).collect();
    assert_eq!(found, [(Status::Raised, 1, 1), (Status::Exit, 3, 3), (Status::Success, 3, 3)]);
    eventually("each attempt has a record", || async { world.usage().await.len() == 7 }).await;
}

#[tokio::test]
async fn a_call_that_finds_no_memory_waits_and_can_be_cancelled_meanwhile() {
    let throttled = InvokeError::Throttled {
        reason: dayfly_types::ThrottleReason::ConcurrentInvocationLimitExceeded,
        retry_after: Duration::from_secs(5),
    };
    let tries = Arc::new(AtomicUsize::new(0));
    let world = World::new({
        let tries = tries.clone();
        move |_| {
            let result =
                if tries.fetch_add(1, Ordering::SeqCst) < 2 { Err(throttled.clone()) } else { crate::testing::fine() };
            async move { result }
        }
    })
    .await;
    let (job, events) = begin(&world, r#", "max_in_flight": 1"#).await;
    submit(&job, 0, b"").await;
    submit(&job, 1, b"").await;
    eventually("it was tried once", || async { tries.load(Ordering::SeqCst) == 1 }).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.clock.advance(Duration::from_secs(5));
    eventually("it was tried again", || async { tries.load(Ordering::SeqCst) == 2 }).await;
    job.cancel_calls(&[0]);
    job.close();
    let (outcomes, counts) = outcomes(events).await;
    assert_eq!(outcomes[&0].0.status, Status::Cancelled);
    assert_eq!((counts.cancelled, counts.succeeded), (1, 1));
}

#[tokio::test]
async fn a_cancelled_job_ends_what_waits_at_once_and_what_runs_through_the_worker() {
    let world = World::new(until_cancelled).await;
    let (job, events) = begin(&world, r#", "max_in_flight": 2"#).await;
    for n in 0..4 {
        submit(&job, n, b"").await;
    }
    eventually("two calls run", || async { job.view().running == 2 }).await;
    job.cancel();
    assert!(!job.takes_calls());
    let (outcomes, counts) = outcomes(events).await;
    assert_eq!(counts, Counts { calls: 4, succeeded: 0, failed: 0, cancelled: 4 });
    assert!(outcomes.values().all(|(outcome, _)| outcome.status == Status::Cancelled));
    assert_eq!(job.view().state, JobState::Cancelled);
    eventually("nothing is left to do", || async { world.handle.is_idle().await.unwrap() }).await;
}

#[tokio::test]
async fn a_detached_job_is_gone_on_with_by_the_next_server() {
    // The first server gets two calls done, and is as good as dead with the next two.
    let may_end = Arc::new(AtomicUsize::new(2));
    let world = World::new({
        let may_end = may_end.clone();
        move |call| {
            let ends = may_end.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let event = call.invocation.payload.clone();
            async move {
                if !ends {
                    std::future::pending::<()>().await;
                }
                Ok(Ok(event))
            }
        }
    })
    .await;
    let (job, mut events) = begin(&world, r#", "detach": true, "max_in_flight": 2"#).await;
    for n in 0..5 {
        submit(&job, n, b"x").await;
    }
    job.close();
    while !matches!(events.recv().await, Some(Event::Kept(5))) {}
    eventually("two calls have ended", || async { job.view().counts.succeeded == 2 }).await;
    drop(events);
    eventually("two others run", || async { job.view().running == 2 }).await;
    may_end.store(100, Ordering::SeqCst);
    let next = world.again().await;
    let account = AccountId::default();
    let mut fetcher = next.jobs().fetch(&account, job.id).unwrap();
    let mut fetched = Vec::new();
    loop {
        match fetcher.next().await.unwrap() {
            Fetched::Outcome(outcome, body) => {
                assert_eq!((outcome.status, &body[..]), (Status::Success, b"x".as_slice()));
                fetched.push(outcome.n);
            }
            Fetched::Ended(counts) => break assert_eq!((counts.calls, counts.succeeded), (5, 5)),
            _ => panic!("nobody else fetches"),
        }
    }
    fetched.sort_unstable();
    assert_eq!(fetched, [0, 1, 2, 3, 4]);
    fetcher.confirm(fetched);
    eventually("nothing is left of it", || async {
        let rows = &next.jobs().engine.rows;
        rows.jobs().await.unwrap().is_empty() && rows.outcomes(job.id).await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn outcomes_that_nobody_fetches_go_after_a_week() {
    let world = World::new(|_| async { crate::testing::fine() }).await;
    let (job, events) = begin(&world, r#", "detach": true"#).await;
    submit(&job, 0, b"").await;
    job.close();
    outcomes(events).await;
    assert_eq!(job.view().unfetched, 1);
    let rows = &world.handle.jobs().engine.rows;
    world.clock.advance(Duration::from_secs(6 * 24 * 3600));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(rows.outcomes(job.id).await.unwrap().len(), 1);
    world.clock.advance(Duration::from_secs(2 * 24 * 3600));
    eventually("nothing is left of it", || async {
        rows.jobs().await.unwrap().is_empty() && rows.outcomes(job.id).await.unwrap().is_empty()
    })
    .await;
    let jobs = world.handle.jobs();
    eventually("it is forgotten", || async { jobs.get(&AccountId::default(), job.id).is_none() }).await;
    let sha256 = &job.function.code.sha256;
    eventually("nor of its function file", || async { world.store.blobs.path(sha256).await.unwrap().is_none() }).await;
}
