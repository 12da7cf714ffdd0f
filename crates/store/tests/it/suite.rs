//! What every implementation of the store does. A factory gives an empty store, and opens the same data again.

use bytes::Bytes;
use dayfly_store::{Batch, Error, Precondition, Store, shared};
use dayfly_types::Timestamp;
use std::{future::Future, time::Duration};

/// Makes stores of one implementation.
pub trait Factory: Send + Sync {
    /// Opens the data; the first time it is empty. What was opened before is closed.
    fn open(&self) -> impl Future<Output = Store> + Send;
}

/// A test per name, for one factory.
#[macro_export]
macro_rules! suite {
    ($factory:expr; $($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::suite::$name(&$factory).await;
        }
    )*};
    ($factory:expr) => {
        $crate::suite!($factory;
            rows_are_read_as_written, a_scan_is_ordered_and_bounded, a_batch_is_all_or_nothing,
            preconditions_see_the_state_before_the_batch, one_of_many_wins_each_race,
            a_refused_write_does_not_spoil_its_neighbours, a_watcher_sees_changes_in_order_and_may_lag,
            messages_come_in_order_of_visibility, a_lease_ends_and_is_gone, settling_commits_its_batch_too,
            many_consumers_get_each_message_once, a_full_queue_refuses, a_queue_is_purged,
            everything_is_there_again_after_reopening, blobs_are_found_by_their_hash,
            a_blob_may_come_and_go_in_pieces, a_blob_goes_with_its_last_user, a_closed_store_says_so,
        );
    };
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

async fn value(store: &Store, key: &str) -> Option<Bytes> {
    store.tables.get("t", key.as_bytes()).await.unwrap().map(|row| row.value)
}

fn keys(rows: &[dayfly_store::Row]) -> Vec<&[u8]> {
    rows.iter().map(|row| row.key.as_ref()).collect()
}

pub async fn rows_are_read_as_written(factory: &impl Factory) {
    let store = factory.open().await;
    assert_eq!(store.tables.get("never written", b"k").await.unwrap(), None);
    store.tables.commit(Batch::new().put("t", "a", "1").put("t", "empty", "").put("u", "a", "2")).await.unwrap();
    let first = store.tables.get("t", b"a").await.unwrap().unwrap();
    assert_eq!((first.key.as_ref(), first.value.as_ref()), (b"a".as_slice(), b"1".as_slice()));
    assert_ne!(first.version, 0);
    assert_eq!(value(&store, "empty").await.unwrap(), Bytes::new());
    assert_eq!(store.tables.get("u", b"a").await.unwrap().unwrap().value, "2");
    store.tables.commit(Batch::new().put("t", "a", "1")).await.unwrap();
    assert_ne!(store.tables.get("t", b"a").await.unwrap().unwrap().version, first.version);
    store.tables.commit(Batch::new().delete("t", "a").delete("t", "was never there")).await.unwrap();
    assert_eq!(value(&store, "a").await, None);
    let large = Bytes::from(vec![7; 6 << 20]);
    store.tables.commit(Batch::new().put("t", "large", large.clone())).await.unwrap();
    assert_eq!(value(&store, "large").await.unwrap(), large);
}

pub async fn a_scan_is_ordered_and_bounded(factory: &impl Factory) {
    let store = factory.open().await;
    let mut batch = Batch::new();
    for key in [b"b".as_slice(), b"a", b"\xff\xff", b"a\0", b"c", b""] {
        batch = batch.put("t", Bytes::copy_from_slice(key), "");
    }
    store.tables.commit(batch).await.unwrap();
    let scan = |from: &'static [u8], to: &'static [u8], limit, backwards| {
        let tables = store.tables.clone();
        async move { tables.scan("t", from, to, limit, backwards).await.unwrap() }
    };
    assert_eq!(
        keys(&scan(b"", b"\xff\xff\xff", 9, false).await),
        [b"".as_slice(), b"a", b"a\0", b"b", b"c", b"\xff\xff"]
    );
    assert_eq!(keys(&scan(b"a", b"c", 9, false).await), [b"a".as_slice(), b"a\0", b"b"]);
    assert_eq!(keys(&scan(b"a", b"c", 2, true).await), [b"b".as_slice(), b"a\0"]);
    assert_eq!(keys(&scan(b"a", b"z", 1, false).await), [b"a".as_slice()]);
    for (from, to, limit) in [(b"a".as_slice(), b"a".as_slice(), 9), (b"z", b"a", 9), (b"a", b"z", 0)] {
        assert!(scan(from, to, limit, false).await.is_empty());
    }
    for rows in [1, 2, 3, 4, 9] {
        let mut pages = store.tables.pages("t", b"a", b"c").of(rows);
        let mut found = Vec::new();
        while let Some(page) = pages.next().await.unwrap() {
            assert!((1..=rows).contains(&page.len()));
            found.extend(page);
        }
        assert_eq!(keys(&found), [b"a".as_slice(), b"a\0", b"b"]);
        assert!(pages.next().await.unwrap().is_none());
    }
}

