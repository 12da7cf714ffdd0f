//! EventBridge: `X-Amz-Target: AWSEvents.…` and JSON 1.1. Rules and their targets are in `dayfly_triggers::events`. There is
//! one event bus, `default`.

mod dto;
mod put_events;
mod rules;
mod targets;

use super::{Error, Request, Response, response, target};
use crate::{Gateway, authorise::authorise};
use dayfly_triggers::events;
use dayfly_types::{AccountId, Region};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The operations of EventBridge that are not served.
const UNSERVED: [&str; 8] = [
    "CreateEventBus",
    "DeleteEventBus",
    "CreateArchive",
    "CreateConnection",
    "CreateApiDestination",
    "PutPartnerEvents",
    "PutPermission",
    "StartReplay",
];

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let call = Call { gateway, request, operation: target(&request.parts) };
    match call.operation {
        "PutRule" => rules::put_rule(&call).await,
        "DescribeRule" => rules::describe_rule(&call),
        "ListRules" => rules::list_rules(&call),
        "EnableRule" => rules::switch(&call, true).await,
        "DisableRule" => rules::switch(&call, false).await,
        "DeleteRule" => rules::delete_rule(&call).await,
        "TagResource" => rules::tag_resource(&call).await,
        "UntagResource" => rules::untag_resource(&call).await,
        "ListTagsForResource" => rules::list_tags(&call),
        "PutTargets" => targets::put_targets(&call).await,
        "RemoveTargets" => targets::remove_targets(&call).await,
        "ListTargetsByRule" => targets::list_targets_by_rule(&call),
        "ListRuleNamesByTarget" => targets::list_rule_names_by_target(&call),
        "PutEvents" => put_events::put_events(&call).await,
        "TestEventPattern" => put_events::test_event_pattern(&call),
        "DescribeEventBus" => describe_event_bus(&call),
        "ListEventBuses" => {
            call.read::<dto::Named>()?;
            Ok(response::json(StatusCode::OK, &json!({"EventBuses": [bus(&call)]})))
        }
        known if UNSERVED.contains(&known) => Err(Error::unsupported(known)),
        "" => Err(Error::unknown_operation("no X-Amz-Target")),
        other => Err(Error::unsupported(&other.chars().take(64).collect::<String>())),
    }
}

struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    operation: &'a str,
}

impl Call<'_> {
    /// The body of a request that may do this operation.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let unreadable = |error: serde_json::Error| Error::bad_request("SerializationException", error.to_string());
        let body: &[u8] = if self.request.body.is_empty() { b"{}" } else { &self.request.body };
        let body: Value = serde_json::from_slice(body).map_err(unreadable)?;
        let action = format!("events:{}", self.operation);
        authorise(&self.request.principal, &action, &self.resource(&body), self.account())?;
        T::deserialize(body).map_err(unreadable)
    }

    /// The ARN of what the request is about.
    fn resource(&self, body: &Value) -> String {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let own = |what: &str| format!("arn:aws:events:{}:{}:{what}", self.region(), self.account());
        match self.operation {
            "PutEvents" | "DescribeEventBus" => own("event-bus/default"),
            _ => match (text("ResourceARN"), text("Rule").or(text("Name"))) {
                (Some(arn), _) => arn.to_owned(),
                (None, Some(name)) => own(&format!("rule/{name}")),
                (None, None) => "*".to_owned(),
            },
        }
    }

    fn account(&self) -> &AccountId {
        self.request.principal.account()
    }

    fn region(&self) -> &Region {
        &self.request.region
    }

    fn events(&self) -> &events::Events {
        &self.gateway.options.events
    }

    /// What tells a rule from all others.
    fn rule<'a>(&'a self, name: &'a str) -> (&'a AccountId, &'a Region, &'a str) {
        (self.account(), self.region(), name)
    }
}

fn describe_event_bus(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Named = call.read()?;
    only_default(call, dto.name.as_deref())?;
    Ok(response::json(StatusCode::OK, &bus(call)))
}

fn bus(call: &Call<'_>) -> serde_json::Value {
    json!({"Name": "default", "Arn": format!("arn:aws:events:{}:{}:event-bus/default", call.region(), call.account())})
}

/// `ValidationException`.
fn validation(message: impl Into<String>) -> Error {
    Error::bad_request("ValidationException", message)
}

fn only_default(call: &Call<'_>, bus: Option<&str>) -> Result<(), Error> {
    let own = format!("arn:aws:events:{}:{}:event-bus/default", call.region(), call.account());
    match bus {
        None | Some("default") => Ok(()),
        Some(arn) if arn == own => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(200).collect();
            Err(Error::bad_request("ResourceNotFoundException", format!("Event bus {other} does not exist.")))
        }
    }
}

impl From<events::Error> for Error {
    fn from(error: events::Error) -> Self {
        use events::Error as E;
        let text = error.to_string();
        match error {
            E::NoSuchRule(_) => Self::bad_request("ResourceNotFoundException", text),
            E::Pattern(_) => Self::bad_request("InvalidEventPatternException", text),
            E::Schedule(_) | E::HasTargets => validation(text),
            E::TooMany => Self::bad_request("LimitExceededException", text),
            E::Store(_) => Self::internal(text),
        }
    }
}
