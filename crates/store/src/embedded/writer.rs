//! The writer thread: takes all the writes that wait, applies them in one redb transaction, makes it durable with one
//! fsync, then answers each. So the cost of an fsync is shared by everyone who waited for the one before.

use super::{engine::Shared, transaction};
use crate::{Batch, Error, Lease};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Most writes in one transaction, so that the first of them does not wait long.
const GROUP_MAX: usize = 512;
/// Most bytes in one transaction (one write may exceed it alone).
const GROUP_BYTES_MAX: usize = 16 << 20;

/// A write, and where its answer goes.
pub(super) struct Request {
    pub work: Work,
    pub reply: oneshot::Sender<Result<(), Error>>,
}

/// What to write.
pub(super) enum Work {
    Commit(Batch),
    Enqueue { queue: String, body: Bytes, visible_us: i64, capacity: u64 },
    Acknowledge { taken: Taken, batch: Batch },
    PutBack { taken: Taken, body: Bytes, visible_us: i64, batch: Batch },
    Purge { queue: String },
}

/// A lease without its body.
pub(super) struct Taken {
    pub queue: String,
    pub id: u64,
    pub generation: u64,
}

impl From<&Lease> for Taken {
    fn from(lease: &Lease) -> Self {
        Self { queue: lease.queue.clone(), id: lease.id, generation: lease.generation }
    }
}

impl Work {
    fn bytes(&self) -> usize {
        let batch = |batch: &Batch| {
            batch.writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Bytes::len)).sum()
        };
        match self {
            Self::Commit(writes) | Self::Acknowledge { batch: writes, .. } => batch(writes),
            Self::Enqueue { body, .. } => body.len(),
            Self::PutBack { body, batch: writes, .. } => body.len() + batch(writes),
            Self::Purge { .. } => 0,
        }
    }
}

/// The thread's life: ends when nobody can send any more and all that was sent is answered.
pub(super) fn run(shared: &Shared, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.blocking_recv() {
        let mut bytes = first.work.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(next) = requests.try_recv() else { break };
            bytes += next.work.bytes();
            group.push(next);
        }
        let (works, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|request| (request.work, request.reply)).unzip();
        let results = transaction::commit(shared, works);
        for (reply, result) in replies.into_iter().zip(results) {
            // An error means that the caller no longer waits.
            let _ = reply.send(result);
        }
    }
    shared.file.close();
}
