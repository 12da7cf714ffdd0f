//! Event patterns: which events a rule, or a filter of a mapping, is for. EventBridge's language.
//!
//! A pattern is an object. Each of its fields names a field of the event; a list says what its value may be, an object goes
//! deeper. All fields must match, of a list any. Where the event has a list, any of its elements will do.

use serde_json::{Map, Value};
use std::{cmp::Ordering, net::IpAddr};
use thiserror::Error;

/// Deepest pattern, and deepest event that is looked at.
const DEPTH_MAX: usize = 32;
/// Longest pattern, AWS's.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// A pattern that was checked.
#[derive(Debug, Clone)]
pub struct Pattern {
    fields: Vec<(String, Wanted)>,
    /// `$or`: of each list, one must match.
    alternatives: Vec<Vec<Pattern>>,
}

/// What a field must be.
#[derive(Debug, Clone)]
enum Wanted {
    Inside(Pattern),
    OneOf(Vec<Rule>),
}

#[derive(Debug, Clone)]
enum Rule {
    Equals(Value),
    Prefix(Text),
    Suffix(Text),
    EqualsIgnoreCase(String),
    Wildcard(Vec<String>),
    /// Neither of these.
    AnythingBut(Vec<Rule>),
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
    Cidr(IpAddr, u8),
}

#[derive(Debug, Clone)]
struct Text {
    text: String,
    ignore_case: bool,
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Invalid(String);

fn invalid<T>(reason: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(reason.into()))
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > PATTERN_BYTES_MAX {
            return invalid(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Self::of(&object, 0),
            Ok(_) => invalid("the pattern is not an object"),
            Err(error) => invalid(format!("the pattern is not JSON: {error}")),
        }
    }

    /// Whether `event` matches.
    pub fn matches(&self, event: &Value) -> bool {
        let object = event.as_object();
        self.fields.iter().all(|(name, wanted)| wanted.allows(object.and_then(|object| object.get(name))))
            && self.alternatives.iter().all(|any| any.iter().any(|pattern| pattern.matches(event)))
    }

    fn of(object: &Map<String, Value>, depth: usize) -> Result<Self, Invalid> {
        if depth > DEPTH_MAX {
            return invalid("the pattern is too deep");
        }
        if object.is_empty() {
            return invalid("empty objects are not allowed");
        }
        let (mut fields, mut alternatives) = (Vec::new(), Vec::new());
        for (name, value) in object {
            match (name.as_str(), value) {
                ("$or", Value::Array(patterns)) if patterns.len() > 1 => {
                    let patterns = patterns.iter().map(|pattern| match pattern {
                        Value::Object(object) => Self::of(object, depth + 1),
                        _ => invalid("$or must have objects"),
                    });
                    alternatives.push(patterns.collect::<Result<_, _>>()?);
                }
                ("$or", _) => return invalid("$or must be a list of two patterns or more"),
                (_, Value::Object(object)) => fields.push((name.clone(), Wanted::Inside(Self::of(object, depth + 1)?))),
                (_, Value::Array(rules)) if !rules.is_empty() => {
                    let rules = rules.iter().map(Rule::of).collect::<Result<_, _>>()?;
                    fields.push((name.clone(), Wanted::OneOf(rules)));
                }
                _ => return invalid(format!("\"{name}\" must be an object or a list with elements")),
            }
        }
        Ok(Self { fields, alternatives })
    }
}

impl Wanted {
    fn allows(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Inside(pattern), Some(Value::Array(items))) => items.iter().any(|item| pattern.matches(item)),
            (Self::Inside(pattern), Some(value)) => pattern.matches(value),
            // Nothing inside: what asks for nothing matches.
            (Self::Inside(pattern), None) => pattern.matches(&Value::Null),
            (Self::OneOf(rules), None) => rules.iter().any(|rule| matches!(rule, Rule::Exists(false))),
            (Self::OneOf(rules), Some(Value::Array(items))) => rules.iter().any(|rule| match rule {
                Rule::Exists(wanted) => *wanted != items.is_empty(),
                rule => items.iter().any(|item| rule.allows(item)),
            }),
            (Self::OneOf(rules), Some(value)) => rules.iter().any(|rule| rule.allows(value)),
        }
    }
}

