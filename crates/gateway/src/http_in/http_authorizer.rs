//! Who may use a route of an HTTP API: whoever has a token of an issuer, or whomever a function lets.

use super::{
    Asked,
    authorizer::Decision,
    call, event,
    http_api::{self, Routed},
    refusal::Refusal,
};
use crate::{
    http_api::{Authorizer, AuthorizerType},
    sigv4::query_pairs,
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// How long a function may take to say who may.
const PATIENCE: Duration = Duration::from_secs(10);

/// What functions get to know of who asks, in `requestContext.authorizer` of either version of the event.
pub struct Known {
    pub version_1: Value,
    pub version_2: Value,
}

/// Lets the request through, with what is known of who asks, or not.
pub async fn authorise(asked: &Asked<'_>, routed: &Routed<'_>, authorizer: &Authorizer) -> Result<Known, Refusal> {
    match authorizer.authorizer_type {
        AuthorizerType::Jwt => by_token(asked, routed, authorizer).await,
        AuthorizerType::Request => by_function(asked, routed, authorizer).await,
    }
}

async fn by_token(asked: &Asked<'_>, routed: &Routed<'_>, authorizer: &Authorizer) -> Result<Known, Refusal> {
    let jwt = authorizer.jwt_configuration.as_ref().ok_or_else(Refusal::failed)?;
    let source = authorizer.identity_source.first().and_then(|source| value_of(asked, routed, source));
    let text = source.ok_or_else(Refusal::unauthorized)?;
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text.trim(),
    };
    let now = asked.gateway.options.clock.now();
    let claims = asked.gateway.http_in.keys.verify(token, &jwt.issuer, &jwt.audience, now).await.map_err(|error| {
        tracing::debug!(%error, issuer = jwt.issuer, "a token is not taken");
        Refusal::token(error.is_of_token())
    })?;
    let granted = scopes(&claims);
    let wanted = &routed.route.authorization_scopes;
    if !wanted.is_empty() && !wanted.iter().any(|scope| granted.contains(scope)) {
        return Err(Refusal::closed());
    }
    let texts: Map<String, Value> = claims.iter().map(|(name, value)| (name.clone(), json!(text_of(value)))).collect();
    let scopes = if wanted.is_empty() { Value::Null } else { json!(granted) };
    Ok(Known {
        version_1: json!({"claims": texts, "scopes": scopes}),
        version_2: json!({"jwt": {"claims": texts, "scopes": scopes}}),
    })
}

