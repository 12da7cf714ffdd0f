//! DynamoDB's expressions: one lexer and one recursive-descent parser for all five, bounded in size and depth, since they come
//! from whoever may send a request.

mod condition;
mod lexer;
mod parser;
mod path;
mod reserved;
mod update;

pub use condition::{Comparison, Condition, Function, Operand};
pub use path::{Part, Path, project};
pub use update::{Action, Term, Update};

use crate::{Error, Item, Value, invalid};
use parser::Parser;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// Most bytes of an expression.
const EXPRESSION_BYTES_MAX: usize = 4096;

/// What an expression's placeholders stand for, and which of them were used.
#[derive(Debug, Default)]
pub struct Placeholders {
    names: BTreeMap<String, String>,
    values: Item,
    used: RefCell<BTreeSet<String>>,
}

impl Placeholders {
    /// Placeholders of a request: names by `#name`, values by `:value`.
    pub fn new(names: Option<BTreeMap<String, String>>, values: Option<Item>) -> Result<Self, Error> {
        let checked = |what: &str, sign: char, keys: &mut dyn Iterator<Item = &String>| {
            let mut keys = keys.peekable();
            if keys.peek().is_none() {
                return Err(invalid(format!("{what} must not be empty")));
            }
            let good = |key: &str| {
                key.strip_prefix(sign).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(lexer::of_word))
            };
            match keys.find(|key| !good(key)) {
                Some(key) => {
                    Err(invalid(format!("{what} contains invalid key: Syntax error; key: \"{}\"", short(key))))
                }
                None => Ok(()),
            }
        };
        if let Some(names) = &names {
            checked("ExpressionAttributeNames", '#', &mut names.keys())?;
        }
        if let Some(values) = &values {
            checked("ExpressionAttributeValues", ':', &mut values.keys())?;
        }
        Ok(Self { names: names.unwrap_or_default(), values: values.unwrap_or_default(), used: RefCell::default() })
    }

    /// Refuses placeholders that no expression used. To be called when all are parsed; `any` tells whether there was one.
    pub fn all_used(&self, any: bool) -> Result<(), Error> {
        let used = self.used.borrow();
        let unused = |keys: &mut dyn Iterator<Item = &String>| -> Vec<String> {
            keys.filter(|key| !used.contains(*key)).cloned().collect()
        };
        for (what, unused) in [
            ("ExpressionAttributeNames", unused(&mut self.names.keys())),
            ("ExpressionAttributeValues", unused(&mut self.values.keys())),
        ] {
            if !unused.is_empty() && !any {
                return Err(invalid(format!("{what} can only be specified when using expressions")));
            }
            if !unused.is_empty() {
                let keys = short(&unused.join(", "));
                return Err(invalid(format!("Value provided in {what} unused in expressions: keys: {{{keys}}}")));
            }
        }
        Ok(())
    }

    fn name(&self, placeholder: &str) -> Option<String> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        self.names.get(placeholder).cloned()
    }

    fn value(&self, placeholder: &str) -> Option<Value> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        self.values.get(placeholder).cloned()
    }
}

/// Parses a condition: `kind` is `ConditionExpression`, `FilterExpression` or `KeyConditionExpression`.
pub fn condition(kind: &'static str, text: &str, placeholders: &Placeholders) -> Result<Condition, Error> {
    let mut parser = parser(kind, text, placeholders)?;
    let condition = parser.condition()?;
    parser.end()?;
    Ok(condition)
}

/// Parses an UpdateExpression.
pub fn update(text: &str, placeholders: &Placeholders) -> Result<Update, Error> {
    let mut parser = parser("UpdateExpression", text, placeholders)?;
    let update = parser.update()?;
    parser.end()?;
    Ok(update)
}

/// Parses a ProjectionExpression.
pub fn projection(text: &str, placeholders: &Placeholders) -> Result<Vec<Path>, Error> {
    let kind = "ProjectionExpression";
    let mut parser = parser(kind, text, placeholders)?;
    let paths = parser.paths()?;
    parser.end()?;
    path::none_overlap(kind, paths.iter())?;
    Ok(paths)
}

fn parser<'a>(kind: &'static str, text: &'a str, placeholders: &'a Placeholders) -> Result<Parser<'a>, Error> {
    if text.trim().is_empty() {
        return Err(invalid(format!("Invalid {kind}: The expression can not be empty;")));
    }
    if text.len() > EXPRESSION_BYTES_MAX {
        let message = format!(
            "Invalid {kind}: Expression size has exceeded the maximum allowed size; expression size: {}",
            text.len()
        );
        return Err(invalid(message));
    }
    Parser::new(kind, text, placeholders)
}

/// As much of a client's text as an error repeats.
fn short(text: &str) -> String {
    text.chars().take(255).collect()
}

#[cfg(test)]
mod tests;
