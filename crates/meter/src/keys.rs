//! Keys of the meter's rows. Numbers are big endian, so that byte order is their order; texts end with a zero byte.

use dayfly_types::{AccountId, Region, Timestamp};

pub(crate) const USAGE: &str = "usage";
pub(crate) const LOG: &str = "log";
pub(crate) const LOG_GROUPS: &str = "log_groups";
pub(crate) const LOG_STREAMS: &str = "log_streams";

/// Microseconds since 1970 in eight bytes that sort like the time, also before 1970.
pub(crate) fn time(micros: i64) -> [u8; 8] {
    ((micros as u64) ^ (1 << 63)).to_be_bytes()
}

pub(crate) fn decode_time(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

/// All usage records of an account begin with this; a time follows.
pub(crate) fn account(account: &AccountId) -> Vec<u8> {
    text(Vec::new(), account.as_str())
}

/// All groups of a region begin with this; the group's name follows.
pub(crate) fn region(id: &AccountId, region: &Region) -> Vec<u8> {
    text(account(id), region.as_str())
}

/// All streams and events of a group begin with this.
pub(crate) fn group(account: &AccountId, region_name: &Region, group: &str) -> Vec<u8> {
    text(region(account, region_name), group)
}

/// Appends a text and its end. A zero byte inside would break the order; no valid name has one.
pub(crate) fn text(mut key: Vec<u8>, text: &str) -> Vec<u8> {
    key.extend(text.bytes().filter(|byte| *byte != 0));
    key.push(0);
    key
}

/// The first key after all that begin with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; 64]
}

/// A time from a number that came out of a row.
pub(crate) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_numbers_and_come_back() {
        let times = [i64::MIN, -5, -1, 0, 1, 1_700_000_000_000_000, i64::MAX];
        assert!(times.windows(2).all(|pair| time(pair[0]) < time(pair[1])));
        assert!(times.iter().all(|micros| decode_time(time(*micros)) == *micros));
    }

    #[test]
    fn the_end_of_a_prefix_is_after_everything_in_it() {
        for prefix in [b"a".as_slice(), b"a\0", b"a\xff", b"\xff\xff"] {
            let end = after_prefix(prefix);
            assert!(end.as_slice() > prefix);
            assert!(end > [prefix, &[0xff; 20]].concat() || prefix.iter().all(|b| *b == 0xff));
        }
    }
}
