//! OpenAPI documents (Swagger 2.0, OpenAPI 3) with AWS's extensions, read into a definition. An error names the place in
//! the document. What would be ignored to somebody's harm is refused instead.

use super::{
    error::{bad_request, unsupported},
    import_method,
};
use crate::{
    aws::Error,
    rest_api::{Authorizer, AuthorizerKind, Definition, Method, Resource, function_of, random_id},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Resources of an API.
const RESOURCES_MAX: usize = 300;

/// What a document says of an API.
pub struct Imported {
    pub name: Option<String>,
    pub description: Option<String>,
    pub version: Option<String>,
    pub binary_media_types: Option<Vec<String>>,
    pub minimum_compression_bytes: Option<u64>,
    pub api_key_source: Option<String>,
    pub definition: Definition,
}

/// Ways to secure a method, by the name that the document gives them.
pub enum Scheme {
    ApiKey,
    Iam,
    Authorizer(String),
    Other,
}

/// An object of the document, and where it is.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub place: &'a str,
    pub object: &'a Map<String, Value>,
}

impl<'a> At<'a> {
    /// The text under `name`.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad_request(format!("{}.{name}: must be a string", self.place))),
        }
    }

    /// The object under `name`; empty when there is none.
    pub fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Error> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(bad_request(format!("{}.{name}: must be an object", self.place))),
        }
    }

    /// The list under `name`.
    pub fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Error> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(bad_request(format!("{}.{name}: must be an array", self.place))),
        }
    }

    /// The number under `name`, also when it is written as text.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let number = match self.object.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| bad_request(format!("{}.{name}: must be a whole number", self.place)))
    }
}

/// Reads a document. Paths that `before` has too keep their ids; with `merge`, so do those that the document has not.
pub fn import(body: &[u8], before: Option<&Definition>, merge: bool) -> Result<Imported, Error> {
    let document: Value = serde_json::from_slice(body)
        .map_err(|error| bad_request(format!("Unable to parse the document as JSON: {error}")))?;
    let document = document.as_object().ok_or_else(|| bad_request("The document must be a JSON object"))?;
    let root = At { place: "$", object: document };
    match (root.text("swagger")?, root.text("openapi")?) {
        (Some("2.0"), None) => {}
        (None, Some(version)) if version.starts_with("3.") => {}
        _ => return Err(bad_request("$: needs \"swagger\": \"2.0\" or \"openapi\": \"3.…\"")),
    }
    for extension in ["x-amazon-apigateway-gateway-responses", "x-amazon-apigateway-policy"] {
        if root.object(extension)?.is_some_and(|object| !object.is_empty()) {
            return Err(unsupported("$", extension));
        }
    }
    let mut definition = match before {
        Some(before) if merge => before.clone(),
        Some(before) => root_of(before),
        None => Definition::empty(),
    };
    let schemes = schemes(root, &mut definition)?;
    let global = root.list("security")?;
    if let Some(paths) = root.object("paths")? {
        for (path, item) in paths {
            let place = format!("$.paths.{path}");
            let item = item.as_object().ok_or_else(|| bad_request(format!("{place}: must be an object")))?;
            let methods = methods(At { place: &place, object: item }, &schemes, global)?;
            let id = make(&mut definition, before, path, &place)?;
            if let Some(resource) = definition.resources.get_mut(&id) {
                resource.methods.extend(methods);
            }
        }
    }
    let info = root.object("info")?;
    let empty = Map::new();
    let info = At { place: "$.info", object: info.unwrap_or(&empty) };
    let strings = |list: &[Value]| list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
    Ok(Imported {
        name: info.text("title")?.filter(|title| !title.is_empty()).map(str::to_owned),
        description: info.text("description")?.map(str::to_owned),
        version: info.text("version")?.map(str::to_owned),
        binary_media_types: root.list("x-amazon-apigateway-binary-media-types")?.map(strings),
        minimum_compression_bytes: root.number("x-amazon-apigateway-minimum-compression-size")?,
        api_key_source: root.text("x-amazon-apigateway-api-key-source")?.map(str::to_owned),
        definition,
    })
}

/// Only the root of a definition, without its methods.
fn root_of(before: &Definition) -> Definition {
    let mut definition = before.clone();
    definition.authorizers.clear();
    definition.resources.retain(|_, resource| resource.path == "/");
    definition.resources.values_mut().for_each(|root| root.methods.clear());
    definition
}

