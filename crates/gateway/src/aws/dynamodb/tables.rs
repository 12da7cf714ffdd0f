//! Operations on tables.

use super::{
    Call,
    dto::{IndexUpdate, ListTables, TableRequest, Tag},
    error::{Failure, constraint, invalid},
    schema::{all_attributes_used, attribute_kinds, billing, check_indexes, index, key_schema},
    settings,
};
use crate::aws::Error as Common;
use dayfly_tables::{Count, Definition, Error, Index, KeyKind, KeySchema, Projection, TableName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Names in one answer.
const PAGE_MAX: i64 = 100;

pub async fn create_table(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: TableRequest = call.input()?;
    let name = call.table_name(dto.table_name.as_deref())?;
    refuse_unsupported(&dto)?;
    let definitions = dto.attribute_definitions.as_deref().unwrap_or_default();
    let kinds = attribute_kinds(definitions)?;
    let elements = dto.key_schema.as_deref().ok_or_else(|| constraint(None, "keySchema", "Member must not be null"))?;
    let key = key_schema(elements, &kinds)?;
    let mut indexes = Vec::new();
    for (requests, local) in [(&dto.local_secondary_indexes, true), (&dto.global_secondary_indexes, false)] {
        for request in requests.iter().flatten() {
            indexes.push(index(request, local, &key, &kinds)?);
        }
    }
    check_indexes(&indexes)?;
    all_attributes_used(&kinds, &key, &indexes)?;
    let mode = billing(dto.billing_mode.as_deref(), dto.provisioned_throughput.as_ref())?;
    let tags: BTreeMap<String, String> =
        dto.tags.iter().flatten().map(|Tag { key, value }| (key.clone(), value.clone())).collect();
    settings::check_tags(&tags)?;
    let mut definition = Definition {
        id: Uuid::new_v4(),
        name: name.clone(),
        created: call.gateway.options.clock.now(),
        key,
        indexes,
        expiry: None,
        tags,
        other: [("BillingMode".to_owned(), json!(mode))].into(),
    };
    keep(&mut definition, &dto);
    call.gateway.options.tables.create(definition.clone()).await?;
    Ok(json!({"TableDescription": described(&definition, "ACTIVE", &BTreeMap::new())}))
}

pub async fn describe_table(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: TableRequest = call.input()?;
    let name = call.table_name(dto.table_name.as_deref())?;
    let tables = &call.gateway.options.tables;
    let table = tables.get(&name).map_err(|error| named(error, &name))?;
    let definition = table.definition().await.map_err(|error| named(error, &name))?;
    let counts = tables.counts(&table, &definition).await?;
    Ok(json!({"Table": described(&definition, "ACTIVE", &counts)}))
}

pub fn list_tables(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: ListTables = call.input()?;
    let (account, region) = (call.request.principal.account(), &call.request.region);
    let resource = format!("arn:aws:dynamodb:{region}:{account}:table/*");
    crate::authorise::authorise(&call.request.principal, "dynamodb:ListTables", &resource, account)
        .map_err(Common::from)?;
    let limit = dto.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(constraint(Some(&limit.to_string()), "limit", "Member must have value from 1 to 100").into());
    }
    let limit = usize::try_from(limit).unwrap_or(1);
    let after = dto.exclusive_start_table_name.unwrap_or_default();
    let mut names = call.gateway.options.tables.list(account, region, &after, limit + 1);
    let more = names.len() > limit;
    names.truncate(limit);
    let mut answer = json!({"TableNames": names});
    if let Some(last) = names.last().filter(|_| more) {
        answer["LastEvaluatedTableName"] = json!(last);
    }
    Ok(answer)
}

pub async fn delete_table(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: TableRequest = call.input()?;
    let name = call.table_name(dto.table_name.as_deref())?;
    let tables = &call.gateway.options.tables;
    let table = tables.get(&name).map_err(|error| named(error, &name))?;
    let definition = table.definition().await.map_err(|error| named(error, &name))?;
    if definition.other.get("DeletionProtectionEnabled") == Some(&json!(true)) {
        return Err(invalid(
            "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.",
        )
        .into());
    }
    let definition = tables.delete(&name).await.map_err(|error| named(error, &name))?;
    Ok(json!({"TableDescription": described(&definition, "DELETING", &BTreeMap::new())}))
}