pub async fn a_batch_is_all_or_nothing(factory: &impl Factory) {
    let store = factory.open().await;
    store.tables.commit(Batch::new().put("t", "there", "old")).await.unwrap();
    let refused = store
        .tables
        .commit(Batch::new().put("t", "there", "new").put("t", "fresh", "1").write(
            "t",
            "there",
            Some("x".into()),
            Precondition::Absent,
        ))
        .await;
    assert!(matches!(refused, Err(Error::Conflict { table }) if table == "t"));
    assert_eq!(value(&store, "there").await.unwrap(), "old");
    assert_eq!(value(&store, "fresh").await, None);
}

pub async fn preconditions_see_the_state_before_the_batch(factory: &impl Factory) {
    let store = factory.open().await;
    store.tables.commit(Batch::new().write("t", "a", Some("1".into()), Precondition::Absent)).await.unwrap();
    let version = store.tables.get("t", b"a").await.unwrap().unwrap().version;
    let with = |precondition| Batch::new().write("t", "a", Some("2".into()), precondition);
    for wrong in [Precondition::Absent, Precondition::Version(version + 1), Precondition::Version(0)] {
        assert!(matches!(store.tables.commit(with(wrong)).await, Err(Error::Conflict { .. })), "{wrong:?}");
    }
    let absent = Batch::new().write("t", "none", None, Precondition::Version(version));
    assert!(matches!(store.tables.commit(absent).await, Err(Error::Conflict { .. })));
    store.tables.commit(with(Precondition::Version(version))).await.unwrap();
    assert!(matches!(store.tables.commit(with(Precondition::Version(version))).await, Err(Error::Conflict { .. })));
    // A key that was deleted and written again never has an old version: a stale writer must not win.
    let version = store.tables.get("t", b"a").await.unwrap().unwrap().version;
    store.tables.commit(Batch::new().delete("t", "a")).await.unwrap();
    store.tables.commit(Batch::new().put("t", "a", "3")).await.unwrap();
    assert!(matches!(store.tables.commit(with(Precondition::Version(version))).await, Err(Error::Conflict { .. })));
}

