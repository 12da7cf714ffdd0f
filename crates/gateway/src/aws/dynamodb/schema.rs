//! Names, keys and indexes of a request that makes or changes a table.

use super::{
    dto::{AttributeDefinition, IndexRequest, KeyElement, Throughput},
    error::{constraint, invalid},
};
use dayfly_tables::{Error, Index, KeyAttribute, KeyKind, KeySchema, Projection};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Most indexes of a table, AWS's.
const GLOBAL_INDEXES_MAX: usize = 20;
const LOCAL_INDEXES_MAX: usize = 5;
/// Most attributes that all indexes of a table name, AWS's.
const INCLUDED_MAX: usize = 100;

/// Checks the name of a table or an index.
pub fn table_name(name: &str, member: &str) -> Result<(), Error> {
    let refused = |what: &str| Err(constraint(Some(name), member, what));
    if name.len() < 3 {
        return refused("Member must have length greater than or equal to 3");
    }
    if name.len() > 255 {
        return refused("Member must have length less than or equal to 255");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return refused("Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+");
    }
    Ok(())
}

/// Types of attributes by name.
pub fn attribute_kinds(definitions: &[AttributeDefinition]) -> Result<BTreeMap<&str, KeyKind>, Error> {
    let mut kinds = BTreeMap::new();
    for AttributeDefinition { attribute_name: name, attribute_type } in definitions {
        let kind = match attribute_type.as_str() {
            "S" => KeyKind::S,
            "N" => KeyKind::N,
            "B" => KeyKind::B,
            other => {
                let member = "attributeDefinitions.member.attributeType";
                return Err(constraint(Some(other), member, "Member must satisfy enum value set: [B, N, S]"));
            }
        };
        if kinds.insert(name.as_str(), kind).is_some_and(|before| before != kind) {
            return Err(invalid("Cannot redefine an attribute with a different type"));
        }
    }
    Ok(kinds)
}

