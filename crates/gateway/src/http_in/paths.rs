//! Which template a path is of: literal parts before variable ones, those before what takes the rest.

use super::decoded;
use std::collections::HashMap;

/// Templates of paths (`/pets/{id}`, `/{proxy+}`), part by part, each with a key.
#[derive(Debug, Default)]
pub struct Paths {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// Key of the template that ends here.
    end: Option<String>,
    literal: HashMap<String, Node>,
    /// `{name}`.
    variable: Option<Box<Node>>,
    /// Key of the template that ends here with `{name+}`.
    rest: Option<String>,
}

/// Whether templates that take the rest of a path count: before others further up the tree, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greedy {
    Yes,
    No,
}

impl Paths {
    /// Adds a template. Names of variables make no difference.
    pub fn add(&mut self, template: &str, key: &str) {
        let mut node = &mut self.root;
        for part in parts(template) {
            let variable = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            node = match variable {
                Some(name) if name.ends_with('+') => {
                    node.rest = Some(key.to_owned());
                    return;
                }
                Some(_) => node.variable.get_or_insert_default(),
                None => node.literal.entry(part.to_owned()).or_default(),
            };
        }
        node.end = Some(key.to_owned());
    }

    /// What `accept` makes of the first key that it takes, and the values of the template's variables, decoded, in their
    /// order. The path is as it came.
    pub fn find<T>(
        &self,
        path: &str,
        greedy: Greedy,
        mut accept: impl FnMut(&str) -> Option<T>,
    ) -> Option<(T, Vec<String>)> {
        let mut values = Vec::new();
        let found = search(&self.root, &parts(path), greedy, &mut values, &mut accept)?;
        Some((found, values))
    }
}

/// The names of a template's variables, in their order.
pub fn variables(template: &str) -> impl Iterator<Item = &str> {
    template.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.strip_suffix('+').unwrap_or(name))
    })
}

/// The parts of a path. One slash at the end makes no difference.
fn parts(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

/// Goes down the tree, at each node the most exact way first. Each step takes a part of the path and there are at most
/// two ways at each, but the depth of the tree is that of the API's longest path.
fn search<T>(
    node: &Node,
    parts: &[&str],
    greedy: Greedy,
    values: &mut Vec<String>,
    accept: &mut impl FnMut(&str) -> Option<T>,
) -> Option<T> {
    let Some((part, others)) = parts.split_first() else { return accept(node.end.as_deref()?) };
    let text = decoded(part);
    if let Some(found) = node.literal.get(&text).and_then(|next| search(next, others, greedy, values, accept)) {
        return Some(found);
    }
    if let Some(next) = node.variable.as_ref().filter(|_| !part.is_empty()) {
        values.push(text);
        if let Some(found) = search(next, others, greedy, values, accept) {
            return Some(found);
        }
        values.pop();
    }
    let key = node.rest.as_ref().filter(|_| greedy == Greedy::Yes)?;
    let found = accept(key)?;
    values.push(decoded(&parts.join("/")));
    Some(found)
}
