//! Bills, listings and metrics.

use crate::{Fixture, account, at, lines, usage};
use dayfly_meter::{
    Error,
    bill::{BillQuery, By, UsageQuery},
};
use dayfly_types::{Timestamp, UsageStatus};

fn by(by: By) -> BillQuery {
    BillQuery { by, from: None, to: None }
}

#[tokio::test]
async fn sums_are_exact_and_costs_follow_from_them() {
    let fixture = Fixture::new().await;
    for (function, memory_mb, ephemeral_storage_mb, duration_us, team) in [
        ("small", 128, 512, 1_000, Some("a")),
        ("small", 128, 512, 1_001, None),
        ("large", 10_240, 1_536, 900_000_000, Some("b")),
    ] {
        let mut call = usage(function, at(0), duration_us);
        (call.memory_mb, call.ephemeral_storage_mb) = (memory_mb, ephemeral_storage_mb);
        call.tags = team.map(|team| ("team \"x\"".to_owned(), team.to_owned())).into_iter().collect();
        call.status = if team.is_none() { UsageStatus::Timeout } else { UsageStatus::Success };
        fixture.commit(&call, &lines(&call, &[])).await;
    }
    let bill = fixture.meter().bill(&account(), &by(By::Function)).await.unwrap();
    assert_eq!(bill.currency, "USD");
    let names: Vec<&str> = bill.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "arn:aws:lambda:us-east-1:000000000000:function:large",
            "arn:aws:lambda:us-east-1:000000000000:function:small"
        ]
    );
    let (large, small) = (&bill.rows[0], &bill.rows[1]);
    assert_eq!((small.requests, small.errors, small.billed_ms, small.mb_ms, small.ephemeral_mb_ms), (2, 1, 3, 384, 0));
    assert_eq!((large.mb_ms, large.ephemeral_mb_ms), (900_000 * 10_240, 900_000 * 1_024));
    assert_eq!(bill.total.cpu_us, 500 + 500 + 450_000_000);
    // 900 s at 10 GB, 1 GB of extra /tmp, one request, at AWS's prices.
    let expected = 9_000.0 * 0.000_016_666_7 + 900.0 * 0.000_000_030_9 + 0.20 / 1e6;
    assert!((large.cost - expected).abs() < 1e-12, "{} is not {expected}", large.cost);

    let teams = fixture.meter().bill(&account(), &by(By::Tag("team \"x\"".to_owned()))).await.unwrap();
    let teams: Vec<(&str, u64)> = teams.rows.iter().map(|row| (row.name.as_str(), row.billed_ms)).collect();
    assert_eq!(teams, [("b", 900_000), ("(untagged)", 2), ("a", 1)]);
}

#[tokio::test]
async fn a_bill_by_day_is_in_order_of_days_and_within_its_times() {
    let fixture = Fixture::new().await;
    for (start, duration_us) in [
        ("2026-11-22T23:59:59.999999Z", 5_000_000),
        ("2026-11-23T00:00:00Z", 1_000),
        ("2026-11-24T12:00:00Z", 2_000),
        ("1969-12-31T23:00:00Z", 3_000),
    ] {
        let call = usage("f", start.parse().unwrap(), duration_us);
        fixture.commit(&call, &[]).await;
    }
    let bill = fixture.meter().bill(&account(), &by(By::Day)).await.unwrap();
    let days: Vec<(&str, u64)> = bill.rows.iter().map(|row| (row.name.as_str(), row.billed_ms)).collect();
    assert_eq!(days, [("1969-12-31", 3), ("2026-11-22", 5_000), ("2026-11-23", 1), ("2026-11-24", 2)]);
    let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let query =
        BillQuery { by: By::Day, from: time("2026-11-22T23:59:59.999999001Z"), to: time("2026-11-24T12:00:00Z") };
    assert_eq!(fixture.meter().bill(&account(), &query).await.unwrap().total.billed_ms, 1);
    let nobody = "999999999999".parse().unwrap();
    assert_eq!(fixture.meter().bill(&nobody, &by(By::Day)).await.unwrap().total.requests, 0);
}

#[tokio::test]
async fn records_are_listed_in_both_orders_page_by_page() {
    let fixture = Fixture::new().await;
    let mut expected = Vec::new();
    for i in 0..25 {
        let call = usage(if i % 5 == 0 { "rare" } else { "often" }, at(i), 1_000);
        fixture.commit(&call, &[]).await;
        expected.push(call);
    }
    for newest_first in [false, true] {
        for function in [None, Some("arn:aws:lambda:us-east-1:000000000000:function:rare".to_owned())] {
            let mut query = UsageQuery { function: function.clone(), newest_first, limit: 4, ..UsageQuery::default() };
            let mut listed = Vec::new();
            loop {
                let (page, token) = fixture.meter().usage(&account(), &query).await.unwrap();
                listed.extend(page);
                query.token = token;
                if query.token.is_none() {
                    break;
                }
            }
            let mut wanted: Vec<_> = expected.clone();
            wanted.retain(|call| function.as_ref().is_none_or(|only| *only == call.function.unqualified().to_string()));
            if newest_first {
                wanted.reverse();
            }
            assert_eq!(listed, wanted);
        }
    }
    for token in ["", "zz", "00", "f/1"] {
        let query = UsageQuery { token: Some(token.to_owned()), limit: 1, ..UsageQuery::default() };
        assert!(matches!(fixture.meter().usage(&account(), &query).await, Err(Error::Token)), "{token:?}");
    }
}

#[tokio::test]
async fn metrics_count_what_finished() {
    let fixture = Fixture::new().await;
    for (duration_us, status) in
        [(900, UsageStatus::Success), (1_100, UsageStatus::Success), (3_000_000, UsageStatus::Timeout)]
    {
        let mut call = usage("f", at(0), duration_us);
        call.status = status;
        fixture.commit(&call, &[]).await;
    }
    for i in 0..600 {
        fixture.meter().finished(&usage(&format!("many{i}"), at(0), 1_000), "g", &[]);
    }
    let text = fixture.meter().metrics_text();
    let f = "function=\"arn:aws:lambda:us-east-1:000000000000:function:f\"";
    for line in [
        format!("dayfly_invocations_total{{{f},status=\"success\"}} 2"),
        format!("dayfly_invocations_total{{{f},status=\"timeout\"}} 1"),
        format!("dayfly_billed_milliseconds_total{{{f}}} 3003"),
        format!("dayfly_duration_seconds_bucket{{{f},le=\"0.001\"}} 1"),
        format!("dayfly_duration_seconds_bucket{{{f},le=\"0.0025\"}} 2"),
        format!("dayfly_duration_seconds_bucket{{{f},le=\"+Inf\"}} 3"),
        format!("dayfly_duration_seconds_count{{{f}}} 3"),
        format!("dayfly_duration_seconds_sum{{{f}}} 3.002"),
        "dayfly_invocations_total{function=\"others\",status=\"success\"} 101".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{}", &text[..2_000]);
    }
}