fn methods(
    item: At<'_>,
    schemes: &BTreeMap<String, Scheme>,
    global: Option<&[Value]>,
) -> Result<BTreeMap<String, Method>, Error> {
    let mut methods = BTreeMap::new();
    for (name, operation) in item.object {
        let method = match name.as_str() {
            "get" | "put" | "post" | "delete" | "options" | "head" | "patch" => name.to_uppercase(),
            "x-amazon-apigateway-any-method" => "ANY".to_owned(),
            "$ref" => return Err(unsupported(item.place, "$ref in paths")),
            _ => continue,
        };
        let place = format!("{}.{name}", item.place);
        let object = operation.as_object().ok_or_else(|| bad_request(format!("{place}: must be an object")))?;
        methods.insert(method, import_method::method(At { place: &place, object }, schemes, global)?);
    }
    Ok(methods)
}

/// The id of the resource at `path`, which is made, with those above it, if need be.
pub fn make(
    definition: &mut Definition,
    before: Option<&Definition>,
    path: &str,
    place: &str,
) -> Result<String, Error> {
    if !path.starts_with('/') {
        return Err(bad_request(format!("{place}: a path must begin with /")));
    }
    let mut parent = definition.root().to_owned();
    let mut so_far = String::new();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().enumerate() {
        check_part(part, index + 1 == parts.len()).map_err(|what| bad_request(format!("{place}: {what}")))?;
        so_far.push('/');
        so_far.push_str(part);
        if let Some(resource) = definition.at(&so_far) {
            parent.clone_from(&resource.id);
            continue;
        }
        let is_variable = |part: &str| part.starts_with('{') && !part.ends_with("+}");
        let mut siblings = definition.resources.values().filter(|one| one.parent.as_deref() == Some(parent.as_str()));
        if let Some(sibling) = siblings.find(|sibling| is_variable(part) && is_variable(&sibling.part)) {
            return Err(bad_request(format!(
                "{place}: A sibling ({}) of this resource already has a variable path part -- only one is allowed",
                sibling.part
            )));
        }
        if definition.resources.len() >= RESOURCES_MAX {
            return Err(bad_request(format!("{place}: an API has at most {RESOURCES_MAX} resources")));
        }
        let id = before.and_then(|before| before.at(&so_far)).map_or_else(|| random_id(6), |old| old.id.clone());
        let resource = Resource {
            id: id.clone(),
            parent: Some(std::mem::replace(&mut parent, id.clone())),
            part: (*part).to_owned(),
            path: so_far.clone(),
            methods: BTreeMap::new(),
        };
        definition.resources.insert(id, resource);
    }
    Ok(parent)
}

fn check_part(part: &str, last: bool) -> Result<(), String> {
    let word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:~$+@,'()!*;=&%".contains(&byte))
    };
    let inner = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let fits = match inner {
        Some(name) => match name.strip_suffix('+') {
            Some(name) if last => word(name),
            Some(_) => return Err(format!("{part} takes the rest of a path and must be its last part")),
            None => word(name),
        },
        None => word(part),
    };
    if fits { Ok(()) } else { Err(format!("{part} cannot be a part of a path")) }
}

fn schemes(root: At<'_>, definition: &mut Definition) -> Result<BTreeMap<String, Scheme>, Error> {
    let mut found = BTreeMap::new();
    let in_components = match root.object("components")? {
        Some(components) => At { place: "$.components", object: components }.object("securitySchemes")?,
        None => None,
    };
    for (name, given) in root.object("securityDefinitions")?.into_iter().chain(in_components).flatten() {
        let place = format!("$.securityDefinitions.{name}");
        let object = given.as_object().ok_or_else(|| bad_request(format!("{place}: must be an object")))?;
        let given = At { place: &place, object };
        let authorizer = given.object("x-amazon-apigateway-authorizer")?;
        let scheme = match (given.text("x-amazon-apigateway-authtype")?, authorizer) {
            (Some(kind), _) if kind.eq_ignore_ascii_case("awsSigv4") => Scheme::Iam,
            (_, Some(object)) => {
                let place = format!("{place}.x-amazon-apigateway-authorizer");
                let new = authorizer_of(At { place: &place, object }, name, given.text("name")?)?;
                let old = definition.authorizers.values().find(|old| old.name == *name).map(|old| old.id.clone());
                let id = old.unwrap_or_else(|| random_id(6));
                definition.authorizers.insert(id.clone(), Authorizer { id: id.clone(), ..new });
                Scheme::Authorizer(id)
            }
            _ if given.text("type")? == Some("apiKey")
                && given.text("name")?.is_some_and(|name| name.eq_ignore_ascii_case("x-api-key")) =>
            {
                Scheme::ApiKey
            }
            _ => Scheme::Other,
        };
        found.insert(name.clone(), scheme);
    }
    Ok(found)
}

