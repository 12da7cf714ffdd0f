//! The redb file: opened, closed, and opened again after a failed write.
//!
//! After any failed write redb refuses all further work until the file is opened anew. A disk that was full may have room
//! again, so that is tried. Not after a failed fsync: the kernel may have dropped the pages and still show them, and
//! what is built on them could be lost although acknowledged.

use super::format;
use crate::Error;
use redb::{BackendError, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend};
use std::{
    io,
    ops::Bound,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Memory that redb may use for pages, read and written.
const CACHE_BYTES: usize = 64 << 20;
/// Time between two attempts to open a file that failed. Opening it checks all of it.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Gives the bytes to open.
pub(super) type Source = Box<dyn Fn() -> Result<Box<dyn StorageBackend>, DatabaseError> + Send + Sync>;

/// The redb file.
pub(super) struct File {
    source: Source,
    state: RwLock<State>,
    sync_failed: Arc<AtomicBool>,
}

enum State {
    Open(Database),
    /// Since when, and why.
    Failed(Instant, String),
    Closed,
}

/// An open database, which stays open as long as this is held: for one read, or one commit.
pub(super) struct Opened<'a>(RwLockReadGuard<'a, State>);

impl File {
    pub fn open(source: Source) -> Result<Self, DatabaseError> {
        let sync_failed = Arc::default();
        let database = open(&source, &sync_failed)?;
        Ok(Self { source, state: RwLock::new(State::Open(database)), sync_failed })
    }

    pub fn database(&self) -> Result<Opened<'_>, Error> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(_) => Ok(Opened(state)),
            State::Failed(_, why) => Err(Error::Engine(why.clone())),
            State::Closed => Err(Error::Closed),
        }
    }

    /// Called by the writer thread when a write failed.
    pub fn failed(&self, why: &str) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Open(_)) {
            *state = State::Failed(Instant::now(), why.to_owned());
        }
    }

    /// Called by the writer thread before it writes: opens a file that failed, when that is safe, and not too often.
    pub fn recover(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Failed(since, why) = &mut *state else { return };
        if since.elapsed() < REOPEN_PAUSE || self.sync_failed.load(Ordering::Acquire) {
            return;
        }
        match open(&self.source, &self.sync_failed) {
            Ok(database) => {
                tracing::warn!("the store works again");
                *state = State::Open(database);
            }
            Err(error) => (*since, *why) = (Instant::now(), format!("cannot open the store again: {error}")),
        }
    }

    pub fn close(&self) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Closed;
    }
}

impl Opened<'_> {
    /// A snapshot for reading.
    pub fn snapshot(&self) -> Result<ReadTransaction, Error> {
        match &*self.0 {
            State::Open(database) => database.begin_read().map_err(format::engine),
            State::Failed(..) | State::Closed => Err(Error::Closed),
        }
    }

    pub fn begin_write(&self) -> Result<redb::WriteTransaction, Error> {
        match &*self.0 {
            State::Open(database) => database.begin_write().map_err(format::engine),
            State::Failed(..) | State::Closed => Err(Error::Closed),
        }
    }
}

fn open(source: &Source, sync_failed: &Arc<AtomicBool>) -> Result<Database, DatabaseError> {
    let inner = source()?;
    let watched = Watched { inner, sync_failed: sync_failed.clone() };
    redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(watched)
}

/// A backend that remembers that a sync failed.
#[derive(Debug)]
struct Watched {
    inner: Box<dyn StorageBackend>,
    sync_failed: Arc<AtomicBool>,
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data().inspect_err(|error| {
            self.sync_failed.store(true, Ordering::Release);
            tracing::error!(%error, "fsync failed: check the disk, then start again");
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}
