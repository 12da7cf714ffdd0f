//! ConsumedCapacity, as DynamoDB reckons it: 4 KB a unit read, half of that when the read need not be consistent, 1 KB a unit
//! written, twice that in a transaction.

use super::error::{constraint, short};
use dayfly_tables::Error;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a request wants to know of what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Nothing,
    Total,
    Indexes,
}

impl Asked {
    pub fn of(text: Option<&str>) -> Result<Self, Error> {
        match text {
            None | Some("NONE") => Ok(Self::Nothing),
            Some("TOTAL") => Ok(Self::Total),
            Some("INDEXES") => Ok(Self::Indexes),
            Some(other) => Err(constraint(
                Some(&short(other)),
                "returnConsumedCapacity",
                "Member must satisfy enum value set: [INDEXES, TOTAL, NONE]",
            )),
        }
    }

    /// Adds to an answer what one table used.
    pub fn tell(self, answer: &mut Value, table: &str, units: f64) {
        if self != Self::Nothing {
            answer["ConsumedCapacity"] = self.shown(table, units);
        }
    }

    /// Adds to an answer what several tables used.
    pub fn tell_all(self, answer: &mut Value, units: &BTreeMap<String, f64>) {
        if self != Self::Nothing {
            answer["ConsumedCapacity"] = units.iter().map(|(table, units)| self.shown(table, *units)).collect();
        }
    }

    fn shown(self, table: &str, units: f64) -> Value {
        let mut shown = json!({"TableName": table, "CapacityUnits": units});
        if self == Self::Indexes {
            shown["Table"] = json!({"CapacityUnits": units});
        }
        shown
    }
}

/// Units of a read of `bytes`.
#[allow(clippy::cast_precision_loss)] // far below 2^52
pub fn read_units(bytes: usize, consistent: bool) -> f64 {
    bytes.div_ceil(4096).max(1) as f64 * if consistent { 1.0 } else { 0.5 }
}

/// Units of a write of `bytes`.
#[allow(clippy::cast_precision_loss)] // far below 2^52
pub fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(1024).max(1) as f64
}
