//! Retries, ages, bounds and crashes of asynchronous events, by a clock that is moved by hand.

use super::*;
use crate::{
    Conclusion,
    testing::{Answer, World, arn, eventually, failed, fine},
};
use dayfly_types::RequestId;
use std::sync::atomic::AtomicU32;

const MINUTE: Duration = Duration::from_secs(60);

async fn world(handler: impl Fn(u32) -> Answer + Send + Sync + 'static) -> World {
    world_with(Limits::default(), AsyncPolicy::default(), handler).await
}

/// The handler is told which of all calls it is, from 1.
async fn world_with(
    limits: Limits,
    policy: AsyncPolicy,
    handler: impl Fn(u32) -> Answer + Send + Sync + 'static,
) -> World {
    let calls = AtomicU32::new(0);
    let world = World::with(limits, policy, move |_| {
        let answer = handler(calls.fetch_add(1, Ordering::SeqCst) + 1);
        async { answer }
    })
    .await;
    world.create("f").await;
    world
}

impl World {
    async fn accept(&self) -> RequestId {
        let invocation = self.invocation("f");
        let id = invocation.request_id;
        self.handle.enqueue(invocation).await.unwrap();
        id
    }

    /// Waits until the queue's next message is due in exactly `wait` from now.
    async fn due_in(&self, wait: Duration) {
        let due = self.clock.now() + wait;
        eventually(&format!("the event is due in {wait:?}"), || async {
            self.store.queues.next_visible(&queue_name(&arn("f"))).await.unwrap() == Some(due)
        })
        .await;
    }

    /// Moves the clock to a millisecond before `wait` is over, looks that nothing happens, and then to its end.
    async fn pass_exactly(&self, wait: Duration) {
        let before = self.script.seen().len();
        self.clock.advance(wait - Duration::from_millis(1));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.script.seen().len(), before);
        self.clock.advance(Duration::from_millis(1));
    }

    async fn concluded(&self, id: RequestId) -> AsyncOutcome {
        eventually("the event has an outcome", || async { self.handle.async_outcome(id).await.unwrap().is_some() })
            .await;
        assert_eq!(self.store.queues.len(&queue_name(&arn("f"))).await.unwrap(), 0);
        self.handle.async_outcome(id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn an_event_that_succeeds_runs_once() {
    let world = world(|_| fine()).await;
    let id = world.accept().await;
    let outcome = world.concluded(id).await;
    assert_eq!((outcome.conclusion, outcome.attempts), (Conclusion::Succeeded, 1));
    assert_eq!(outcome.concluded_at, world.clock.now());
    let usage = world.usage().await;
    assert_eq!(usage.len(), 1);
    assert_eq!((usage[0].request_id, usage[0].attempt), (id, 1));
}

#[tokio::test]
async fn an_event_that_fails_is_tried_after_one_and_two_minutes() {
    let world = world(|_| failed()).await;
    let start = world.clock.now();
    let id = world.accept().await;
    world.due_in(MINUTE).await;
    world.pass_exactly(MINUTE).await;
    world.due_in(2 * MINUTE).await;
    assert_eq!(world.handle.async_outcome(id).await.unwrap(), None);
    world.pass_exactly(2 * MINUTE).await;
    let outcome = world.concluded(id).await;
    assert_eq!(outcome.conclusion, Conclusion::Failed { error_type: "ValueError".to_owned() });
    assert_eq!(outcome.attempts, 3);
    let seen = world.script.seen();
    assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(seen.iter().map(|seen| seen.at).collect::<Vec<_>>(), [start, start + MINUTE, start + 3 * MINUTE]);
    let mut attempts: Vec<u32> = world.usage().await.iter().map(|usage| usage.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 3]);
}

#[tokio::test]
async fn retries_can_be_switched_off() {
    let policy = AsyncPolicy { retries_max: 0, ..AsyncPolicy::default() };
    let world = world_with(Limits::default(), policy, |_| failed()).await;
    let id = world.accept().await;
    assert_eq!(world.concluded(id).await.attempts, 1);
}

#[tokio::test]
async fn throttles_back_off_from_one_second_to_five_minutes_until_the_age_is_over() {
    let world = world(|_| {
        Err(InvokeError::Throttled {
            reason: ThrottleReason::ConcurrentInvocationLimitExceeded,
            retry_after: Duration::from_secs(1),
        })
    })
    .await;
    let start = world.clock.now();
    let id = world.accept().await;
    let mut passed = Duration::ZERO;
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        let wait = Duration::from_secs(seconds);
        world.due_in(wait).await;
        world.pass_exactly(wait).await;
        passed += wait;
    }
    while passed + Duration::from_secs(300) < 360 * MINUTE {
        world.due_in(Duration::from_secs(300)).await;
        world.clock.advance(Duration::from_secs(300));
        passed += Duration::from_secs(300);
    }
    let last = 360 * MINUTE - passed;
    world.due_in(last).await;
    world.pass_exactly(last).await;
    let outcome = world.concluded(id).await;
    assert_eq!((outcome.conclusion, outcome.attempts), (Conclusion::Expired, 0));
    assert_eq!(outcome.concluded_at, start + 360 * MINUTE);
    assert_eq!(world.usage().await, []);
}

