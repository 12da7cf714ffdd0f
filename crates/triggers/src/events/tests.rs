//! What rules promise, on a real store and a clock that the tests move. Functions are stood in for by a list of what came.

use super::*;
use crate::{
    deliveries::Calls,
    queues::{QueueName, Queues, Receive, Settings},
};
use async_trait::async_trait;
use dayfly_types::{Invocation, InvokeError, ManualClock};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
struct Recorder {
    got: Mutex<Vec<Value>>,
    refusals: AtomicU64,
}

#[async_trait]
impl Calls for Recorder {
    async fn enqueue(&self, invocation: Invocation, sender: &Sender) -> Result<bool, InvokeError> {
        assert!(sender.arn.ends_with(":rule/r"));
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(InvokeError::ShuttingDown);
        }
        if invocation.function.name.as_str() == "nobody" {
            return Err(InvokeError::FunctionNotFound(invocation.function));
        }
        self.got.lock().unwrap().push(serde_json::from_slice(&invocation.payload).unwrap());
        Ok(true)
    }
}

struct Bench {
    events: Events,
    queues: Queues,
    calls: Arc<Recorder>,
    clock: ManualClock,
    store: Store,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let clock = ManualClock::new("2026-11-23T20:00:30Z".parse().unwrap());
        Self::open(tempfile::tempdir().unwrap(), clock, Arc::default()).await
    }

    async fn open(folder: tempfile::TempDir, clock: ManualClock, calls: Arc<Recorder>) -> Self {
        let store = dayfly_store::embedded::open(folder.path()).unwrap();
        let queues = Queues::start(store.clone(), Arc::new(clock.clone())).await.unwrap();
        let deliveries = Deliveries::start(store.clone(), Arc::new(clock.clone()), queues.clone(), calls.clone());
        let events = Events::start(store.clone(), Arc::new(clock.clone()), deliveries).await.unwrap();
        Self { events, queues, calls, clock, store, folder }
    }

    /// The same after a restart, `away` later.
    async fn again(self, away: u64) -> Self {
        let Self { events, queues, calls, clock, store, folder } = self;
        store.close().await;
        drop((events, queues, store));
        clock.advance(Duration::from_secs(away));
        Self::open(folder, clock, calls).await
    }

    async fn rule(&self, change: impl FnOnce(&mut Rule) + Send) -> Rule {
        self.events.put((&AccountId::default(), &region(), "r"), change).await.unwrap()
    }

    /// Lets the timer and the deliveries run until they have nothing to do at this time.
    async fn settle(&self) {
        loop {
            let late = |known: &Known| known.next.is_some_and(|next| next <= self.clock.now());
            let due = self.events.inner.rules().values().any(late);
            let now = self.clock.now().as_microsecond() + 1;
            let waiting = self.store.tables.scan("deliveries", &[], &now.to_be_bytes(), 1, false).await.unwrap();
            if !due && waiting.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn later(&self, seconds: u64) -> usize {
        self.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
        self.calls.got.lock().unwrap().len()
    }
}

fn region() -> Region {
    "us-east-1".parse().unwrap()
}

fn function(name: &str) -> Target {
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
    Target { id: name.to_owned(), arn, ..Target::default() }
}

#[tokio::test]
async fn a_schedule_fires_once_each_time_and_once_for_all_it_missed() {
    let bench = Bench::new().await;
    bench
        .rule(|rule| {
            rule.schedule = Some("rate(5 minutes)".to_owned());
            rule.targets.push(function("f"));
        })
        .await;
    assert_eq!(bench.later(299).await, 0);
    assert_eq!(bench.later(1).await, 1);
    assert_eq!(bench.later(300).await, 2);
    let first = bench.calls.got.lock().unwrap()[0].clone();
    assert_eq!(first["time"], "2026-11-23T20:05:30Z");
    assert_eq!((&first["source"], &first["detail-type"]), (&json!("aws.events"), &json!("Scheduled Event")));
    assert_eq!(first["resources"], json!(["arn:aws:events:us-east-1:000000000000:rule/r"]));
    // An hour away: one firing, and the beat goes on.
    let bench = bench.again(3600).await;
    assert_eq!(bench.later(0).await, 3);
    assert_eq!(bench.later(299).await, 3);
    assert_eq!(bench.later(1).await, 4);
    let bench = bench.again(0).await;
    assert_eq!(bench.later(0).await, 4, "what has fired does not fire again");
}

#[tokio::test]
async fn a_time_that_fired_does_not_fire_again_when_the_clock_is_set_back() {
    let bench = Bench::new().await;
    bench
        .rule(|rule| {
            rule.schedule = Some("cron(0/5 * * * ? *)".to_owned());
            rule.targets.push(function("f"));
        })
        .await;
    assert_eq!(bench.later(300).await, 1);
    let Bench { events, queues, calls, clock, store, folder } = bench;
    store.close().await;
    drop((events, queues, store));
    let earlier = ManualClock::new(clock.now() - Duration::from_secs(3600));
    let bench = Bench::open(folder, earlier, calls).await;
    assert_eq!(bench.later(3600).await, 1);
    assert_eq!(bench.later(300).await, 2);
}

#[tokio::test]
async fn a_disabled_rule_neither_fires_nor_makes_up_for_it() {
    let bench = Bench::new().await;
    bench
        .rule(|rule| {
            rule.schedule = Some("cron(* * * * ? *)".to_owned());
            rule.targets.push(function("f"));
        })
        .await;
    assert_eq!(bench.later(30).await, 1);
    bench.rule(|rule| rule.enabled = false).await;
    assert_eq!(bench.later(600).await, 1);
    bench.rule(|rule| rule.enabled = true).await;
    assert_eq!(bench.later(0).await, 1);
    assert_eq!(bench.later(60).await, 2);
}

#[tokio::test]
async fn events_go_to_the_targets_of_rules_that_match_and_survive_a_restart() {
    let bench = Bench::new().await;
    let queue = QueueName { account: AccountId::default(), region: region(), name: "q".to_owned() };
    bench.queues.create(&queue, Settings::default(), BTreeMap::new(), |_| Ok(())).await.unwrap();
    bench
        .rule(|rule| {
            rule.pattern = Some(r#"{"source": ["shop"]}"#.to_owned());
            rule.targets = vec![
                function("f"),
                Target {
                    id: "q".to_owned(),
                    arn: queue.to_string(),
                    input_path: Some("$.detail.n".to_owned()),
                    ..Target::default()
                },
            ];
        })
        .await;
    bench.calls.refusals.store(1, Ordering::SeqCst);
    let made = |source| {
        let fields = Fields { source, detail_type: "t", resources: json!([]), detail: json!({"n": 7}) };
        event(&AccountId::default(), &region(), bench.clock.now(), fields)
    };
    bench.events.accept(&AccountId::default(), &region(), &[made("shop"), made("other")]).await.unwrap();
    let bench = bench.again(10).await;
    // Whether the refusal came before the restart or now: after ten seconds more it was tried again.
    bench.settle().await;
    assert_eq!(bench.later(10).await, 1);
    let queue = bench.queues.get(&queue).unwrap();
    let receive = Receive { messages_max: 10, visibility_s: None, wait: None };
    let got = bench.queues.receive(&queue, receive).await.unwrap();
    assert_eq!(got.iter().map(|got| got.message.body.as_str()).collect::<Vec<_>>(), ["7"]);
}

#[tokio::test]
async fn what_cannot_be_delivered_goes_to_the_dead_letter_queue() {
    let bench = Bench::new().await;
    let queue = QueueName { account: AccountId::default(), region: region(), name: "dead".to_owned() };
    bench.queues.create(&queue, Settings::default(), BTreeMap::new(), |_| Ok(())).await.unwrap();
    bench
        .rule(|rule| {
            rule.schedule = Some("rate(1 minute)".to_owned());
            let dead_letter_config = Some(DeadLetterConfig { arn: queue.to_string() });
            rule.targets.push(Target { dead_letter_config, input: Some("\"x\"".to_owned()), ..function("nobody") });
        })
        .await;
    assert_eq!(bench.later(60).await, 0);
    let queue = bench.queues.get(&queue).unwrap();
    assert_eq!(bench.queues.counts(&queue).visible, 1);
}

#[tokio::test]
async fn a_rule_with_targets_stays() {
    let bench = Bench::new().await;
    let rule = bench
        .rule(|rule| {
            rule.pattern = Some(r#"{"source": ["x"]}"#.to_owned());
            rule.targets.push(function("f"));
        })
        .await;
    let delete = || bench.events.delete(&rule.account, &rule.region, "r");
    assert!(matches!(delete().await, Err(Error::HasTargets)));
    bench.rule(|rule| rule.targets.clear()).await;
    delete().await.unwrap();
    delete().await.unwrap();
    assert!(matches!(bench.events.get(&rule.account, &rule.region, "r"), Err(Error::NoSuchRule(_))));
}