pub async fn one_of_many_wins_each_race(factory: &impl Factory) {
    let store = factory.open().await;
    const TASKS: u64 = 16;
    const EACH: u64 = 20;
    store.tables.commit(Batch::new().put("t", "count", "0")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let tables = store.tables.clone();
        tasks.spawn(async move {
            for _ in 0..EACH {
                loop {
                    let row = tables.get("t", b"count").await.unwrap().unwrap();
                    let count: u64 = std::str::from_utf8(&row.value).unwrap().parse().unwrap();
                    let next = Some((count + 1).to_string().into());
                    match tables
                        .commit(Batch::new().write("t", "count", next, Precondition::Version(row.version)))
                        .await
                    {
                        Ok(()) => break,
                        Err(Error::Conflict { .. }) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(value(&store, "count").await.unwrap(), (TASKS * EACH).to_string());
}

pub async fn a_refused_write_does_not_spoil_its_neighbours(factory: &impl Factory) {
    let store = factory.open().await;
    store.tables.commit(Batch::new().put("t", "taken", "")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..200 {
        let store = store.clone();
        tasks.spawn(async move {
            let batch = Batch::new().put("t", format!("row {i}"), "");
            match i % 4 {
                0 => {
                    let batch = batch.write("t", "taken", None, Precondition::Absent);
                    assert!(matches!(store.tables.commit(batch).await, Err(Error::Conflict { .. })));
                }
                1 => {
                    let batch = batch.put("t", vec![b'k'; 1 << 20], "");
                    assert!(matches!(store.tables.commit(batch).await, Err(Error::TooLarge { .. })));
                }
                2 => {
                    let refused = store.queues.enqueue("q", Bytes::new(), at(0), 0).await;
                    assert!(matches!(refused, Err(Error::QueueFull)));
                }
                _ => store.tables.commit(batch).await.unwrap(),
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let rows = store.tables.scan("t", b"row ", b"row!", 1_000, false).await.unwrap();
    assert_eq!(rows.len(), 50);
    assert_eq!(store.queues.len("q").await.unwrap(), 0);
}

pub async fn a_watcher_sees_changes_in_order_and_may_lag(factory: &impl Factory) {
    let store = factory.open().await;
    let mut changes = store.tables.watch("t");
    store.tables.commit(Batch::new().put("other", "x", "").put("t", "a", "1")).await.unwrap();
    store.tables.commit(Batch::new().delete("t", "a")).await.unwrap();
    let refused = Batch::new().write("t", "a", None, Precondition::Version(1));
    assert!(store.tables.commit(refused).await.is_err());
    let first = changes.recv().await.unwrap();
    assert_eq!((first.key, first.value), ("a".into(), Some("1".into())));
    let second = changes.recv().await.unwrap();
    assert_eq!((second.key, second.value), ("a".into(), None));
    assert!(changes.try_recv().is_err(), "a refused write is no change");
    let mut batch = Batch::new();
    for i in 0..5_000 {
        batch = batch.put("t", format!("{i}"), "");
    }
    store.tables.commit(batch).await.unwrap();
    assert!(matches!(changes.recv().await, Err(tokio::sync::broadcast::error::RecvError::Lagged(_))));
}

pub async fn messages_come_in_order_of_visibility(factory: &impl Factory) {
    let store = factory.open().await;
    let queues = &store.queues;
    assert_eq!(queues.next_visible("q").await.unwrap(), None);
    for (body, seconds) in [("late", 20), ("first", 0), ("second", 10), ("also first", 0)] {
        queues.enqueue("q", body.into(), at(seconds), 100).await.unwrap();
    }
    queues.enqueue("other", "elsewhere".into(), at(-5), 100).await.unwrap();
    assert_eq!(queues.next_visible("q").await.unwrap(), Some(at(0)));
    assert!(queues.lease("q", at(-1), at(60), 10).await.unwrap().is_empty());
    let bodies = |leases: Vec<dayfly_store::Lease>| leases.into_iter().map(|lease| lease.body).collect::<Vec<_>>();
    assert_eq!(bodies(queues.lease("q", at(10), at(60), 2).await.unwrap()), ["first", "also first"]);
    assert_eq!(bodies(queues.lease("q", at(10), at(60), 2).await.unwrap()), ["second"]);
    assert_eq!(queues.next_visible("q").await.unwrap(), Some(at(20)));
    queues.enqueue("q", "earlier than all".into(), at(-100), 100).await.unwrap();
    assert_eq!(queues.next_visible("q").await.unwrap(), Some(at(-100)));
    assert_eq!(bodies(queues.lease("q", at(20), at(60), 9).await.unwrap()), ["earlier than all", "late"]);
    assert_eq!(queues.next_visible("q").await.unwrap(), Some(at(60)));
    assert_eq!(queues.len("q").await.unwrap(), 5);
    let mut names = queues.names().await.unwrap();
    names.sort();
    assert_eq!(names, ["other", "q"]);
}

pub async fn a_lease_ends_and_is_gone(factory: &impl Factory) {
    let store = factory.open().await;
    let queues = &store.queues;
    queues.enqueue("q", "m".into(), at(0), 100).await.unwrap();
    let first = queues.lease("q", at(0), at(30), 1).await.unwrap().remove(0);
    assert!(queues.lease("q", at(29), at(60), 1).await.unwrap().is_empty());
    let second = queues.lease("q", at(30), at(60), 1).await.unwrap().remove(0);
    assert_eq!(second.id, first.id);
    assert_ne!(second.generation, first.generation);
    assert!(matches!(queues.acknowledge(&first, Batch::new()).await, Err(Error::LeaseGone)));
    assert!(matches!(queues.put_back(&first, "x".into(), at(0), Batch::new()).await, Err(Error::LeaseGone)));
    queues.put_back(&second, "again".into(), at(40), Batch::new()).await.unwrap();
    assert!(matches!(queues.acknowledge(&second, Batch::new()).await, Err(Error::LeaseGone)));
    let third = queues.lease("q", at(40), at(60), 1).await.unwrap().remove(0);
    assert_eq!((third.id, third.body.as_ref()), (first.id, b"again".as_slice()));
    queues.acknowledge(&third, Batch::new()).await.unwrap();
    assert!(matches!(queues.acknowledge(&third, Batch::new()).await, Err(Error::LeaseGone)));
    assert_eq!(queues.len("q").await.unwrap(), 0);
    assert!(queues.names().await.unwrap().is_empty());
}

pub async fn settling_commits_its_batch_too(factory: &impl Factory) {
    let store = factory.open().await;
    let queues = &store.queues;
    store.tables.commit(Batch::new().put("t", "taken", "")).await.unwrap();
    queues.enqueue("q", "m".into(), at(0), 100).await.unwrap();
    let lease = queues.lease("q", at(0), at(30), 1).await.unwrap().remove(0);
    let refused = Batch::new().put("t", "record", "").write("t", "taken", None, Precondition::Absent);
    assert!(matches!(queues.acknowledge(&lease, refused).await, Err(Error::Conflict { .. })));
    assert_eq!((value(&store, "record").await, queues.len("q").await.unwrap()), (None, 1));
    queues.put_back(&lease, "m2".into(), at(1), Batch::new().put("t", "attempt", "1")).await.unwrap();
    assert_eq!(value(&store, "attempt").await.unwrap(), "1");
    let again = queues.lease("q", at(1), at(30), 1).await.unwrap().remove(0);
    assert!(queues.acknowledge(&lease, Batch::new().put("t", "stale", "")).await.is_err());
    assert_eq!(value(&store, "stale").await, None);
    queues.acknowledge(&again, Batch::new().put("t", "record", "1")).await.unwrap();
    assert_eq!((value(&store, "record").await.unwrap(), queues.len("q").await.unwrap()), ("1".into(), 0));
}

pub async fn many_consumers_get_each_message_once(factory: &impl Factory) {
    let store = factory.open().await;
    const MESSAGES: u64 = 400;
    let mut tasks = tokio::task::JoinSet::new();
    for producer in 0..4 {
        let queues = store.queues.clone();
        tasks.spawn(async move {
            for i in 0..MESSAGES / 4 {
                queues.enqueue("q", format!("{producer}/{i}").into(), at((i % 7) as i64), 1_000).await.unwrap();
            }
            Vec::new()
        });
    }
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut bodies = Vec::new();
            for _ in 0..10_000 {
                for lease in store.queues.lease("q", at(10), at(1_000), 7).await.unwrap() {
                    let batch =
                        Batch::new().write("done", lease.body.clone(), Some(Bytes::new()), Precondition::Absent);
                    store.queues.acknowledge(&lease, batch).await.unwrap();
                    bodies.push(lease.body);
                }
                if store.tables.scan("done", b"", b"~", 1_000, false).await.unwrap().len() as u64 == MESSAGES {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            bodies
        });
    }
    let mut seen = std::collections::BTreeSet::new();
    while let Some(bodies) = tasks.join_next().await {
        for body in bodies.unwrap() {
            assert!(seen.insert(body), "a message came twice");
        }
    }
    assert_eq!(seen.len() as u64, MESSAGES);
    assert_eq!(store.queues.next_visible("q").await.unwrap(), None);
}

pub async fn a_full_queue_refuses(factory: &impl Factory) {
    let store = factory.open().await;
    for _ in 0..3 {
        store.queues.enqueue("q", "m".into(), at(0), 3).await.unwrap();
    }
    assert!(matches!(store.queues.enqueue("q", "m".into(), at(0), 3).await, Err(Error::QueueFull)));
    let lease = store.queues.lease("q", at(0), at(9), 1).await.unwrap().remove(0);
    assert!(matches!(store.queues.enqueue("q", "m".into(), at(0), 3).await, Err(Error::QueueFull)));
    store.queues.acknowledge(&lease, Batch::new()).await.unwrap();
    store.queues.enqueue("q", "m".into(), at(0), 3).await.unwrap();
}

pub async fn a_queue_is_purged(factory: &impl Factory) {
    let store = factory.open().await;
    for queue in ["q", "q", "kept"] {
        store.queues.enqueue(queue, "m".into(), at(0), 10).await.unwrap();
    }
    let lease = store.queues.lease("q", at(0), at(9), 1).await.unwrap().remove(0);
    store.queues.purge("q").await.unwrap();
    store.queues.purge("never there").await.unwrap();
    assert!(matches!(store.queues.acknowledge(&lease, Batch::new()).await, Err(Error::LeaseGone)));
    assert_eq!((store.queues.len("q").await.unwrap(), store.queues.len("kept").await.unwrap()), (0, 1));
    store.queues.enqueue("q", "new".into(), at(-9), 10).await.unwrap();
    let new = store.queues.lease("q", at(0), at(9), 10).await.unwrap();
    assert_eq!(new.len(), 1);
    assert_ne!(new[0].id, lease.id, "an id is never used twice");
}

pub async fn everything_is_there_again_after_reopening(factory: &impl Factory) {
    let store = factory.open().await;
    store.tables.commit(Batch::new().put("t", "a", "1")).await.unwrap();
    for seconds in 0..3 {
        store.queues.enqueue("q", seconds.to_string().into(), at(seconds), 10).await.unwrap();
    }
    let version = store.tables.get("t", b"a").await.unwrap().unwrap().version;
    let leased = store.queues.lease("q", at(9), at(99), 2).await.unwrap();
    store.queues.acknowledge(&leased[0], Batch::new()).await.unwrap();
    let hash = store.blobs.put("content".into()).await.unwrap();
    let ids: Vec<u64> = leased.iter().map(|lease| lease.id).collect();
    drop(store);
    let store = factory.open().await;
    assert_eq!(store.tables.get("t", b"a").await.unwrap().unwrap().version, version);
    assert_eq!(store.blobs.get(&hash).await.unwrap().unwrap(), "content");
    let leases = store.queues.lease("q", at(9), at(99), 10).await.unwrap();
    assert_eq!(leases.iter().map(|lease| lease.body.as_ref()).collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(leases[0].id, ids[1], "a message keeps its id");
    store.queues.enqueue("q", "new".into(), at(9), 10).await.unwrap();
    let new = store.queues.lease("q", at(9), at(99), 10).await.unwrap();
    assert!(new[0].id > leases[1].id);
}

pub async fn blobs_are_found_by_their_hash(factory: &impl Factory) {
    let store = factory.open().await;
    let hash = store.blobs.put("hello".into()).await.unwrap();
    assert_eq!(hash, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(store.blobs.put("hello".into()).await.unwrap(), hash);
    assert_eq!(store.blobs.get(&hash).await.unwrap().unwrap(), "hello");
    let path = store.blobs.path(&hash).await.unwrap().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    for none in ["", "../../../etc/passwd", &hash.to_uppercase(), &"0".repeat(64), &format!("{hash}/..")] {
        assert_eq!(store.blobs.get(none).await.unwrap(), None);
        assert_eq!(store.blobs.path(none).await.unwrap(), None);
        store.blobs.delete(none).await.unwrap();
    }
    let mut puts = tokio::task::JoinSet::new();
    for i in 0..32 {
        let blobs = store.blobs.clone();
        puts.spawn(async move { blobs.put(vec![i % 4; 100_000].into()).await.unwrap() });
    }
    let mut hashes = std::collections::BTreeSet::new();
    while let Some(hash) = puts.join_next().await {
        hashes.insert(hash.unwrap());
    }
    assert_eq!(hashes.len(), 4);
    store.blobs.delete(&hash).await.unwrap();
    store.blobs.delete(&hash).await.unwrap();
    assert_eq!(store.blobs.get(&hash).await.unwrap(), None);
}

pub async fn a_blob_may_come_and_go_in_pieces(factory: &impl Factory) {
    let store = factory.open().await;
    let whole: Vec<u8> = (0..200_000_u32).map(|index| index as u8).collect();
    let hash = store.blobs.put(whole.clone().into()).await.unwrap();
    store.blobs.delete(&hash).await.unwrap();
    let mut new = store.blobs.begin().await.unwrap();
    for piece in whole.chunks(33_333) {
        assert_eq!(store.blobs.get(&hash).await.unwrap(), None, "nobody sees half a blob");
        new.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert_eq!((new.sha256(), new.bytes()), (hash.clone(), 200_000));
    new.keep().await.unwrap();
    let mut reader = store.blobs.open(&hash).await.unwrap().unwrap();
    assert_eq!(reader.read(0, 10).await.unwrap(), whole[..10]);
    assert_eq!(reader.read(199_990, 100).await.unwrap(), whole[199_990..]);
    assert_eq!(reader.read(200_000, 1).await.unwrap(), "");
    // Once more the same, and one that is given up.
    let mut again = store.blobs.begin().await.unwrap();
    again.write(whole.clone().into()).await.unwrap();
    again.keep().await.unwrap();
    let mut dropped = store.blobs.begin().await.unwrap();
    dropped.write("dropped".into()).await.unwrap();
    let never = dropped.sha256();
    drop(dropped);
    assert!(store.blobs.open(&never).await.unwrap().is_none());
    store.blobs.delete(&hash).await.unwrap();
    assert!(store.blobs.open(&hash).await.unwrap().is_none());
    assert_eq!(reader.read(5, 5).await.unwrap(), whole[5..10], "a reader keeps what it reads");
}

pub async fn a_blob_goes_with_its_last_user(factory: &impl Factory) {
    let store = factory.open().await;
    let there = async |sha256: &str| store.blobs.path(sha256).await.unwrap().is_some();
    let held = store.shared.put("content".into()).await.unwrap();
    let sha256 = held.sha256.clone();
    store.tables.commit(shared::used(shared::used(Batch::new(), &sha256, "a"), &sha256, "b")).await.unwrap();
    drop(held);
    for (user, left) in [("a", true), ("b", false)] {
        store.tables.commit(shared::unused(Batch::new(), &sha256, user)).await.unwrap();
        store.shared.sweep(&sha256).await.unwrap();
        assert_eq!(there(&sha256).await, left, "without {user}");
    }
    // What was stored and never used is marked, and waits for who holds it.
    let held = store.shared.put("orphan".into()).await.unwrap();
    let orphan = held.sha256.clone();
    let sweeping = tokio::spawn({
        let store = store.clone();
        async move { store.shared.sweep_marked().await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(there(&orphan).await);
    drop(held);
    sweeping.await.unwrap();
    assert!(!there(&orphan).await);
}

pub async fn a_closed_store_says_so(factory: &impl Factory) {
    let store = factory.open().await;
    let writes: Vec<_> = (0..50)
        .map(|i| {
            let tables = store.tables.clone();
            tokio::spawn(async move { tables.commit(Batch::new().put("t", format!("{i}"), "")).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    store.close().await;
    let mut written = Vec::new();
    for (i, write) in writes.into_iter().enumerate() {
        match write.await.unwrap() {
            Ok(()) => written.push(i),
            Err(Error::Closed) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(matches!(store.tables.get("t", b"0").await, Err(Error::Closed)));
    assert!(matches!(store.queues.lease("q", at(0), at(1), 1).await, Err(Error::Closed)));
    assert!(matches!(store.queues.enqueue("q", "m".into(), at(0), 9).await, Err(Error::Closed)));
    store.close().await;
    let store = factory.open().await;
    for i in written {
        assert!(value(&store, &i.to_string()).await.is_some(), "write {i} was acknowledged and is lost");
    }
}