/// The schema of a key.
pub fn key_schema(elements: &[KeyElement], kinds: &BTreeMap<&str, KeyKind>) -> Result<KeySchema, Error> {
    let attribute = |element: &KeyElement| {
        let name = &element.attribute_name;
        if name.is_empty() || name.len() > 255 {
            return Err(constraint(
                Some(name),
                "keySchema.member.attributeName",
                "Member must have length from 1 to 255",
            ));
        }
        let kind = kinds.get(name.as_str()).copied().ok_or_else(|| {
            invalid(format!(
                "One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. \
                 Keys: [{name}], AttributeDefinitions: [{}]",
                kinds.keys().copied().collect::<Vec<_>>().join(", ")
            ))
        })?;
        Ok(KeyAttribute { name: name.clone(), kind })
    };
    let (hash, range) = match elements {
        [hash] => (hash, None),
        [hash, range] => (hash, Some(range)),
        _ => return Err(constraint(Some("KeySchema"), "keySchema", "Member must have length from 1 to 2")),
    };
    if hash.key_type != "HASH" {
        return Err(invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type"));
    }
    if range.is_some_and(|range| range.key_type != "RANGE") {
        return Err(invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"));
    }
    if range.is_some_and(|range| range.attribute_name == hash.attribute_name) {
        return Err(invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name"));
    }
    Ok(KeySchema { hash: attribute(hash)?, range: range.map(attribute).transpose()? })
}

/// An index of a request.
pub fn index(
    request: &IndexRequest,
    local: bool,
    table: &KeySchema,
    kinds: &BTreeMap<&str, KeyKind>,
) -> Result<Index, Error> {
    table_name(&request.index_name, "indexName")?;
    let key = key_schema(&request.key_schema, kinds)?;
    if local && table.range.is_none() {
        return Err(invalid(
            "One or more parameter values were invalid: Table KeySchema does not have a range key, which is required when \
             specifying a LocalSecondaryIndex",
        ));
    }
    if local && (key.hash != table.hash || key.range.is_none()) {
        return Err(invalid(format!(
            "One or more parameter values were invalid: Index KeySchema does not have a range key, or its hash key is not the \
             table's, for index: {}",
            request.index_name
        )));
    }
    let mut other = BTreeMap::new();
    if let Some(throughput) = &request.provisioned_throughput {
        other.insert("ProvisionedThroughput".to_owned(), json!(throughput));
    }
    Ok(Index {
        id: Uuid::new_v4(),
        name: request.index_name.clone(),
        local,
        key,
        projection: projection(request)?,
        other,
    })
}

/// Refuses indexes that do not go together.
pub fn check_indexes(indexes: &[Index]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    if let Some(twice) = indexes.iter().find(|index| !names.insert(&index.name)) {
        return Err(invalid(format!(
            "One or more parameter values were invalid: Duplicate index name: {}",
            twice.name
        )));
    }
    let local = indexes.iter().filter(|index| index.local).count();
    if local > LOCAL_INDEXES_MAX {
        return Err(invalid(
            "One or more parameter values were invalid: Number of LocalSecondaryIndexes exceeds per-table limit of 5",
        ));
    }
    if indexes.len() - local > GLOBAL_INDEXES_MAX {
        return Err(invalid(
            "One or more parameter values were invalid: GlobalSecondaryIndex count exceeds the per-table limit of 20",
        ));
    }
    let included = |index: &Index| if let Projection::Include(names) = &index.projection { names.len() } else { 0 };
    if indexes.iter().map(included).sum::<usize>() > INCLUDED_MAX {
        return Err(invalid("One or more parameter values were invalid: Number of projected attributes exceeds 100"));
    }
    Ok(())
}

/// Refuses attributes that no key uses.
pub fn all_attributes_used(kinds: &BTreeMap<&str, KeyKind>, key: &KeySchema, indexes: &[Index]) -> Result<(), Error> {
    let used = |name: &str| key.has(name) || indexes.iter().any(|index| index.key.has(name));
    if kinds.keys().all(|name| used(name)) {
        return Ok(());
    }
    Err(invalid(
        "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes \
         defined in AttributeDefinitions",
    ))
}

/// Checks that throughput is there when it is paid for, and only then. Returns the billing mode.
pub fn billing(mode: Option<&str>, throughput: Option<&Throughput>) -> Result<&'static str, Error> {
    let mode = match mode {
        None | Some("PROVISIONED") => "PROVISIONED",
        Some("PAY_PER_REQUEST") => "PAY_PER_REQUEST",
        Some(other) => {
            let enumerated = "Member must satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]";
            return Err(constraint(Some(other), "billingMode", enumerated));
        }
    };
    match (mode, throughput) {
        ("PROVISIONED", None) => Err(invalid(
            "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when \
             BillingMode is PROVISIONED",
        )),
        ("PAY_PER_REQUEST", Some(_)) => Err(invalid(
            "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when \
             BillingMode is PAY_PER_REQUEST",
        )),
        (_, Some(units)) if units.read_capacity_units < 1 || units.write_capacity_units < 1 => {
            Err(constraint(Some("0"), "provisionedThroughput", "Member must have value greater than or equal to 1"))
        }
        _ => Ok(mode),
    }
}

fn projection(request: &IndexRequest) -> Result<Projection, Error> {
    let given = request.projection.as_ref();
    let names = given.and_then(|projection| projection.non_key_attributes.as_ref());
    let kind = given.and_then(|projection| projection.projection_type.as_deref());
    match (kind, names) {
        (Some("ALL"), None) => Ok(Projection::All),
        (Some("KEYS_ONLY"), None) => Ok(Projection::KeysOnly),
        (Some("INCLUDE"), Some(names)) if !names.is_empty() => Ok(Projection::Include(names.iter().cloned().collect())),
        (Some("INCLUDE"), _) => Err(invalid(
            "One or more parameter values were invalid: ProjectionType is INCLUDE, but NonKeyAttributes is not specified",
        )),
        (Some(kind @ ("ALL" | "KEYS_ONLY")), Some(_)) => Err(invalid(format!(
            "One or more parameter values were invalid: ProjectionType is {kind}, but NonKeyAttributes is specified"
        ))),
        (Some(other), _) => {
            let enumerated = "Member must satisfy enum value set: [ALL, INCLUDE, KEYS_ONLY]";
            Err(constraint(Some(other), "projection.projectionType", enumerated))
        }
        (None, _) => Err(invalid("One or more parameter values were invalid: Unknown ProjectionType: null")),
    }
}
