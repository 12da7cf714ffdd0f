//! Code packages in the blob store. A function is a user of its package; see [`dayfly_store::shared`] for when a package
//! goes.

use bytes::Bytes;
use dayfly_store::{Error, Store, shared};
use dayfly_types::CodeReference;
use std::path::PathBuf;

/// The packages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Packages {
    store: Store,
}

/// A package that cannot be swept while this lives.
pub(super) struct Held {
    pub code: CodeReference,
    _held: shared::Held,
}

impl Packages {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Stores a package and holds it.
    pub(super) async fn put(&self, zip: Bytes) -> Result<Held, Error> {
        let size_bytes = zip.len() as u64;
        let held = self.store.shared.put(zip).await?;
        Ok(Held { code: CodeReference { sha256: held.sha256.clone(), size_bytes }, _held: held })
    }

    /// Holds a package that somebody uses, for another use.
    pub(super) async fn hold(&self, code: &CodeReference) -> Held {
        Held { code: code.clone(), _held: self.store.shared.hold(&code.sha256).await }
    }

    /// The package as a file.
    pub(super) async fn path(&self, sha256: &str) -> Result<PathBuf, Error> {
        self.store.blobs.path(sha256).await?.ok_or_else(|| gone(sha256))
    }

    /// The package.
    pub(super) async fn get(&self, sha256: &str) -> Result<Bytes, Error> {
        self.store.blobs.get(sha256).await?.ok_or_else(|| gone(sha256))
    }

    /// Deletes the package unless somebody uses it. Must not be called by who holds it.
    pub(super) async fn sweep(&self, sha256: &str) -> Result<(), Error> {
        self.store.shared.sweep(sha256).await
    }
}

fn gone(sha256: &str) -> Error {
    Error::Engine(format!("code package {sha256} is not in the store"))
}
