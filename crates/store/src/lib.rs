//! Tables, queues and blobs behind traits, so that one machine (redb and files) and a cluster (NATS and an object
//! store) are the same to everyone above. Opened by the binary; used by scheduler, meter and gateway; never by the worker.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod blobs;
pub mod embedded;
pub mod queues;
pub mod tables;

pub use blobs::Blobs;
pub use queues::{Lease, Queues};
pub use tables::{Batch, Change, Precondition, Row, Tables};

use std::sync::Arc;
use thiserror::Error;

/// The three of one server.
#[derive(Clone)]
pub struct Store {
    /// Small values under ordered keys.
    pub tables: Arc<dyn Tables>,
    /// Durable work with leases.
    pub queues: Arc<dyn Queues>,
    /// Large content under its SHA-256.
    pub blobs: Arc<dyn Blobs>,
}

impl Store {
    /// Finishes the writes under way and lets go of the data folder. Every later call gets `Error::Closed`.
    pub async fn close(&self) {
        self.tables.close().await;
    }
}

/// Why the store did not do it.
#[derive(Debug, Error)]
pub enum Error {
    /// A precondition did not hold; nothing was changed.
    #[error("precondition failed on {table}")]
    Conflict {
        /// The table of the row.
        table: String,
    },
    /// The lease ran out and somebody else may have the message.
    #[error("the lease is gone")]
    LeaseGone,
    /// The queue holds as many messages as it may.
    #[error("the queue is full")]
    QueueFull,
    /// The content does not have the hash that was promised.
    #[error("content has SHA-256 {actual}")]
    WrongHash {
        /// Hexadecimal SHA-256 of the content.
        actual: String,
    },
    /// The key or the value is longer than the store takes. Nothing was changed.
    #[error("a key of {key_bytes} bytes with a value of {value_bytes} bytes is too large")]
    TooLarge {
        /// Length of the key.
        key_bytes: usize,
        /// Length of the value.
        value_bytes: usize,
    },
    /// Another process has the data folder open.
    #[error("{} is in use by another server", path.display())]
    InUse {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// The data was written by another version of Dayfly.
    #[error("the data has format {found}; this version of dayfly knows format {known}")]
    Format {
        /// Format of the data.
        found: u64,
        /// Format that this program reads and writes.
        known: u64,
    },
    /// The disk, or the engine.
    #[error("store failed: {0}")]
    Engine(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}
