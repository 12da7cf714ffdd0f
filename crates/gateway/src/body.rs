//! Reads a request's body, within bounds of size, time and memory.

use crate::Patience;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

/// Slowest client that is served, over the whole body.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;
/// Longest wait for memory that other requests hold.
const MEMORY_WAIT: Duration = Duration::from_secs(10);
/// A body over its limit is read to its end up to this size, so that the client gets to read the answer.
const DRAIN_BYTES: u64 = 256 << 20;

/// How much of the body of a request that was refused by its head is read.
const DISCARD_BYTES: u64 = 8 << 20;

/// Why there is no body.
#[derive(Debug, Error)]
pub enum Error {
    /// Over the limit. The rest of it was thrown away as it came.
    #[error("{actual} bytes are more than {limit}")]
    TooLarge {
        /// Bytes received or announced.
        actual: u64,
        /// Most bytes allowed.
        limit: u64,
    },
    /// The client is too slow.
    #[error("the body came too slowly")]
    TooSlow,
    /// The memory for bodies is in use.
    #[error("no memory for another body")]
    Busy,
    /// The connection broke, or the body's framing is wrong.
    #[error("the body broke off: {0}")]
    Broken(#[from] hyper::Error),
}

/// The memory that the bodies of one listener may take together.
#[derive(Clone)]
pub struct Memory(Arc<Semaphore>);

/// A body, and its part of the memory.
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Room for `bytes`, in units of a KiB.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(bytes >> 10).unwrap_or(usize::MAX >> 3))))
    }

    /// A part of the memory, until it is dropped. Waits for a while when others have it.
    pub async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let units = u32::try_from(bytes.div_ceil(1 << 10)).map_err(|_| Error::Busy)?;
        let permit = timeout(MEMORY_WAIT, self.0.clone().acquire_many_owned(units)).await;
        permit.ok().and_then(Result::ok).ok_or(Error::Busy)
    }
}

/// Reads `body`, at most `limit` bytes.
pub async fn read(mut body: Incoming, limit: u64, memory: &Memory, patience: &Patience) -> Result<Held, Error> {
    if body.is_end_stream() {
        return Ok(Held { bytes: Bytes::new(), _memory: None });
    }
    let announced = body.size_hint().exact();
    let deadline = deadline(announced.unwrap_or(limit), patience);
    if let Some(actual) = announced.filter(|announced| *announced > limit) {
        return Err(refuse(body, actual, limit, 0, (deadline, patience)).await);
    }
    let permit = memory.take(announced.unwrap_or(limit)).await?;
    let mut whole = Whole::Nothing;
    while let Some(data) = frame(&mut body, deadline, patience).await? {
        let received = whole.len() as u64 + data.len() as u64;
        if received > limit {
            drop(whole);
            return Err(refuse(body, received, limit, received, (deadline, patience)).await);
        }
        whole = whole.and(data, announced);
    }
    Ok(Held { bytes: whole.finish(), _memory: Some(permit) })
}

/// When a body of so many bytes must have come.
pub fn deadline(bytes: u64, patience: &Patience) -> Instant {
    Instant::now() + patience.grace + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN)
}

/// A body that came in one piece, as most do, is not copied.
enum Whole {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Whole {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn and(self, data: Bytes, announced: Option<u64>) -> Self {
        match self {
            Self::Nothing => Self::One(data),
            Self::One(first) => {
                let announced = announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
                let mut all = BytesMut::with_capacity(announced.max(first.len() + data.len()));
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&data);
                Self::Many(all)
            }
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

/// The next bytes of a body; `None` at its end.
pub async fn frame(body: &mut Incoming, deadline: Instant, patience: &Patience) -> Result<Option<Bytes>, Error> {
    let until = deadline.min(Instant::now() + patience.silence);
    timeout_at(until, next(body)).await.map_err(|_| Error::TooSlow)?
}

/// The next bytes of a body that may take its time; `None` at its end.
pub async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Throws the rest away as it comes: a client that still writes would otherwise see a reset instead of the answer.
async fn refuse(body: Incoming, announced: u64, limit: u64, received: u64, until: (Instant, &Patience)) -> Error {
    let received = received + drain(body, DRAIN_BYTES - received.min(DRAIN_BYTES), until.0, until.1).await;
    Error::TooLarge { actual: announced.max(received), limit }
}

/// Throws away the body of a request that was refused by its head, as far as that is worth it.
pub async fn discard(body: Incoming, patience: &Patience) {
    drain(body, DISCARD_BYTES, Instant::now() + patience.silence, patience).await;
}

async fn drain(mut body: Incoming, most: u64, deadline: Instant, patience: &Patience) -> u64 {
    let mut received = 0;
    while received < most {
        match frame(&mut body, deadline, patience).await {
            Ok(Some(data)) => received += data.len() as u64,
            _ => break,
        }
    }
    received
}
