//! How tables and items lie in the store.
//!
//! | table | key | value |
//! |---|---|---|
//! | `dynamodb_tables` | account `/` region `/` name | [`Definition`](crate::Definition), JSON |
//! | `dynamodb_items` | table id (16) *place* | the item, JSON |
//! | `dynamodb_indexes` | index id (16) *place in the index* *place* | what the index holds of the item, JSON |
//! | `dynamodb_expiry` | table id (16) seconds (8) *place* | empty: when this item expires |
//! | `dynamodb_left` | table id or index id | empty: its rows are to be removed |
//! | `dynamodb_tokens` | account `/` SHA-256 of a transaction's token | when it is forgotten, and SHA-256 of the request |
//!
//! A *place* is the first 16 bytes of the partition key's SHA-256, then the sort key in bytes that sort as its values do. So the
//! items of one partition lie together in order, and partitions lie in no order, as in DynamoDB. A *place in the index* ends
//! where it ends: no other begins with it.

use crate::{Definition, Index, Item, KeySchema, Value};
use dayfly_store::Error as StoreError;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub(crate) const TABLES: &str = "dynamodb_tables";
pub(crate) const ITEMS: &str = "dynamodb_items";
pub(crate) const INDEXES: &str = "dynamodb_indexes";
pub(crate) const EXPIRY: &str = "dynamodb_expiry";
pub(crate) const LEFT: &str = "dynamodb_left";
pub(crate) const TOKENS: &str = "dynamodb_tokens";

/// Bytes of an id and of a partition's hash.
pub(crate) const ID_BYTES: usize = 16;

/// The bytes that a partition's rows begin with, after the id.
pub(crate) fn partition(value: &Value) -> [u8; ID_BYTES] {
    let hash = Sha256::digest([value.type_name().as_bytes(), &sort_bytes(value)].concat());
    std::array::from_fn(|at| hash[at])
}

/// Bytes that sort as the values of a sort key do. A text's or a byte string's may be the beginning of another's.
pub(crate) fn sort_bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::S(text) => text.as_bytes().to_vec(),
        Value::N(number) => number.sortable(),
        Value::B(bytes) => bytes.clone(),
        // No key has another type.
        _ => Vec::new(),
    }
}

/// The same, zeros doubled, so that an end can be marked (see [`end`]).
pub(crate) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out
}

/// Two bytes that sort before everything that can follow in [`escaped`].
pub(crate) const END: [u8; 2] = [0, 0];

/// A table's key as a place. The key must have been checked.
pub(crate) fn place(schema: &KeySchema, key: &Item) -> Vec<u8> {
    let mut place = key.get(&schema.hash.name).map(partition).unwrap_or_default().to_vec();
    if let Some(range) = schema.range.as_ref().and_then(|range| key.get(&range.name)) {
        place.extend(sort_bytes(range));
    }
    place
}

/// Key of an item's row.
pub(crate) fn item_key(definition: &Definition, place: &[u8]) -> Vec<u8> {
    [definition.id.as_bytes(), place].concat()
}

/// Key of an item's row in an index; `None` when the item has not all attributes of the index's key.
pub(crate) fn index_key(index: &Index, item: &Item, place: &[u8]) -> Option<Vec<u8>> {
    let mut key = [index.id.as_bytes(), &partition(item.get(&index.key.hash.name)?)[..]].concat();
    if let Some(range) = &index.key.range {
        key.extend(escaped(&sort_bytes(item.get(&range.name)?)));
        key.extend(END);
    }
    key.extend(place);
    Some(key)
}

/// Key of an item's row in the index of expiry; `None` when it does not expire.
pub(crate) fn expiry_key(definition: &Definition, item: &Item, place: &[u8]) -> Option<Vec<u8>> {
    let Some(Value::N(seconds)) = item.get(definition.expiry.as_ref()?) else { return None };
    let seconds = u64::try_from(seconds.to_i64()?).ok()?;
    Some([definition.id.as_bytes(), &seconds.to_be_bytes()[..], place].concat())
}

/// The first key after all that begin with `prefix`, which is not all 0xff.
pub(crate) fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    end
}

pub(crate) fn id_range(id: Uuid) -> (Vec<u8>, Vec<u8>) {
    (id.as_bytes().to_vec(), after_all(id.as_bytes()))
}

pub(crate) fn item_to_row(item: &Item) -> Vec<u8> {
    // Text keys and plain values: there is nothing in an item that JSON cannot hold.
    serde_json::to_vec(item).expect("an item is JSON")
}

pub(crate) fn item_of_row(value: &[u8]) -> Result<Item, StoreError> {
    let odd = |error: String| StoreError::Engine(format!("unreadable row of {ITEMS}: {error}"));
    let json: Json = serde_json::from_slice(value).map_err(|error| odd(error.to_string()))?;
    crate::value::item_from_json(json).map_err(|error| odd(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_bytes_sort_as_they_did_and_end() {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for a in [None, Some(0_u8), Some(1), Some(0xff)] {
            for b in [None, Some(0_u8), Some(1), Some(0xff)] {
                all.push(a.into_iter().chain(b).collect());
            }
        }
        all.sort();
        all.dedup();
        let ended = |bytes: &[u8]| [escaped(bytes), END.to_vec(), vec![0xff; 8]].concat();
        for pair in all.windows(2) {
            assert!(ended(&pair[0]) < ended(&pair[1]), "{pair:?}");
        }
        assert_eq!(after_all(&[1, 0xff, 0xff]), [2]);
    }
}
