//! Document paths: `a.b[3].c`.

use crate::{Error, Item, Value, invalid};
use std::{collections::BTreeMap, fmt};

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A member of a map.
    Name(String),
    /// An element of a list.
    Index(usize),
}

/// Where a value is in an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The attribute.
    pub name: String,
    /// The way within its value.
    pub rest: Vec<Part>,
}

impl Path {
    /// The value there.
    pub fn get<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let first = item.get(&self.name)?;
        self.rest.iter().try_fold(first, |value, part| match (part, value) {
            (Part::Name(name), Value::M(map)) => map.get(name),
            (Part::Index(index), Value::L(list)) => list.get(*index),
            _ => None,
        })
    }

    /// Puts a value there. Fails when what would hold it is not there.
    pub fn set(&self, item: &mut Item, value: Value) -> Result<(), Error> {
        let Some((last, way)) = self.rest.split_last() else {
            item.insert(self.name.clone(), value);
            return Ok(());
        };
        match (last, self.holder(item, way)) {
            (Part::Name(name), Some(Value::M(map))) => {
                map.insert(name.clone(), value);
            }
            (Part::Index(index), Some(Value::L(list))) => match list.get_mut(*index) {
                Some(there) => *there = value,
                None => list.push(value),
            },
            _ => return Err(no_path()),
        }
        Ok(())
    }

    /// Removes the value there. Fails when what would hold it is not there.
    pub fn remove(&self, item: &mut Item) -> Result<(), Error> {
        let Some((last, way)) = self.rest.split_last() else {
            item.remove(&self.name);
            return Ok(());
        };
        match (last, self.holder(item, way)) {
            (Part::Name(name), Some(Value::M(map))) => {
                map.remove(name);
            }
            (Part::Index(index), Some(Value::L(list))) => {
                if *index < list.len() {
                    list.remove(*index);
                }
            }
            _ => return Err(no_path()),
        }
        Ok(())
    }

    fn holder<'a>(&self, item: &'a mut Item, way: &[Part]) -> Option<&'a mut Value> {
        let first = item.get_mut(&self.name)?;
        way.iter().try_fold(first, |value, part| match (part, value) {
            (Part::Name(name), Value::M(map)) => map.get_mut(name),
            (Part::Index(index), Value::L(list)) => list.get_mut(*index),
            _ => None,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.name)?;
        for part in &self.rest {
            match part {
                Part::Name(name) => write!(f, ", {name}")?,
                Part::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}

fn no_path() -> Error {
    invalid("The document path provided in the update expression is invalid for update")
}

/// Refuses two paths of which one is the other or leads through it, and two that take a value for a list and for a map.
pub fn none_overlap<'a>(expression: &str, paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    // In order, a path that leads through another follows it, with nothing between them that does not.
    let mut sorted: Vec<&Path> = paths.collect();
    sorted.sort();
    for pair in sorted.windows(2) {
        let (one, two) = (pair[0], pair[1]);
        if one.name == two.name && two.rest.starts_with(&one.rest) {
            let message = format!(
                "Invalid {expression}: Two document paths overlap with each other; must remove or rewrite one of these \
                 paths; path one: {one}, path two: {two}"
            );
            return Err(invalid(message));
        }
    }
    Ok(())
}

/// What of an item is at these paths. Elements of lists move together.
pub fn project(item: &Item, paths: &[Path]) -> Item {
    let mut wanted: BTreeMap<&str, Vec<&[Part]>> = BTreeMap::new();
    for path in paths {
        wanted.entry(&path.name).or_default().push(&path.rest);
    }
    let found = |(name, ways): (&str, Vec<&[Part]>)| Some((name.to_owned(), part_of(item.get(name)?, &ways)?));
    wanted.into_iter().filter_map(found).collect()
}

fn part_of(value: &Value, ways: &[&[Part]]) -> Option<Value> {
    if ways.iter().any(|way| way.is_empty()) {
        return Some(value.clone());
    }
    let mut wanted: BTreeMap<&Part, Vec<&[Part]>> = BTreeMap::new();
    for (first, rest) in ways.iter().filter_map(|way| way.split_first()) {
        wanted.entry(first).or_default().push(rest);
    }
    match value {
        Value::M(map) => {
            let found: Item = wanted
                .into_iter()
                .filter_map(|(part, ways)| match part {
                    Part::Name(name) => Some((name.clone(), part_of(map.get(name)?, &ways)?)),
                    Part::Index(_) => None,
                })
                .collect();
            (!found.is_empty()).then_some(Value::M(found))
        }
        Value::L(list) => {
            let found: Vec<Value> = wanted
                .into_iter()
                .filter_map(|(part, ways)| match part {
                    Part::Index(index) => part_of(list.get(*index)?, &ways),
                    Part::Name(_) => None,
                })
                .collect();
            (!found.is_empty()).then_some(Value::L(found))
        }
        _ => None,
    }
}
