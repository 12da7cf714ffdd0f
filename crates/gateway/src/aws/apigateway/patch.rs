//! Patch operations: `{"op": "replace", "path": "/name", "value": "…"}`.

use super::{Call, error::bad_request};
use crate::aws::Error;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Patches {
    #[serde(default)]
    patch_operations: Vec<Patch>,
}

/// One change.
#[derive(Debug, Clone, Deserialize)]
pub struct Patch {
    pub op: Op,
    pub path: String,
    pub value: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// The patches of a request.
pub fn read(call: &Call<'_>) -> Result<Vec<Patch>, Error> {
    Ok(call.body::<Patches>()?.patch_operations)
}

/// What AWS shows of something, with the patches made. Only `places` may be changed; one that ends with a slash is a map.
pub fn on(shown: Value, patches: &[Patch], places: &[&str]) -> Result<Map<String, Value>, Error> {
    let Value::Object(mut shown) = shown else { return Err(Error::internal("what is changed is no object")) };
    for patch in patches {
        let parts = patch.parts();
        let (object, key) = match parts.as_slice() {
            [name] if places.iter().any(|place| place.strip_prefix('/') == Some(name)) => (&mut shown, name),
            [map, name] if places.contains(&format!("/{map}/").as_str()) => {
                let inner = shown.entry(map.clone()).or_insert_with(|| Value::Object(Map::new()));
                (inner.as_object_mut().ok_or_else(|| patch.refuse())?, name)
            }
            _ => return Err(patch.refuse()),
        };
        match patch.op {
            Op::Remove => drop(object.remove(key)),
            _ => drop(object.insert(key.clone(), Value::String(patch.value()?.to_owned()))),
        }
    }
    Ok(shown)
}

impl Patch {
    /// The path's parts, with `~1` as `/` and `~0` as `~`.
    pub fn parts(&self) -> Vec<String> {
        let parts = self.path.split('/').skip(1);
        parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
    }

    /// The new value.
    pub fn value(&self) -> Result<&str, Error> {
        self.value
            .as_deref()
            .ok_or_else(|| bad_request(format!("Invalid patch operation: {} needs a value", self.path)))
    }

    /// The new value, or none when it is removed.
    pub fn optional(&self) -> Option<String> {
        self.value.clone().filter(|value| self.op != Op::Remove && !value.is_empty())
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Result<bool, Error> {
        self.value()?.parse().map_err(|_| bad_request(format!("Invalid patch value for {}: not a boolean", self.path)))
    }

    /// Sets or removes an entry of a map.
    pub fn apply(&self, map: &mut BTreeMap<String, String>, key: String) -> Result<(), Error> {
        match self.op {
            Op::Remove => drop(map.remove(&key)),
            _ => drop(map.insert(key, self.value()?.to_owned())),
        }
        Ok(())
    }

    /// A path that cannot be changed.
    pub fn refuse(&self) -> Error {
        let path: String = self.path.chars().take(200).collect();
        bad_request(format!("Invalid patch path {path}"))
    }
}
