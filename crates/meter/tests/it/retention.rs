//! The logs stay within their bound; the oldest events of any group go first; the bill stays.

use crate::{Fixture, account, at, group_of, lines, region, usage};
use dayfly_meter::{
    EventQuery, Options,
    bill::{BillQuery, By},
};
use dayfly_store::Batch;
use std::time::Duration;

#[tokio::test]
async fn the_oldest_events_go_first() {
    const BYTES_MAX: u64 = 200_000;
    let fixture = Fixture::with(Options { log_bytes_max: BYTES_MAX }).await;
    let text = "x".repeat(1_000);
    let calls: Vec<_> = (0..600).map(|i| usage(["a", "b", "c"][i % 3], at(i as i64 * 10), 1_000)).collect();
    let batches = calls.iter().map(|call| fixture.meter().finished(call, &group_of(call), &lines(call, &[&text])));
    for batch in batches.collect::<Vec<_>>().chunks(100) {
        let writes = batch.iter().flat_map(|batch| batch.writes.clone()).collect();
        fixture.store.as_ref().unwrap().tables.commit(Batch { writes }).await.unwrap();
    }
    let bytes = async || -> u64 {
        let groups = fixture.meter().log_groups(&account(), &region(), "", None, 9).await.unwrap();
        groups.iter().map(|group| group.stored_bytes).sum()
    };
    assert!(bytes().await > 600_000);
    tokio::time::pause();
    // The paused clock runs ahead of the writer thread, so the round may still be at work.
    while bytes().await > BYTES_MAX {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(bytes().await > BYTES_MAX * 9 / 10, "no more than needed was dropped");
    let mut kept = Vec::new();
    for name in ["a", "b", "c"] {
        let group = group_of(&usage(name, at(0), 0));
        kept.extend(fixture.all_events(&group, EventQuery { limit: 1_000, ..EventQuery::default() }).await);
    }
    kept.sort_by_key(|event| event.at);
    let oldest = calls.iter().position(|call| call.started_at == kept[0].at).unwrap();
    assert!(oldest > 100);
    assert_eq!(kept.len(), (calls.len() - oldest) * 4, "everything since the oldest kept event is there");
    let bill = fixture.meter().bill(&account(), &BillQuery { by: By::Day, from: None, to: None }).await.unwrap();
    assert_eq!(bill.total.requests, 600);
}
