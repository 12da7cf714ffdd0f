//! The trait of queues: durable messages with leases. A message is delivered at least once and until it is acknowledged.

use crate::{Batch, Error};
use async_trait::async_trait;
use bytes::Bytes;
use dayfly_types::Timestamp;

/// Durable queues by name.
#[async_trait]
pub trait Queues: Send + Sync + 'static {
    /// Adds a message that becomes visible at `visible_at`. On disk (fsync) when it returns.
    /// `Error::QueueFull` when the queue holds `capacity` messages already.
    async fn enqueue(&self, queue: &str, body: Bytes, visible_at: Timestamp, capacity: u64) -> Result<(), Error>;

    /// Takes at most `limit` visible messages, oldest visibility first, and hides them until `until`. A lease need not
    /// survive a restart: after one, its messages are visible again at their former time.
    async fn lease(&self, queue: &str, now: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<Lease>, Error>;

    /// The earliest time at which a message is or becomes visible; `None` when the queue is empty.
    async fn next_visible(&self, queue: &str) -> Result<Option<Timestamp>, Error>;

    /// Removes the message, and applies `batch` in the same commit. `Error::LeaseGone` when the lease is not current.
    async fn acknowledge(&self, lease: &Lease, batch: Batch) -> Result<(), Error>;

    /// Puts the message back with a new body (its attempt counted, say), visible at `visible_at`, and applies `batch` in
    /// the same commit. On disk when it returns.
    async fn put_back(&self, lease: &Lease, body: Bytes, visible_at: Timestamp, batch: Batch) -> Result<(), Error>;

    /// Names of the queues that hold messages.
    async fn names(&self) -> Result<Vec<String>, Error>;

    /// Messages in the queue, leased ones included.
    async fn len(&self, queue: &str) -> Result<u64, Error>;

    /// Drops the queue and all its messages.
    async fn purge(&self, queue: &str) -> Result<(), Error>;
}

/// A message in hand.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The queue.
    pub queue: String,
    /// The message's id within the queue; stays the same over `put_back`s.
    pub id: u64,
    /// Which taking of the message this is.
    pub generation: u64,
    /// The body.
    pub body: Bytes,
}
