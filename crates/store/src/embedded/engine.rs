//! What tables and queues share: the database, the way to the writer thread, who watches.

use super::{
    file::File,
    leases::Leases,
    writer::{self, Request, Work},
};
use crate::{Change, Error};
use redb::{ReadOnlyTable, ReadTransaction, TableError};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Writes that may wait for the writer thread before callers are held back.
const WAITING_MAX: usize = 1_024;
/// Changes that a watcher may lag behind before it has to read the table again.
const WATCH_LAG_MAX: usize = 1_024;

/// The redb file and its one writer.
pub(super) struct Engine {
    pub shared: Arc<Shared>,
    /// `None` once closed.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the callers and the writer thread both use.
pub(super) struct Shared {
    pub file: File,
    leases: Mutex<Leases>,
    watchers: Mutex<HashMap<String, broadcast::Sender<Change>>>,
}

pub(super) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl Engine {
    pub fn start(file: File) -> Result<Self, Error> {
        let shared = Arc::new(Shared { file, leases: Mutex::default(), watchers: Mutex::default() });
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let shared = shared.clone();
                move || writer::run(&shared, receiver)
            })
            .map_err(|error| Error::Engine(format!("cannot start the writer thread: {error}")))?;
        Ok(Self { shared, requests: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) })
    }

    /// Hands `work` to the writer thread and waits until it is on disk or refused. Once handed over it is done even if
    /// the caller stops waiting.
    pub async fn write(&self, work: Work) -> Result<(), Error> {
        let requests = lock(&self.requests).clone().ok_or(Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        requests.send(Request { work, reply }).await.map_err(|_| Error::Closed)?;
        drop(requests);
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Finishes the writes that were handed over, then lets go of the file.
    pub async fn shut(&self) {
        drop(lock(&self.requests).take());
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            // The thread ends by itself once the channel is empty; a panic in it has been reported by its hook.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

impl Drop for Engine {
    /// Waits for the commit under way, so that the file is free for the next opening.
    fn drop(&mut self) {
        drop(lock(&self.requests).take());
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }
}

impl Shared {
    /// A snapshot for reading.
    pub fn read(&self) -> Result<ReadTransaction, Error> {
        self.file.database()?.snapshot()
    }

    pub fn leases(&self) -> MutexGuard<'_, Leases> {
        lock(&self.leases)
    }

    pub fn watch(&self, table: &str) -> broadcast::Receiver<Change> {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|_, sender| sender.receiver_count() > 0);
        watchers.entry(table.to_owned()).or_insert_with(|| broadcast::channel(WATCH_LAG_MAX).0).subscribe()
    }

    /// Tells the watchers, if there are any, in the order of the commits.
    pub fn announce(&self, table: &str, change: Change) {
        if let Some(sender) = lock(&self.watchers).get(table) {
            // An error means that nobody listens any more.
            let _ = sender.send(change);
        }
    }
}

/// The redb table `name` in a snapshot; `None` when nothing was ever written to it.
pub(super) fn rows(transaction: &ReadTransaction, name: &str) -> Result<Option<Rows>, Error> {
    match transaction.open_table(super::format::Definition::new(name)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(other) => Err(super::format::engine(other)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
