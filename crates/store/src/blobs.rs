//! The trait of blobs: content under its SHA-256.

use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
use std::path::PathBuf;

/// Content-addressed blobs.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores `content`; returns its SHA-256 in lower-case hexadecimal. Storing the same again costs no write.
    async fn put(&self, content: Bytes) -> Result<String, Error>;

    /// A local file with the content, for readers that map or stream it; `None` when there is no such blob.
    async fn path(&self, sha256: &str) -> Result<Option<PathBuf>, Error>;

    /// The content; `None` when there is no such blob.
    async fn get(&self, sha256: &str) -> Result<Option<Bytes>, Error>;

    /// Removes a blob; no error when there is none.
    async fn delete(&self, sha256: &str) -> Result<(), Error>;
}
