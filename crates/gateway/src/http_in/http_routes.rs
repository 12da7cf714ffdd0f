//! Which route of an HTTP API a request is for: a whole match of its path, one that takes the rest of it, `$default`; in
//! each the method's own route before that of `ANY`.

use super::paths::{Greedy, Paths, variables};
use crate::http_api::{DEFAULT, Definition, Route};
use std::collections::{BTreeMap, HashMap};

/// The routes of a definition, by path.
#[derive(Debug, Default)]
pub struct Routes {
    paths: Paths,
    /// By the shape of their path, by method.
    by_shape: HashMap<String, HashMap<String, Route>>,
    default: Option<Route>,
}

impl Routes {
    /// The routes of a definition.
    pub fn of(definition: &Definition) -> Self {
        let mut routes = Self::default();
        for route in definition.routes.values() {
            match route.route_key.split_once(' ') {
                Some((method, path)) => {
                    let shape = shape(path);
                    routes.paths.add(path, &shape);
                    routes.by_shape.entry(shape).or_default().insert(method.to_owned(), route.clone());
                }
                None if route.route_key == DEFAULT => routes.default = Some(route.clone()),
                None => {}
            }
        }
        routes
    }

    /// The route for a path as it came, and the values of its variables.
    pub fn find(&self, method: &str, path: &str) -> Option<(&Route, BTreeMap<String, String>)> {
        let find = |greedy| {
            self.paths.find(path, greedy, |shape| {
                let methods = self.by_shape.get(shape)?;
                methods.get(method).or_else(|| methods.get("ANY"))
            })
        };
        match find(Greedy::No).or_else(|| find(Greedy::Yes)) {
            Some((route, values)) => {
                let (_, path) = route.route_key.split_once(' ')?;
                Some((route, variables(path).map(str::to_owned).zip(values).collect()))
            }
            None => Some((self.default.as_ref()?, BTreeMap::new())),
        }
    }
}

/// The path with its variables nameless: `/a/{b}` and `/a/{c}` are the same place.
fn shape(path: &str) -> String {
    let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(name) if name.ends_with('+') => "{+}".to_owned(),
        Some(_) => "{}".to_owned(),
        None => part.to_owned(),
    };
    path.trim_end_matches('/').split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn routes_are_chosen_as_aws_chooses_them() {
        let mut definition = Definition::default();
        for key in [
            "GET /pets/dog/1",
            "GET /pets/dog/{id}",
            "POST /pets/{kind}/{name}",
            "GET /pets/{proxy+}",
            "GET /{first}/cat/7",
            "ANY /{proxy+}",
            "PUT /",
            "$default",
        ] {
            let route = serde_json::from_value(json!({"routeId": key, "routeKey": key})).unwrap();
            definition.routes.insert(key.to_owned(), route);
        }
        let routes = Routes::of(&definition);
        let found = |method: &str, path: &str| {
            let (route, values) = routes.find(method, path).unwrap();
            let values: Vec<String> = values.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}", route.route_key, values.join(" ")).trim_end().to_owned()
        };
        assert_eq!(found("GET", "/pets/dog/1"), "GET /pets/dog/1");
        assert_eq!(found("GET", "/pets/dog/2"), "GET /pets/dog/{id} id=2");
        assert_eq!(found("POST", "/pets/dog/2"), "POST /pets/{kind}/{name} kind=dog name=2");
        assert_eq!(found("GET", "/pets/cat/1"), "GET /pets/{proxy+} proxy=cat/1");
        assert_eq!(found("GET", "/pets/cat/7"), "GET /{first}/cat/7 first=pets", "a whole match goes first");
        assert_eq!(found("POST", "/test/5"), "ANY /{proxy+} proxy=test/5");
        assert_eq!(found("PUT", "/"), "PUT /");
        assert_eq!(found("GET", "/"), "$default");
    }
}
