//! Functions in memory, so that a call reads nothing from the store.
//!
//! Changes only ever remove from the cache; the next call reads the row anew. An entry is kept only when nothing
//! changed while it was read, so an old row can never settle in after a new one. While this server changes a function
//! nothing is kept at all: who has seen the change in the store can not get the old function from the cache.

use super::{Access, EventInvoke};
use crate::admission::Places;
use dayfly_store::{Change, Tables};
use dayfly_types::{FunctionArn, FunctionConfiguration, Qualifier};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, Weak},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

/// A function that calls can run.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// Tells it from an earlier function of the same name.
    pub id: Uuid,
    /// What to run.
    pub function: Arc<FunctionConfiguration>,
    /// What some calls of an alias run instead, and the part of them, from 0 to 1.
    pub other: Option<(f64, Arc<FunctionConfiguration>)>,
    /// It may trigger itself without end.
    pub loops: bool,
    /// What is asked for asynchronous events.
    pub event_invoke: Option<Arc<EventInvoke>>,
    /// Calls at a time that are kept for the function, and that it has at most.
    pub reserved: Option<u32>,
    /// Calls at a time that its provisioned instances are for, of those of this version or alias.
    pub provisioned: Option<(Qualifier, u32)>,
    /// The longest timeout of all versions of the function.
    pub timeout_s_max: u32,
    /// Who may call it, and where.
    pub access: Arc<Access>,
}

impl Resolved {
    /// Places that its calls have, beside those of the account.
    pub(crate) fn places(&self) -> Places {
        Places { reserved: self.reserved, provisioned: self.provisioned.clone() }
    }

    /// The version that the next call runs.
    pub(super) fn routed(mut self) -> Self {
        if let Some((part, other)) = self.other.take() {
            // The upper half of a random UUID's first quarter: no bit of it is fixed.
            let dice = (Uuid::new_v4().as_u128() >> 96) as f64 / f64::from(u32::MAX);
            if dice < part {
                self.function = other;
            }
        }
        self
    }
}

#[derive(Default)]
pub(super) struct Cache {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    functions: HashMap<String, HashMap<Qualifier, Resolved>>,
    changes: u64,
    under_way: usize,
}

/// A change of a function is under way while this lives.
pub(super) struct Changing<'a> {
    cache: &'a Cache,
    key: String,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.cache.forget(&self.key);
        self.cache.write().under_way -= 1;
    }
}

impl Cache {
    pub(super) fn get(&self, key: &str, arn: &FunctionArn) -> Option<Resolved> {
        let qualifier = arn.qualifier.as_ref().unwrap_or(&Qualifier::Latest);
        self.inner.read().unwrap_or_else(PoisonError::into_inner).functions.get(key)?.get(qualifier).cloned()
    }

    /// What to hand to `keep` after the row was read.
    pub(super) fn changes(&self) -> u64 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).changes
    }

    pub(super) fn keep(&self, key: String, arn: &FunctionArn, resolved: Resolved, changes: u64) {
        let mut inner = self.write();
        if inner.changes == changes && inner.under_way == 0 {
            let qualifier = arn.qualifier.clone().unwrap_or(Qualifier::Latest);
            inner.functions.entry(key).or_default().insert(qualifier, resolved);
        }
    }

    /// To be called before a function's row is written, and held until it is.
    pub(super) fn changing(&self, key: String) -> Changing<'_> {
        self.write().under_way += 1;
        self.forget(&key);
        Changing { cache: self, key }
    }

    fn forget(&self, key: &str) {
        let mut inner = self.write();
        inner.changes += 1;
        inner.functions.remove(key);
    }

    fn forget_all(&self) {
        let mut inner = self.write();
        inner.changes += 1;
        inner.functions.clear();
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what other servers change, as long as the cache lives.
    pub(super) fn follow(self: &Arc<Self>, tables: &dyn Tables) {
        let mut changes: Receiver<Change> = tables.watch(super::rows::FUNCTIONS);
        let cache: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let change = changes.recv().await;
                let Some(cache) = cache.upgrade() else { return };
                match change {
                    Ok(change) => cache.forget(&String::from_utf8_lossy(&change.key)),
                    Err(RecvError::Lagged(_)) => cache.forget_all(),
                    Err(RecvError::Closed) => return cache.forget_all(),
                }
            }
        });
    }
}
