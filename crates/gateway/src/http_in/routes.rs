//! Which resource of a REST API a path is of: literal parts before variable ones, those before what takes the rest.

use super::decoded;
use crate::rest_api::{Definition, Method, Resource};
use std::collections::{BTreeMap, HashMap};

/// The paths of an API, part by part.
#[derive(Debug, Default)]
pub struct Routes {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// Id of the resource that ends here.
    resource: Option<String>,
    literal: HashMap<String, Node>,
    /// `{name}`.
    variable: Option<(String, Box<Node>)>,
    /// `{name+}`, and the id of its resource.
    rest: Option<(String, String)>,
}

/// What a path led to.
pub struct Found<'a> {
    pub resource: &'a Resource,
    pub method: &'a Method,
    /// The variable parts of the path, decoded.
    pub parameters: BTreeMap<String, String>,
}

impl Routes {
    /// The routes of a definition.
    pub fn of(definition: &Definition) -> Self {
        let mut routes = Self::default();
        for resource in definition.resources.values() {
            routes.add(resource);
        }
        routes
    }

    fn add(&mut self, resource: &Resource) {
        let mut node = &mut self.root;
        for part in resource.path.split('/').filter(|part| !part.is_empty()) {
            let variable = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match variable.map(|name| name.strip_suffix('+').ok_or(name)) {
                Some(Ok(name)) => {
                    node.rest = Some((name.to_owned(), resource.id.clone()));
                    return;
                }
                Some(Err(name)) => {
                    node = &mut node.variable.get_or_insert_with(|| (name.to_owned(), Box::default())).1;
                }
                None => node = node.literal.entry(part.to_owned()).or_default(),
            }
        }
        node.resource = Some(resource.id.clone());
    }

    /// The resource and method for a path as it came.
    pub fn find<'a>(&self, definition: &'a Definition, method: &str, path: &str) -> Option<Found<'a>> {
        // One slash at the end makes no difference.
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        let mut values = Vec::new();
        search(&self.root, &parts, &mut values, &mut |id: &str| {
            let resource = definition.resources.get(id)?;
            let method = resource.methods.get(method).or_else(|| resource.methods.get("ANY"))?;
            Some((resource, method))
        })
        .map(|(resource, method)| Found { resource, method, parameters: values.into_iter().collect() })
    }
}

/// Goes down the tree, at each node the most exact way first. Each step takes a part of the path and there are at most
/// two ways at each, but the depth of the tree is that of the API's longest path.
fn search<T>(
    node: &Node,
    parts: &[&str],
    values: &mut Vec<(String, String)>,
    accept: &mut impl FnMut(&str) -> Option<T>,
) -> Option<T> {
    if let Some((part, others)) = parts.split_first() {
        let text = decoded(part);
        if let Some(found) = node.literal.get(&text).and_then(|next| search(next, others, values, accept)) {
            return Some(found);
        }
        if let Some((name, next)) = node.variable.as_ref().filter(|_| !part.is_empty()) {
            values.push((name.clone(), text));
            if let Some(found) = search(next, others, values, accept) {
                return Some(found);
            }
            values.pop();
        }
        let (name, id) = node.rest.as_ref()?;
        let found = accept(id)?;
        values.push((name.clone(), decoded(&parts.join("/"))));
        return Some(found);
    }
    accept(node.resource.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(paths: &[(&str, &str)]) -> Definition {
        let mut definition = Definition::default();
        for (path, methods) in paths {
            let resource = Resource {
                id: (*path).to_owned(),
                parent: None,
                part: String::new(),
                path: (*path).to_owned(),
                methods: methods.split(' ').map(|name| (name.to_owned(), Method::default())).collect(),
            };
            definition.resources.insert(resource.id.clone(), resource);
        }
        definition
    }

    #[test]
    fn the_most_exact_route_with_the_method_is_taken() {
        let definition = definition(&[
            ("/", "GET"),
            ("/pets", "GET POST"),
            ("/pets/{id}", "GET"),
            ("/pets/mine", "GET"),
            ("/pets/{id}/toys", "ANY"),
            ("/{proxy+}", "DELETE"),
        ]);
        let routes = Routes::of(&definition);
        let found = |method: &str, path: &str| {
            routes.find(&definition, method, path).map(|found| {
                let parameters: Vec<String> = found.parameters.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
                (found.resource.path.clone(), parameters.join(","))
            })
        };
        let at = |path: &str, parameters: &str| Some((path.to_owned(), parameters.to_owned()));
        assert_eq!(found("GET", "/"), at("/", ""));
        assert_eq!(found("GET", "/pets"), at("/pets", ""));
        assert_eq!(found("GET", "/pets/"), at("/pets", ""));
        assert_eq!(found("GET", "/pets/mine"), at("/pets/mine", ""));
        assert_eq!(found("GET", "/pets/a%2Fb%20c"), at("/pets/{id}", "id=a/b c"));
        assert_eq!(found("PATCH", "/pets/7/toys"), at("/pets/{id}/toys", "id=7"));
        assert_eq!(found("DELETE", "/pets/mine"), at("/{proxy+}", "proxy=pets/mine"));
        assert_eq!(found("DELETE", "/x/y/z"), at("/{proxy+}", "proxy=x/y/z"));
        assert_eq!(found("DELETE", "/"), None);
        assert_eq!(found("GET", "/x"), None);
        assert_eq!(found("GET", "/pets//toys"), None);
    }
}
