//! Expiry and tags of tables.

use super::{
    Call, dto,
    error::{Failure, constraint, invalid},
};
use dayfly_tables::{Definition, Error};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most tags of a table, AWS's.
const TAGS_MAX: usize = 50;

pub async fn update_time_to_live(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Settings = call.input()?;
    let table = call.table(dto.table_name.as_deref())?;
    let wanted = dto.time_to_live_specification;
    let wanted = wanted.ok_or_else(|| constraint(None, "timeToLiveSpecification", "Member must not be null"))?;
    let length = wanted.attribute_name.len();
    if !(1..=255).contains(&length) {
        let (member, length) = ("timeToLiveSpecification.attributeName", "Member must have length from 1 to 255");
        return Err(constraint(Some(&wanted.attribute_name), member, length).into());
    }
    let change = |definition: &mut Definition| match (&definition.expiry, wanted.enabled) {
        (None, true) => {
            definition.expiry = Some(wanted.attribute_name.clone());
            Ok(())
        }
        (Some(name), false) if *name == wanted.attribute_name => {
            definition.expiry = None;
            Ok(())
        }
        (Some(name), true) if *name == wanted.attribute_name => Err(invalid("TimeToLive is already enabled")),
        (None, false) => Err(invalid("TimeToLive is already disabled")),
        (Some(name), _) => {
            Err(invalid(format!("TimeToLive is active on a different AttributeName: current AttributeName is {name}")))
        }
    };
    call.gateway.options.tables.change(&table, change).await?;
    Ok(json!({"TimeToLiveSpecification": wanted}))
}

pub async fn describe_time_to_live(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Settings = call.input()?;
    let definition = call.table(dto.table_name.as_deref())?.definition().await?;
    Ok(json!({"TimeToLiveDescription": match &definition.expiry {
        Some(name) => json!({"TimeToLiveStatus": "ENABLED", "AttributeName": name}),
        None => json!({"TimeToLiveStatus": "DISABLED"}),
    }}))
}

pub async fn tag_resource(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Settings = call.input()?;
    let table = call.table(dto.resource_arn.as_deref())?;
    let change = |definition: &mut Definition| {
        definition.tags.extend(dto.tags.into_iter().flatten().map(|tag| (tag.key, tag.value)));
        check_tags(&definition.tags)
    };
    call.gateway.options.tables.change(&table, change).await?;
    Ok(json!({}))
}

pub async fn untag_resource(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Settings = call.input()?;
    let table = call.table(dto.resource_arn.as_deref())?;
    let gone = dto.tag_keys.unwrap_or_default();
    let change = |definition: &mut Definition| {
        definition.tags.retain(|key, _| !gone.contains(key));
        Ok(())
    };
    call.gateway.options.tables.change(&table, change).await?;
    Ok(json!({}))
}

pub async fn list_tags_of_resource(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::Settings = call.input()?;
    let definition = call.table(dto.resource_arn.as_deref())?.definition().await?;
    let tags = definition.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value}));
    Ok(json!({"Tags": tags.collect::<Vec<_>>()}))
}

/// Refuses tags that are too many or too long.
pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    let fits =
        |(key, value): (&String, &String)| (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256;
    if tags.len() > TAGS_MAX || !tags.iter().all(fits) {
        return Err(invalid("A table has at most 50 tags, with keys of 1 to 128 and values of at most 256 characters"));
    }
    Ok(())
}
