//! Conditions of statements: an operator, the key of the context that it looks at, and the values that it wants.

use super::{
    document::Context,
    pattern::{Pattern, Special, matches, matches_arn},
};
use crate::Timestamp;
use jiff::{civil, tz::TimeZone};
use std::net::IpAddr;

/// One key of one operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    compare: Compare,
    /// Wants none of its values.
    negated: bool,
    /// Holds when there is no such key.
    if_exists: bool,
    every: Every,
    key: String,
    values: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Text,
    TextWithoutCase,
    Like,
    Number(Order),
    Date(Order),
    Bool,
    Address,
    Arn,
    /// Whether the key is missing.
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How many of a key's values have to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Every {
    /// `ForAllValues`: each, also when there is none.
    All,
    /// `ForAnyValue`, and what is not said otherwise.
    Any,
    /// `ForAnyValue`, said: not without a value.
    AnySaid,
}

impl Condition {
    /// Reads one; `None` when there is no such operator, or a value is none.
    pub fn new(operator: &str, key: &str, values: &[String], variables: bool) -> Option<Self> {
        let (every, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Every::All, name),
            Some(("ForAnyValue", name)) => (Every::AnySaid, name),
            Some(_) => return None,
            None => (Every::Any, operator),
        };
        let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
        let (compare, negated) = compare(name)?;
        if compare == Compare::Null && if_exists {
            return None;
        }
        let wildcards = matches!(compare, Compare::Like | Compare::Arn);
        let values = values.iter().map(|value| Pattern::new(value, Special { wildcards, variables }));
        let values = values.collect::<Option<_>>()?;
        Some(Self { compare, negated, if_exists, every, key: key.to_owned(), values })
    }

    /// Whether it holds.
    pub fn holds(&self, context: &Context) -> bool {
        let given = context.get(&self.key).unwrap_or_default();
        if self.compare == Compare::Null {
            let missing = if given.is_empty() { "true" } else { "false" };
            return self.wants(missing, context);
        }
        if given.is_empty() {
            // What must not be equal is not equal to nothing.
            return self.if_exists || self.every == Every::All || (self.negated && self.every == Every::Any);
        }
        let mut fit = given.iter().map(|value| self.wants(value, context) != self.negated);
        match (self.every, self.negated) {
            (Every::All, _) | (Every::Any, true) => fit.all(|fits| fits),
            _ => fit.any(|fits| fits),
        }
    }

    /// Whether one of its values fits.
    fn wants(&self, given: &str, context: &Context) -> bool {
        self.values.iter().any(|value| value.filled(context).is_some_and(|wanted| self.compare.fits(&wanted, given)))
    }
}

impl Compare {
    fn fits(self, wanted: &[u8], given: &str) -> bool {
        match self {
            Self::Like => return matches(wanted, given),
            Self::Arn => return matches_arn(wanted, given),
            _ => {}
        }
        let Ok(wanted) = std::str::from_utf8(wanted) else { return false };
        match self {
            Self::Text => wanted == given,
            Self::TextWithoutCase => wanted.to_lowercase() == given.to_lowercase(),
            Self::Bool | Self::Null => wanted.eq_ignore_ascii_case(given),
            Self::Number(order) => match (wanted.parse::<f64>(), given.parse::<f64>()) {
                (Ok(wanted), Ok(given)) => order.holds(given.partial_cmp(&wanted)),
                _ => false,
            },
            Self::Date(order) => match (date(wanted), date(given)) {
                (Some(wanted), Some(given)) => order.holds(Some(given.cmp(&wanted))),
                _ => false,
            },
            Self::Address => given.parse().is_ok_and(|address| in_range(address, wanted)),
            Self::Like | Self::Arn => false,
        }
    }
}

impl Order {
    fn holds(self, found: Option<std::cmp::Ordering>) -> bool {
        found.is_some_and(|found| match self {
            Self::Equal => found.is_eq(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        })
    }
}

fn compare(name: &str) -> Option<(Compare, bool)> {
    Some(match name {
        "StringEquals" => (Compare::Text, false),
        "StringNotEquals" => (Compare::Text, true),
        "StringEqualsIgnoreCase" => (Compare::TextWithoutCase, false),
        "StringNotEqualsIgnoreCase" => (Compare::TextWithoutCase, true),
        "StringLike" => (Compare::Like, false),
        "StringNotLike" => (Compare::Like, true),
        "NumericEquals" => (Compare::Number(Order::Equal), false),
        "NumericNotEquals" => (Compare::Number(Order::Equal), true),
        "NumericLessThan" => (Compare::Number(Order::Less), false),
        "NumericLessThanEquals" => (Compare::Number(Order::LessOrEqual), false),
        "NumericGreaterThan" => (Compare::Number(Order::Greater), false),
        "NumericGreaterThanEquals" => (Compare::Number(Order::GreaterOrEqual), false),
        "DateEquals" => (Compare::Date(Order::Equal), false),
        "DateNotEquals" => (Compare::Date(Order::Equal), true),
        "DateLessThan" => (Compare::Date(Order::Less), false),
        "DateLessThanEquals" => (Compare::Date(Order::LessOrEqual), false),
        "DateGreaterThan" => (Compare::Date(Order::Greater), false),
        "DateGreaterThanEquals" => (Compare::Date(Order::GreaterOrEqual), false),
        "Bool" => (Compare::Bool, false),
        "BinaryEquals" => (Compare::Text, false),
        "IpAddress" => (Compare::Address, false),
        "NotIpAddress" => (Compare::Address, true),
        "ArnEquals" | "ArnLike" => (Compare::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Compare::Arn, true),
        "Null" => (Compare::Null, false),
        _ => return None,
    })
}

/// An ISO 8601 date or time, or seconds since 1970.
fn date(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    let day: civil::DateTime = text.parse().ok()?;
    day.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

/// Whether an address is in a range such as `192.0.2.0/24` or `2001:db8::/32`.
fn in_range(address: IpAddr, range: &str) -> bool {
    let (base, bits) = range.split_once('/').map_or((range, None), |(base, bits)| (base, Some(bits)));
    let Ok(base) = base.parse::<IpAddr>() else { return false };
    let bits = bits.map_or(Ok(128), str::parse::<u32>);
    let Ok(bits) = bits else { return false };
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or_default();
            u32::from(base) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or_default();
            u128::from(base) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}
