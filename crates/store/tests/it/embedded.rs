//! The suite on the embedded store, and what only it promises.

use crate::suite::Factory;
use dayfly_store::{Batch, Error, Store, embedded};
use dayfly_types::Timestamp;
use std::time::{Duration, Instant};

struct Embedded {
    dir: tempfile::TempDir,
}

impl Embedded {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
}

impl Factory for Embedded {
    async fn open(&self) -> Store {
        embedded::open(self.dir.path()).unwrap()
    }
}

crate::suite!(Embedded::new());

#[tokio::test]
async fn a_data_folder_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let store = embedded::open(dir.path()).unwrap();
    assert!(matches!(embedded::open(dir.path()), Err(Error::InUse { .. })));
    drop(store);
    embedded::open(dir.path()).unwrap();
}

#[tokio::test]
async fn data_of_a_newer_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(embedded::open(dir.path()).unwrap());
    let meta = redb::TableDefinition::<&[u8], &[u8]>::new("meta");
    {
        let database = redb::Database::open(dir.path().join("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(meta).unwrap().insert(b"format".as_slice(), 99u64.to_be_bytes().as_slice()).unwrap();
        transaction.commit().unwrap();
    }
    assert!(matches!(embedded::open(dir.path()), Err(Error::Format { found: 99, known: 1 })));
}

#[tokio::test]
async fn a_file_that_is_no_store_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.redb"), vec![b'x'; 100_000]).unwrap();
    assert!(matches!(embedded::open(dir.path()), Err(Error::Engine(_))));
}

#[tokio::test]
async fn what_a_crash_left_of_a_blob_is_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    drop(embedded::open(dir.path()).unwrap());
    let half = dir.path().join("blobs/tmp/half");
    std::fs::write(&half, "half").unwrap();
    let store = embedded::open(dir.path()).unwrap();
    assert!(!half.exists());
    let hash = store.blobs.put("whole".into()).await.unwrap();
    std::fs::write(store.blobs.path(&hash).await.unwrap().unwrap(), "WHOLE").unwrap();
    assert!(matches!(store.blobs.get(&hash).await, Err(Error::WrongHash { .. })));
}

/// A search for visible messages must not step over those that are held, nor over those that are due later.
#[tokio::test]
async fn leasing_from_a_long_queue_costs_no_more_than_from_a_short_one() {
    const MESSAGES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let store = embedded::open(dir.path()).unwrap();
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let mut enqueues = tokio::task::JoinSet::new();
    for i in 0..MESSAGES {
        let queues = store.queues.clone();
        let late = if i % 2 == 0 { Duration::ZERO } else { Duration::from_secs(3_600) };
        enqueues.spawn(async move { queues.enqueue("q", vec![0; 512].into(), now + late, u64::MAX).await.unwrap() });
    }
    while let Some(done) = enqueues.join_next().await {
        done.unwrap();
    }
    let mut times = Vec::new();
    let mut taken = 0;
    loop {
        let start = Instant::now();
        let leases = store.queues.lease("q", now, now + Duration::from_secs(60), 10).await.unwrap();
        times.push(start.elapsed());
        taken += leases.len();
        if leases.is_empty() {
            break;
        }
    }
    assert_eq!(taken, MESSAGES / 2);
    // Stepping over ten thousand rows of 512 bytes takes several times as long in this build, and would do so each time.
    times.sort_unstable();
    let median = times[times.len() / 2];
    assert!(median < Duration::from_millis(20), "a lease takes {median:?}");
    store.tables.commit(Batch::new()).await.unwrap();
}
