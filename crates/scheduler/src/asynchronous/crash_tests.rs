//! A server is killed at random moments, many times over the same folder; afterwards every event that was accepted has
//! exactly one outcome, and every attempt that the outcome counts has exactly one record and one REPORT line.

use crate::{
    AsyncPolicy, Handle,
    functions::Error,
    testing::{self, Script, arn, configuration, failed, fine, invocation, usage, zip},
};
use dayfly_meter as meter;
use dayfly_store::{Store, embedded};
use dayfly_types::{InvokeError, Limits, RequestId, SystemClock, ThrottleReason};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const FOLDER: &str = "DAYFLY_SCHEDULER_CRASH_TEST";
const ROUNDS: u32 = 25;

#[test]
fn a_server_killed_at_any_moment_loses_nothing_and_bills_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut accepted = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "asynchronous::crash_tests::server_that_is_killed", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // From the first answer on, so that a slow machine does not kill only servers that are starting.
        accepted.extend(lines.by_ref().find_map(|line| id(&line)));
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 101)));
        child.kill().unwrap();
        child.wait().unwrap();
        accepted.extend(lines.filter_map(|line| id(&line)));
    }
    assert!(accepted.len() > ROUNDS as usize, "only {} events were accepted", accepted.len());
    tokio::runtime::Runtime::new().unwrap().block_on(check(folder.path(), &accepted));
}

fn id(line: &str) -> Option<RequestId> {
    Some(RequestId(line.strip_prefix("accepted ")?.get(..36)?.parse().unwrap()))
}

/// Lets a last server finish, then counts.
async fn check(folder: &Path, accepted: &BTreeSet<RequestId>) {
    let (store, meter, handle) = server(folder).await;
    testing::eventually("all queues are empty", || async { store.queues.names().await.unwrap().is_empty() }).await;
    handle.drain(Duration::from_secs(10)).await;

    let mut outcomes = BTreeMap::new();
    for outcome in handle.async_outcomes(1_000_000).await.unwrap() {
        let attempts = outcome.attempts;
        assert!(outcomes.insert(outcome.request_id, attempts).is_none(), "two outcomes: {outcome:?}");
    }
    for id in accepted {
        assert!(outcomes.contains_key(id), "{id} was accepted and lost");
    }
    let mut records = BTreeSet::new();
    for usage in usage(&meter).await {
        assert!(usage.attempt <= outcomes[&usage.request_id], "{usage:?}");
        assert!(records.insert((usage.request_id, usage.attempt)), "billed twice: {usage:?}");
    }
    assert_eq!(records.len() as u32, outcomes.values().sum::<u32>());

    let query = meter::EventQuery { limit: 10_000, pattern: Some("REPORT".to_owned()), ..Default::default() };
    let (mut query, mut reports, arn) = (query, 0, arn("f"));
    loop {
        let page = meter.log_events(&arn.account, &arn.region, "/aws/lambda/f", &query).await.unwrap().unwrap();
        reports += page.events.len();
        if !page.more {
            break;
        }
        query.token = Some(page.forward);
    }
    assert_eq!(reports, records.len());
    eprintln!("{} accepted, {} ended, {} records, {} reports", accepted.len(), outcomes.len(), records.len(), reports);
}

/// The server's side: run by the test above in a process of its own.
#[test]
#[ignore = "run by the test above, which kills it"]
fn server_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (_, _, handle) = server(folder.as_ref()).await;
        let clients: Vec<_> = (0..4).map(|_| tokio::spawn(enqueue_for_ever(handle.clone()))).collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

async fn enqueue_for_ever(handle: Handle) {
    loop {
        let event = invocation("f", b"{}");
        let id = event.request_id;
        handle.enqueue(event).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "accepted {id}").and_then(|()| out.flush()).unwrap();
    }
}

async fn server(folder: &Path) -> (Store, meter::Handle, Handle) {
    let store = embedded::open(folder).unwrap();
    let clock = Arc::new(SystemClock);
    // What becomes of an attempt depends on the event's id and attempt only by chance, as in life.
    let script = Arc::new(Script::new(clock.clone(), |call| {
        let dice = uuid::Uuid::new_v4().as_bytes()[0];
        let wait = Duration::from_micros(u64::from(dice) * 20);
        let attempt = call.attempt;
        async move {
            tokio::time::sleep(wait).await;
            match dice % 8 {
                0 | 1 => failed(),
                2 if attempt == 1 => Err(InvokeError::Throttled {
                    reason: ThrottleReason::ConcurrentInvocationLimitExceeded,
                    retry_after: Duration::from_millis(1),
                }),
                _ => fine(),
            }
        }
    }));
    let policy = AsyncPolicy {
        retry_after: Duration::from_millis(5),
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(20),
        ..AsyncPolicy::default()
    };
    let (meter, handle) = testing::start(&store, &script, clock, Limits::default(), policy).await;
    match handle.functions().create(configuration("f"), zip("f")).await {
        Ok(_) | Err(Error::Exists(_)) => (store, meter, handle),
        Err(error) => panic!("{error}"),
    }
}
