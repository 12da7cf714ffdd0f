//! Usage records: one row per attempt of a call, in order of its start.

use crate::{
    Error,
    bill::{Bill, BillQuery, Billable, Sums, UsageQuery},
    keys::{self, USAGE},
    prices::Prices,
};
use dayfly_store::{Row, Tables};
use dayfly_types::{AccountId, Timestamp, Usage};

/// Rows read at once.
const PAGE_ROWS: usize = 1_000;
/// Rows that one listing looks at before it hands out a page and a token, however few of them matched.
const LISTING_ROWS_MAX: usize = 50_000;

/// Key: account, start, request, attempt.
pub(crate) fn key(usage: &Usage) -> Vec<u8> {
    let mut key = keys::account(&usage.function.account);
    key.extend(keys::time(usage.started_at.as_microsecond()));
    key.extend(usage.request_id.0.as_bytes());
    key.extend(usage.attempt.to_be_bytes());
    key
}

pub(crate) fn value(usage: &Usage) -> Vec<u8> {
    // A record has nothing that JSON could refuse.
    serde_json::to_vec(usage).unwrap_or_default()
}

/// When the record's call began, from its key.
fn started_us(row: &Row, prefix: usize) -> Option<i64> {
    row.key.get(prefix..prefix + 8)?.try_into().ok().map(keys::decode_time)
}

/// Keys of the records between two times.
fn bounds(account: &AccountId, from: Option<Timestamp>, to: Option<Timestamp>) -> (Vec<u8>, Vec<u8>) {
    let prefix = keys::account(account);
    let at = |time: Timestamp| {
        // A bound between two microseconds lies before the later one.
        let micros = time.as_microsecond() + i64::from(time.subsec_nanosecond().rem_euclid(1_000) != 0);
        [prefix.as_slice(), &keys::time(micros)].concat()
    };
    (from.map_or_else(|| prefix.clone(), at), to.map_or_else(|| keys::after_prefix(&prefix), at))
}

pub(crate) async fn list(
    tables: &dyn Tables,
    account: &AccountId,
    query: &UsageQuery,
) -> Result<(Vec<Usage>, Option<String>), Error> {
    let (mut from, mut to) = bounds(account, query.from, query.to);
    if let Some(token) = &query.token {
        let place = decode_token(token, &keys::account(account)).ok_or(Error::Token)?;
        if query.newest_first {
            to = to.min(place);
        } else {
            from = from.max(dayfly_store::after(&place));
        }
    }
    let limit = query.limit.clamp(1, PAGE_ROWS * 10);
    let mut found = Vec::new();
    let mut seen = 0;
    loop {
        let rows = tables.scan(USAGE, &from, &to, PAGE_ROWS, query.newest_first).await?;
        let complete = rows.len() < PAGE_ROWS;
        for row in &rows {
            seen += 1;
            let usage = decode(row)?;
            if query.function.as_ref().is_none_or(|only| *only == usage.function.unqualified().to_string()) {
                found.push(usage);
            }
            if found.len() == limit {
                return Ok((found, Some(encode_token(&row.key))));
            }
        }
        match rows.last() {
            Some(last) if !complete => {
                if seen >= LISTING_ROWS_MAX {
                    return Ok((found, Some(encode_token(&last.key))));
                }
                step(&mut from, &mut to, &last.key, query.newest_first);
            }
            _ => return Ok((found, None)),
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn bill(
    tables: &dyn Tables,
    account: &AccountId,
    query: &BillQuery,
    prices: &Prices,
) -> Result<Bill, dayfly_store::Error> {
    let (mut from, mut to) = bounds(account, query.from, query.to);
    let prefix = keys::account(account).len();
    let mut sums = Sums::new(&query.by);
    loop {
        let rows = tables.scan(USAGE, &from, &to, PAGE_ROWS, false).await?;
        for row in &rows {
            let record: Billable = serde_json::from_slice(&row.value).map_err(|error| damaged(&error))?;
            sums.add(&record, started_us(row, prefix).unwrap_or_default());
        }
        match rows.last() {
            Some(last) if rows.len() == PAGE_ROWS => step(&mut from, &mut to, &last.key, false),
            _ => return Ok(sums.bill(prices)),
        }
        // A long bill must not hold up the calls that share this thread.
        tokio::task::yield_now().await;
    }
}

/// Moves the bounds past the last row that was read.
fn step(from: &mut Vec<u8>, to: &mut Vec<u8>, last: &[u8], backwards: bool) {
    if backwards {
        *to = last.to_vec();
    } else {
        *from = dayfly_store::after(last);
    }
}

fn decode(row: &Row) -> Result<Usage, dayfly_store::Error> {
    serde_json::from_slice(&row.value).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> dayfly_store::Error {
    dayfly_store::Error::Engine(format!("a usage record cannot be read: {error}"))
}

/// A token is the key of the last row seen, in hexadecimal.
fn encode_token(key: &[u8]) -> String {
    hex::encode(key)
}

fn decode_token(token: &str, prefix: &[u8]) -> Option<Vec<u8>> {
    hex::decode(token).ok().filter(|key| key.starts_with(prefix))
}
