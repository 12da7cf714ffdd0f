//! Blobs with several users, and when they may go.
//!
//! A blob is *marked* before it is stored, and whenever a user stops using it. Who starts using it removes the mark in
//! the commit that says so ([`used`]). Sweeping a marked blob deletes it unless somebody uses it. Whoever is about to use
//! a blob holds it; sweeping waits for them. So a crash leaves a mark, never a forgotten blob, and nobody loses a blob
//! between storing it and using it. (The holding is within this server: servers that share a store must let one of them
//! sweep.)
//!
//! | table | key | value |
//! |---|---|---|
//! | `blob_uses` | `SHA256/USER` | empty: this user needs this blob |
//! | `blob_marks` | `SHA256` | empty: perhaps nobody needs this blob |

use crate::{Batch, Blobs, Error, NewBlob, Tables, locks::Locks};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::OwnedRwLockReadGuard;

const USES: &str = "blob_uses";
const MARKS: &str = "blob_marks";
/// Marks read at a time.
const PAGE: usize = 100;

/// The blobs that have users. Cheap to clone.
#[derive(Clone)]
pub struct SharedBlobs {
    tables: Arc<dyn Tables>,
    blobs: Arc<dyn Blobs>,
    held: Arc<Locks>,
}

/// A blob that cannot be swept while this lives.
pub struct Held {
    /// Its hash.
    pub sha256: String,
    _lock: OwnedRwLockReadGuard<()>,
}

impl SharedBlobs {
    pub(crate) fn new(tables: Arc<dyn Tables>, blobs: Arc<dyn Blobs>) -> Self {
        Self { tables, blobs, held: Arc::default() }
    }

    /// Stores `content` and holds it.
    pub async fn put(&self, content: Bytes) -> Result<Held, Error> {
        let hashed = content.clone();
        let sha256 = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&hashed)))
            .await
            .map_err(|error| Error::Engine(format!("hashing a blob: {error}")))?;
        let held = self.hold(&sha256).await;
        self.mark(&sha256).await?;
        self.blobs.put(content).await?;
        Ok(held)
    }

    /// Stores a blob that came in pieces and holds it.
    pub async fn keep(&self, new: Box<dyn NewBlob>) -> Result<Held, Error> {
        let held = self.hold(&new.sha256()).await;
        self.mark(&held.sha256).await?;
        new.keep().await?;
        Ok(held)
    }

    /// Holds a blob that somebody uses, for another use.
    pub async fn hold(&self, sha256: &str) -> Held {
        Held { sha256: sha256.to_owned(), _lock: self.held.read(sha256).await }
    }

    /// Deletes the blob unless somebody uses it. Must not be called by who holds it.
    pub async fn sweep(&self, sha256: &str) -> Result<(), Error> {
        let _alone = self.held.write(sha256).await;
        let (from, to) = (format!("{sha256}/"), format!("{sha256}0")); // '0' follows '/'
        if self.tables.scan(USES, from.as_bytes(), to.as_bytes(), 1, false).await?.is_empty() {
            self.blobs.delete(sha256).await?;
        }
        self.tables.commit(Batch::new().delete(MARKS, sha256.to_owned())).await
    }

    /// Sweeps what is marked: what a server that died had marked, and what failed to be swept.
    pub async fn sweep_marked(&self) -> Result<(), Error> {
        let mut from = Vec::new();
        loop {
            let marks = self.tables.scan(MARKS, &from, &[0xff], PAGE, false).await?;
            for mark in &marks {
                self.sweep(&String::from_utf8_lossy(&mark.key)).await?;
            }
            match marks.last() {
                Some(last) if marks.len() == PAGE => from = last.key.to_vec(),
                _ => return Ok(()),
            }
        }
    }

    async fn mark(&self, sha256: &str) -> Result<(), Error> {
        self.tables.commit(Batch::new().put(MARKS, sha256.to_owned(), Bytes::new())).await
    }
}

/// Adds to `batch` that `user` uses the blob, which must be held until the batch is committed.
#[must_use]
pub fn used(batch: Batch, sha256: &str, user: &str) -> Batch {
    batch.put(USES, format!("{sha256}/{user}"), Bytes::new()).delete(MARKS, sha256.to_owned())
}

/// Adds to `batch` that `user` no longer uses the blob. Whoever commits it sweeps the blob afterwards.
#[must_use]
pub fn unused(batch: Batch, sha256: &str, user: &str) -> Batch {
    batch.delete(USES, format!("{sha256}/{user}")).put(MARKS, sha256.to_owned(), Bytes::new())
}
