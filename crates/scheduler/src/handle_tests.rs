//! Calls through the handle: admission, accounting, callers that go away.

use crate::testing::{World, eventually, failed, fine, zip};
use crate::{AsyncPolicy, testing};
use dayfly_meter::EventQuery;
use dayfly_types::{InvokeError, Limits, LogSource, ThrottleReason};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Semaphore;

async fn messages(world: &World, name: &str) -> Vec<String> {
    let arn = testing::arn(name);
    let query = EventQuery { limit: 10_000, ..EventQuery::default() };
    let group = format!("/aws/lambda/{name}");
    let page = world.meter.log_events(&arn.account, &arn.region, &group, &query).await.unwrap();
    page.map(|page| page.events.into_iter().map(|event| event.message.trim_end().to_owned()).collect())
        .unwrap_or_default()
}

async fn reports(world: &World, name: &str) -> usize {
    messages(world, name).await.iter().filter(|message| message.starts_with("REPORT ")).count()
}

#[tokio::test]
async fn every_call_has_one_record_and_one_report() {
    let fails = Mutex::new(0);
    let world = World::new(move |_| {
        let mut count = fails.lock().unwrap();
        *count += 1;
        let answer = match *count % 3 {
            0 => failed(),
            1 => Err(InvokeError::Internal("no memory".to_owned())),
            _ => fine(),
        };
        async { answer }
    })
    .await;
    world.create("f").await;
    let mut ran = 0;
    for _ in 0..30 {
        match world.handle.invoke(world.invocation("f"), false).await {
            Ok(outcome) => {
                assert_eq!(outcome.usage.attempt, 1);
                ran += 1;
            }
            Err(error) => assert!(matches!(error, InvokeError::Internal(_)), "{error}"),
        }
    }
    assert_eq!(ran, 20);
    world.handle.drain(Duration::from_secs(10)).await;
    assert_eq!(world.usage().await.len(), 20);
    assert_eq!(reports(&world, "f").await, 20);
    // What a call said that the system failed is kept too.
    assert_eq!(messages(&world, "f").await.iter().filter(|message| message.starts_with("START ")).count(), 30);
}

#[tokio::test]
async fn bad_calls_are_refused_before_they_cost_anything() {
    let limits = Limits { sync_payload_bytes: 100, async_payload_bytes: 50, ..Limits::default() };
    let world = World::with(limits, AsyncPolicy::default(), |_| async { fine() }).await;
    world.create("f").await;
    let with = |bytes: usize| testing::invocation("f", &vec![b'1'; bytes]);
    assert!(world.handle.invoke(with(100), false).await.is_ok());
    let refused = world.handle.invoke(with(101), false).await;
    assert!(matches!(refused, Err(InvokeError::PayloadTooLarge { actual: 101, limit: 100 })));
    let refused = world.handle.enqueue(with(51)).await;
    assert!(matches!(refused, Err(InvokeError::PayloadTooLarge { actual: 51, limit: 50 })));
    for invocation in [world.invocation("g"), {
        let mut invocation = world.invocation("f");
        invocation.function.qualifier = Some("7".parse().unwrap());
        invocation
    }] {
        assert!(matches!(world.handle.enqueue(invocation.clone()).await, Err(InvokeError::FunctionNotFound(_))));
        assert!(matches!(world.handle.invoke(invocation, false).await, Err(InvokeError::FunctionNotFound(_))));
    }
    let mut latest = world.invocation("f");
    latest.function.qualifier = Some("$LATEST".parse().unwrap());
    assert!(world.handle.invoke(latest, false).await.is_ok());
    assert_eq!(world.script.seen().len(), 2);
}

#[tokio::test]
async fn concurrency_is_bounded_and_a_lost_client_changes_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let limits = Limits { concurrency: 2, ..Limits::default() };
    let world = World::with(limits, AsyncPolicy::default(), {
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                fine()
            }
        }
    })
    .await;
    world.create("f").await;
    let call = || {
        let (handle, invocation) = (world.handle.clone(), world.invocation("f"));
        tokio::spawn(async move { handle.invoke(invocation, false).await })
    };
    let (first, second) = (call(), call());
    eventually("both run", || async { world.script.seen().len() == 2 }).await;
    let third = world.handle.invoke(world.invocation("f"), false).await;
    let Err(InvokeError::Throttled { reason, retry_after }) = third else { panic!("{third:?}") };
    assert_eq!(reason, ThrottleReason::ConcurrentInvocationLimitExceeded);
    assert!(retry_after > Duration::ZERO);

    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let still = world.handle.invoke(world.invocation("f"), false).await;
    assert!(matches!(still, Err(InvokeError::Throttled { .. })), "the call that nobody waits for runs on");
    gate.add_permits(2);
    assert!(second.await.unwrap().is_ok());
    eventually("both are accounted for", || async { world.usage().await.len() == 2 }).await;
}