impl Rule {
    fn of(value: &Value) -> Result<Self, Invalid> {
        let Value::Object(object) = value else {
            return match value {
                Value::Array(_) => invalid("a list within a list is not allowed"),
                plain => Ok(Self::Equals(plain.clone())),
            };
        };
        let mut members = object.iter();
        let (Some((name, value)), None) = (members.next(), members.next()) else {
            return invalid("a match expression has exactly one field");
        };
        match (name.as_str(), value) {
            ("prefix", value) => Ok(Self::Prefix(Text::of(name, value)?)),
            ("suffix", value) => Ok(Self::Suffix(Text::of(name, value)?)),
            ("equals-ignore-case", Value::String(text)) => Ok(Self::EqualsIgnoreCase(text.to_lowercase())),
            ("wildcard", Value::String(text)) => wildcard(text).map(Self::Wildcard),
            ("exists", Value::Bool(wanted)) => Ok(Self::Exists(*wanted)),
            ("cidr", Value::String(text)) => cidr(text),
            ("numeric", Value::Array(items)) => numeric(items),
            ("anything-but", value) => anything_but(value).map(Self::AnythingBut),
            _ => invalid(format!("unrecognized match expression, or a value it cannot have: {name}")),
        }
    }

    fn allows(&self, value: &Value) -> bool {
        let text = value.as_str();
        match self {
            Self::Equals(wanted) => equal(wanted, value),
            Self::Prefix(prefix) => text.is_some_and(|text| prefix.matches(text, |text, with| text.starts_with(with))),
            Self::Suffix(suffix) => text.is_some_and(|text| suffix.matches(text, |text, with| text.ends_with(with))),
            Self::EqualsIgnoreCase(wanted) => text.is_some_and(|text| text.to_lowercase() == *wanted),
            Self::Wildcard(parts) => text.is_some_and(|text| fits(parts, text)),
            Self::AnythingBut(rules) => !rules.iter().any(|rule| rule.allows(value)),
            Self::Numeric(bounds) => {
                value.as_f64().is_some_and(|number| bounds.iter().all(|(how, than)| how.holds(number, *than)))
            }
            Self::Exists(wanted) => *wanted,
            Self::Cidr(network, bits) => {
                text.and_then(|text| text.parse().ok()).is_some_and(|address| within(*network, *bits, address))
            }
        }
    }
}

impl Text {
    fn of(name: &str, value: &Value) -> Result<Self, Invalid> {
        let folded = value.get("equals-ignore-case");
        match (value, folded) {
            (Value::String(text), _) => Ok(Self { text: text.clone(), ignore_case: false }),
            (Value::Object(object), Some(Value::String(text))) if object.len() == 1 => {
                Ok(Self { text: text.to_lowercase(), ignore_case: true })
            }
            _ => invalid(format!("{name} must have a text")),
        }
    }

    fn matches(&self, text: &str, how: impl Fn(&str, &str) -> bool) -> bool {
        if self.ignore_case { how(&text.to_lowercase(), &self.text) } else { how(text, &self.text) }
    }
}

impl Comparison {
    fn holds(self, number: f64, than: f64) -> bool {
        match (self, number.partial_cmp(&than)) {
            (_, None) => false,
            (Self::Equal, Some(order)) => order == Ordering::Equal,
            (Self::Less, Some(order)) => order == Ordering::Less,
            (Self::LessOrEqual, Some(order)) => order != Ordering::Greater,
            (Self::Greater, Some(order)) => order == Ordering::Greater,
            (Self::GreaterOrEqual, Some(order)) => order != Ordering::Less,
        }
    }
}

/// Numbers are equal as numbers, whatever their text.
fn equal(wanted: &Value, value: &Value) -> bool {
    match (wanted.as_f64(), value.as_f64()) {
        (Some(wanted), Some(number)) => wanted == number,
        _ => wanted == value,
    }
}

