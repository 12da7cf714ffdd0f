//! Conditional requests and ranges, as HTTP defines them.

use crate::aws::Error;
use dayfly_objects::Object;
use dayfly_types::Timestamp;
use http::{HeaderMap, StatusCode};

/// What a request's conditions come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Go,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// The names of the four headers; those of a copy's source are others.
pub struct Names {
    pub matches: &'static str,
    pub none_match: &'static str,
    pub modified: &'static str,
    pub unmodified: &'static str,
}

/// Of a read.
pub const OF_READ: Names = Names {
    matches: "if-match",
    none_match: "if-none-match",
    modified: "if-modified-since",
    unmodified: "if-unmodified-since",
};

/// Checks the conditions; a date that cannot be read is no condition.
pub fn check(headers: &HeaderMap, names: &Names, object: &Object) -> Verdict {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let date = |name: &str| header(name).and_then(parse_date);
    match (header(names.matches), date(names.unmodified)) {
        (Some(tags), _) if !matches_any(tags, &object.etag) => return Verdict::Failed,
        (None, Some(at)) if object.modified > at => return Verdict::Failed,
        _ => {}
    }
    match (header(names.none_match), date(names.modified)) {
        (Some(tags), _) if matches_any(tags, &object.etag) => Verdict::NotModified,
        (None, Some(at)) if object.modified <= at => Verdict::NotModified,
        _ => Verdict::Go,
    }
}

/// `Mon, 23 Nov 2026 13:22:00 GMT`.
pub fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The part of a content of `size` bytes that a `Range` header asks for: first byte and length. `None` for all of it: also
/// for several ranges and for what is no range, which S3 ignores.
pub fn range(header: Option<&str>, size: u64) -> Result<Option<(u64, u64)>, Error> {
    let Some((first, last)) = header.and_then(|text| text.trim().strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (from, end) = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            None => return Ok(None),
            Some(length) => (size.saturating_sub(length), size),
        },
        (first, "") => match number(first) {
            None => return Ok(None),
            Some(from) => (from, size),
        },
        (first, last) => match (number(first), number(last)) {
            (Some(from), Some(last)) if from <= last => (from, size.min(last.saturating_add(1))),
            _ => return Ok(None),
        },
    };
    if from >= end {
        return Err(Error::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "InvalidRange",
            "The requested range is not satisfiable",
        ));
    }
    Ok(Some((from, end - from)))
}

fn matches_any(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == etag)
}

fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_content() {
        let ask = |text: &str, size| range(Some(text), size).map_err(|error| error.code.into_owned());
        for (text, expected) in [
            ("bytes=0-0", Some((0, 1))),
            ("bytes=2-4", Some((2, 3))),
            ("bytes=8-", Some((8, 2))),
            ("bytes=8-99", Some((8, 2))),
            ("bytes=0-18446744073709551615", Some((0, 10))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(ask(text, 10), Ok(expected), "{text}");
        }
        for text in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(ask(text, 10), Err("InvalidRange".to_owned()), "{text}");
        }
        assert_eq!(ask("bytes=-5", 0), Err("InvalidRange".to_owned()));
        assert_eq!(range(None, 10).ok(), Some(None));
    }
}
