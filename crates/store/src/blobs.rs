//! The trait of blobs: content under its SHA-256, whole or in pieces.

use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
use std::path::PathBuf;

/// Content-addressed blobs.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores `content`; returns its SHA-256 in lower-case hexadecimal. Storing the same again costs no write.
    async fn put(&self, content: Bytes) -> Result<String, Error>;

    /// Begins a blob whose content comes in pieces.
    async fn begin(&self) -> Result<Box<dyn NewBlob>, Error>;

    /// A local file with the content, for readers that map or stream it; `None` when there is no such blob.
    async fn path(&self, sha256: &str) -> Result<Option<PathBuf>, Error>;

    /// The content; `None` when there is no such blob.
    async fn get(&self, sha256: &str) -> Result<Option<Bytes>, Error>;

    /// The content, to be read in pieces; `None` when there is no such blob. A reader keeps what it reads, also when the
    /// blob is deleted meanwhile.
    async fn open(&self, sha256: &str) -> Result<Option<Box<dyn BlobReader>>, Error>;

    /// Removes a blob; no error when there is none.
    async fn delete(&self, sha256: &str) -> Result<(), Error>;
}

/// A blob that is being written. Nobody sees it before `keep`; dropping it removes what was written.
#[async_trait]
pub trait NewBlob: Send {
    /// Adds `piece` at the end. After an error the blob can only be dropped.
    async fn write(&mut self, piece: Bytes) -> Result<(), Error>;

    /// SHA-256 of what was written so far.
    fn sha256(&self) -> String;

    /// Bytes written so far.
    fn bytes(&self) -> u64;

    /// The file of what was written so far, which is there as long as this lives. Fails after a write has failed.
    fn path(&self) -> Result<PathBuf, Error>;

    /// Stores it under its hash. On disk (fsync) when it returns.
    async fn keep(self: Box<Self>) -> Result<(), Error>;
}

/// An open blob. The hash of a part cannot be checked, so it is not.
#[async_trait]
pub trait BlobReader: Send {
    /// At most `length` bytes from `offset`; fewer only at the end.
    async fn read(&mut self, offset: u64, length: usize) -> Result<Bytes, Error>;
}
