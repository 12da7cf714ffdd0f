//! Buckets, objects and multipart uploads over tables and blobs. Called by the gateway's front-ends; knows nothing of HTTP.
//!
//! A change is on disk when it is answered, and is one commit: an object is never half there. Changes run to their end
//! even when whoever asked for them is gone. What is on disk is described in [`rows`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod buckets;
pub mod checksum;
mod collector;
mod content;
mod copy;
mod list;
mod objects;
mod observer;
mod reader;
mod rows;
mod uploads;

#[cfg(test)]
mod tests;

pub use buckets::{Bucket, valid_bucket_name};
pub use content::{NewContent, Received};
pub use list::{Listing, Page};
pub use objects::{About, Condition, Object, PartInfo};
pub use observer::{Cause, Change, Observer, Origin};
pub use reader::Reader;
pub use uploads::{ListedUpload, Part, PartReference, Upload};

use dayfly_store::{Store, locks::Locks};
use dayfly_types::Clock;
use std::{
    future::Future,
    sync::{Arc, OnceLock},
};
use thiserror::Error;
use tokio::sync::Notify;

/// Longest key in bytes, AWS's.
pub const KEY_BYTES_MAX: usize = 1024;
/// Most parts of an upload, AWS's.
pub const PARTS_MAX: u16 = 10_000;

/// Buckets and objects. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
    /// Who asks for the changes.
    origin: Arc<Origin>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    locks: Locks,
    /// There is something to collect.
    wake: Arc<Notify>,
    observer: OnceLock<Arc<dyn Observer>>,
}

/// Why it was not done. The texts are AWS's.
#[derive(Debug, Error)]
pub enum Error {
    /// `BucketAlreadyOwnedByYou`, or `BucketAlreadyExists` when it is another account's.
    #[error("the bucket exists")]
    BucketExists(Bucket),
    /// `NoSuchBucket`.
    #[error("The specified bucket does not exist")]
    NoSuchBucket,
    /// `BucketNotEmpty`.
    #[error("The bucket you tried to delete is not empty")]
    BucketNotEmpty,
    /// `TooManyBuckets`.
    #[error("You have attempted to create more buckets than allowed")]
    TooManyBuckets,
    /// `NoSuchKey`.
    #[error("The specified key does not exist.")]
    NoSuchKey,
    /// `NoSuchUpload`.
    #[error(
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
         completed."
    )]
    NoSuchUpload,
    /// `PreconditionFailed`.
    #[error("At least one of the pre-conditions you specified did not hold")]
    ConditionFailed,
    /// `InvalidPart`.
    #[error(
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified \
         entity tag may not match the part's entity tag."
    )]
    InvalidPart,
    /// `InvalidPartOrder`.
    #[error("The list of parts was not in ascending order. The parts list must be specified in order by part number.")]
    InvalidPartOrder,
    /// `EntityTooSmall`.
    #[error("Your proposed upload is smaller than the minimum allowed size")]
    PartTooSmall,
    /// `EntityTooLarge`.
    #[error("Your proposed upload exceeds the maximum allowed size")]
    TooLarge,
    /// `BadDigest`: the checksum of the whole is not what the client says.
    #[error("The {0} you specified did not match the calculated checksum.")]
    BadDigest(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dayfly_store::Error),
}

impl Objects {
    /// Opens the objects of `store`, and collects from now on what no object names any more.
    pub fn start(store: Store, clock: Arc<dyn Clock>) -> Self {
        let inner = Inner { store, clock, locks: Locks::default(), wake: Arc::default(), observer: OnceLock::new() };
        let objects = Self { inner: Arc::new(inner), origin: Arc::default() };
        collector::start(&objects.inner);
        objects
    }

    /// Runs a change to its end even when the client that asked for it is gone.
    async fn detached<T, F>(&self, change: impl FnOnce(Self) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        tokio::spawn(change(self.clone())).await.unwrap_or_else(|error| {
            Err(dayfly_store::Error::Engine(format!("a change of objects ended early: {error}")).into())
        })
    }
}
