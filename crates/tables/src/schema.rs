//! What a table is: its keys and indexes.

use crate::{Error, Item, Value, invalid};
use dayfly_types::{AccountId, Region, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use uuid::Uuid;

/// Longest partition key and longest sort key in bytes, AWS's.
const HASH_BYTES_MAX: usize = 2048;
const RANGE_BYTES_MAX: usize = 1024;

/// Where a table is and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
    /// The name.
    pub name: String,
}

impl TableName {
    pub(crate) fn key(&self) -> String {
        format!("{}/{}/{}", self.account, self.region, self.name)
    }
}

/// The ARN.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:dynamodb:{}:{}:table/{}", self.region, self.account, self.name)
    }
}

/// A table as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Definition {
    /// Never used again, unlike the name.
    pub id: Uuid,
    /// Its name.
    pub name: TableName,
    /// When it was made.
    pub created: Timestamp,
    /// The key of its items.
    pub key: KeySchema,
    /// Its indexes.
    #[serde(default)]
    pub indexes: Vec<Index>,
    /// The attribute that says when an item expires, in seconds since 1970.
    #[serde(default)]
    pub expiry: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What is kept for whoever asks, and means nothing here.
    #[serde(default)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// An index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Index {
    /// Its rows' prefix. Never used again, unlike the name.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Whether it shares the table's partition key, and is made with the table.
    pub local: bool,
    /// The key of its entries.
    pub key: KeySchema,
    /// What its entries hold.
    pub projection: Projection,
    /// What is kept for whoever asks.
    #[serde(default)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// What an index holds of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// All of it.
    All,
    /// Keys of the table and the index.
    KeysOnly,
    /// Those, and more attributes.
    Include(BTreeSet<String>),
}

/// The attributes of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySchema {
    /// Partition key.
    pub hash: KeyAttribute,
    /// Sort key.
    pub range: Option<KeyAttribute>,
}

/// An attribute of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// `S`, `N` or `B`.
    pub kind: KeyKind,
}

/// The type of a key's attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum KeyKind {
    S,
    N,
    B,
}

impl KeyKind {
    /// As requests call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
        }
    }
}

impl KeySchema {
    /// The attributes.
    pub fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.hash).chain(&self.range)
    }

    /// Whether `name` is one of the attributes.
    pub fn has(&self, name: &str) -> bool {
        self.attributes().any(|attribute| attribute.name == name)
    }

    /// What of `item` the key is.
    pub fn of(&self, item: &Item) -> Item {
        let own = |attribute: &KeyAttribute| Some((attribute.name.clone(), item.get(&attribute.name)?.clone()));
        self.attributes().filter_map(own).collect()
    }

    /// Refuses a key that is not exactly this schema's.
    pub fn check_key(&self, key: &Item) -> Result<(), Error> {
        let mismatch = || invalid("The provided key element does not match the schema");
        if key.len() != self.attributes().count() {
            return Err(mismatch());
        }
        for attribute in self.attributes() {
            let value = key.get(&attribute.name).ok_or_else(mismatch)?;
            if value.type_name() != attribute.kind.name() {
                return Err(mismatch());
            }
        }
        self.check_values(key)
    }

    /// Refuses an item that has no good key of the table.
    pub fn check_item(&self, item: &Item) -> Result<(), Error> {
        for KeyAttribute { name, kind } in self.attributes() {
            let Some(value) = item.get(name) else {
                let message = format!("One or more parameter values were invalid: Missing the key {name} in the item");
                return Err(invalid(message));
            };
            let (expected, actual) = (kind.name(), value.type_name());
            if expected != actual {
                return Err(invalid(format!(
                    "One or more parameter values were invalid: Type mismatch for key {name} expected: {expected} actual: {actual}"
                )));
            }
        }
        self.check_values(item)
    }

    /// Refuses an item with an attribute that the index `name` cannot take. It need not have the attributes at all.
    pub fn check_indexed(&self, item: &Item, index: &str) -> Result<(), Error> {
        for KeyAttribute { name, kind } in self.attributes() {
            let Some(value) = item.get(name) else { continue };
            let (expected, actual) = (kind.name(), value.type_name());
            if expected != actual {
                return Err(invalid(format!(
                    "One or more parameter values were invalid: Type mismatch for Index Key {name} Expected: {expected} Actual: \
                     {actual} IndexName: {index}"
                )));
            }
            let what = match value {
                Value::S(text) if text.is_empty() => "string",
                Value::B(bytes) if bytes.is_empty() => "binary",
                _ => continue,
            };
            return Err(invalid(format!(
                "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The \
                 AttributeValue for a key attribute cannot contain an empty {what} value. IndexName: {index}, IndexKey: {name}"
            )));
        }
        self.check_sizes(item)
    }

    fn check_values(&self, key: &Item) -> Result<(), Error> {
        for KeyAttribute { name, .. } in self.attributes() {
            let what = match key.get(name) {
                Some(Value::S(text)) if text.is_empty() => "string",
                Some(Value::B(bytes)) if bytes.is_empty() => "binary",
                _ => continue,
            };
            return Err(invalid(format!(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
                 {what} value. Key: {name}"
            )));
        }
        self.check_sizes(key)
    }

    fn check_sizes(&self, key: &Item) -> Result<(), Error> {
        let size = |attribute: &KeyAttribute| key.get(&attribute.name).map_or(0, Value::size);
        if size(&self.hash) > HASH_BYTES_MAX {
            return Err(invalid(
                "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes",
            ));
        }
        if self.range.as_ref().map_or(0, size) > RANGE_BYTES_MAX {
            return Err(invalid(
                "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of \
                 1024 bytes",
            ));
        }
        Ok(())
    }
}

impl Definition {
    /// The index of this name.
    pub fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name == name)
    }
}

impl Index {
    /// What the index holds of `item`.
    pub(crate) fn project(&self, table: &KeySchema, item: &Item) -> Item {
        let held = |name: &String| match &self.projection {
            Projection::All => true,
            Projection::KeysOnly => self.key.has(name) || table.has(name),
            Projection::Include(more) => self.key.has(name) || table.has(name) || more.contains(name),
        };
        item.iter().filter(|(name, _)| held(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}
