//! Code packages in the blob store, and when they may go.
//!
//! A package is *marked* before it is stored, and whenever a function stops using it. A function that starts using it
//! removes the mark in its own commit. Sweeping a marked package deletes it unless a function uses it. Whoever is
//! about to use a package holds it; sweeping waits for them. So a crash leaves a mark, never a forgotten package, and
//! nobody loses a package between storing it and using it. (The holding is within this server: servers that share a
//! store must let one of them sweep.)

use super::rows::{CODE_MARKS, CODE_USES};
use crate::locks::Locks;
use bytes::Bytes;
use dayfly_store::{Batch, Error, Store};
use dayfly_types::CodeReference;
use sha2::{Digest, Sha256};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::OwnedRwLockReadGuard;

/// The packages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Packages {
    store: Store,
    held: Arc<Locks>,
}

/// A package that cannot be swept while this lives.
pub(super) struct Held {
    pub code: CodeReference,
    _lock: OwnedRwLockReadGuard<()>,
}

impl Packages {
    pub(super) fn new(store: Store) -> Self {
        Self { store, held: Arc::default() }
    }

    /// Stores a package and holds it.
    pub(super) async fn put(&self, zip: Bytes) -> Result<Held, Error> {
        let hashed = zip.clone();
        let sha256 = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&hashed)))
            .await
            .map_err(|error| Error::Engine(format!("hashing a package: {error}")))?;
        let lock = self.held.read(&sha256).await;
        self.store.tables.commit(Batch::new().put(CODE_MARKS, sha256.clone(), Bytes::new())).await?;
        let size_bytes = zip.len() as u64;
        self.store.blobs.put(zip).await?;
        Ok(Held { code: CodeReference { sha256, size_bytes }, _lock: lock })
    }

    /// The package as a file.
    pub(super) async fn path(&self, sha256: &str) -> Result<PathBuf, Error> {
        self.store.blobs.path(sha256).await?.ok_or_else(|| gone(sha256))
    }

    /// The package.
    pub(super) async fn get(&self, sha256: &str) -> Result<Bytes, Error> {
        self.store.blobs.get(sha256).await?.ok_or_else(|| gone(sha256))
    }

    /// Deletes the package unless a function uses it. Must not be called by who holds it.
    pub(super) async fn sweep(&self, sha256: &str) -> Result<(), Error> {
        let _alone = self.held.write(sha256).await;
        let (from, to) = (format!("{sha256}/"), format!("{sha256}0"));
        if self.store.tables.scan(CODE_USES, from.as_bytes(), to.as_bytes(), 1, false).await?.is_empty() {
            self.store.blobs.delete(sha256).await?;
        }
        self.store.tables.commit(Batch::new().delete(CODE_MARKS, sha256.to_owned())).await
    }

    /// Sweeps what a server that died had marked.
    pub(super) async fn sweep_marked(&self) -> Result<(), Error> {
        loop {
            let marks = self.store.tables.scan(CODE_MARKS, b"", &[0xff], 100, false).await?;
            for mark in &marks {
                self.sweep(&String::from_utf8_lossy(&mark.key)).await?;
            }
            if marks.len() < 100 {
                return Ok(());
            }
        }
    }
}

fn gone(sha256: &str) -> Error {
    Error::Engine(format!("code package {sha256} is not in the store"))
}
