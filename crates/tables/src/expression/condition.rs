//! Conditions, and whether an item meets them.

use super::path::Path;
use crate::{Item, Value, number::Number};
use std::cmp::Ordering;

/// A condition.
#[derive(Debug, Clone)]
pub enum Condition {
    /// `a AND b`.
    And(Box<Condition>, Box<Condition>),
    /// `a OR b`.
    Or(Box<Condition>, Box<Condition>),
    /// `NOT a`.
    Not(Box<Condition>),
    /// `a < b`.
    Compare(Operand, Comparison, Operand),
    /// `a BETWEEN b AND c`.
    Between(Operand, Operand, Operand),
    /// `a IN (b, c)`.
    In(Operand, Vec<Operand>),
    /// `attribute_exists(a)`.
    Exists(Path),
    /// `attribute_type(a, :type)`.
    Type(Path, String),
    /// `begins_with(a, b)`, `contains(a, b)`.
    Function(Function, Operand, Operand),
}

/// A comparator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A function of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `begins_with`.
    BeginsWith,
    /// `contains`.
    Contains,
}

/// What is compared.
#[derive(Debug, Clone)]
pub enum Operand {
    /// The value at a path.
    Path(Path),
    /// A value of the request.
    Value(Value),
    /// `size(a)`.
    Size(Path),
}

impl Condition {
    /// Whether `item` meets it. An item that is not there has no attributes.
    pub fn holds(&self, item: &Item) -> bool {
        match self {
            Self::And(a, b) => a.holds(item) && b.holds(item),
            Self::Or(a, b) => a.holds(item) || b.holds(item),
            Self::Not(a) => !a.holds(item),
            Self::Compare(a, comparison, b) => match (a.value(item), b.value(item)) {
                (Some(a), Some(b)) => comparison.holds(&a, &b),
                // What is not there differs from everything.
                _ => *comparison == Comparison::NotEqual,
            },
            Self::Between(a, low, high) => match (a.value(item), low.value(item), high.value(item)) {
                (Some(a), Some(low), Some(high)) => {
                    order(&low, &a).is_some_and(Ordering::is_le) && order(&a, &high).is_some_and(Ordering::is_le)
                }
                _ => false,
            },
            Self::In(a, list) => a.value(item).is_some_and(|a| list.iter().any(|b| b.value(item).as_ref() == Some(&a))),
            Self::Exists(path) => path.get(item).is_some(),
            Self::Type(path, name) => path.get(item).is_some_and(|value| value.type_name() == name),
            Self::Function(function, a, b) => match (a.value(item), b.value(item)) {
                (Some(a), Some(b)) => match function {
                    Function::BeginsWith => begins_with(&a, &b),
                    Function::Contains => contains(&a, &b),
                },
                _ => false,
            },
        }
    }

    /// Paths that it names.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::And(a, b) | Self::Or(a, b) => [a.paths(), b.paths()].concat(),
            Self::Not(a) => a.paths(),
            Self::Compare(a, _, b) | Self::Function(_, a, b) => [a, b].into_iter().filter_map(Operand::path).collect(),
            Self::Between(a, b, c) => [a, b, c].into_iter().filter_map(Operand::path).collect(),
            Self::In(a, list) => std::iter::once(a).chain(list).filter_map(Operand::path).collect(),
            Self::Exists(path) | Self::Type(path, _) => vec![path],
        }
    }
}

impl Operand {
    fn value(&self, item: &Item) -> Option<Value> {
        match self {
            Self::Path(path) => path.get(item).cloned(),
            Self::Value(value) => Some(value.clone()),
            Self::Size(path) => {
                let size = match path.get(item)? {
                    Value::S(text) => text.len(),
                    Value::B(bytes) => bytes.len(),
                    Value::Ss(set) => set.len(),
                    Value::Ns(set) => set.len(),
                    Value::Bs(set) => set.len(),
                    Value::L(list) => list.len(),
                    Value::M(map) => map.len(),
                    Value::N(_) | Value::Bool(_) | Value::Null => return None,
                };
                size.to_string().parse::<Number>().ok().map(Value::N)
            }
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) | Self::Size(path) => Some(path),
            Self::Value(_) => None,
        }
    }
}

impl Comparison {
    fn holds(self, a: &Value, b: &Value) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Less => order(a, b).is_some_and(Ordering::is_lt),
            Self::LessOrEqual => order(a, b).is_some_and(Ordering::is_le),
            Self::Greater => order(a, b).is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => order(a, b).is_some_and(Ordering::is_ge),
        }
    }
}

/// The order of two values, if they have one.
pub fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::S(a), Value::S(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::N(a), Value::N(b)) => Some(a.cmp(b)),
        (Value::B(a), Value::B(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn begins_with(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::S(a), Value::S(b)) => a.starts_with(b.as_str()),
        (Value::B(a), Value::B(b)) => a.starts_with(b),
        _ => false,
    }
}

fn contains(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::S(a), Value::S(b)) => a.contains(b.as_str()),
        (Value::B(a), Value::B(b)) => b.is_empty() || a.windows(b.len()).any(|window| window == b),
        (Value::Ss(set), Value::S(b)) => set.contains(b),
        (Value::Ns(set), Value::N(b)) => set.contains(b),
        (Value::Bs(set), Value::B(b)) => set.contains(b),
        (Value::L(list), b) => list.contains(b),
        _ => false,
    }
}
