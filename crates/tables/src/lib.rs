//! Tables of items with keys, as DynamoDB has them, over the store: items, expressions, secondary indexes, queries, transactions
//! and expiry. Called by the gateway's front-end; knows nothing of HTTP.
//!
//! A change is on disk when it is answered, and is one commit with its indexes; a condition and its write are one. What was
//! answered is seen by every later read. What is on disk is described in [`rows`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod count;
pub mod expression;
mod items;
mod number;
mod query;
mod rows;
mod schema;
mod sweeper;
mod tables;
mod transaction;
mod value;

#[cfg(test)]
mod tests;

pub use count::Count;
pub use items::{Change, Write, Written};
pub use number::Number;
pub use query::{Page, Read, Span};
pub use schema::{Definition, Index, KeyAttribute, KeyKind, KeySchema, Projection, TableName};
pub use tables::Table;
pub use transaction::Token;
pub use value::{Item, Value, item_from_json, item_size};

use dayfly_store::{Store, locks::Locks};
use dayfly_types::Clock;
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};
use thiserror::Error;
use tokio::sync::Notify;

/// Largest item in bytes, as DynamoDB counts them.
pub const ITEM_BYTES_MAX: usize = 400 << 10;

/// The tables of a store. Cheap to clone.
#[derive(Clone)]
pub struct Tables {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    tables: RwLock<BTreeMap<TableName, Arc<Table>>>,
    /// Held by who makes or deletes a table.
    changing: tokio::sync::Mutex<()>,
    /// One for each item that is being changed, by its row's key.
    locks: Locks,
    /// There is something to sweep.
    left: Notify,
}

/// Why it was not done. The texts are AWS's.
#[derive(Debug, Error)]
pub enum Error {
    /// `ValidationException`.
    #[error("{0}")]
    Validation(String),
    /// `SerializationException`: the request has another shape.
    #[error("{0}")]
    Serialization(String),
    /// `ResourceNotFoundException`.
    #[error("{0}")]
    NotFound(String),
    /// `ResourceInUseException`.
    #[error("{0}")]
    InUse(String),
    /// `LimitExceededException`.
    #[error("{0}")]
    Limit(String),
    /// `ConditionalCheckFailedException`, with the item as it is when the write asked for it.
    #[error("The conditional request failed")]
    Condition(Option<Box<Item>>),
    /// `TransactionCanceledException`: for each write why it was not done, if it was the cause.
    #[error("Transaction cancelled, please refer cancellation reasons for specific reasons")]
    Cancelled(Vec<Option<Error>>),
    /// `IdempotentParameterMismatchException`.
    #[error("A transaction with this token was another one")]
    OtherTransaction,
    /// `TransactionConflictException`: others change the same items all the time.
    #[error("Transaction is ongoing for the item")]
    Conflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dayfly_store::Error),
}

/// `ValidationException`.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::Validation(message.into())
}
