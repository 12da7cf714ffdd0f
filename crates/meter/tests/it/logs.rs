//! Log events: order over streams, pages in both directions, filters, groups.

use crate::{Fixture, account, at, group_of, line, lines, region, usage};
use dayfly_meter::{Error, EventQuery};
use dayfly_types::{LogSource, Usage};

const GROUP: &str = "/aws/lambda/f";

fn call(stream: &str, started_ms: i64, duration_ms: u64) -> Usage {
    Usage { log_stream: stream.to_owned(), ..usage("f", at(started_ms), duration_ms * 1_000) }
}

fn query(limit: usize) -> EventQuery {
    EventQuery { limit, ..EventQuery::default() }
}

/// Lines of three streams whose calls overlap: `N` is said at N milliseconds.
async fn overlapping() -> (Fixture, Vec<String>) {
    let fixture = Fixture::new().await;
    let mut expected = Vec::new();
    for (stream, start, step, count) in [("a", 0, 400, 30), ("b", 350, 7, 60), ("c", 1_000, 90, 50), ("a", 5_000, 1, 9)]
    {
        let said: Vec<i64> = (0..count).map(|i| start + i * step).collect();
        let lines: Vec<_> =
            said.iter().map(|ms| line(at(*ms), LogSource::Function, format!("{ms} {stream}"))).collect();
        let call = call(stream, start, 1);
        for part in lines.chunks(13) {
            fixture.meter().append(&call.function, GROUP, stream, part).await.unwrap();
        }
        expected.extend(said.into_iter().map(|ms| (ms, format!("{ms} {stream}\n"))));
    }
    expected.sort_by_key(|(ms, _)| *ms);
    (fixture, expected.into_iter().map(|(_, text)| text).collect())
}

/// Texts with those of equal times in a fixed order, since streams have none between them.
fn sorted(mut texts: Vec<String>) -> Vec<(i64, String)> {
    let ms = |text: &str| text.split(' ').next().unwrap().parse::<i64>().unwrap();
    assert!(texts.windows(2).all(|pair| ms(&pair[0]) <= ms(&pair[1])), "out of order");
    texts.sort_by(|a, b| (ms(a), a).cmp(&(ms(b), b)));
    texts.into_iter().map(|text| (ms(&text), text)).collect()
}

#[tokio::test]
async fn events_of_all_streams_come_in_order_of_time() {
    let (mut fixture, expected) = overlapping().await;
    for again in [false, true] {
        for limit in [1, 7, 10_000] {
            for newest_first in [false, true] {
                let found = fixture.all_events(GROUP, EventQuery { newest_first, ..query(limit) }).await;
                let ids: Vec<&str> = found.iter().map(|event| event.id.as_str()).collect();
                assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "ids are unique and ordered");
                let texts = found.iter().map(|event| event.message.clone()).collect();
                assert_eq!(sorted(texts), sorted(expected.clone()), "limit {limit}, newest first {newest_first}");
            }
        }
        if !again {
            fixture.reopen().await;
        }
    }
}

#[tokio::test]
async fn streams_and_times_select() {
    let (fixture, expected) = overlapping().await;
    let select = EventQuery {
        streams: vec!["a".to_owned(), "c".to_owned(), "none".to_owned()],
        from: Some(at(1_000)),
        to: Some(at(4_060)),
        ..query(10)
    };
    for newest_first in [false, true] {
        let found = fixture.all_events(GROUP, EventQuery { newest_first, ..select.clone() }).await;
        let wanted = expected.iter().filter(|text| {
            let (ms, stream) = text.trim().split_once(' ').unwrap();
            (1_000..4_060).contains(&ms.parse::<i64>().unwrap()) && stream != "b"
        });
        assert_eq!(sorted(found.into_iter().map(|event| event.message).collect()), sorted(wanted.cloned().collect()));
    }
    let none = EventQuery { streams: vec!["none".to_owned()], ..query(10) };
    assert!(fixture.all_events(GROUP, none).await.is_empty());
}

#[tokio::test]
async fn a_reader_that_follows_sees_what_is_added() {
    let fixture = Fixture::new().await;
    let mut seen = Vec::new();
    let mut token = None;
    for i in 0..5 {
        let call = call("s", i * 100, 1);
        fixture.commit(&call, &lines(&call, &["said"])).await;
        loop {
            let page = fixture.events(GROUP, EventQuery { token: token.clone(), ..query(3) }).await;
            let last = page.events.is_empty();
            assert!(!last || token.as_ref() == Some(&page.forward), "at the end the token stays the same");
            seen.extend(page.events);
            token = Some(page.forward);
            if last {
                break;
            }
        }
    }
    assert_eq!(seen.len(), 20);
    let stream = EventQuery { streams: vec!["s".to_owned()], newest_first: true, ..query(2) };
    let newest = fixture.events(GROUP, stream).await;
    assert_eq!(newest.events.iter().map(|event| &event.id).collect::<Vec<_>>(), [&seen[18].id, &seen[19].id]);
    assert!(newest.more);
    let after = fixture.events(GROUP, EventQuery { token: Some(newest.forward.clone()), ..query(2) }).await;
    assert!(after.events.is_empty() && !after.more && after.forward == newest.forward);
}

