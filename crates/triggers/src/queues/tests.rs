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

    /// The same after a restart with a clock that was set otherwise.
    async fn set(self, seconds: i64) -> Self {
        let now = Timestamp::from_second(self.clock.now().as_second() + seconds).unwrap();
        Self { clock: ManualClock::new(now), ..self }.again().await
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

/// A message of a group; its body is its id for deduplication.
fn grouped(group: &str, body: &str) -> NewMessage {
    NewMessage { body: body.to_owned(), group: Some(group.to_owned()), ..NewMessage::default() }
}

fn fifo() -> Settings {
    let fifo = Fifo { content_based: true, by_group: false, throughput_limit: "perQueue".to_owned() };
    Settings { fifo: Some(fifo), ..Settings::default() }
}

#[tokio::test]
async fn a_group_keeps_its_order_and_waits_for_what_is_in_flight() {
    let bench = Bench::new().await;
    let queue = bench.make("q.fifo", fifo()).await;
    let all = ["a1", "b1", "a2", "a3", "b2"];
    let messages = all.iter().map(|body| grouped(&body[..1], body)).collect();
    let sent = bench.queues.send(&queue, messages).await.unwrap();
    assert!(sent.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let two = Receive { messages_max: 2, visibility_s: None, wait: None };
    let first = bench.queues.receive(&queue, two).await.unwrap();
    assert_eq!(bodies(&first), ["a1", "a2"]);
    assert_eq!(bodies(&bench.take(&queue).await), ["b1", "b2"], "the other group, and not a3");
    assert!(bench.take(&queue).await.is_empty());
    // One of two is deleted: the group still waits for the other.
    bench.queues.remove(&queue, &[first[0].handle.clone()]).await.unwrap()[0].as_ref().unwrap();
    assert!(bench.take(&queue).await.is_empty());
    assert_eq!(bench.queues.counts(&queue), Counts { visible: 1, in_flight: 3, delayed: 0 });

    let bench = bench.again().await;
    let queue = bench.queues.get(&name("q.fifo")).unwrap();
    assert!(bench.take(&queue).await.is_empty());
    bench.queues.remove(&queue, &[first[1].handle.clone()]).await.unwrap()[0].as_ref().unwrap();
    let third = bench.take(&queue).await;
    assert_eq!(bodies(&third), ["a3"]);
    // Given back, it comes again; with the handle of before nothing is done.
    bench.queues.hide(&queue, &[(third[0].handle.clone(), 0)]).await.unwrap()[0].as_ref().unwrap();
    let again = bench.take(&queue).await;
    assert_eq!(bodies(&again), ["a3"]);
    let old = bench.queues.remove(&queue, &[third[0].handle.clone()]).await.unwrap();
    assert!(matches!(old[0], Err(Error::HandleExpired)));
    bench.queues.remove(&queue, &[again[0].handle.clone()]).await.unwrap()[0].as_ref().unwrap();
    bench.later(31);
    let last = bench.take(&queue).await;
    assert_eq!(bodies(&last), ["b1", "b2"], "in order again after their time");
    let handles: Vec<String> = last.into_iter().map(|received| received.handle).collect();
    assert!(bench.queues.remove(&queue, &handles).await.unwrap().iter().all(Result::is_ok));
    assert_eq!(bench.queues.counts(&queue), Counts::default());
    for table in [MESSAGES, fifo::FIFO, fifo::GROUPS] {
        assert!(bench.store.tables.scan(table, &[], &[0xff; 40], 10, false).await.unwrap().is_empty(), "{table}");
    }
}

#[tokio::test]
async fn the_same_message_is_taken_once_in_five_minutes() {
    let bench = Bench::new().await;
    let queue = bench.make("q.fifo", fifo()).await;
    let send = |messages: Vec<NewMessage>| bench.queues.send(&queue, messages);
    let sent = send(vec![grouped("g", "x"), grouped("g", "x")]).await.unwrap();
    assert_eq!(sent[0], sent[1]);
    let own = NewMessage { deduplication: Some("other".to_owned()), ..grouped("g", "x") };
    assert_ne!(send(vec![own]).await.unwrap()[0], sent[0]);
    assert_eq!(bench.take(&queue).await.len(), 2);
    bench.later(299);
    assert_eq!(send(vec![grouped("g", "x")]).await.unwrap()[0], sent[0]);
    bench.later(1);
    assert_ne!(send(vec![grouped("g", "x")]).await.unwrap()[0], sent[0]);
    bench.later(301);
    send(vec![grouped("g", "y"), grouped("g", "z")]).await.unwrap();
    let kept = bench.store.tables.scan(fifo::SENT, &[], &[0xff; 40], 10, false).await.unwrap();
    assert_eq!(kept.len(), 2, "old ids are forgotten");
}

#[tokio::test]
async fn a_poisoned_message_lets_its_group_go_on() {
    let bench = Bench::new().await;
    let dead = bench.make("dead.fifo", fifo()).await;
    let redrive = Redrive { target: name("dead.fifo"), receives_max: 1 };
    let queue = bench.make("q.fifo", Settings { redrive: Some(redrive), ..fifo() }).await;
    bench.queues.send(&queue, vec![grouped("g", "poison"), grouped("g", "good")]).await.unwrap();
    let one = Receive { messages_max: 1, visibility_s: None, wait: None };
    assert_eq!(bodies(&bench.queues.receive(&queue, one).await.unwrap()), ["poison"]);
    bench.later(31);
    assert_eq!(bodies(&bench.take(&queue).await), ["good"]);
    assert_eq!(bodies(&bench.take(&dead).await), ["poison"]);
    assert_eq!(bench.queues.counts(&queue), Counts { visible: 0, in_flight: 1, delayed: 0 });
}

#[tokio::test]
async fn poisoned_messages_of_many_groups_are_buried_in_order_and_deleted_at_once() {
    let bench = Bench::new().await;
    let dead = bench.make("dead.fifo", fifo()).await;
    let redrive = Redrive { target: name("dead.fifo"), receives_max: 1 };
    let queue = bench.make("q.fifo", Settings { redrive: Some(redrive), ..fifo() }).await;
    let all = ["a1", "b1", "a2", "c1", "b2"];
    bench.queues.send(&queue, all.iter().map(|body| grouped(&body[..1], body)).collect()).await.unwrap();
    assert_eq!(bench.take(&queue).await.len(), 5);
    bench.later(31);
    let changes = bench.store.tables.watch(fifo::GROUPS);
    assert!(bench.take(&queue).await.is_empty());
    assert_eq!(bench.queues.counts(&queue), Counts::default());
    assert_eq!(changes.len(), 6, "three groups go, and three come, once each");

    let bench = bench.again().await;
    let dead = bench.queues.get(dead.name()).unwrap();
    assert_eq!(bench.queues.counts(&dead), Counts { visible: 5, in_flight: 0, delayed: 0 });
    let buried = bench.take(&dead).await;
    assert_eq!(bodies(&buried), ["a1", "a2", "b1", "b2", "c1"], "group by group");
    let twice = buried.iter().chain(&buried).map(|received| received.handle.clone());
    let handles: Vec<String> = twice.chain(["nonsense".to_owned()]).collect();
    let results = bench.queues.remove(&dead, &handles).await.unwrap();
    assert!(results[..10].iter().all(Result::is_ok) && matches!(results[10], Err(Error::InvalidHandle)));
    assert_eq!(bench.queues.counts(&dead), Counts::default());
    for table in [MESSAGES, fifo::FIFO, fifo::GROUPS] {
        assert!(bench.store.tables.scan(table, &[], &[0xff; 40], 10, false).await.unwrap().is_empty(), "{table}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing_and_keeps_the_order_of_groups() {
    let bench = Bench::new().await;
    let (plain, ordered) = (bench.make("q", Settings::default()).await, bench.make("q.fifo", fifo()).await);
    bench.send(&plain, &["before"]).await;
    bench.queues.send(&ordered, vec![grouped("g", "1")]).await.unwrap();

    let bench = bench.set(-3600).await;
    let queue = |queue: &Queue| bench.queues.get(queue.name()).unwrap();
    let (plain, ordered) = (queue(&plain), queue(&ordered));
    bench.send(&plain, &["after"]).await;
    bench.queues.send(&ordered, vec![grouped("g", "2")]).await.unwrap();
    let first = bench.take(&plain).await;
    assert_eq!(bodies(&first), ["after"]);
    bench.queues.remove(&plain, &[first[0].handle.clone()]).await.unwrap();
    bench.later(3600);
    let second = bench.take(&plain).await;
    assert_eq!((bodies(&second), bodies(&bench.take(&ordered).await)), (vec!["before"], vec!["1", "2"]));

    // A day ahead: what is in flight comes again, and its first handle still means it.
    let bench = bench.set(86_400).await;
    let plain = bench.queues.get(plain.name()).unwrap();
    assert_eq!(bench.take(&plain).await[0].message.received, 2);
    bench.queues.remove(&plain, &[second[0].handle.clone()]).await.unwrap();
    assert_eq!(bench.queues.counts(&plain), Counts::default());
}