pub async fn update_table(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: TableRequest = call.input()?;
    let name = call.table_name(dto.table_name.as_deref())?;
    let tables = &call.gateway.options.tables;
    let table = tables.get(&name).map_err(|error| named(error, &name))?;
    refuse_unsupported(&dto)?;
    let changed = dto.billing_mode.is_some()
        || dto.provisioned_throughput.is_some()
        || dto.global_secondary_index_updates.is_some()
        || dto.deletion_protection_enabled.is_some()
        || dto.table_class.is_some();
    if !changed {
        return Err(invalid("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required").into());
    }
    let change = |definition: &mut Definition| {
        for update in dto.global_secondary_index_updates.iter().flatten() {
            update_index(definition, update, &dto)?;
        }
        check_indexes(&definition.indexes)?;
        if let Some(mode) = &dto.billing_mode {
            let mode = billing(Some(mode), dto.provisioned_throughput.as_ref())?;
            definition.other.insert("BillingMode".to_owned(), json!(mode));
            definition.other.remove("ProvisionedThroughput");
        }
        keep(definition, &dto);
        Ok(())
    };
    let definition = tables.change(&table, change).await.map_err(|error| named(error, &name))?;
    let counts = tables.counts(&table, &definition).await?;
    Ok(json!({"TableDescription": described(&definition, "ACTIVE", &counts)}))
}

fn update_index(definition: &mut Definition, update: &IndexUpdate, dto: &TableRequest) -> Result<(), Error> {
    let there =
        |definition: &Definition, name: &str| definition.indexes.iter().position(|i| i.name == name && !i.local);
    let none = || Error::NotFound("Requested resource not found".to_owned());
    match (&update.create, &update.update, &update.delete) {
        (Some(create), None, None) => {
            let mut kinds = known_kinds(definition);
            let given = attribute_kinds(dto.attribute_definitions.as_deref().unwrap_or_default())?;
            kinds.extend(given.into_iter().map(|(name, kind)| (name.to_owned(), kind)));
            let kinds = kinds.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
            if definition.index(&create.index_name).is_some() {
                return Err(invalid(format!(
                    "Attempting to create an index which already exists: {}",
                    create.index_name
                )));
            }
            let made = index(create, false, &definition.key, &kinds)?;
            definition.indexes.push(made);
            Ok(())
        }
        (None, Some(update), None) => {
            let at = there(definition, &update.index_name).ok_or_else(none)?;
            let throughput = json!(update.provisioned_throughput);
            definition.indexes[at].other.insert("ProvisionedThroughput".to_owned(), throughput);
            Ok(())
        }
        (None, None, Some(delete)) => {
            let at = there(definition, &delete.index_name).ok_or_else(none)?;
            definition.indexes.remove(at);
            Ok(())
        }
        _ => Err(invalid(
            "One or more parameter values were invalid: One of GlobalSecondaryIndexUpdate's members must be given",
        )),
    }
}

/// Settings that mean nothing here and are told to whoever asks.
fn keep(definition: &mut Definition, dto: &TableRequest) {
    for (name, value) in [
        ("ProvisionedThroughput", dto.provisioned_throughput.as_ref().map(|units| json!(units))),
        ("DeletionProtectionEnabled", dto.deletion_protection_enabled.map(|is| json!(is))),
        ("TableClass", dto.table_class.as_ref().map(|class| json!(class))),
    ] {
        if let Some(value) = value {
            definition.other.insert(name.to_owned(), value);
        }
    }
}

fn refuse_unsupported(dto: &TableRequest) -> Result<(), Failure> {
    let enabled =
        |value: &Option<Value>, member: &str| value.as_ref().is_some_and(|value| value[member] == json!(true));
    for (name, given) in [
        ("StreamSpecification of DynamoDB tables", enabled(&dto.stream_specification, "StreamEnabled")),
        ("SSESpecification of DynamoDB tables", enabled(&dto.sse_specification, "Enabled")),
        ("ResourcePolicy of DynamoDB tables", dto.resource_policy.is_some()),
        ("ReplicaUpdates of DynamoDB tables", dto.replica_updates.is_some()),
        ("OnDemandThroughput of DynamoDB tables", dto.on_demand_throughput.is_some()),
        ("WarmThroughput of DynamoDB tables", dto.warm_throughput.is_some()),
        ("GlobalTableWitnessUpdates of DynamoDB tables", dto.global_table_witness_updates.is_some()),
        ("MultiRegionConsistency of DynamoDB tables", dto.multi_region_consistency.is_some()),
    ] {
        if given {
            return Err(Common::unsupported(name).into());
        }
    }
    Ok(())
}

