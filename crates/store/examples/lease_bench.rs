//! How long a lease takes from a queue of a million messages, most of them held, and how long a store of that size takes
//! to open. `cargo run --release -p dayfly-store --example lease_bench [-- MESSAGES]`

use dayfly_store::{Error, Store, embedded};
use dayfly_types::Timestamp;
use std::time::{Duration, Instant};

const LEASES: usize = 2_000;
const LEASE_MESSAGES: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let messages = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse::<usize>())?;
    let dir = tempfile::tempdir()?;
    let store = embedded::open(dir.path())?;
    fill(&store, messages).await?;
    let mut latencies = Vec::new();
    let now = Timestamp::now();
    for _ in 0..LEASES {
        let one = Instant::now();
        let leases = store.queues.lease("q", now, now + Duration::from_secs(60), LEASE_MESSAGES).await?;
        latencies.push(one.elapsed());
        assert_eq!(leases.len(), LEASE_MESSAGES);
    }
    latencies.sort_unstable();
    let (p50, p99) = (latencies[LEASES / 2], latencies[LEASES * 99 / 100]);
    println!("{LEASES} leases of {LEASE_MESSAGES} from {messages} messages: p50 {p50:.2?}, p99 {p99:.2?}");
    store.close().await;
    drop(store);
    let start = Instant::now();
    let store = embedded::open(dir.path())?;
    let bytes = std::fs::metadata(dir.path().join("store.redb"))?.len();
    println!("opening {} MB after a clean end: {:.2?}", bytes >> 20, start.elapsed());
    assert_eq!(store.queues.len("q").await?, messages as u64);
    // As a crash would leave it: a copy of the file after a write, without the end.
    store.queues.enqueue("q", vec![0; 512].into(), now, u64::MAX).await?;
    let copy = tempfile::tempdir()?;
    std::fs::copy(dir.path().join("store.redb"), copy.path().join("store.redb"))?;
    let start = Instant::now();
    drop(embedded::open(copy.path())?);
    println!("opening it after a crash: {:.2?}", start.elapsed());
    Ok(())
}

async fn fill(store: &Store, messages: usize) -> Result<(), Error> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let queues = store.queues.clone();
        tasks.spawn(async move {
            for _ in 0..messages / 200 {
                queues.enqueue("q", vec![0; 512].into(), Timestamp::now(), u64::MAX).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.map_err(|error| Error::Engine(error.to_string()))??;
    }
    Ok(())
}
