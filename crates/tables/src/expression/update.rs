//! Updates, and what they make of an item.

use super::path::Path;
use crate::{Error, Item, Value, invalid};
use std::collections::BTreeSet;

/// An UpdateExpression: its actions, whose paths do not overlap.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// In the order of the expression.
    pub actions: Vec<(Path, Action)>,
}

/// What to do at a path.
#[derive(Debug, Clone)]
pub enum Action {
    /// `SET a = term`.
    Set(Term),
    /// `REMOVE a`.
    Remove,
    /// `ADD a :value`.
    Add(Value),
    /// `DELETE a :value`.
    Delete(Value),
}

/// A value that is computed from the item as it was.
#[derive(Debug, Clone)]
pub enum Term {
    /// A value of the request.
    Value(Value),
    /// The value at a path.
    Path(Path),
    /// `a + b`.
    Plus(Box<Term>, Box<Term>),
    /// `a - b`.
    Minus(Box<Term>, Box<Term>),
    /// `if_not_exists(a, b)`.
    IfNotExists(Path, Box<Term>),
    /// `list_append(a, b)`.
    ListAppend(Box<Term>, Box<Term>),
}

impl Update {
    /// The item after the update.
    pub fn apply(&self, item: &Item) -> Result<Item, Error> {
        let mut new = item.clone();
        let mut removed = Vec::new();
        for (path, action) in &self.actions {
            match action {
                Action::Set(term) => path.set(&mut new, term.value(item)?)?,
                Action::Add(value) => path.set(&mut new, added(path.get(item), value)?)?,
                Action::Delete(value) => match deleted(path.get(item), value)? {
                    Some(Some(left)) => path.set(&mut new, left)?,
                    Some(None) => path.remove(&mut new)?,
                    None => {}
                },
                Action::Remove => removed.push(path),
            }
        }
        // Later elements of a list first, so that places mean what they meant before.
        removed.sort();
        for path in removed.into_iter().rev() {
            path.remove(&mut new)?;
        }
        Ok(new)
    }

    /// What it changes.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.actions.iter().map(|(path, _)| path)
    }
}

impl Term {
    fn value(&self, item: &Item) -> Result<Value, Error> {
        let missing = || invalid("The provided expression refers to an attribute that does not exist in the item");
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Path(path) => path.get(item).cloned().ok_or_else(missing),
            Self::IfNotExists(path, other) => path.get(item).cloned().map_or_else(|| other.value(item), Ok),
            Self::Plus(a, b) | Self::Minus(a, b) => {
                let (Value::N(one), Value::N(two)) = (a.value(item)?, b.value(item)?) else { return Err(wrong_type()) };
                let result = if matches!(self, Self::Plus(..)) { one.plus(two) } else { one.minus(two) };
                result.map(Value::N).map_err(Error::Validation)
            }
            Self::ListAppend(a, b) => match (a.value(item)?, b.value(item)?) {
                (Value::L(mut list), Value::L(more)) => {
                    list.extend(more);
                    Ok(Value::L(list))
                }
                _ => Err(wrong_type()),
            },
        }
    }
}

fn added(there: Option<&Value>, value: &Value) -> Result<Value, Error> {
    Ok(match (there, value) {
        (None, value) => value.clone(),
        (Some(Value::N(a)), Value::N(b)) => Value::N(a.plus(*b).map_err(Error::Validation)?),
        (Some(Value::Ss(a)), Value::Ss(b)) => Value::Ss(a | b),
        (Some(Value::Ns(a)), Value::Ns(b)) => Value::Ns(a | b),
        (Some(Value::Bs(a)), Value::Bs(b)) => Value::Bs(a | b),
        _ => return Err(wrong_type()),
    })
}

/// What is left of a set: `Some(None)` when nothing is, `None` when there was no set.
fn deleted(there: Option<&Value>, value: &Value) -> Result<Option<Option<Value>>, Error> {
    fn left<T: Ord + Clone>(
        a: &BTreeSet<T>,
        b: &BTreeSet<T>,
        make: impl Fn(BTreeSet<T>) -> Value,
    ) -> Option<Option<Value>> {
        let left = a - b;
        Some((!left.is_empty()).then(|| make(left)))
    }
    Ok(match (there, value) {
        (None, _) => None,
        (Some(Value::Ss(a)), Value::Ss(b)) => left(a, b, Value::Ss),
        (Some(Value::Ns(a)), Value::Ns(b)) => left(a, b, Value::Ns),
        (Some(Value::Bs(a)), Value::Bs(b)) => left(a, b, Value::Bs),
        _ => return Err(wrong_type()),
    })
}

fn wrong_type() -> Error {
    invalid("An operand in the update expression has an incorrect data type")
}
