//! Lambda authorizers: functions that say who may call what, and whose answers hold for a while.

use super::{
    Asked, call,
    event::{self, Routed},
    refusal::Refusal,
};
use crate::{
    rest_api::{Authorizer, AuthorizerKind},
    sigv4::query_pairs,
};
use dayfly_types::{Timestamp, policy::like};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long an authorizer may take.
const PATIENCE: Duration = Duration::from_secs(29);
/// Decisions that are kept; when there are more, those that have run out go, or all.
const DECISIONS_MAX: usize = 10_000;

/// Decisions of authorizers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Decisions(Arc<Mutex<Kept>>);

/// By API, stage, deployment, authorizer and identity: until when it holds, and what it is.
type Kept = HashMap<String, (Timestamp, Arc<Decision>)>;

/// What an authorizer said of an identity.
pub struct Decision {
    statements: Vec<Statement>,
    /// `requestContext.authorizer` of the calls that it lets through.
    pub context: Map<String, Value>,
}

struct Statement {
    allow: bool,
    resources: Vec<String>,
}

impl Decisions {
    pub fn get(&self, key: &str, now: Timestamp) -> Option<Arc<Decision>> {
        self.lock().get(key).filter(|(until, _)| now < *until).map(|(_, decision)| decision.clone())
    }

