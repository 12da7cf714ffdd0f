//! The bill is the sum of the REPORT lines, whatever crashes.

use crate::{Fixture, account, at, group_of, lines, region, usage};
use dayfly_meter::{
    EventQuery,
    bill::{BillQuery, By, UsageQuery},
};
use dayfly_types::{LogSource, UsageStatus};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::{collections::BTreeMap, task::Poll};

#[derive(Debug, Clone)]
enum Step {
    /// A call that ends, and whose batch is committed.
    Call { function: u8, started_ms: i64, duration_us: u64, appended: bool },
    /// A call whose batch was handed over, or not even that, when the process died.
    CallAndKill { function: u8, duration_us: u64, handed_over: bool },
    /// The process dies.
    Kill,
    /// The background work ran.
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3u8, 0..5_000i64, 0..4_000_000u64, any::<bool>()).prop_map(|(function, started_ms, duration_us, appended)| {
            Step::Call { function, started_ms, duration_us, appended }
        }),
        2 => (0..3u8, 0..4_000_000u64, any::<bool>()).prop_map(|(function, duration_us, handed_over)| {
            Step::CallAndKill { function, duration_us, handed_over }
        }),
        1 => Just(Step::Kill),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn records_and_report_lines_agree_after_any_crash(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(check(steps));
    }
}

async fn check(steps: Vec<Step>) {
    let mut fixture = Fixture::new().await;
    // Two calls can begin in the same microsecond; every other one may.
    let mut clock_ms = 0;
    let mut committed: BTreeMap<String, u64> = BTreeMap::new();
    let mut uncertain: BTreeMap<String, u64> = BTreeMap::new();
    for step in steps {
        clock_ms += 3;
        match step {
            Step::Call { function, started_ms, duration_us, appended } => {
                let mut call = usage(&format!("f{function}"), at(clock_ms + started_ms), duration_us);
                call.status = if duration_us % 5 == 0 { UsageStatus::Error } else { UsageStatus::Success };
                let all = lines(&call, &["REPORT RequestId: x\tBilled Duration: 999999 ms\t", "hello"]);
                let (early, late) = all.split_at(if appended { 2 } else { 0 });
                fixture.meter().append(&call.function, &group_of(&call), &call.log_stream, early).await.unwrap();
                fixture.commit(&call, late).await;
                committed.insert(call.request_id.to_string(), call.billed_ms);
            }
            Step::CallAndKill { function, duration_us, handed_over } => {
                let call = usage(&format!("f{function}"), at(clock_ms), duration_us);
                let batch = fixture.meter().finished(&call, &group_of(&call), &lines(&call, &["x"]));
                let tables = fixture.store.as_ref().unwrap().tables.clone();
                if handed_over {
                    // Polled once: the writer has it, nobody waits for the answer.
                    let mut commit = Box::pin(tables.commit(batch));
                    let answered = std::future::poll_fn(|context| Poll::Ready(commit.as_mut().poll(context))).await;
                    assert!(answered.is_pending() || matches!(answered, Poll::Ready(Ok(()))));
                }
                uncertain.insert(call.request_id.to_string(), call.billed_ms);
                fixture.reopen().await;
            }
            Step::Kill => fixture.reopen().await,
            Step::Flush => fixture.meter().flush().await.unwrap(),
        }
    }
    fixture.reopen().await;
    compare(&fixture, committed, uncertain).await;
}

async fn compare(fixture: &Fixture, committed: BTreeMap<String, u64>, uncertain: BTreeMap<String, u64>) {
    // From the REPORT lines, found in the way that a client finds them: groups, streams, events.
    let mut reported: BTreeMap<String, u64> = BTreeMap::new();
    for group in fixture.meter().log_groups(&account(), &region(), "/aws/lambda/", None, 100).await.unwrap() {
        let streams = fixture.meter().log_streams(&account(), &region(), &group.name, "").await.unwrap().unwrap();
        for stream in streams {
            let query = EventQuery { streams: vec![stream.name], limit: 7, ..EventQuery::default() };
            for event in fixture.all_events(&group.name, query).await {
                if let Some((id, billed)) = report(&event.message).filter(|_| event.source == LogSource::Platform) {
                    assert!(reported.insert(id, billed).is_none(), "a REPORT line is there twice");
                }
            }
        }
    }
    // From the records, page by page.
    let mut recorded: BTreeMap<String, u64> = BTreeMap::new();
    let mut query = UsageQuery { limit: 5, newest_first: true, ..UsageQuery::default() };
    loop {
        let (page, token) = fixture.meter().usage(&account(), &query).await.unwrap();
        for usage in page {
            assert!(recorded.insert(usage.request_id.to_string(), usage.billed_ms).is_none(), "a record came twice");
        }
        match token {
            Some(token) => query.token = Some(token),
            None => break,
        }
    }
    assert_eq!(recorded, reported);
    for (id, billed_ms) in &committed {
        assert_eq!(recorded.get(id), Some(billed_ms), "a committed call is lost");
    }
    for (id, billed_ms) in &recorded {
        assert_eq!(committed.get(id).or(uncertain.get(id)), Some(billed_ms));
    }
    for by in [By::Function, By::Day, By::Tag("none".to_owned())] {
        let bill = fixture.meter().bill(&account(), &BillQuery { by, from: None, to: None }).await.unwrap();
        assert_eq!(bill.total.requests, recorded.len() as u64);
        assert_eq!(bill.total.billed_ms, reported.values().sum::<u64>());
        assert_eq!(bill.rows.iter().map(|row| row.billed_ms).sum::<u64>(), bill.total.billed_ms);
    }
}

/// Request and billed milliseconds of a REPORT line.
fn report(message: &str) -> Option<(String, u64)> {
    let rest = message.strip_prefix("REPORT RequestId: ")?;
    let (id, rest) = rest.split_once('\t')?;
    let (_, rest) = rest.split_once("Billed Duration: ")?;
    Some((id.to_owned(), rest.split_once(" ms")?.0.parse().ok()?))
}
