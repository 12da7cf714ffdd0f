//! Rules, and their tags.

use super::{Call, dto, only_default, validation};
use crate::aws::{Error, Response, response};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_triggers::events::Rule;
use http::StatusCode;
use serde_json::{Value, json};

/// Rules in one answer.
const PAGE_MAX: i64 = 100;
/// Most tags of a rule.
const TAGS_MAX: usize = 50;

pub async fn put_rule(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::PutRule = call.read()?;
    let name = name_of(dto.name)?;
    only_default(call, dto.event_bus_name.as_deref())?;
    let enabled = match dto.state.as_deref() {
        None | Some("ENABLED" | "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS") => true,
        Some("DISABLED") => false,
        Some(_) => return Err(validation("State must be ENABLED or DISABLED.")),
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (pattern, schedule) = (given(dto.event_pattern), given(dto.schedule_expression));
    if pattern.is_none() && schedule.is_none() {
        return Err(validation("Parameter(s) EventPattern or ScheduleExpression must be specified."));
    }
    if dto.description.as_ref().is_some_and(|text| text.chars().count() > 512) {
        return Err(validation("Description must have at most 512 characters."));
    }
    check_tags(&dto.tags)?;
    let change = |rule: &mut Rule| {
        rule.pattern = pattern;
        rule.schedule = schedule;
        rule.enabled = enabled;
        rule.description = dto.description;
        rule.role = dto.role_arn;
        rule.tags.extend(dto.tags.into_iter().map(|tag| (tag.key, tag.value)));
    };
    let rule = call.events().put(call.rule(&name), change).await?;
    Ok(response::json(StatusCode::OK, &json!({"RuleArn": rule.arn()})))
}

pub fn describe_rule(call: &Call<'_>) -> Result<Response, Error> {
    let rule = named(call, call.read()?)?;
    let mut body = shown(&rule);
    body["CreatedBy"] = json!(rule.account);
    Ok(response::json(StatusCode::OK, &body))
}

pub fn list_rules(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::List = call.read()?;
    only_default(call, dto.event_bus_name.as_deref())?;
    let (limit, after) = page(&dto)?;
    let prefix = dto.name_prefix.unwrap_or_default();
    let mut found = call.events().list(call.account(), call.region(), &prefix, &after, limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let mut body = json!({"Rules": found.iter().map(shown).collect::<Vec<_>>()});
    if let Some(last) = found.last().filter(|_| more) {
        body["NextToken"] = json!(STANDARD.encode(&last.name));
    }
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn switch(call: &Call<'_>, enabled: bool) -> Result<Response, Error> {
    let rule = named(call, call.read()?)?;
    call.events().update(call.rule(&rule.name), |rule| rule.enabled = enabled).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn delete_rule(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Named = call.read()?;
    only_default(call, dto.event_bus_name.as_deref())?;
    let name = name_of(dto.name)?;
    call.events().delete(call.account(), call.region(), &name).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn tag_resource(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Tagged = call.read()?;
    let rule = tagged(call, &dto)?;
    check_tags(&dto.tags)?;
    let added = dto.tags.into_iter().map(|tag| (tag.key, tag.value));
    call.events().update(call.rule(&rule.name), |rule| rule.tags.extend(added)).await?;
    Ok(response::json(StatusCode::OK, &json!({})))
}

pub async fn untag_resource(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Tagged = call.read()?;
    let rule = tagged(call, &dto)?;
    let keys = dto.tag_keys;
    call.events().update(call.rule(&rule.name), |rule| rule.tags.retain(|tag, _| !keys.contains(tag))).await?;
    Ok(response::json(StatusCode::OK, &json!({})))
}

pub fn list_tags(call: &Call<'_>) -> Result<Response, Error> {
    let dto: dto::Tagged = call.read()?;
    let rule = tagged(call, &dto)?;
    let tags: Vec<Value> = rule.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    Ok(response::json(StatusCode::OK, &json!({"Tags": tags})))
}

/// The page that is asked for, and the name that it comes after.
pub fn page(dto: &dto::List) -> Result<(usize, String), Error> {
    let limit = dto.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(validation(format!("Limit must be between 1 and {PAGE_MAX}.")));
    }
    let after = match &dto.next_token {
        None => String::new(),
        Some(token) => {
            let name = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            name.ok_or_else(|| validation("Parameter NextToken is not valid."))?
        }
    };
    Ok((limit as usize, after))
}

/// A rule's name: 1 to 64 letters, digits and `.-_`.
pub fn name_of(name: Option<String>) -> Result<String, Error> {
    let word = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    name.filter(|name| (1..=64).contains(&name.len()) && word(name))
        .ok_or_else(|| validation("The name of a rule has 1 to 64 letters, digits, dots, hyphens and underscores."))
}

fn named(call: &Call<'_>, dto: dto::Named) -> Result<Rule, Error> {
    only_default(call, dto.event_bus_name.as_deref())?;
    Ok(call.events().get(call.account(), call.region(), &name_of(dto.name)?)?)
}

fn tagged(call: &Call<'_>, dto: &dto::Tagged) -> Result<Rule, Error> {
    let own = format!("arn:aws:events:{}:{}:rule/", call.region(), call.account());
    let name = dto.resource_arn.strip_prefix(&own).unwrap_or_default();
    Ok(call.events().get(call.account(), call.region(), name)?)
}

fn check_tags(tags: &[dto::Tag]) -> Result<(), Error> {
    let fits = |tag: &dto::Tag| (1..=128).contains(&tag.key.chars().count()) && tag.value.chars().count() <= 256;
    if tags.len() <= TAGS_MAX && tags.iter().all(fits) {
        return Ok(());
    }
    Err(validation("A rule has at most 50 tags, with keys of 1 to 128 and values of at most 256 characters."))
}

fn shown(rule: &Rule) -> Value {
    let mut body = json!({
        "Name": rule.name,
        "Arn": rule.arn(),
        "State": if rule.enabled { "ENABLED" } else { "DISABLED" },
        "EventBusName": "default",
    });
    for (name, value) in [
        ("EventPattern", &rule.pattern),
        ("ScheduleExpression", &rule.schedule),
        ("Description", &rule.description),
        ("RoleArn", &rule.role),
    ] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    body
}
