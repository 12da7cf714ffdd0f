//! Durable 512-byte enqueues per second: through the store's group commit, against one fsync per event.
//!
//! `cargo run --release -p dayfly-store --example enqueue_bench [-- SECONDS [DIR]]`

use dayfly_store::embedded;
use dayfly_types::Timestamp;
use redb::TableDefinition;
use std::{
    fs,
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const CLIENTS: usize = 32;
const BODY: [u8; 512] = [b'x'; 512];
const RAW: TableDefinition<u64, &[u8]> = TableDefinition::new("raw");

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Latencies of all enqueues, and how long the whole took.
struct Run {
    latencies: Vec<Duration>,
    wall: Duration,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let time = Duration::from_secs_f64(arguments.next().map_or(Ok(3.0), |text| text.parse())?);
    let dir = match arguments.next() {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let file = one_fsync_each(time, file_append(dir.path())?)?;
    let plain = one_fsync_each(time, redb_commit(dir.path())?)?;
    let alone = group_commit(dir.path(), time, 1)?;
    let grouped = group_commit(dir.path(), time, CLIENTS)?;
    println!("durable enqueues of {} bytes, {time:?} each, in {}", BODY.len(), dir.path().display());
    let base = plain.per_second().max(file.per_second());
    for (name, run) in [
        ("append + fdatasync per event, 32 clients", &file),
        ("redb commit per event, 32 clients", &plain),
        ("store, 1 client", &alone),
        ("store, 32 clients", &grouped),
    ] {
        let (p50, p99) = (run.percentile(50), run.percentile(99));
        println!(
            "{name:42} {:9.0}/s   p50 {p50:8.2?}   p99 {p99:8.2?}   {:5.2}x",
            run.per_second(),
            run.per_second() / base
        );
    }
    let ratio = grouped.per_second() / base;
    println!("group commit against the faster of one fsync per event: {ratio:.1}x (at least 3x wanted)");
    if ratio < 3.0 { Err("group commit is too slow".into()) } else { Ok(()) }
}

impl Run {
    fn new(mut latencies: Vec<Duration>, wall: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, wall }
    }

    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.latencies.get(self.latencies.len() * percent / 100).copied().unwrap_or_default()
    }
}

/// The store's own queues.
fn group_commit(dir: &Path, time: Duration, clients: usize) -> Result<Run, Failure> {
    let dir = dir.join(format!("store-{clients}"));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let store = embedded::open(&dir)?;
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let queues = store.queues.clone();
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < time {
                    let one = Instant::now();
                    queues.enqueue("q", BODY.as_slice().into(), Timestamp::now(), u64::MAX).await?;
                    latencies.push(one.elapsed());
                }
                Ok::<_, dayfly_store::Error>(latencies)
            });
        }
        let mut all = Vec::new();
        while let Some(task) = tasks.join_next().await {
            all.extend(task??);
        }
        let wall = start.elapsed();
        store.close().await;
        Ok(Run::new(all, wall))
    })
}

type Enqueue = Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// Threads that each write one event and wait for its fsync.
fn one_fsync_each(time: Duration, enqueue: Enqueue) -> Result<Run, Failure> {
    let start = Instant::now();
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let enqueue = enqueue.clone();
            std::thread::spawn(move || {
                let mut latencies = Vec::new();
                while start.elapsed() < time {
                    let one = Instant::now();
                    enqueue()?;
                    latencies.push(one.elapsed());
                }
                Ok::<_, Failure>(latencies)
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| "a client panicked")??);
    }
    Ok(Run::new(all, start.elapsed()))
}

/// The least that one durable event can cost: an append to a file and its fdatasync.
fn file_append(dir: &Path) -> Result<Enqueue, Failure> {
    let file = Mutex::new(fs::File::create(dir.join("append"))?);
    Ok(Arc::new(move || {
        let mut file = file.lock().map_err(|_| "poisoned")?;
        file.write_all(&BODY)?;
        Ok(file.sync_data()?)
    }))
}

/// The same engine without grouping.
fn redb_commit(dir: &Path) -> Result<Enqueue, Failure> {
    let database = redb::Database::create(dir.join("raw.redb"))?;
    let id = AtomicU64::new(0);
    Ok(Arc::new(move || {
        let transaction = database.begin_write()?;
        transaction.open_table(RAW)?.insert(id.fetch_add(1, Ordering::Relaxed), BODY.as_slice())?;
        Ok(transaction.commit()?)
    }))
}
