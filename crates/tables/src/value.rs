//! Attribute values and items: DynamoDB's types, their form in JSON, and how much they count.

use crate::{Error, invalid, number::Number};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

/// Deepest nesting of lists and maps.
const LEVELS_MAX: usize = 32;

/// An item: values by the names of attributes.
pub type Item = BTreeMap<String, Value>;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    S(String),
    /// A number.
    N(Number),
    /// Bytes.
    B(Vec<u8>),
    /// True or false.
    Bool(bool),
    /// Nothing.
    Null,
    /// Values by name.
    M(Item),
    /// Values in order.
    L(Vec<Value>),
    /// A set of texts.
    Ss(BTreeSet<String>),
    /// A set of numbers.
    Ns(BTreeSet<Number>),
    /// A set of byte strings.
    Bs(BTreeSet<Vec<u8>>),
}

impl Value {
    /// Reads a value in the form that requests have, `{"S": "text"}`.
    pub fn from_json(json: Json) -> Result<Self, Error> {
        read(json, 0)
    }

    /// Its type, as the form in JSON calls it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::S(_) => "S",
            Self::N(_) => "N",
            Self::B(_) => "B",
            Self::Bool(_) => "BOOL",
            Self::Null => "NULL",
            Self::M(_) => "M",
            Self::L(_) => "L",
            Self::Ss(_) => "SS",
            Self::Ns(_) => "NS",
            Self::Bs(_) => "BS",
        }
    }

    /// Bytes that DynamoDB counts for it.
    pub fn size(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.size(),
            Self::B(bytes) => bytes.len(),
            Self::Bool(_) | Self::Null => 1,
            Self::M(map) => 3 + map.iter().map(|(name, value)| name.len() + value.size() + 1).sum::<usize>(),
            Self::L(list) => 3 + list.iter().map(|value| value.size() + 1).sum::<usize>(),
            Self::Ss(set) => set.iter().map(String::len).sum(),
            Self::Ns(set) => set.iter().map(|number| number.size()).sum(),
            Self::Bs(set) => set.iter().map(Vec::len).sum(),
        }
    }

    /// How deep lists and maps are nested in it.
    pub fn levels(&self) -> usize {
        match self {
            Self::M(map) => 1 + map.values().map(Self::levels).max().unwrap_or(0),
            Self::L(list) => 1 + list.iter().map(Self::levels).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// Refuses what is nested deeper than may be; updates can build such values.
pub fn check_levels(item: &Item) -> Result<(), Error> {
    if item.values().any(|value| value.levels() > LEVELS_MAX) {
        return Err(too_deep());
    }
    Ok(())
}

/// Reads an item or a key.
pub fn item_from_json(json: Json) -> Result<Item, Error> {
    let Json::Object(members) = json else { return Err(Error::Serialization("an item is a map".into())) };
    members.into_iter().map(|(name, value)| Ok((name, read(value, 0)?))).collect()
}

/// Bytes that DynamoDB counts for an item.
pub fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.size()).sum()
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        let name = self.type_name();
        match self {
            Self::S(text) => map.serialize_entry(name, text)?,
            Self::N(number) => map.serialize_entry(name, &number.to_string())?,
            Self::B(bytes) => map.serialize_entry(name, &STANDARD.encode(bytes))?,
            Self::Bool(is) => map.serialize_entry(name, is)?,
            Self::Null => map.serialize_entry(name, &true)?,
            Self::M(values) => map.serialize_entry(name, values)?,
            Self::L(values) => map.serialize_entry(name, values)?,
            Self::Ss(set) => map.serialize_entry(name, set)?,
            Self::Ns(set) => map.serialize_entry(name, &set.iter().map(Number::to_string).collect::<Vec<_>>())?,
            Self::Bs(set) => map.serialize_entry(name, &set.iter().map(|b| STANDARD.encode(b)).collect::<Vec<_>>())?,
        }
        map.end()
    }
}

