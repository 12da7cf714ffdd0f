//! Locks by name, for changes that must not meet within this server. Never taken on the way of a call whose function is
//! cached.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// A read-write lock for each name that somebody holds or waits for.
#[derive(Default)]
pub struct Locks {
    named: Mutex<Named>,
}

#[derive(Default)]
struct Named {
    locks: HashMap<String, Weak<RwLock<()>>>,
    /// Number of names at which those that nobody holds any more are forgotten.
    forget_at: usize,
}

/// Fewest names that are worth looking through.
const FORGET_AT_MIN: usize = 64;

impl Locks {
    /// Shares `name` with other readers.
    pub async fn read(&self, name: &str) -> OwnedRwLockReadGuard<()> {
        self.named(name).read_owned().await
    }

    /// Has `name` alone.
    pub async fn write(&self, name: &str) -> OwnedRwLockWriteGuard<()> {
        self.named(name).write_owned().await
    }

    /// Has `name` alone, unless somebody holds it now.
    pub fn try_write(&self, name: &str) -> Option<OwnedRwLockWriteGuard<()>> {
        self.named(name).try_write_owned().ok()
    }

    fn named(&self, name: &str) -> Arc<RwLock<()>> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = named.locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        if named.locks.len() >= named.forget_at {
            named.locks.retain(|_, lock| lock.strong_count() > 0);
            named.forget_at = (2 * named.locks.len()).max(FORGET_AT_MIN);
        }
        let lock = Arc::new(RwLock::new(()));
        named.locks.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_had_alone_or_shared_and_then_forgotten() {
        let locks = Locks::default();
        let reader = locks.read("a").await;
        let _second = locks.read("a").await;
        assert!(locks.try_write("a").is_none());
        assert!(locks.try_write("b").is_some());
        drop((reader, _second));
        assert!(locks.try_write("a").is_some());
        for name in 0..10_000 {
            drop(locks.write(&name.to_string()).await);
        }
        assert!(locks.named.lock().unwrap().locks.len() <= FORGET_AT_MIN);
    }
}
