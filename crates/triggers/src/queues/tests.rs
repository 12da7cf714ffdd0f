//! What queues promise, on a real store and a clock that the tests move.

use super::*;
use dayfly_types::ManualClock;

struct Bench {
    queues: Queues,
    clock: ManualClock,
    store: Store,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        let store = dayfly_store::embedded::open(folder.path()).unwrap();
        let queues = Queues::start(store.clone(), Arc::new(clock.clone())).await.unwrap();
        Self { queues, clock, store, folder }
    }

    /// The same queues after a restart.
    async fn again(self) -> Self {
        let Self { queues, clock, store, folder } = self;
        store.close().await;
        drop((queues, store));
        let store = dayfly_store::embedded::open(folder.path()).unwrap();
        let queues = Queues::start(store.clone(), Arc::new(clock.clone())).await.unwrap();
        Self { queues, clock, store, folder }
    }

    async fn make(&self, text: &str, settings: Settings) -> Arc<Queue> {
        self.queues.create(&name(text), settings, BTreeMap::new(), |_| Ok(())).await.unwrap();
        self.queues.get(&name(text)).unwrap()
    }

    async fn send(&self, queue: &Queue, bodies: &[&str]) {
        let messages = bodies.iter().map(|body| NewMessage { body: (*body).to_owned(), ..NewMessage::default() });
        self.queues.send(queue, messages.collect()).await.unwrap();
    }

    async fn take(&self, queue: &Queue) -> Vec<Received> {
        self.queues.receive(queue, Receive { messages_max: 10, visibility_s: None, wait: None }).await.unwrap()
    }

    fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn name(text: &str) -> QueueName {
    QueueName { account: AccountId::default(), region: "us-east-1".parse().unwrap(), name: text.to_owned() }
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| received.message.body.as_str()).collect()
}

#[tokio::test]
async fn messages_are_hidden_come_back_and_are_gone_once_deleted_over_restarts() {
    let bench = Bench::new().await;
    let queue = bench.make("q", Settings::default()).await;
    bench.send(&queue, &["a", "b"]).await;
    let first = bench.take(&queue).await;
    assert_eq!(bodies(&first), ["a", "b"]);
    assert!(bench.take(&queue).await.is_empty());
    assert_eq!(bench.queues.counts(&queue), Counts { visible: 0, in_flight: 2, delayed: 0 });

    let bench = bench.again().await;
    let queue = bench.queues.get(&name("q")).unwrap();
    assert!(bench.take(&queue).await.is_empty(), "what is hidden stays hidden over a restart");
    assert_eq!(bench.queues.counts(&queue).in_flight, 2);
    assert!(bench.queues.remove(&queue, &[first[0].handle.clone()]).await.unwrap()[0].is_ok());
    bench.later(31);
    let second = bench.take(&queue).await;
    assert_eq!(bodies(&second), ["b"]);
    assert_eq!(second[0].message.received, 2);
    // The first handle still means the message.
    bench.queues.remove(&queue, &[first[1].handle.clone()]).await.unwrap();
    bench.later(31);
    assert!(bench.take(&queue).await.is_empty());
    assert_eq!(bench.queues.counts(&queue), Counts::default());
    for table in [MESSAGES, MOVED] {
        assert!(bench.store.tables.scan(table, &[], &[0xff; 40], 10, false).await.unwrap().is_empty(), "{table}");
    }
}

#[tokio::test]
async fn visibility_is_changed_of_what_is_in_flight_only() {
    let bench = Bench::new().await;
    let queue = bench.make("q", Settings::default()).await;
    bench.send(&queue, &["a"]).await;
    let taken = bench.take(&queue).await;
    let handle = taken[0].handle.clone();
    bench.later(20);
    assert!(bench.queues.hide(&queue, &[(handle.clone(), 30)]).await.unwrap()[0].is_ok());
    bench.later(20);
    assert!(bench.take(&queue).await.is_empty());
    let too_long = bench.queues.hide(&queue, &[(handle.clone(), VISIBILITY_S_MAX)]).await.unwrap();
    assert!(matches!(too_long[0], Err(Error::HiddenTooLong)));
    assert!(bench.queues.hide(&queue, &[(handle.clone(), 0)]).await.unwrap()[0].is_ok());
    assert!(matches!(bench.queues.hide(&queue, &[(handle, 5)]).await.unwrap()[0], Err(Error::NotInFlight)));
    assert_eq!(bodies(&bench.take(&queue).await), ["a"]);
    let nonsense = bench.queues.remove(&queue, &["x".to_owned()]).await.unwrap();
    assert!(matches!(nonsense[0], Err(Error::InvalidHandle)));
}

