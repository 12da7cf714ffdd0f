//! Routes, integrations and authorizers: what an API consists of, each made, shown, changed and deleted the same way.

use super::{
    Call, created,
    error::{bad_request, conflict, not_found, too_many, unsupported},
    gone, merged, ok, typed,
};
use crate::{
    aws::{Error, Response},
    http_api::{AuthorizationType, Authorizer, AuthorizerType, DEFAULT, Definition, Integration, Route},
    http_in::{check_issuer, function_of},
    rest_api::random_id,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A kind of thing that an API has many of.
pub trait Part: Clone + Serialize + DeserializeOwned {
    /// What errors call it.
    const NAME: &str;
    /// The member with its id.
    const ID: &str;
    /// Those that a request may have.
    const MEMBERS: &[&str];
    /// Most of them in an API.
    const MOST: usize;

    fn id(&self) -> &str;
    fn all(definition: &Definition) -> &BTreeMap<String, Self>;
    fn all_mut(definition: &mut Definition) -> &mut BTreeMap<String, Self>;
    /// Whether it may be in `definition`, of which it may be a part already.
    fn check(&self, definition: &Definition) -> Result<(), Error>;
    /// Whether `definition` can do without the one with this id.
    fn spare(id: &str, definition: &Definition) -> Result<(), Error>;
}

pub async fn create<P: Part>(call: &Call<'_>) -> Result<Response, Error> {
    let mut given = call.given(P::MEMBERS)?;
    given.insert(P::ID.to_owned(), json!(random_id(7)));
    let part: P = typed(Value::Object(given))?;
    call.change_definition(|api| add(&mut api.definition, part.clone())).await?;
    Ok(created(&part))
}

/// Puts a new part into a definition.
pub fn add<P: Part>(definition: &mut Definition, part: P) -> Result<(), Error> {
    if P::all(definition).len() >= P::MOST {
        return Err(too_many(P::NAME, P::MOST));
    }
    part.check(definition)?;
    P::all_mut(definition).insert(part.id().to_owned(), part);
    Ok(())
}

pub async fn get<P: Part>(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    Ok(ok(P::all(&api.definition).get(call.segment(4)).ok_or_else(|| not_found(P::NAME))?))
}

pub async fn list<P: Part>(call: &Call<'_>) -> Result<Response, Error> {
    let api = call.api().await?;
    Ok(call.page(P::all(&api.definition), |part| json!(part)))
}

pub async fn update<P: Part>(call: &Call<'_>) -> Result<Response, Error> {
    let given = call.given(P::MEMBERS)?;
    let id = call.segment(4);
    let (_, part) = call
        .change_definition(|api| {
            let before = P::all(&api.definition).get(id).ok_or_else(|| not_found(P::NAME))?;
            let part = merged(before, given.clone())?;
            part.check(&api.definition)?;
            P::all_mut(&mut api.definition).insert(id.to_owned(), part.clone());
            Ok(part)
        })
        .await?;
    Ok(ok(&part))
}

pub async fn delete<P: Part>(call: &Call<'_>) -> Result<Response, Error> {
    let id = call.segment(4);
    call.change_definition(|api| {
        P::spare(id, &api.definition)?;
        P::all_mut(&mut api.definition).remove(id).map(|_| ()).ok_or_else(|| not_found(P::NAME))
    })
    .await?;
    Ok(gone())
}

impl Part for Route {
    const NAME: &str = "Route";
    const ID: &str = "routeId";
    const MEMBERS: &[&str] = &[
        "routeKey",
        "target",
        "authorizationType",
        "authorizerId",
        "authorizationScopes",
        "apiKeyRequired",
        "operationName",
    ];
    const MOST: usize = 300;

    fn id(&self) -> &str {
        &self.route_id
    }

    fn all(definition: &Definition) -> &BTreeMap<String, Self> {
        &definition.routes
    }

    fn all_mut(definition: &mut Definition) -> &mut BTreeMap<String, Self> {
        &mut definition.routes
    }

    fn check(&self, definition: &Definition) -> Result<(), Error> {
        check_key(&self.route_key)?;
        let same = |other: &&Route| other.route_id != self.route_id && other.route_key == self.route_key;
        if definition.routes.values().find(same).is_some() {
            return Err(conflict(format!("Route with key {} already exists for this API", self.route_key)));
        }
        if self.api_key_required {
            return Err(unsupported("Route", "apiKeyRequired: there are no API keys"));
        }
        if self.target.is_some() && self.integration().is_none_or(|id| !definition.integrations.contains_key(id)) {
            return Err(bad_request("target must be integrations/ID, and that integration must be there"));
        }
        let kind = self.authorizer_id.as_ref().and_then(|id| definition.authorizers.get(id));
        let fits = match (self.authorization_type, kind.map(|authorizer| authorizer.authorizer_type)) {
            (AuthorizationType::None | AuthorizationType::Iam, None) => self.authorizer_id.is_none(),
            (AuthorizationType::Jwt, Some(AuthorizerType::Jwt)) => true,
            (AuthorizationType::Custom, Some(AuthorizerType::Request)) => true,
            _ => false,
        };
        if !fits {
            return Err(bad_request(
                "authorizerId must name an authorizer of the authorizationType: JWT one of type JWT, CUSTOM one of type \
                 REQUEST, NONE and AWS_IAM none",
            ));
        }
        Ok(())
    }

    fn spare(_: &str, _: &Definition) -> Result<(), Error> {
        Ok(())
    }
}

impl Part for Integration {
    const NAME: &str = "Integration";
    const ID: &str = "integrationId";
    const MEMBERS: &[&str] = &[
        "integrationType",
        "integrationUri",
        "integrationMethod",
        "payloadFormatVersion",
        "timeoutInMillis",
        "connectionType",
        "credentialsArn",
        "description",
    ];
    const MOST: usize = 300;

    fn id(&self) -> &str {
        &self.integration_id
    }

    fn all(definition: &Definition) -> &BTreeMap<String, Self> {
        &definition.integrations
    }

    fn all_mut(definition: &mut Definition) -> &mut BTreeMap<String, Self> {
        &mut definition.integrations
    }

    fn check(&self, _: &Definition) -> Result<(), Error> {
        if self.integration_type != "AWS_PROXY" {
            return Err(unsupported("Integration", &format!("integrationType {}", self.integration_type)));
        }
        if function_of(&self.integration_uri).is_none() {
            return Err(bad_request("integrationUri must be the ARN of a Lambda function"));
        }
        check_payload_version(&self.payload_format_version)?;
        if self.connection_type != "INTERNET" {
            return Err(unsupported("Integration", &format!("connectionType {}", self.connection_type)));
        }
        if !(50..=30_000).contains(&self.timeout_in_millis) {
            return Err(bad_request("timeoutInMillis must be between 50 and 30000"));
        }
        Ok(())
    }

    fn spare(id: &str, definition: &Definition) -> Result<(), Error> {
        match definition.routes.values().find(|route| route.integration() == Some(id)) {
            Some(route) => {
                Err(conflict(format!("Cannot delete Integration '{id}': it is used by route {}", route.route_key)))
            }
            None => Ok(()),
        }
    }
}

impl Part for Authorizer {
    const NAME: &str = "Authorizer";
    const ID: &str = "authorizerId";
    const MEMBERS: &[&str] = &[
        "name",
        "authorizerType",
        "identitySource",
        "jwtConfiguration",
        "authorizerUri",
        "authorizerCredentialsArn",
        "authorizerPayloadFormatVersion",
        "authorizerResultTtlInSeconds",
        "enableSimpleResponses",
    ];
    const MOST: usize = 10;

    fn id(&self) -> &str {
        &self.authorizer_id
    }

    fn all(definition: &Definition) -> &BTreeMap<String, Self> {
        &definition.authorizers
    }

    fn all_mut(definition: &mut Definition) -> &mut BTreeMap<String, Self> {
        &mut definition.authorizers
    }

    fn check(&self, _: &Definition) -> Result<(), Error> {
        for source in &self.identity_source {
            check_source(source)?;
        }
        match self.authorizer_type {
            AuthorizerType::Jwt => {
                let Some(jwt) = &self.jwt_configuration else {
                    return Err(bad_request("An authorizer of type JWT needs jwtConfiguration"));
                };
                check_issuer(&jwt.issuer)
                    .map_err(|problem| bad_request(format!("jwtConfiguration.issuer {problem}")))?;
                if jwt.audience.is_empty() {
                    return Err(bad_request("jwtConfiguration.audience must name at least one audience"));
                }
                if self.identity_source.len() != 1 {
                    return Err(bad_request("identitySource must have one entry: $request.header.Authorization"));
                }
            }
            AuthorizerType::Request => {
                if self.authorizer_uri.as_deref().and_then(function_of).is_none() {
                    return Err(bad_request("authorizerUri must name a Lambda function"));
                }
                let version = self.authorizer_payload_format_version.as_deref();
                check_payload_version(version.ok_or_else(|| {
                    bad_request("authorizerPayloadFormatVersion is required for an authorizer of type REQUEST")
                })?)?;
                if version == Some("1.0") && self.enable_simple_responses == Some(true) {
                    return Err(bad_request("enableSimpleResponses needs authorizerPayloadFormatVersion 2.0"));
                }
                if self.authorizer_result_ttl_in_seconds.is_some_and(|seconds| seconds > 3600) {
                    return Err(bad_request("authorizerResultTtlInSeconds is at most 3600"));
                }
                if self.authorizer_result_ttl_in_seconds.is_some_and(|seconds| seconds > 0)
                    && self.identity_source.is_empty()
                {
                    return Err(bad_request("An authorizer whose answers are kept needs an identitySource"));
                }
            }
        }
        Ok(())
    }

    fn spare(id: &str, definition: &Definition) -> Result<(), Error> {
        match definition.routes.values().find(|route| route.authorizer_id.as_deref() == Some(id)) {
            Some(route) => {
                Err(conflict(format!("Cannot delete authorizer '{id}': it is used by route {}", route.route_key)))
            }
            None => Ok(()),
        }
    }
}

fn check_payload_version(version: &str) -> Result<(), Error> {
    match version {
        "1.0" | "2.0" => Ok(()),
        _ => Err(bad_request("A payload format version is 1.0 or 2.0")),
    }
}

fn check_source(source: &str) -> Result<(), Error> {
    let word = |prefix: &str| source.strip_prefix(prefix).is_some_and(|name| !name.is_empty());
    let prefixes = ["$request.header.", "$request.querystring.", "$context.", "$stageVariables."];
    match prefixes.into_iter().any(word) {
        true => Ok(()),
        false => Err(bad_request(format!("identitySource: each begins with one of {}", prefixes.join(", ")))),
    }
}

/// `$default`, or a method and a path.
fn check_key(key: &str) -> Result<(), Error> {
    const METHODS: [&str; 8] = ["ANY", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let bad = || bad_request("routeKey must be $default, or a method and a path: GET /pets/{id}, ANY /{proxy+}");
    if key == DEFAULT {
        return Ok(());
    }
    let (method, path) = key.split_once(' ').ok_or_else(bad)?;
    let rest = path.strip_prefix('/').ok_or_else(bad)?;
    if !METHODS.contains(&method) || path.len() > 512 || path.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err(bad());
    }
    let parts: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
    for (index, part) in parts.iter().enumerate() {
        let variable = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        let (name, greedy) = match variable {
            Some(name) => (name.strip_suffix('+').unwrap_or(name), name.ends_with('+')),
            None => (*part, false),
        };
        let plain = !name.is_empty() && !name.contains(['{', '}', '+']);
        if (variable.is_some() && !plain) || name.contains(['{', '}']) || (greedy && index + 1 < parts.len()) {
            return Err(bad());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_routes() {
        for good in ["$default", "GET /", "ANY /{proxy+}", "POST /a/{b}/c", "GET /a/{b+}", "GET /a.b-c/"] {
            // The last has an empty part at its end, as paths may.
            assert!(check_key(good).is_ok(), "{good}");
        }
        for bad in
            ["", "GET", "get /", "GET pets", "GET /{a+}/b", "GET /{}", "GET /a{b}", "GET /{a", "FETCH /", "GET /a b"]
        {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }
}