fn anything_but(value: &Value) -> Result<Vec<Rule>, Invalid> {
    match value {
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .map(|item| match item {
                Value::String(_) | Value::Number(_) => Ok(Rule::Equals(item.clone())),
                _ => invalid("anything-but lists texts or numbers"),
            })
            .collect(),
        Value::Object(object) => match object.iter().next() {
            Some((name, Value::Array(items)))
                if object.len() == 1
                    && !items.is_empty()
                    && ["prefix", "suffix", "equals-ignore-case", "wildcard"].contains(&name.as_str()) =>
            {
                let each = |item: &Value| Rule::of(&Value::Object(Map::from_iter([(name.clone(), item.clone())])));
                items.iter().map(each).collect()
            }
            Some((name, _)) if ["prefix", "suffix", "equals-ignore-case", "wildcard"].contains(&name.as_str()) => {
                Ok(vec![Rule::of(value)?])
            }
            _ => invalid("anything-but cannot have this"),
        },
        Value::String(_) | Value::Number(_) => Ok(vec![Rule::Equals(value.clone())]),
        _ => invalid("anything-but must have a text, a number, or a list of them"),
    }
}

fn numeric(items: &[Value]) -> Result<Rule, Invalid> {
    let pairs = items.chunks(2).map(|pair| match pair {
        [Value::String(how), Value::Number(than)] => {
            let how = match how.as_str() {
                "=" => Comparison::Equal,
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">" => Comparison::Greater,
                ">=" => Comparison::GreaterOrEqual,
                other => return invalid(format!("unrecognized numeric range operator: {other}")),
            };
            Ok((how, than.as_f64().unwrap_or(f64::NAN)))
        }
        _ => invalid("numeric must have pairs of an operator and a number"),
    });
    let bounds: Vec<_> = pairs.collect::<Result<_, _>>()?;
    if bounds.is_empty() || bounds.len() > 2 {
        return invalid("numeric must have one pair or two");
    }
    Ok(Rule::Numeric(bounds))
}

fn cidr(text: &str) -> Result<Rule, Invalid> {
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Rule::Cidr(address, bits))
    });
    parsed.map_or_else(|| invalid("malformed CIDR"), Ok)
}

fn within(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    // Both as numbers of which the first bits count.
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    (network ^ address).checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

/// The text between the stars; `\*` is a star and `\\` a backslash.
fn wildcard(text: &str) -> Result<Vec<String>, Invalid> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    let mut star_before = false;
    while let Some(character) = characters.next() {
        let last = parts.len() - 1;
        match character {
            '*' if star_before => return invalid("consecutive wildcard characters are not allowed"),
            '*' => parts.push(String::new()),
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => parts[last].push(escaped),
                _ => return invalid("invalid escape character in a wildcard"),
            },
            other => parts[last].push(other),
        }
        star_before = character == '*';
    }
    Ok(parts)
}

