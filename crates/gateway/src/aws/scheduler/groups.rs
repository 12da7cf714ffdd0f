//! Groups of schedules. `default` is always there, and has no row.

use super::{Call, DEFAULT, conflict, not_found, schedules::is_default, validation};
use crate::{
    aws::{Error, Response, response},
    rows::Table,
};
use dayfly_types::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const GROUPS: Table = Table("schedule_groups");
/// Most groups of an account in a region, AWS's.
const GROUPS_MAX: usize = 500;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group {
    name: String,
    created: Option<Timestamp>,
}

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.named()?;
    let group = Group { name: name.clone(), created: Some(call.gateway.options.clock.now()) };
    let store = &call.gateway.options.store;
    if GROUPS.all::<Group>(store, &key(call, "")).await?.len() >= GROUPS_MAX {
        return Err(Error::new(
            StatusCode::PAYMENT_REQUIRED,
            "ServiceQuotaExceededException",
            "There are too many groups.",
        ));
    }
    if is_default(&name) || !GROUPS.create(store, &key(call, &name), &group).await? {
        return Err(conflict(format!("Schedule group {name} already exists.")));
    }
    Ok(response::json(StatusCode::OK, &json!({"ScheduleGroupArn": arn(call, &name)})))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let group = find(call, &call.named()?).await?;
    Ok(response::json(StatusCode::OK, &shown(call, &group)))
}

/// Deletes a group and its schedules.
pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.named()?;
    if is_default(&name) {
        return Err(validation("The default schedule group cannot be deleted."));
    }
    find(call, &name).await?;
    let options = &call.gateway.options;
    GROUPS.delete::<Group>(&options.store, &key(call, &name), |_| Ok(())).await?;
    let all = options.schedules.list(&options.account, &call.request.region);
    for schedule in all.into_iter().filter(|schedule| schedule.name.group == name) {
        options.schedules.delete(&schedule.name).await?;
    }
    Ok(response::json(StatusCode::OK, &json!({})))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let prefix = call.request.query("NamePrefix").unwrap_or_default();
    let mut all: Vec<Group> = GROUPS.all(&call.gateway.options.store, &key(call, "")).await?;
    all.push(Group { name: DEFAULT.to_owned(), created: None });
    all.retain(|group| group.name.starts_with(&prefix));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let (page, next) = call.page(all, |group| group.name.clone())?;
    let mut body = json!({"ScheduleGroups": page.iter().map(|group| shown(call, group)).collect::<Vec<_>>()});
    if let Some(next) = next {
        body["NextToken"] = json!(next);
    }
    Ok(response::json(StatusCode::OK, &body))
}

/// Fails when there is no such group.
pub async fn check(call: &Call<'_>, name: &str) -> Result<(), Error> {
    find(call, name).await.map(drop)
}

async fn find(call: &Call<'_>, name: &str) -> Result<Group, Error> {
    if is_default(name) {
        return Ok(Group { name: name.to_owned(), created: None });
    }
    let read = GROUPS.get(&call.gateway.options.store, &key(call, name)).await?;
    read.map(|read| read.value).ok_or_else(|| not_found(format!("Schedule group {name} does not exist.")))
}

fn shown(call: &Call<'_>, group: &Group) -> Value {
    let mut body = json!({"Arn": arn(call, &group.name), "Name": group.name, "State": "ACTIVE"});
    if let Some(created) = group.created {
        body["CreationDate"] = json!(created.as_second());
        body["LastModificationDate"] = json!(created.as_second());
    }
    body
}

fn arn(call: &Call<'_>, name: &str) -> String {
    let (region, account) = (&call.request.region, &call.gateway.options.account);
    format!("arn:aws:scheduler:{region}:{account}:schedule-group/{name}")
}

fn key(call: &Call<'_>, name: &str) -> String {
    format!("{}/{}/{name}", call.gateway.options.account, call.request.region)
}
