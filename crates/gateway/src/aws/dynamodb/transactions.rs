//! TransactGetItems and TransactWriteItems.

use super::{
    Call,
    capacity::{Asked, read_units, write_units},
    dto::{Transact, TransactItem},
    error::{Failure, constraint, invalid},
    item,
    items::{check, delete, projection, put, update},
};
use dayfly_tables::{Token, expression::project, item_size};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Most items of a transaction, AWS's.
const ITEMS_MAX: usize = 100;
/// Longest token, AWS's.
const TOKEN_MAX: usize = 36;

pub async fn transact_get_items(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: Transact = call.input()?;
    let asked = Asked::of(dto.return_consumed_capacity.as_deref())?;
    check_length(&dto)?;
    let (mut reads, mut paths) = (Vec::new(), Vec::new());
    for part in dto.transact_items {
        let Some(mut get) = part.get else { return Err(one_of()) };
        let table = call.table_for("GetItem", get.table_name.as_deref(), None)?;
        let key = item("key", get.key.take())?;
        paths.push(projection(&mut get)?);
        reads.push((table, key));
    }
    let found = call.gateway.options.tables.items_at_once(&reads).await?;
    let mut used = BTreeMap::new();
    let mut responses = Vec::with_capacity(found.len());
    for (((table, _), paths), found) in reads.iter().zip(paths).zip(found) {
        let bytes = found.as_ref().map_or(0, item_size);
        *used.entry(table.name().name.clone()).or_insert(0.0) += 2.0 * read_units(bytes, true);
        responses.push(match (found, paths) {
            (None, _) => json!({}),
            (Some(item), None) => json!({"Item": item}),
            (Some(item), Some(paths)) => json!({"Item": project(&item, &paths)}),
        });
    }
    let mut answer = json!({"Responses": responses});
    asked.tell_all(&mut answer, &used);
    Ok(answer)
}

pub async fn transact_write_items(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: Transact = call.input()?;
    let asked = Asked::of(dto.return_consumed_capacity.as_deref())?;
    check_length(&dto)?;
    let token = match dto.client_request_token.clone() {
        None => None,
        Some(text) if (1..=TOKEN_MAX).contains(&text.len()) => {
            // The same request may come with its members in another order; as read, they are sorted.
            let request = Sha256::digest(call.input["TransactItems"].to_string()).into();
            Some(Token { account: call.request.principal.account().clone(), text, request })
        }
        Some(text) => {
            let length = "Member must have length from 1 to 36";
            return Err(constraint(Some(&text), "clientRequestToken", length).into());
        }
    };
    let mut writes = Vec::with_capacity(dto.transact_items.len());
    let mut used = BTreeMap::new();
    for part in dto.transact_items {
        let TransactItem { get: None, put: puts, delete: deletes, update: updates, condition_check } = part else {
            return Err(one_of());
        };
        let (request, read, action): (_, fn(_) -> _, _) = match (puts, deletes, updates, condition_check) {
            (Some(request), None, None, None) => (request, put, "PutItem"),
            (None, Some(request), None, None) => (request, delete, "DeleteItem"),
            (None, None, Some(request), None) => (request, update, "UpdateItem"),
            (None, None, None, Some(request)) => (request, check, "ConditionCheckItem"),
            _ => return Err(one_of()),
        };
        let table = call.table_for(action, request.table_name.as_deref(), None)?;
        let write = read(request)?;
        *used.entry(table.name().name.clone()).or_insert(0.0) += 2.0 * write_units(item_size(write.change.item()));
        writes.push((table, write));
    }
    call.gateway.options.tables.transact(&writes, token.as_ref()).await?;
    let mut answer = json!({});
    asked.tell_all(&mut answer, &used);
    Ok(answer)
}

fn check_length(dto: &Transact) -> Result<(), Failure> {
    if (1..=ITEMS_MAX).contains(&dto.transact_items.len()) {
        return Ok(());
    }
    let length = "Member must have length from 1 to 100";
    Err(constraint(Some(&dto.transact_items.len().to_string()), "transactItems", length).into())
}

fn one_of() -> Failure {
    invalid("TransactItems can only contain one of Check, Put, Update or Delete, and gets only in TransactGetItems")
        .into()
}