/// Whether `text` is the parts with anything between them. Each part is taken at its first place, so nothing is tried twice.
fn fits(parts: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|whole| whole == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some(at) = rest.find(part.as_str()) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(pattern: Value, event: Value) -> bool {
        Pattern::parse(&pattern.to_string()).unwrap().matches(&event)
    }

    #[test]
    fn each_rule_takes_what_it_says_and_nothing_else() {
        for (rule, good, bad) in [
            (json!("a"), json!(["a"]), json!(["A", 1, null])),
            (json!(300), json!([300, 300.0, 3e2]), json!([301, "300"])),
            (json!(null), json!([null]), json!(["", 0])),
            (json!({"prefix": "ab"}), json!(["ab", "abc"]), json!(["Ab", "a", 1])),
            (json!({"prefix": {"equals-ignore-case": "aB"}}), json!(["abc", "ABC"]), json!(["bab"])),
            (json!({"suffix": ".png"}), json!([".png", "a.png"]), json!([".PNG", "png"])),
            (json!({"suffix": {"equals-ignore-case": ".PNG"}}), json!(["a.png"]), json!(["a.jpg"])),
            (json!({"equals-ignore-case": "AliCe"}), json!(["alice", "ALICE"]), json!(["alic"])),
            (json!({"anything-but": "a"}), json!(["b", 1]), json!(["a"])),
            (json!({"anything-but": ["a", 5]}), json!(["b", 6]), json!(["a", 5])),
            (json!({"anything-but": {"prefix": "a"}}), json!(["ba"]), json!(["ab"])),
            (json!({"anything-but": {"suffix": ["a", "b"]}}), json!(["c"]), json!(["xa", "xb"])),
            (json!({"anything-but": {"wildcard": "*/lib/*"}}), json!(["/usr/bin/x"]), json!(["/usr/lib/x"])),
            (json!({"numeric": [">", 0, "<=", 5]}), json!([1, 5, 0.1]), json!([0, 5.1, "3"])),
            (json!({"numeric": ["=", 301.8]}), json!([301.8]), json!([302])),
            (json!({"cidr": "10.0.0.0/24"}), json!(["10.0.0.255"]), json!(["10.0.1.0", "x", "::1"])),
            (json!({"cidr": "0.0.0.0/0"}), json!(["1.2.3.4"]), json!(["::1"])),
            (json!({"cidr": "fd00::/8"}), json!(["fd12::1"]), json!(["fe00::1", "10.0.0.1"])),
            (json!({"wildcard": "a*c*e"}), json!(["ace", "abcde", "acce"]), json!(["ac", "aec", "xace"])),
            (json!({"wildcard": "a\\*b"}), json!(["a*b"]), json!(["axb"])),
            (json!({"wildcard": "*aba"}), json!(["aba", "ababa"]), json!(["ab"])),
            (json!({"exists": true}), json!(["x", null, 0]), json!([])),
        ] {
            let pattern = json!({"f": [rule]});
            for good in good.as_array().unwrap() {
                assert!(matches(pattern.clone(), json!({"f": good})), "{pattern} {good}");
                assert!(matches(pattern.clone(), json!({"f": [[], good]})), "{pattern} any of a list: {good}");
            }
            for bad in bad.as_array().unwrap() {
                assert!(!matches(pattern.clone(), json!({"f": bad})), "{pattern} {bad}");
            }
            assert!(!matches(pattern.clone(), json!({})), "{pattern} nothing");
        }
    }

    #[test]
    fn patterns_go_deep_and_branch() {
        let event = json!({"source": "aws.s3", "detail": {"bucket": {"name": "b"}, "keys": [{"k": 1}, {"k": 2}]}});
        assert!(matches(json!({"detail": {"bucket": {"name": ["a", "b"]}}}), event.clone()));
        assert!(matches(json!({"detail": {"keys": {"k": [2]}}}), event.clone()));
        assert!(!matches(json!({"detail": {"bucket": {"name": ["a"]}}}), event.clone()));
        assert!(matches(json!({"detail": {"bucket": {"size": [{"exists": false}]}}}), event.clone()));
        assert!(matches(json!({"more": {"size": [{"exists": false}]}}), event.clone()));
        assert!(!matches(json!({"detail": {"bucket": {"name": [{"exists": false}]}}}), event.clone()));
        assert!(matches(json!({"$or": [{"source": ["x"]}, {"detail": {"bucket": {"name": ["b"]}}}]}), event.clone()));
        assert!(!matches(json!({"$or": [{"source": ["x"]}, {"source": ["y"]}]}), event));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            "{\"a\": \"b\"}",
            "{\"a\": []}",
            "{\"a\": {}}",
            "{\"a\": [[1]]}",
            "{\"a\": [{\"x\": 1}]}",
            "{\"a\": [{}]}",
            "{\"a\": [{\"prefix\": 1}]}",
            "{\"a\": [{\"prefix\": \"a\", \"suffix\": \"b\"}]}",
            "{\"a\": [{\"numeric\": [\">\"]}]}",
            "{\"a\": [{\"numeric\": []}]}",
            "{\"a\": [{\"numeric\": [\"!\", 1]}]}",
            "{\"a\": [{\"cidr\": \"10.0.0.0/33\"}]}",
            "{\"a\": [{\"wildcard\": \"a**\"}]}",
            "{\"a\": [{\"wildcard\": \"a\\\\b\"}]}",
            "{\"a\": [{\"anything-but\": []}]}",
            "{\"a\": [{\"anything-but\": {\"exists\": true}}]}",
            "{\"$or\": [{\"a\": [1]}]}",
            "{\"a\": [{\"exists\": 1}]}",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        let deep = format!("{}[1]{}", "{\"a\":".repeat(60), "}".repeat(60));
        assert!(Pattern::parse(&deep).is_err());
        assert!(Pattern::parse(&format!("{{\"a\": [\"{}\"]}}", "x".repeat(5000))).is_err());
    }
}
