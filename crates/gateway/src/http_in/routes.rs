//! Which resource of a REST API a path is of.

use super::paths::{Greedy, Paths, variables};
use crate::rest_api::{Definition, Method, Resource};
use std::collections::BTreeMap;

/// The paths of an API.
#[derive(Debug, Default)]
pub struct Routes(Paths);

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
        let mut paths = Paths::default();
        for resource in definition.resources.values() {
            paths.add(&resource.path, &resource.id);
        }
        Self(paths)
    }

    /// The resource and method for a path as it came.
    pub fn find<'a>(&self, definition: &'a Definition, method: &str, path: &str) -> Option<Found<'a>> {
        let ((resource, method), values) = self.0.find(path, Greedy::Yes, |id| {
            let resource = definition.resources.get(id)?;
            let method = resource.methods.get(method).or_else(|| resource.methods.get("ANY"))?;
            Some((resource, method))
        })?;
        let names = variables(&resource.path).map(str::to_owned);
        Some(Found { resource, method, parameters: names.zip(values).collect() })
    }
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
