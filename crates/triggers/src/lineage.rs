//! Functions that trigger themselves. The trace header of a call goes on with what the call sends: SDKs give it back with
//! each request. Its `Lineage` says how often each function was called on the way; a function that comes too often is not
//! called again.

use dayfly_types::{FunctionArn, Timestamp};
use md5::{Digest, Md5};
use uuid::Uuid;

/// Calls of one function on the way of one event; Lambda's.
pub const CALLS_MAX: u32 = 16;
/// Longest header that is gone on with; another begins anew.
const HEADER_BYTES_MAX: usize = 1024;
/// Most functions that a header remembers.
const FUNCTIONS_MAX: usize = 32;

/// The trace header for a call of `function` that an event with the header `trace` leads to. `None` when the function was
/// called too often on the way here, unless it may trigger itself without end (`loops`).
pub fn call(trace: Option<&str>, function: &FunctionArn, now: Timestamp, loops: bool) -> Option<String> {
    // botocore encodes the bars.
    let trace = trace.filter(|trace| trace.len() <= HEADER_BYTES_MAX).unwrap_or_default().replace("%7C", "|");
    let fields: Vec<(&str, &str)> = trace.split(';').filter_map(|field| field.trim().split_once('=')).collect();
    let own = mark(function);
    let called = self::called(&trace, function);
    if called >= CALLS_MAX && !loops {
        return None;
    }
    let entries = fields.iter().filter(|(name, _)| *name == "Lineage").flat_map(|(_, value)| value.split('|'));
    let of_others = |entry: &&str| entry.split_once(':').is_some_and(|(mark, _)| mark != own);
    let mut lineage: Vec<String> = entries.filter(of_others).map(str::to_owned).collect();
    lineage.truncate(FUNCTIONS_MAX - 1);
    lineage.push(format!("{own}:{}", called.saturating_add(1)));
    let root =
        fields.iter().find(|(name, _)| *name == "Root").map(|(_, value)| (*value).to_owned()).unwrap_or_else(|| {
            let id = Uuid::new_v4().simple().to_string();
            format!("1-{:08x}-{}", now.as_second(), &id[..24])
        });
    let kept = fields.iter().filter(|(name, _)| ["Parent", "Sampled"].contains(name));
    let kept: String = kept.map(|(name, value)| format!(";{name}={value}")).collect();
    Some(format!("Root={root}{kept};Lineage={}", lineage.join("|")))
}

/// How often `function` was called on the way of an event with the header `trace`.
pub fn called(trace: &str, function: &FunctionArn) -> u32 {
    let own = format!("{}:", mark(function));
    // Counts end at the next entry, or at the next field.
    let counts = trace.match_indices(&own).map(|(at, _)| &trace[at + own.len()..]);
    let count = |rest: &str| rest.split(|byte: char| !byte.is_ascii_digit()).next().and_then(|text| text.parse().ok());
    counts.filter_map(count).max().unwrap_or(0)
}

/// Eight digits that stand for a function, whatever its qualifier.
fn mark(function: &FunctionArn) -> String {
    hex::encode(&Md5::digest(function.unqualified().to_string())[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_called_so_often_and_no_more() {
        let arn = |name: &str| format!("arn:aws:lambda:us-east-1:000000000000:function:{name}").parse().unwrap();
        let (f, g): (FunctionArn, FunctionArn) = (arn("f"), arn("g"));
        let now = Timestamp::UNIX_EPOCH;
        let mut trace = call(None, &g, now, false);
        let root = trace.as_ref().unwrap().split(';').next().unwrap().to_owned();
        for _ in 0..CALLS_MAX {
            trace = call(trace.as_deref(), &f, now, false);
            assert!(trace.as_ref().unwrap().starts_with(&root));
        }
        assert_eq!(call(trace.as_deref(), &f, now, false), None);
        assert!(call(trace.as_deref(), &g, now, false).unwrap().ends_with(":2"), "another function may be called");
        let encoded = trace.unwrap().replace('|', "%7C");
        assert_eq!((called(&encoded, &f), called(&encoded, &g)), (CALLS_MAX, 1));
        assert_eq!(call(Some(&encoded), &f, now, false), None);
        let kept = call(Some("Root=1-2-3; Parent=4;Sampled=1;Self=5"), &f, now, false).unwrap();
        assert!(kept.starts_with("Root=1-2-3;Parent=4;Sampled=1;Lineage="), "{kept}");
        for odd in ["", ";;;", "Lineage=", "Lineage=::|:", "no header at all", &"x".repeat(5000)] {
            assert!(call(Some(odd), &f, now, false).unwrap().ends_with(":1"), "{odd}");
        }
    }
}
