//! EventBridge Scheduler: REST paths and JSON. The schedules are in `dayfly_triggers::schedules`, their groups here.

mod dto;
mod groups;
mod operations;
mod schedules;

use super::{Error, Request, Response, routes::find};
use crate::{Gateway, authorise::authorise};
use dayfly_triggers::schedules::{self as triggers, ScheduleName};
use http::StatusCode;
use operations::OPERATIONS;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The group that is always there.
const DEFAULT: &str = "default";

/// A request to EventBridge Scheduler.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    segments: Vec<String>,
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let Some(operation) = find(OPERATIONS, &request.parts) else {
        return Err(Error::unknown_operation(&format!("{} {}", request.parts.method, request.parts.uri.path())));
    };
    let call = Call { gateway, request, segments: request.segments() };
    let account = &gateway.options.account;
    authorise(&request.principal, &format!("scheduler:{}", operation.name), &call.resource(), account)?;
    match operation.name {
        "CreateSchedule" => schedules::create(&call).await,
        "UpdateSchedule" => schedules::update(&call).await,
        "GetSchedule" => schedules::get(&call),
        "DeleteSchedule" => schedules::delete(&call).await,
        "ListSchedules" => schedules::list(&call),
        "CreateScheduleGroup" => groups::create(&call).await,
        "GetScheduleGroup" => groups::get(&call).await,
        "DeleteScheduleGroup" => groups::delete(&call).await,
        "ListScheduleGroups" => groups::list(&call).await,
        other => Err(Error::unsupported(other)),
    }
}

impl Call<'_> {
    /// The ARN of what the request is about.
    fn resource(&self) -> String {
        let own = format!("arn:aws:scheduler:{}:{}", self.request.region, self.gateway.options.account);
        match self.segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["schedules", name] => {
                let body = serde_json::from_slice::<Value>(&self.request.body).ok();
                let in_body = body.and_then(|body| body.get("GroupName").and_then(Value::as_str).map(str::to_owned));
                let group = in_body.or(self.request.query("groupName")).unwrap_or_else(|| DEFAULT.to_owned());
                format!("{own}:schedule/{group}/{name}")
            }
            ["schedule-groups", name] => format!("{own}:schedule-group/{name}"),
            ["tags", arn] => arn.to_owned(),
            _ => "*".to_owned(),
        }
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let body: &[u8] = if self.request.body.is_empty() { b"{}" } else { &self.request.body };
        serde_json::from_slice(body).map_err(|error| validation(error.to_string()))
    }

    /// The name in the path.
    fn named(&self) -> Result<String, Error> {
        checked(self.segments.get(1).map(String::as_str).unwrap_or_default())
    }

    fn schedule(&self, group: Option<String>, name: &str) -> Result<ScheduleName, Error> {
        let (account, region) = (self.gateway.options.account.clone(), self.request.region.clone());
        let group = checked(group.as_deref().unwrap_or(DEFAULT))?;
        Ok(ScheduleName { account, region, group, name: name.to_owned() })
    }

    /// Items of a page, from the one after `NextToken`, and the token of the next.
    fn page<T>(&self, all: Vec<T>, key: impl Fn(&T) -> String) -> Result<(Vec<T>, Option<String>), Error> {
        let most = match self.request.query("MaxResults") {
            None => 100,
            Some(text) => text
                .parse()
                .ok()
                .filter(|most| (1..=100).contains(most))
                .ok_or_else(|| validation("MaxResults must be between 1 and 100."))?,
        };
        let after = self.request.query("NextToken").unwrap_or_default();
        let mut rest = all.into_iter().filter(|item| key(item) > after);
        let page: Vec<T> = rest.by_ref().take(most).collect();
        let next = rest.next().and_then(|_| page.last().map(&key));
        Ok((page, next))
    }
}

/// A name of a schedule or a group.
fn checked(name: &str) -> Result<String, Error> {
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !word || !(1..=64).contains(&name.len()) {
        return Err(validation("A name has 1 to 64 letters, digits, dots, hyphens and underscores."));
    }
    Ok(name.to_owned())
}

fn validation(message: impl Into<String>) -> Error {
    Error::bad_request("ValidationException", message)
}

fn conflict(message: impl Into<String>) -> Error {
    Error::new(StatusCode::CONFLICT, "ConflictException", message)
}

fn not_found(message: impl Into<String>) -> Error {
    Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
}

impl From<triggers::Error> for Error {
    fn from(error: triggers::Error) -> Self {
        use triggers::Error as E;
        let text = error.to_string();
        match error {
            E::NoSuchSchedule(_) => not_found(text),
            E::Exists(_) => conflict(text),
            E::Expression(_) | E::Zone(_) => validation(text),
            E::TooMany => Self::new(StatusCode::PAYMENT_REQUIRED, "ServiceQuotaExceededException", text),
            E::Store(_) => Self::internal(text),
        }
    }
}
