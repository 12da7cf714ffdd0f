//! Operations on one item.

use super::{
    Call,
    capacity::{Asked, read_units, write_units},
    dto::ItemRequest,
    error::{Failure, constraint, invalid},
    item,
};
use dayfly_tables::{
    Change, Error, Item, Write, Written,
    expression::{self, Placeholders, Update, project},
    item_size,
};
use serde_json::{Value, json};

pub async fn put_item(call: &Call<'_>) -> Result<Value, Failure> {
    write(call, put, &["NONE", "ALL_OLD"]).await
}

pub async fn delete_item(call: &Call<'_>) -> Result<Value, Failure> {
    write(call, delete, &["NONE", "ALL_OLD"]).await
}

pub async fn update_item(call: &Call<'_>) -> Result<Value, Failure> {
    write(call, update, &["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"]).await
}

pub async fn get_item(call: &Call<'_>) -> Result<Value, Failure> {
    let mut dto: ItemRequest = call.input()?;
    let table = call.table(dto.table_name.as_deref())?;
    let asked = Asked::of(dto.return_consumed_capacity.as_deref())?;
    let consistent = dto.consistent_read.unwrap_or(false);
    let key = item("key", dto.key.take())?;
    let paths = projection(&mut dto)?;
    let found = call.gateway.options.tables.item(&table, &key).await?;
    let bytes = found.as_ref().map_or(0, item_size);
    let mut answer = json!({});
    if let Some(found) = found {
        answer["Item"] = match paths {
            Some(paths) => json!(project(&found, &paths)),
            None => json!(found),
        };
    }
    asked.tell(&mut answer, &table.name().name, read_units(bytes, consistent));
    Ok(answer)
}

/// The paths of the ProjectionExpression, in a request that has no other.
pub fn projection(dto: &mut ItemRequest) -> Result<Option<Vec<expression::Path>>, Failure> {
    let placeholders = Placeholders::new(dto.expression_attribute_names.take(), None)?;
    let text = dto.projection_expression.as_deref();
    let paths = text.map(|text| expression::projection(text, &placeholders)).transpose()?;
    placeholders.all_used(paths.is_some())?;
    Ok(paths)
}

/// What PutItem is to do.
pub fn put(mut dto: ItemRequest) -> Result<Write, Failure> {
    let change = Change::Put(item("item", dto.item.take())?);
    conditional(dto, |_, _| Ok(change))
}

/// What DeleteItem is to do.
pub fn delete(mut dto: ItemRequest) -> Result<Write, Failure> {
    let change = Change::Delete(item("key", dto.key.take())?);
    conditional(dto, |_, _| Ok(change))
}

/// What a ConditionCheck is to do.
pub fn check(mut dto: ItemRequest) -> Result<Write, Failure> {
    if dto.condition_expression.is_none() {
        return Err(constraint(None, "conditionExpression", "Member must not be null").into());
    }
    let change = Change::Check(item("key", dto.key.take())?);
    conditional(dto, |_, _| Ok(change))
}

/// What UpdateItem is to do.
pub fn update(mut dto: ItemRequest) -> Result<Write, Failure> {
    let key = item("key", dto.key.take())?;
    conditional(dto, |text, placeholders| {
        let update = text.map(|text| expression::update(text, placeholders)).transpose()?;
        Ok(Change::Update(key, update.unwrap_or_default()))
    })
}

/// A write with its condition; `change` is given the UpdateExpression.
fn conditional(
    dto: ItemRequest,
    change: impl FnOnce(Option<&str>, &Placeholders) -> Result<Change, Error>,
) -> Result<Write, Failure> {
    let values =
        dto.expression_attribute_values.map(|values| item("expressionAttributeValues", Some(values))).transpose()?;
    let placeholders = Placeholders::new(dto.expression_attribute_names, values)?;
    let update = dto.update_expression.as_deref();
    let change = change(update, &placeholders)?;
    let condition = dto.condition_expression.as_deref();
    let any = condition.is_some() || update.is_some();
    let condition =
        condition.map(|text| expression::condition("ConditionExpression", text, &placeholders)).transpose()?;
    placeholders.all_used(any)?;
    let tell_on_failure = match dto.return_values_on_condition_check_failure.as_deref() {
        None | Some("NONE") => false,
        Some("ALL_OLD") => true,
        Some(other) => {
            let member = "returnValuesOnConditionCheckFailure";
            return Err(constraint(Some(other), member, "Member must satisfy enum value set: [ALL_OLD, NONE]").into());
        }
    };
    Ok(Write { change, condition, tell_on_failure })
}

async fn write(
    call: &Call<'_>,
    read: impl FnOnce(ItemRequest) -> Result<Write, Failure>,
    returns: &[&str],
) -> Result<Value, Failure> {
    let dto: ItemRequest = call.input()?;
    let table = call.table(dto.table_name.as_deref())?;
    let asked = Asked::of(dto.return_consumed_capacity.as_deref())?;
    let wanted = dto.return_values.clone().unwrap_or_else(|| "NONE".to_owned());
    if !["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"].contains(&wanted.as_str()) {
        let enumerated = "Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]";
        return Err(constraint(Some(&wanted), "returnValues", enumerated).into());
    }
    if !returns.contains(&wanted.as_str()) {
        return Err(invalid("ReturnValues can only be ALL_OLD or NONE").into());
    }
    let write = read(dto)?;
    let update = match &write.change {
        Change::Update(_, update) => update.clone(),
        _ => Update::default(),
    };
    let written = call.gateway.options.tables.write(&table, write).await?;
    let units = units(&written);
    let mut answer = json!({});
    let paths = || update.paths().cloned().collect::<Vec<_>>();
    let attributes: Option<Item> = match wanted.as_str() {
        "ALL_OLD" => written.old,
        "ALL_NEW" => written.new,
        "UPDATED_OLD" => written.old.map(|item| project(&item, &paths())).filter(|item| !item.is_empty()),
        "UPDATED_NEW" => written.new.map(|item| project(&item, &paths())).filter(|item| !item.is_empty()),
        _ => None,
    };
    if let Some(attributes) = attributes {
        answer["Attributes"] = json!(attributes);
    }
    asked.tell(&mut answer, &table.name().name, units);
    Ok(answer)
}

/// What a write used: the larger of the items before and after.
pub fn units(written: &Written) -> f64 {
    let size = |item: &Option<Item>| item.as_ref().map_or(0, item_size);
    write_units(size(&written.old).max(size(&written.new)))
}