#[tokio::test]
async fn events_keep_their_source_and_text() {
    let fixture = Fixture::new().await;
    let call = call("s", 0, 5);
    let said = ["REPORT forged", "tab\there", "", "ünï \"quoted\" \u{0} end", "last\n"];
    fixture.commit(&call, &lines(&call, &said)).await;
    let found = fixture.all_events(GROUP, query(100)).await;
    let from_function: Vec<&str> = found
        .iter()
        .filter(|event| event.source == LogSource::Function)
        .map(|event| event.message.strip_suffix('\n').unwrap())
        .collect();
    assert_eq!(from_function, said);
    assert!(found.iter().all(|event| event.stream == "s" && event.ingested_at > event.at));
    assert_eq!(found.iter().filter(|event| event.source == LogSource::Platform).count(), 3);
}

#[tokio::test]
async fn patterns_filter_and_wrong_ones_have_their_error() {
    let fixture = Fixture::new().await;
    let call = call("s", 0, 5);
    fixture
        .commit(&call, &lines(&call, &[r#"{"level":"ERROR","n":7}"#, r#"{"level":"INFO","n":8}"#, "plain ERROR"]))
        .await;
    for (pattern, count) in
        [("ERROR", 2), ("?ERROR ?INFO", 3), (r#"{ $.level = "ERROR" }"#, 1), ("{ $.n >= 7 }", 2), ("RequestId", 3)]
    {
        let found = fixture.all_events(GROUP, EventQuery { pattern: Some(pattern.to_owned()), ..query(100) }).await;
        assert_eq!(found.len(), count, "{pattern}");
    }
    let ask = async |query| fixture.meter().log_events(&account(), &region(), GROUP, &query).await;
    let wrong = ask(EventQuery { pattern: Some("{ $.a ".to_owned()), ..query(1) }).await;
    assert!(matches!(wrong, Err(Error::Pattern(_))));
    for token in ["", "f/", "x/1", "f/99999999999999999999999999999999999999999999999999"] {
        let wrong = ask(EventQuery { token: Some(token.to_owned()), ..query(1) }).await;
        assert!(matches!(wrong, Err(Error::Token)), "{token:?}");
    }
}

#[tokio::test]
async fn groups_and_streams_are_listed_and_removed() {
    let mut fixture = Fixture::new().await;
    for function in ["a", "ab", "b", "c"] {
        let call = usage(function, at(1_000), 5_000);
        fixture.commit(&call, &lines(&call, &[])).await;
    }
    let long = call("2026/11/23/other", 2_000, 9_000);
    fixture.meter().append(&long.function, "/aws/lambda/a", &long.log_stream, &lines(&long, &[])).await.unwrap();
    for round in 0..2 {
        let meter = fixture.meter();
        let names = async |prefix: &str, after: Option<&str>, limit| {
            let groups = meter.log_groups(&account(), &region(), prefix, after, limit).await.unwrap();
            groups.into_iter().map(|group| group.name).collect::<Vec<_>>()
        };
        assert_eq!(names("", None, 9).await, ["/aws/lambda/a", "/aws/lambda/ab", "/aws/lambda/b", "/aws/lambda/c"]);
        assert_eq!(names("/aws/lambda/a", None, 9).await, ["/aws/lambda/a", "/aws/lambda/ab"]);
        assert_eq!(names("", Some("/aws/lambda/a"), 2).await, ["/aws/lambda/ab", "/aws/lambda/b"]);
        assert_eq!(names("/aws/lambda/b", Some("/aws/lambda/a"), 9).await, ["/aws/lambda/b"]);
        assert!(names("", Some("/aws/lambda/c"), 9).await.is_empty());
        let elsewhere = "eu-west-1".parse().unwrap();
        assert!(meter.log_groups(&account(), &elsewhere, "", None, 9).await.unwrap().is_empty());
        let streams =
            async |group: &str, prefix: &str| meter.log_streams(&account(), &region(), group, prefix).await.unwrap();
        let found = streams("/aws/lambda/a", "").await.unwrap();
        assert_eq!(
            found.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(),
            ["2026/11/23/[$LATEST]a", "2026/11/23/other"]
        );
        assert_eq!((found[1].first_event_at, found[1].last_event_at), (at(2_000), at(11_000)));
        assert_eq!(streams("/aws/lambda/a", "2026/11/23/o").await.unwrap().len(), 1);
        assert!(streams("/aws/lambda/none", "").await.is_none());
        if round == 0 {
            fixture.meter().flush().await.unwrap();
            fixture.reopen().await;
        }
    }
    let group = group_of(&usage("a", at(0), 0));
    assert!(fixture.meter().delete_log_group(&account(), &region(), &group).await.unwrap());
    assert!(!fixture.meter().delete_log_group(&account(), &region(), &group).await.unwrap());
    assert!(fixture.meter().log_events(&account(), &region(), &group, &query(1)).await.unwrap().is_none());
    assert_eq!(fixture.all_events("/aws/lambda/ab", query(9)).await.len(), 3);
    // A call after the removal makes the group anew, without the old events.
    let again = usage("a", at(50_000), 5_000);
    fixture.commit(&again, &lines(&again, &["new"])).await;
    assert_eq!(fixture.all_events(&group, query(9)).await.len(), 4);
    let streams = fixture.meter().log_streams(&account(), &region(), &group, "").await.unwrap().unwrap();
    assert_eq!(streams.len(), 1);
}
