//! Tables, queues and blobs behind traits, so that one machine (redb and files) and a cluster (NATS and an object
//! store) are the same to everyone above. Opened by the binary; used by scheduler, meter and gateway; never by the worker.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod blobs;
pub mod embedded;
pub mod locks;
pub mod queues;
pub mod shared;
pub mod tables;

pub use blobs::{BlobReader, Blobs, NewBlob};
pub use queues::{Lease, Queues};
pub use shared::SharedBlobs;
pub use tables::{Batch, Change, Pages, Precondition, Row, Tables, after};

use std::sync::Arc;
use thiserror::Error;

/// The parts of one server's store.
#[derive(Clone)]
pub struct Store {
    /// Small values under ordered keys.
    pub tables: Arc<dyn Tables>,
    /// Durable work with leases.
    pub queues: Arc<dyn Queues>,
    /// Large content under its SHA-256.
    pub blobs: Arc<dyn Blobs>,
    /// The same content, with users and without what nobody uses.
    pub shared: SharedBlobs,
}

impl Store {
    /// A store of these parts.
    pub fn new(tables: Arc<dyn Tables>, queues: Arc<dyn Queues>, blobs: Arc<dyn Blobs>) -> Self {
        let shared = SharedBlobs::new(tables.clone(), blobs.clone());
        Self { tables, queues, blobs, shared }
    }

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
    /// The disk, or the share of it that the server may use, is full. Nothing was changed.
    #[error("no space left: {0}")]
    Full(String),
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
