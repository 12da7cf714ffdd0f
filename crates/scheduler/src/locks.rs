//! Locks by name, for the paths that change functions. Never taken on the way of a call whose function is cached.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// A read-write lock for each name that somebody holds or waits for.
#[derive(Default)]
pub(crate) struct Locks {
    named: Mutex<HashMap<String, Weak<RwLock<()>>>>,
}

impl Locks {
    pub(crate) async fn read(&self, name: &str) -> OwnedRwLockReadGuard<()> {
        self.named(name).read_owned().await
    }

    pub(crate) async fn write(&self, name: &str) -> OwnedRwLockWriteGuard<()> {
        self.named(name).write_owned().await
    }

    fn named(&self, name: &str) -> Arc<RwLock<()>> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = named.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        // What nobody holds any more is forgotten here, so the map is never larger than what is held, plus one.
        named.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(RwLock::new(()));
        named.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
