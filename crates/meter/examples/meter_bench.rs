//! What metering costs a call, how many calls a second can be recorded, and how long a bill over many records takes.
//! `cargo run --release -p dayfly-meter --example meter_bench [-- RECORDS]`

use dayfly_meter::{
    Handle,
    bill::{BillQuery, By},
    prices::Prices,
};
use dayfly_store::{Batch, embedded};
use dayfly_types::{LogLine, LogSource, RequestId, Timestamp, Usage, UsageStatus};
use std::time::{Duration, Instant};

const CLIENTS: usize = 32;
const GROUP: &str = "/aws/lambda/bench";

fn usage(i: usize) -> Usage {
    let function = format!("arn:aws:lambda:us-east-1:000000000000:function:bench{}:$LATEST", i % 20);
    Usage {
        request_id: RequestId::random(),
        // The text is well formed.
        function: function.parse().unwrap_or_else(|error| panic!("{error}")),
        instance_id: format!("{i:032x}"),
        log_stream: format!("2026/11/23/[$LATEST]{:032x}", i % 20),
        attempt: 1,
        started_at: Timestamp::now(),
        duration_us: 2_345,
        billed_ms: 3,
        memory_mb: 128,
        memory_peak_bytes: 21 << 20,
        cpu_us: 1_234,
        init_us: None,
        restore_us: Some(987),
        ephemeral_storage_mb: 512,
        status: UsageStatus::Success,
        tags: [("team".to_owned(), "a".to_owned())].into(),
    }
}

fn lines(usage: &Usage) -> Vec<LogLine> {
    let id = usage.request_id;
    [
        format!("START RequestId: {id} Version: $LATEST"),
        "hello from the function".to_owned(),
        format!("END RequestId: {id}"),
        format!("REPORT RequestId: {id}\tDuration: 2.35 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 21 MB\t"),
    ]
    .map(|text| LogLine { at: usage.started_at, source: LogSource::Platform, text })
    .into()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse::<usize>())?;
    let dir = tempfile::tempdir()?;
    let store = embedded::open(dir.path())?;
    let meter = Handle::start(store.clone(), Prices::default()).await?;

    let calls: Vec<_> = (0..10_000).map(usage).map(|usage| (lines(&usage), usage)).collect();
    let start = Instant::now();
    let batches: Vec<Batch> = calls.iter().map(|(lines, usage)| meter.finished(usage, GROUP, lines)).collect();
    println!("making a batch: {:.2?} each", start.elapsed() / calls.len() as u32);
    store.tables.commit(Batch { writes: batches.into_iter().flat_map(|batch| batch.writes).collect() }).await?;
    meter.flush().await?;

    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (store, meter) = (store.clone(), meter.clone());
        tasks.spawn(async move {
            let mut count = 0;
            while start.elapsed() < Duration::from_secs(5) {
                let usage = usage(client + count);
                store.tables.commit(meter.finished(&usage, GROUP, &lines(&usage))).await?;
                count += 1;
            }
            Ok::<_, dayfly_store::Error>(count)
        });
    }
    let mut count = 0;
    while let Some(task) = tasks.join_next().await {
        count += task??;
    }
    println!("calls recorded durably, {CLIENTS} clients: {:.0}/s", count as f64 / start.elapsed().as_secs_f64());

    for first in ((count + calls.len())..records).step_by(5_000) {
        let batches = (first..first + 5_000).map(|i| meter.finished(&usage(i), GROUP, &[]));
        store.tables.commit(Batch { writes: batches.flat_map(|batch| batch.writes).collect() }).await?;
    }
    let before = resident_mb()?;
    let start = Instant::now();
    let bill = meter.bill(&Default::default(), &BillQuery { by: By::Function, from: None, to: None }).await?;
    println!(
        "a bill over {} records: {:.2?}, resident memory {before} MB before and {} MB after",
        bill.total.requests,
        start.elapsed(),
        resident_mb()?
    );
    Ok(())
}

fn resident_mb() -> std::io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    Ok(pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4 / 1_024)
}
