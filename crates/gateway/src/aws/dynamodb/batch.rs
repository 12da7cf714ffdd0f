//! BatchGetItem and BatchWriteItem.

use super::{
    Call,
    capacity::{Asked, read_units},
    dto::{BatchGet, BatchWrite, ItemRequest},
    error::{Failure, constraint, invalid},
    item,
    items::{delete, projection, put, units},
};
use dayfly_tables::{expression::project, item_size};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most keys of a read and most writes of a batch, AWS's.
const GETS_MAX: usize = 100;
const WRITES_MAX: usize = 25;
/// Most bytes of items in one answer, AWS's.
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub async fn batch_get_item(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: BatchGet = call.input()?;
    let asked = Asked::of(dto.return_consumed_capacity.as_deref())?;
    let keys: usize = dto.request_items.values().map(|keys| keys.keys.len()).sum();
    if dto.request_items.is_empty() || dto.request_items.values().any(|keys| keys.keys.is_empty()) {
        return Err(constraint(Some("{}"), "requestItems", "Member must have length greater than or equal to 1").into());
    }
    if keys > GETS_MAX {
        return Err(invalid("Too many items requested for the BatchGetItem call").into());
    }
    let (mut responses, mut unprocessed) = (BTreeMap::new(), json!({}));
    let (mut bytes, mut used) = (0, BTreeMap::new());
    for (name, request) in dto.request_items {
        if request.attributes_to_get.is_some() {
            return Err(invalid(
                "Dayfly does not support the legacy parameter AttributesToGet: use an expression instead",
            )
            .into());
        }
        let table = call.table(Some(&name))?;
        let mut expressions = ItemRequest {
            projection_expression: request.projection_expression.clone(),
            expression_attribute_names: request.expression_attribute_names.clone(),
            ..ItemRequest::default()
        };
        let paths = projection(&mut expressions)?;
        let mut keys = Vec::with_capacity(request.keys.len());
        for key in &request.keys {
            let key = item("key", Some(key.clone()))?;
            if keys.contains(&key) {
                return Err(invalid("Provided list of item keys contains duplicates").into());
            }
            keys.push(key);
        }
        let (mut found, mut left) = (Vec::new(), Vec::new());
        let mut units = 0.0;
        for (key, given) in keys.iter().zip(request.keys) {
            if bytes > ANSWER_BYTES_MAX {
                left.push(given);
                continue;
            }
            let read = call.gateway.options.tables.item(&table, key).await?;
            let size = read.as_ref().map_or(0, item_size);
            bytes += size;
            units += read_units(size, request.consistent_read.unwrap_or(false));
            found.extend(
                read.map(|item| paths.as_ref().map_or_else(|| json!(item), |paths| json!(project(&item, paths)))),
            );
        }
        if !left.is_empty() {
            let mut again = json!({"Keys": left});
            for (member, value) in [
                ("ProjectionExpression", request.projection_expression.map(|text| json!(text))),
                ("ExpressionAttributeNames", request.expression_attribute_names.map(|names| json!(names))),
                ("ConsistentRead", request.consistent_read.map(|is| json!(is))),
            ] {
                if let Some(value) = value {
                    again[member] = value;
                }
            }
            unprocessed[&name] = again;
        }
        used.insert(name.clone(), units);
        responses.insert(name, found);
    }
    let mut answer = json!({"Responses": responses, "UnprocessedKeys": unprocessed});
    asked.tell_all(&mut answer, &used);
    Ok(answer)
}

pub async fn batch_write_item(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: BatchWrite = call.input()?;
    let asked = Asked::of(dto.return_consumed_capacity.as_deref())?;
    let count: usize = dto.request_items.values().map(Vec::len).sum();
    if dto.request_items.is_empty() || dto.request_items.values().any(Vec::is_empty) {
        return Err(constraint(Some("{}"), "requestItems", "Member must have length greater than or equal to 1").into());
    }
    if count > WRITES_MAX {
        return Err(invalid("Too many items requested for the BatchWriteItem call").into());
    }
    let (mut writes, mut names) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (name, requests) in dto.request_items {
        let table = call.table(Some(&name))?;
        for request in requests {
            let write = match (request.put_request, request.delete_request) {
                (Some(request), None) => put(request)?,
                (None, Some(request)) => delete(request)?,
                _ => {
                    let message = "Each write of a batch is one of PutRequest and DeleteRequest";
                    return Err(invalid(message).into());
                }
            };
            writes.push((table.clone(), write));
            names.push(name.clone());
        }
    }
    let written = call.gateway.options.tables.write_batch(&writes).await?;
    let mut used = BTreeMap::new();
    for (name, written) in names.into_iter().zip(&written) {
        *used.entry(name).or_insert(0.0) += units(written);
    }
    let mut answer = json!({"UnprocessedItems": {}});
    asked.tell_all(&mut answer, &used);
    Ok(answer)
}