/// An authorizer, checked, without an id.
pub fn authorizer_of(given: At<'_>, name: &str, header: Option<&str>) -> Result<Authorizer, Error> {
    let kind = match given.text("type")?.map(str::to_ascii_lowercase).as_deref() {
        Some("token") => AuthorizerKind::Token,
        Some("request") => AuthorizerKind::Request,
        Some(other) => return Err(unsupported(given.place, &format!("authorizers of type {other}"))),
        None => return Err(bad_request(format!("{}.type: is missing", given.place))),
    };
    let uri = given.text("authorizerUri")?.unwrap_or_default();
    if function_of(uri).is_none() {
        return Err(bad_request(format!("{}.authorizerUri: must name a Lambda function", given.place)));
    }
    if given.text("identityValidationExpression")?.is_some_and(|expression| !expression.is_empty()) {
        return Err(unsupported(given.place, "identityValidationExpression"));
    }
    let header = header.filter(|name| !name.is_empty()).unwrap_or("Authorization");
    let own = || format!("method.request.header.{header}");
    let sources = match (kind, given.text("identitySource")?) {
        (AuthorizerKind::Token, None) => vec![own()],
        (AuthorizerKind::Request, None) => Vec::new(),
        (_, Some(sources)) => {
            sources.split(',').map(|source| source.trim().to_owned()).filter(|source| !source.is_empty()).collect()
        }
    };
    const SOURCES: [&str; 4] = ["method.request.header.", "method.request.querystring.", "stageVariables.", "context."];
    if let Some(bad) = sources.iter().find(|source| !SOURCES.iter().any(|prefix| source.starts_with(prefix))) {
        return Err(bad_request(format!("{}.identitySource: {bad} is none", given.place)));
    }
    let ttl = given.number("authorizerResultTtlInSeconds")?.unwrap_or(300);
    if ttl > 3600 {
        return Err(bad_request(format!("{}.authorizerResultTtlInSeconds: at most 3600", given.place)));
    }
    if kind == AuthorizerKind::Request && sources.is_empty() && ttl > 0 {
        return Err(bad_request(format!("{}.identitySource: is needed for answers to be kept", given.place)));
    }
    Ok(Authorizer {
        id: String::new(),
        name: name.to_owned(),
        kind,
        uri: uri.to_owned(),
        credentials: given.text("authorizerCredentials")?.map(str::to_owned),
        identity_sources: sources,
        ttl_s: u32::try_from(ttl).unwrap_or(3600),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(document: &Value) -> String {
        match import(document.to_string().as_bytes(), None, false) {
            Ok(_) => panic!("taken: {document}"),
            Err(error) => error.message,
        }
    }

    #[test]
    fn errors_name_the_place() {
        let with = |path: &str, operation: Value| json!({"swagger": "2.0", "paths": {path: {"get": operation}}});
        let integration = |given: Value| with("/pets", json!({"x-amazon-apigateway-integration": given}));
        for (document, text) in [
            (json!([]), "must be a JSON object"),
            (json!({"swagger": "1.2"}), "$: needs"),
            (json!({"swagger": "2.0", "paths": []}), "$.paths: must be an object"),
            (with("pets", json!({})), "$.paths.pets: a path must begin with /"),
            (with("/{all+}/x", json!({})), "$.paths./{all+}/x: {all+} takes the rest"),
            (with("/pets", json!(1)), "$.paths./pets.get: must be an object"),
            (
                integration(json!({"type": "http"})),
                "$.paths./pets.get.x-amazon-apigateway-integration: Dayfly does not",
            ),
            (integration(json!({"type": "aws_proxy", "uri": "x"})), ".uri: must name a Lambda function"),
            (with("/pets", json!({"security": [{"nobody": []}]})), "$.paths./pets.get.security: nobody is not defined"),
        ] {
            let message = refused(&document);
            assert!(message.contains(text), "{message}");
        }
        let two = json!({"openapi": "3.0.1", "paths": {"/{a}": {}, "/{b}/x": {}}});
        assert!(refused(&two).contains("already has a variable path part"));
    }

    #[test]
    fn paths_become_resources_that_keep_their_ids() {
        let document = |paths: Value| json!({"openapi": "3.0.1", "info": {"title": "t"}, "paths": paths}).to_string();
        let first = import(document(json!({"/a/{id}": {}, "/b": {}})).as_bytes(), None, false).unwrap();
        let paths = |definition: &Definition| {
            let mut paths: Vec<String> = definition.resources.values().map(|one| one.path.clone()).collect();
            paths.sort();
            paths
        };
        assert_eq!(paths(&first.definition), ["/", "/a", "/a/{id}", "/b"]);
        let second = import(document(json!({"/a": {}, "/c": {}})).as_bytes(), Some(&first.definition), false).unwrap();
        assert_eq!(paths(&second.definition), ["/", "/a", "/c"]);
        assert_eq!(second.definition.root(), first.definition.root());
        assert_eq!(second.definition.at("/a").unwrap().id, first.definition.at("/a").unwrap().id);
        let merged = import(document(json!({"/c": {}})).as_bytes(), Some(&first.definition), true).unwrap();
        assert_eq!(paths(&merged.definition), ["/", "/a", "/a/{id}", "/b", "/c"]);
    }
}