/// The scopes in `scope`, which has spaces between them, or in the list `scp`.
fn scopes(claims: &Map<String, Value>) -> Vec<String> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// A claim as API Gateway hands it on: all are texts.
fn text_of(claim: &Value) -> String {
    match claim {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(text_of).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

async fn by_function(asked: &Asked<'_>, routed: &Routed<'_>, authorizer: &Authorizer) -> Result<Known, Refusal> {
    let sources = authorizer.identity_source.iter().map(|source| value_of(asked, routed, source));
    let identity: Vec<String> = sources.collect::<Option<_>>().ok_or_else(Refusal::unauthorized)?;
    let now = asked.gateway.options.clock.now();
    let ttl = authorizer.authorizer_result_ttl_in_seconds.unwrap_or_default();
    let (api, stage) = (&routed.api.id, &routed.stage.name);
    let id = &authorizer.authorizer_id;
    let key = format!("{api}/{stage}/{}/{id}/{}", routed.deployment, identity.join("\0"));
    let decisions = &asked.gateway.http_in.decisions;
    let kept = if ttl > 0 { decisions.get(&key, now) } else { None };
    let decision = match kept {
        Some(decision) => decision,
        None => {
            let decision = Arc::new(ask(asked, routed, authorizer, &identity).await?);
            if ttl > 0 {
                decisions.keep(key, now, now + Duration::from_secs(ttl.into()), decision.clone());
            }
            decision
        }
    };
    decision.check(routed.arn).map_err(|_| Refusal::closed())?;
    let context = Value::Object(decision.context.clone());
    Ok(Known { version_1: context.clone(), version_2: json!({"lambda": context}) })
}

async fn ask(
    asked: &Asked<'_>,
    routed: &Routed<'_>,
    authorizer: &Authorizer,
    identity: &[String],
) -> Result<Decision, Refusal> {
    let api = routed.api;
    let id = &authorizer.authorizer_id;
    let source = format!("arn:aws:execute-api:{}:{}:{}/authorizers/{id}", api.region, api.account, api.id);
    let uri = authorizer.authorizer_uri.as_deref().unwrap_or_default();
    let function = call::function(uri, &routed.stage.variables).ok_or_else(Refusal::failed)?;
    let credentials = authorizer.authorizer_credentials_arn.as_deref();
    call::permitted(asked, &function, credentials, &source).await.map_err(Refusal::of_http_api)?;
    let mut event = if authorizer.authorizer_payload_format_version.as_deref() == Some("1.0") {
        let mut event = http_api::head_1(asked, routed, None);
        event.insert("methodArn".to_owned(), json!(routed.arn));
        event.insert("identitySource".to_owned(), json!(identity.join(",")));
        event.insert("authorizationToken".to_owned(), json!(identity.join(",")));
        event
    } else {
        let mut event = http_api::head_2(asked, routed, None);
        event.remove("isBase64Encoded");
        event.insert("routeArn".to_owned(), json!(routed.arn));
        event.insert("identitySource".to_owned(), json!(identity));
        event
    };
    event.insert("type".to_owned(), json!("REQUEST"));
    let given = call::invoke(asked, function, &Value::Object(event), PATIENCE).await.map_err(Refusal::of_http_api)?;
    let given = given.map_err(|error| match serde_json::from_slice::<Value>(&error) {
        // That is how an authorizer says that it does not know who it is.
        Ok(error) if error["errorMessage"] == "Unauthorized" => Refusal::unauthorized(),
        _ => Refusal::failed(),
    })?;
    let decision = match authorizer.enable_simple_responses {
        Some(true) => simple(&given),
        _ => Decision::read(&given),
    };
    decision.ok_or_else(|| {
        tracing::debug!(authorizer = authorizer.name, "an authorizer's answer is none");
        Refusal::failed()
    })
}

/// Reads `{"isAuthorized", "context"}`.
fn simple(given: &[u8]) -> Option<Decision> {
    let given: Map<String, Value> = serde_json::from_slice(given).ok()?;
    let allow = given.get("isAuthorized")?.as_bool()?;
    let context = match given.get("context") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(context)) => context.clone(),
        Some(_) => return None,
    };
    Some(Decision::simple(allow, context))
}

/// The value that a source names, if it is there and not empty.
fn value_of(asked: &Asked<'_>, routed: &Routed<'_>, source: &str) -> Option<String> {
    let value = if let Some(name) = source.strip_prefix("$request.header.") {
        event::header(asked, &name.to_ascii_lowercase()).map(str::to_owned)
    } else if let Some(name) = source.strip_prefix("$request.querystring.") {
        let pairs = query_pairs(asked.parts.uri.query().unwrap_or_default());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    } else if let Some(name) = source.strip_prefix("$stageVariables.") {
        routed.stage.variables.get(name).cloned()
    } else {
        match source.strip_prefix("$context.")? {
            "routeKey" => Some(routed.route.route_key.clone()),
            "httpMethod" => Some(asked.parts.method.to_string()),
            "path" => Some(routed.path.to_owned()),
            "stage" => Some(routed.stage.name.clone()),
            "identity.sourceIp" => Some(asked.peer.source_ip()),
            _ => None,
        }
    };
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_texts() {
        assert_eq!(text_of(&json!("a")), "a");
        assert_eq!(text_of(&json!(["a", "b"])), "[a b]");
        assert_eq!(text_of(&json!(17)), "17");
        let claims = |value: Value| scopes(value.as_object().unwrap());
        assert_eq!(claims(json!({"scope": "a  b"})), ["a", "b"]);
        assert_eq!(claims(json!({"scp": ["a", "b"]})), ["a", "b"]);
        assert!(claims(json!({"scope": 1})).is_empty());
    }

    #[test]
    fn simple_answers() {
        let allows = |text: &str| simple(text.as_bytes()).map(|decision| decision.check("any").is_ok());
        assert_eq!(allows(r#"{"isAuthorized": true, "context": {"a": [1]}}"#), Some(true));
        assert_eq!(allows(r#"{"isAuthorized": false}"#), Some(false));
        for bad in ["null", "{}", r#"{"isAuthorized": "true"}"#, r#"{"isAuthorized": true, "context": 1}"#] {
            assert_eq!(allows(bad), None, "{bad}");
        }
    }
}