#[tokio::test]
async fn a_retry_that_would_come_too_late_expires_on_time() {
    let policy = AsyncPolicy { event_age_max: Duration::from_secs(90), ..AsyncPolicy::default() };
    let world = world_with(Limits::default(), policy, |_| failed()).await;
    let start = world.clock.now();
    let id = world.accept().await;
    world.due_in(MINUTE).await;
    world.pass_exactly(MINUTE).await;
    world.due_in(MINUTE / 2).await;
    world.pass_exactly(MINUTE / 2).await;
    let outcome = world.concluded(id).await;
    assert_eq!((outcome.conclusion, outcome.attempts), (Conclusion::Expired, 2));
    assert_eq!(outcome.concluded_at, start + Duration::from_secs(90));
}

#[tokio::test]
async fn a_functions_own_retries_and_age_count_and_its_destination_is_told_once() {
    let world = world(|_| failed()).await;
    let asked = |retries_max, event_age_s_max| crate::functions::EventInvoke {
        retries_max,
        event_age_s_max,
        on_success: None,
        on_failure: Some("arn:aws:sqs:us-east-1:000000000000:q".to_owned()),
        modified: Timestamp::UNIX_EPOCH,
    };
    let f = arn("f");
    let set = |asked| world.functions().change_event_invoke(&f, move |_| Some(asked));
    set(asked(Some(1), None)).await.unwrap();
    let once_more = world.accept().await;
    world.due_in(MINUTE).await;
    world.pass_exactly(MINUTE).await;
    assert_eq!(world.concluded(once_more).await.attempts, 2);
    set(asked(None, Some(90))).await.unwrap();
    let aged = world.accept().await;
    world.due_in(MINUTE).await;
    world.pass_exactly(MINUTE).await;
    world.due_in(MINUTE / 2).await;
    world.pass_exactly(MINUTE / 2).await;
    assert_eq!(world.concluded(aged).await.conclusion, Conclusion::Expired);
    let letters = world.handle.letters(10).await.unwrap();
    let told: Vec<serde_json::Value> =
        letters.iter().map(|(_, letter)| serde_json::from_str(&letter.text).unwrap()).collect();
    let context = |told: &serde_json::Value| {
        let context = &told["requestContext"];
        (context["requestId"].clone(), context["condition"].clone(), context["approximateInvokeCount"].clone())
    };
    let expected = [(once_more, "RetriesExhausted"), (aged, "EventAgeExceeded")];
    for (told, (id, condition)) in told.iter().zip(expected) {
        assert_eq!(context(told), (serde_json::json!(id), condition.into(), 2.into()));
    }
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["responseContext"]["functionError"], "Unhandled");
    assert!(told[1].get("responseContext").is_none());
}