#[tokio::test]
async fn a_receive_waits_for_what_is_sent_and_for_what_becomes_visible() {
    let bench = Bench::new().await;
    let queue = bench.make("q", Settings { delay_s: 5, ..Settings::default() }).await;
    let wait = Receive { messages_max: 1, visibility_s: None, wait: Some(Duration::from_secs(20)) };
    let waiting = tokio::spawn({
        let (queues, queue) = (bench.queues.clone(), queue.clone());
        async move { queues.receive(&queue, wait).await.unwrap() }
    });
    bench.send(&queue, &["late"]).await;
    assert_eq!(bench.queues.counts(&queue).delayed, 1);
    assert!(!waiting.is_finished());
    while !waiting.is_finished() {
        bench.later(1);
        tokio::task::yield_now().await;
    }
    assert_eq!(bodies(&waiting.await.unwrap()), ["late"]);
}

#[tokio::test]
async fn receives_side_by_side_take_each_message_once() {
    let bench = Bench::new().await;
    let queue = bench.make("q", Settings::default()).await;
    let texts: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for chunk in texts.chunks(10) {
        bench.send(&queue, &chunk.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (queues, queue) = (bench.queues.clone(), queue.clone());
        takers.spawn(async move {
            let receive = Receive { messages_max: 10, visibility_s: None, wait: None };
            let mut mine = Vec::new();
            loop {
                let taken = queues.receive(&queue, receive).await.unwrap();
                if taken.is_empty() {
                    return mine;
                }
                mine.extend(taken.into_iter().map(|received| received.message.body));
            }
        });
    }
    let mut seen = takers.join_all().await.concat();
    seen.extend(bench.take(&queue).await.into_iter().map(|received| received.message.body));
    seen.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(seen, texts);
}

#[tokio::test]
async fn what_nobody_can_handle_goes_to_the_dead_letter_queue() {
    let bench = Bench::new().await;
    let dead = bench.make("dead", Settings::default()).await;
    let redrive = Redrive { target: name("dead"), receives_max: 2 };
    let queue = bench.make("q", Settings { redrive: Some(redrive), ..Settings::default() }).await;
    bench.send(&queue, &["poison"]).await;
    for _ in 0..2 {
        assert_eq!(bodies(&bench.take(&queue).await), ["poison"]);
        bench.later(31);
    }
    assert!(bench.take(&queue).await.is_empty());
    let found = bench.take(&dead).await;
    assert_eq!(bodies(&found), ["poison"]);
    assert_eq!(found[0].message.source.as_deref(), Some("arn:aws:sqs:us-east-1:000000000000:q"));
    assert_eq!(bench.queues.counts(&queue), Counts::default());
    assert_eq!(bench.queues.sources_of(&name("dead"), "", 10).await, [name("q")]);
}

#[tokio::test]
async fn old_messages_are_forgotten_and_purged_ones_never_seen() {
    let bench = Bench::new().await;
    let queue = bench.make("q", Settings { retention_s: 60, ..Settings::default() }).await;
    bench.send(&queue, &["old"]).await;
    bench.later(61);
    bench.send(&queue, &["new"]).await;
    let taken = bench.take(&queue).await;
    assert_eq!(bodies(&taken), ["new"]);
    bench.queues.purge(&queue).await.unwrap();
    assert!(bench.queues.remove(&queue, &[taken[0].handle.clone()]).await.unwrap()[0].is_ok());
    bench.later(31);
    assert!(bench.take(&queue).await.is_empty());
    while !bench.store.tables.scan(MESSAGES, &[], &[0xff; 40], 10, false).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.queues.delete(&name("q")).await.unwrap();
    assert!(matches!(bench.queues.send(&queue, Vec::new()).await, Err(Error::NoSuchQueue)));
    assert!(matches!(bench.queues.get(&name("q")), Err(Error::NoSuchQueue)));
    assert!(bench.again().await.queues.get(&name("q")).is_err());
}