#[tokio::test]
async fn draining_waits_for_calls_and_their_records_but_not_for_ever() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new({
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                fine()
            }
        }
    })
    .await;
    world.create("f").await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let (handle, invocation) = (world.handle.clone(), world.invocation("f"));
        calls.push(tokio::spawn(async move { handle.invoke(invocation, false).await }));
    }
    eventually("both run", || async { world.script.seen().len() == 2 }).await;
    let draining = tokio::spawn({
        let handle = world.handle.clone();
        async move { handle.drain(Duration::from_secs(30)).await }
    });
    tokio::task::yield_now().await;
    let refused = world.handle.invoke(world.invocation("f"), false).await;
    assert!(matches!(refused, Err(InvokeError::ShuttingDown)), "{refused:?}");
    assert!(matches!(world.handle.enqueue(world.invocation("f")).await, Err(InvokeError::ShuttingDown)));
    gate.add_permits(1);
    eventually("one is accounted for", || async { world.usage().await.len() == 1 }).await;
    assert!(!draining.is_finished());
    world.clock.advance(Duration::from_secs(31));
    draining.await.unwrap();
    gate.add_permits(1);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_long_call_is_heard_while_it_runs_but_not_reported() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new({
        let gate = Arc::clone(&gate);
        move |call| {
            let (gate, logs) = (Arc::clone(&gate), Arc::clone(&call.logs));
            async move {
                gate.acquire().await.unwrap().forget();
                let line = |source, text: &str| testing::line(source, text);
                // A line that looks like the end, from the server itself: from here on all goes with the record.
                logs.lines("s", vec![line(LogSource::Platform, "END RequestId: x"), line(LogSource::Function, "late")]);
                gate.acquire().await.unwrap().forget();
                fine()
            }
        }
    })
    .await;
    world.create("f").await;
    let call = tokio::spawn({
        let (handle, invocation) = (world.handle.clone(), world.invocation("f"));
        async move { handle.invoke(invocation, false).await }
    });
    eventually("it runs", || async { world.script.seen().len() == 1 }).await;
    assert_eq!(messages(&world, "f").await, Vec::<String>::new());
    eventually("its first lines are stored", || async {
        world.clock.advance(Duration::from_millis(250));
        messages(&world, "f").await.len() == 2
    })
    .await;
    gate.add_permits(1);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        world.clock.advance(Duration::from_millis(250));
    }
    assert_eq!(messages(&world, "f").await.len(), 2);
    gate.add_permits(1);
    call.await.unwrap().unwrap();
    eventually("all is stored", || async { messages(&world, "f").await.len() == 6 }).await;
    assert_eq!(reports(&world, "f").await, 1);
}

#[tokio::test]
async fn a_call_reads_nothing_from_the_store_and_writes_at_most_once() {
    let folder = tempfile::tempdir().unwrap();
    let inner = dayfly_store::embedded::open(folder.path()).unwrap();
    let counted = Arc::new(testing::CountedTables::new(Arc::clone(&inner.tables)));
    let store = dayfly_store::Store { tables: Arc::<testing::CountedTables>::clone(&counted), ..inner };
    let clock = Arc::new(dayfly_types::SystemClock);
    let script = Arc::new(testing::Script::new(clock.clone(), |_| async { fine() }));
    let (_, handle) = testing::start(&store, &script, clock, Limits::default(), AsyncPolicy::default()).await;
    handle.functions().create(testing::configuration("f"), zip("f")).await.unwrap();
    eventually("the function is in memory", || async {
        handle.invoke(testing::invocation("f", b"{}"), false).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = counted.counts();
        handle.invoke(testing::invocation("f", b"{}"), false).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        counted.counts() == (before.0, before.1 + 1)
    })
    .await;
    let before = counted.counts();
    for _ in 0..50 {
        handle.invoke(testing::invocation("f", b"{}"), false).await.unwrap();
    }
    handle.drain(Duration::from_secs(10)).await;
    let after = counted.counts();
    assert_eq!(after.0, before.0);
    // Calls that end at about the same time share a commit.
    assert!((before.1 + 1..=before.1 + 50).contains(&after.1), "{after:?} after {before:?}");
}