#[tokio::test]
async fn system_errors_do_not_count_as_attempts() {
    let world = world(|call| if call < 3 { Err(InvokeError::Internal("disk".to_owned())) } else { failed() }).await;
    let id = world.accept().await;
    for seconds in [1, 2, 60, 120] {
        world.due_in(Duration::from_secs(seconds)).await;
        world.pass_exactly(Duration::from_secs(seconds)).await;
    }
    assert_eq!(world.concluded(id).await.attempts, 3);
    assert_eq!(world.script.seen().iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 1, 1, 2, 3]);
    assert_eq!(world.usage().await.len(), 3);
}

#[tokio::test]
async fn events_of_a_deleted_function_end_even_when_the_name_lives_again() {
    let world = world(|_| failed()).await;
    let id = world.accept().await;
    world.due_in(MINUTE).await;
    world.functions().delete(&arn("f")).await.unwrap();
    world.create("f").await;
    world.pass_exactly(MINUTE).await;
    let outcome = world.concluded(id).await;
    assert_eq!((outcome.conclusion, outcome.attempts), (Conclusion::FunctionDeleted, 1));
    assert_eq!(world.script.seen().len(), 1);
}

#[tokio::test]
async fn a_full_queue_throttles() {
    let limits = Limits { async_queue_events: 2, ..Limits::default() };
    let world = world_with(limits, AsyncPolicy::default(), |_| failed()).await;
    world.accept().await;
    world.accept().await;
    world.due_in(MINUTE).await;
    let refused = world.handle.enqueue(world.invocation("f")).await;
    let Err(InvokeError::Throttled { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, ThrottleReason::FunctionInvocationRateLimitExceeded);
}

#[tokio::test]
async fn another_server_takes_up_what_waits_and_old_outcomes_are_forgotten() {
    let world = world(|call| if call == 1 { failed() } else { fine() }).await;
    let id = world.accept().await;
    world.due_in(MINUTE).await;
    world.handle.drain(MINUTE).await;
    world.clock.advance(MINUTE);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.script.seen().len(), 1, "a server that drains leaves events alone");
    let again = world.again().await;
    assert_eq!(world.concluded(id).await.attempts, 2);
    assert_eq!(again.async_outcomes(10).await.unwrap().len(), 1);

    eventually("the outcome is forgotten", || async {
        world.clock.advance(Duration::from_secs(3600));
        again.async_outcome(id).await.unwrap().is_none()
    })
    .await;
    assert!(world.clock.now() >= jiff::Timestamp::from_second(0).unwrap() + outcomes::KEPT);
    assert_eq!(again.async_outcomes(10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_events_end_once_each_and_the_newest_are_listed_first() {
    let limits = Limits { concurrency: 20, ..Limits::default() };
    let world = Arc::new(world_with(limits, AsyncPolicy::default(), |_| fine()).await);
    let clients = (0..10).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..100 {
                ids.push(world.accept().await);
            }
            ids
        })
    });
    let mut ids = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        ids.extend(client.await.unwrap());
    }
    for id in &ids {
        assert_eq!(world.concluded_in_crowd(*id).await.attempts, 1);
    }
    assert_eq!(world.script.seen().len(), 1000);
    assert_eq!(world.usage().await.len(), 1000);
    let recent = world.handle.async_outcomes(7).await.unwrap();
    assert_eq!(recent.len(), 7);
    assert!(recent.is_sorted_by(|a, b| a.concluded_at >= b.concluded_at));
}

impl World {
    async fn concluded_in_crowd(&self, id: RequestId) -> AsyncOutcome {
        eventually("the event has an outcome", || async { self.handle.async_outcome(id).await.unwrap().is_some() })
            .await;
        self.handle.async_outcome(id).await.unwrap().unwrap()
    }
}