    pub fn keep(&self, key: String, now: Timestamp, until: Timestamp, decision: Arc<Decision>) {
        let mut kept = self.lock();
        if kept.len() >= DECISIONS_MAX {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() >= DECISIONS_MAX {
            kept.clear();
        }
        kept.insert(key, (until, decision));
    }

    /// Forgets those of a stage.
    pub fn forget(&self, api: &str, stage: &str) {
        let prefix = format!("{api}/{stage}/");
        self.lock().retain(|key, _| !key.starts_with(&prefix));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the request through, with what its authorizer says of it, or not. `head` is the request's event.
pub async fn authorise(
    asked: &Asked<'_>,
    routed: &Routed<'_>,
    authorizer: &Authorizer,
    method_arn: &str,
    head: &Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    let identity = identity(asked, routed, authorizer).ok_or_else(Refusal::unauthorized)?;
    let now = asked.gateway.options.clock.now();
    let (api, stage, deployment) = (routed.api, routed.stage, routed.deployment.unwrap_or_default());
    let key = format!("{api}/{stage}/{deployment}/{}/{}", authorizer.id, identity.join("\0"));
    let decisions = &asked.gateway.http_in.decisions;
    let kept = if authorizer.ttl_s > 0 { decisions.get(&key, now) } else { None };
    let decision = match kept {
        Some(decision) => decision,
        None => {
            let decision = Arc::new(ask(asked, routed, authorizer, method_arn, &identity, head).await?);
            if authorizer.ttl_s > 0 {
                let until = now + Duration::from_secs(authorizer.ttl_s.into());
                decisions.keep(key, now, until, decision.clone());
            }
            decision
        }
    };
    decision.check(method_arn)?;
    Ok(decision.context.clone())
}

/// What tells clients apart; `None` when a part of it is missing.
fn identity(asked: &Asked<'_>, routed: &Routed<'_>, authorizer: &Authorizer) -> Option<Vec<String>> {
    let query = || query_pairs(asked.parts.uri.query().unwrap_or_default());
    let of = |source: &String| -> Option<String> {
        let value = if let Some(name) = source.strip_prefix("method.request.header.") {
            event::header(asked, &name.to_ascii_lowercase()).map(str::to_owned)
        } else if let Some(name) = source.strip_prefix("method.request.querystring.") {
            query().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
        } else if let Some(name) = source.strip_prefix("stageVariables.") {
            routed.variables.get(name).cloned()
        } else {
            match source.strip_prefix("context.")? {
                "httpMethod" => Some(asked.parts.method.to_string()),
                "path" => Some(routed.full_path.to_owned()),
                "resourcePath" => Some(routed.resource_path.to_owned()),
                "stage" => Some(routed.stage.to_owned()),
                "identity.sourceIp" => Some(asked.peer.source_ip()),
                _ => None,
            }
        };
        value.filter(|value| !value.is_empty())
    };
    authorizer.identity_sources.iter().map(of).collect()
}

async fn ask(
    asked: &Asked<'_>,
    routed: &Routed<'_>,
    authorizer: &Authorizer,
    method_arn: &str,
    identity: &[String],
    head: &Map<String, Value>,
) -> Result<Decision, Refusal> {
    let Routed { region, account, api, .. } = routed;
    let source = format!("arn:aws:execute-api:{region}:{account}:{api}/authorizers/{}", authorizer.id);
    let function = call::function(&authorizer.uri, routed.variables).ok_or_else(Refusal::authorizer)?;
    let permitted = call::permitted(asked, &function, authorizer.credentials.as_deref(), &source).await;
    permitted.map_err(|_| Refusal::authorizer())?;
    let mut event = match authorizer.kind {
        AuthorizerKind::Token => Map::from_iter([
            ("type".to_owned(), json!("TOKEN")),
            ("authorizationToken".to_owned(), json!(identity.first())),
        ]),
        AuthorizerKind::Request => {
            let mut event = head.clone();
            event.insert("type".to_owned(), json!("REQUEST"));
            event
        }
    };
    event.insert("methodArn".to_owned(), json!(method_arn));
    let given = call::invoke(asked, function, &Value::Object(event), PATIENCE).await;
    match given.map_err(|_| Refusal::authorizer())? {
        Ok(given) => Decision::read(&given).ok_or_else(|| {
            tracing::debug!(authorizer = authorizer.name, "an authorizer's answer is no policy");
            Refusal::authorizer()
        }),
        // That is how an authorizer says that it does not know who it is.
        Err(error) => match serde_json::from_slice::<Value>(&error) {
            Ok(error) if error["errorMessage"] == "Unauthorized" => Err(Refusal::unauthorized()),
            _ => Err(Refusal::authorizer()),
        },
    }
}

impl Decision {
    /// One that lets everything through, or nothing.
    pub fn simple(allow: bool, context: Map<String, Value>) -> Self {
        Self { statements: vec![Statement { allow, resources: vec!["*".to_owned()] }], context }
    }

    /// Reads `{"principalId", "policyDocument", "context"}`. What cannot be evaluated is no decision.
    pub fn read(given: &[u8]) -> Option<Self> {
        let given: Value = serde_json::from_slice(given).ok()?;
        let principal = match &given["principalId"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let list = |value: &Value| -> Option<Vec<String>> {
            match value {
                Value::String(text) => Some(vec![text.clone()]),
                Value::Array(all) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
                _ => None,
            }
        };
        let statements = match &given["policyDocument"]["Statement"] {
            Value::Array(all) => all.clone(),
            one @ Value::Object(_) => vec![one.clone()],
            _ => return None,
        };
        let mut read = Vec::new();
        for statement in &statements {
            let odd = ["NotAction", "NotResource", "Condition"].iter().any(|name| statement.get(*name).is_some());
            let allow = match statement["Effect"].as_str() {
                Some("Allow") if !odd => true,
                Some("Deny") if !odd => false,
                _ => return None,
            };
            let of_invoke = |action: &String| like(&action.to_ascii_lowercase(), "execute-api:invoke");
            if list(&statement["Action"])?.iter().any(of_invoke) {
                read.push(Statement { allow, resources: list(&statement["Resource"])? });
            }
        }
        let mut context = Map::new();
        for (name, value) in given["context"].as_object().into_iter().flatten() {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null => continue,
                _ => return None,
            };
            context.insert(name.clone(), Value::String(text));
        }
        context.insert("principalId".to_owned(), Value::String(principal));
        Some(Self { statements: read, context })
    }

    /// Whether it lets this through.
    pub fn check(&self, method_arn: &str) -> Result<(), Refusal> {
        let says = |allow: bool| {
            let of = self.statements.iter().filter(|statement| statement.allow == allow);
            of.flat_map(|statement| &statement.resources).any(|resource| like(resource, method_arn))
        };
        match (says(false), says(true)) {
            (true, _) => Err(Refusal::denied(true)),
            (false, true) => Ok(()),
            (false, false) => Err(Refusal::denied(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(statement: &Value) -> Option<Decision> {
        Decision::read(json!({"principalId": "me", "policyDocument": {"Statement": statement}}).to_string().as_bytes())
    }

    #[test]
    fn policies_allow_and_deny() {
        let arn = "arn:aws:execute-api:us-east-1:000000000000:abc/api/GET/pets";
        let one =
            |effect: &str, resource: Value| json!({"Effect": effect, "Action": "execute-api:*", "Resource": resource});
        let allowed = |statement: Value| decision(&statement).unwrap().check(arn).is_ok();
        assert!(allowed(one("Allow", json!("*"))));
        assert!(allowed(json!([one("Allow", json!(["x", "arn:aws:execute-api:*/GET/pets"]))])));
        assert!(!allowed(one("Allow", json!("arn:aws:execute-api:*/POST/pets"))));
        assert!(!allowed(json!([one("Allow", json!("*")), one("Deny", json!(arn))])));
        assert!(!allowed(json!([])));
        assert!(!allowed(json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})));
        for bad in [
            json!(null),
            json!([1]),
            json!({"Effect": "Perhaps", "Action": "*", "Resource": "*"}),
            json!({"Effect": "Allow", "Action": "*", "Resource": 1}),
            json!({"Effect": "Allow", "NotAction": "*", "Action": "*", "Resource": "*"}),
        ] {
            assert!(decision(&bad).is_none(), "{bad}");
        }
        assert!(Decision::read(b"{}").is_none());
    }
}