/// The error of operations on a table that is not there, which name it.
fn named(error: Error, name: &TableName) -> Error {
    match error {
        Error::NotFound(_) => Error::NotFound(format!("Requested resource not found: Table: {} not found", name.name)),
        other => other,
    }
}

fn known_kinds(definition: &Definition) -> BTreeMap<String, KeyKind> {
    let keys = std::iter::once(&definition.key).chain(definition.indexes.iter().map(|index| &index.key));
    keys.flat_map(KeySchema::attributes).map(|attribute| (attribute.name.clone(), attribute.kind)).collect()
}

fn described(definition: &Definition, status: &str, counts: &BTreeMap<String, Count>) -> Value {
    let count = counts.get("").copied().unwrap_or_default();
    let kinds = known_kinds(definition);
    let on_demand = definition.other.get("BillingMode") == Some(&json!("PAY_PER_REQUEST"));
    let mut table = json!({
        "TableName": definition.name.name,
        "TableArn": definition.name.to_string(),
        "TableId": definition.id,
        "TableStatus": status,
        "CreationDateTime": seconds(definition),
        "AttributeDefinitions": kinds.iter()
            .map(|(name, kind)| json!({"AttributeName": name, "AttributeType": kind.name()})).collect::<Vec<_>>(),
        "KeySchema": key_elements(&definition.key),
        "ItemCount": count.items,
        "TableSizeBytes": count.bytes,
        "ProvisionedThroughput": throughput(definition.other.get("ProvisionedThroughput")),
        "DeletionProtectionEnabled": definition.other.get("DeletionProtectionEnabled").unwrap_or(&json!(false)),
    });
    if on_demand {
        table["BillingModeSummary"] = json!({"BillingMode": "PAY_PER_REQUEST"});
    }
    if let Some(class) = definition.other.get("TableClass") {
        table["TableClassSummary"] = json!({"TableClass": class});
    }
    for (member, local) in [("LocalSecondaryIndexes", true), ("GlobalSecondaryIndexes", false)] {
        let indexes: Vec<Value> = definition
            .indexes
            .iter()
            .filter(|index| index.local == local)
            .map(|index| described_index(definition, index, counts.get(&index.name).copied().unwrap_or_default()))
            .collect();
        if !indexes.is_empty() {
            table[member] = json!(indexes);
        }
    }
    table
}

fn described_index(definition: &Definition, index: &Index, count: Count) -> Value {
    let projection = match &index.projection {
        Projection::All => json!({"ProjectionType": "ALL"}),
        Projection::KeysOnly => json!({"ProjectionType": "KEYS_ONLY"}),
        Projection::Include(names) => json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": names}),
    };
    let mut shown = json!({
        "IndexName": index.name,
        "IndexArn": format!("{}/index/{}", definition.name, index.name),
        "KeySchema": key_elements(&index.key),
        "Projection": projection,
        "ItemCount": count.items,
        "IndexSizeBytes": count.bytes,
    });
    if !index.local {
        shown["IndexStatus"] = json!("ACTIVE");
        shown["ProvisionedThroughput"] = throughput(index.other.get("ProvisionedThroughput"));
    }
    shown
}

fn key_elements(key: &KeySchema) -> Vec<Value> {
    let kinds = ["HASH", "RANGE"];
    key.attributes().zip(kinds).map(|(key, kind)| json!({"AttributeName": key.name, "KeyType": kind})).collect()
}

fn throughput(units: Option<&Value>) -> Value {
    let of = |name: &str| units.and_then(|units| units[name].as_i64()).unwrap_or_default();
    json!({
        "NumberOfDecreasesToday": 0,
        "ReadCapacityUnits": of("ReadCapacityUnits"),
        "WriteCapacityUnits": of("WriteCapacityUnits"),
    })
}

#[allow(clippy::cast_precision_loss)] // milliseconds since 1970 are exact in a float
fn seconds(definition: &Definition) -> f64 {
    definition.created.as_millisecond() as f64 / 1000.0
}