fn read(json: Json, level: usize) -> Result<Value, Error> {
    let Json::Object(members) = json else {
        return Err(Error::Serialization("an attribute value is a map of a type to a value".into()));
    };
    // Some clients send the types that are not meant as null.
    let mut members = members.into_iter().filter(|(_, value)| !value.is_null());
    let Some((kind, value)) = members.next() else {
        return Err(invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"));
    };
    if members.next().is_some() {
        return Err(invalid(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
        ));
    }
    if level > LEVELS_MAX {
        return Err(too_deep());
    }
    Ok(match (kind.as_str(), value) {
        ("S", Json::String(text)) => Value::S(text),
        ("N", Json::String(text)) => Value::N(number(&text)?),
        ("B", Json::String(text)) => Value::B(bytes(&text)?),
        ("BOOL", Json::Bool(is)) => Value::Bool(is),
        ("NULL", Json::Bool(true)) => Value::Null,
        ("NULL", Json::Bool(false)) => {
            return Err(invalid(
                "One or more parameter values were invalid: Null attribute value types must have the value of true",
            ));
        }
        ("M", Json::Object(members)) => {
            let read = |(name, value)| Ok((name, read(value, level + 1)?));
            Value::M(members.into_iter().map(read).collect::<Result<_, Error>>()?)
        }
        ("L", Json::Array(values)) => {
            Value::L(values.into_iter().map(|value| read(value, level + 1)).collect::<Result<_, _>>()?)
        }
        ("SS", Json::Array(values)) => {
            Value::Ss(set(values, "An string set  may not be empty", |text| Ok(text.to_owned()))?)
        }
        ("NS", Json::Array(values)) => Value::Ns(set(values, "An number set  may not be empty", number)?),
        ("BS", Json::Array(values)) => Value::Bs(set(values, "Binary sets should not be empty", bytes)?),
        ("S" | "N" | "B" | "BOOL" | "NULL" | "M" | "L" | "SS" | "NS" | "BS", _) => {
            return Err(Error::Serialization(format!("the value of an attribute of type {kind} has another type")));
        }
        _ => {
            return Err(invalid(
                "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
            ));
        }
    })
}

fn set<T: Ord + Debug>(
    values: Vec<Json>,
    empty: &str,
    read: impl Fn(&str) -> Result<T, Error>,
) -> Result<BTreeSet<T>, Error> {
    if values.is_empty() {
        return Err(invalid(format!("One or more parameter values were invalid: {empty}")));
    }
    let mut set = BTreeSet::new();
    for value in &values {
        let text = value.as_str().ok_or_else(|| Error::Serialization("a member of a set is not a string".into()))?;
        if !set.insert(read(text)?) {
            let all: Vec<&str> = values.iter().filter_map(Json::as_str).collect();
            let all: String = all.join(", ").chars().take(200).collect();
            let message =
                format!("One or more parameter values were invalid: Input collection [{all}] contains duplicates.");
            return Err(invalid(message));
        }
    }
    Ok(set)
}

fn number(text: &str) -> Result<Number, Error> {
    text.parse().map_err(Error::Validation)
}

fn bytes(text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|_| Error::Serialization("binary data is not in base64".into()))
}

fn too_deep() -> Error {
    invalid("Nesting Levels have exceeded supported limits: Attributes have more than 32 nested levels")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_and_written_back() {
        for json in [
            json!({"S": ""}),
            json!({"N": "-1.5"}),
            json!({"B": "AAE="}),
            json!({"BOOL": false}),
            json!({"NULL": true}),
            json!({"SS": ["a", "b"]}),
            json!({"NS": ["1", "2"]}),
            json!({"BS": ["AA==", "AQ=="]}),
            json!({"M": {"a": {"L": [{"S": "x"}, {"M": {}}]}}}),
        ] {
            let value = Value::from_json(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&value).unwrap(), json);
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let mut deep = json!({"S": ""});
        for _ in 0..33 {
            deep = json!({"L": [deep]});
        }
        for bad in [
            json!({}),
            json!({"X": "1"}),
            json!({"S": "a", "N": "1"}),
            json!({"S": 1}),
            json!({"N": "one"}),
            json!({"B": "!"}),
            json!({"NULL": false}),
            json!({"SS": []}),
            json!({"NS": ["1", "1.0"]}),
            json!({"BS": [1]}),
            json!("text"),
            deep,
        ] {
            assert!(Value::from_json(bad.clone()).is_err(), "{bad}");
        }
    }
}
