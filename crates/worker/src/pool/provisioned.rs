//! Provisioned concurrency of one version: instances that are kept ready whether or not there are calls. What fails to
//! come up is tried again, later and later, for nobody waits for it.

use super::{TICK, Version};
use dayfly_types::LogSink;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// After a failure, so long until the next try; doubled with each one.
const SET_BACK: Duration = Duration::from_secs(1);
/// But no longer.
const SET_BACK_MAX: Duration = Duration::from_secs(60);
/// How often it is looked after when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is to be kept of a version.
#[derive(Clone)]
pub struct Kept {
    /// Instances that are ready at any time.
    pub count: u32,
    /// Takes the lines of inits that no call waits for.
    pub logs: Arc<dyn LogSink>,
}

/// How far it is.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// Instances that wait for a call.
    pub ready: u32,
    /// All were ready since they were asked for. Calls take some, which are replaced.
    pub reached: bool,
    /// Why there are none, since the last that there were.
    pub failure: Option<String>,
    /// The actor serves nobody any more.
    pub retired: bool,
}

/// A version's part of it.
pub(super) struct Provisioned {
    pub count: u32,
    pub logs: Option<Arc<dyn LogSink>>,
    pub readiness: Arc<Mutex<Readiness>>,
    failure: Option<String>,
    reached: bool,
    /// Failures in a row.
    failures: u32,
    /// When the last one was, and when the next try is.
    set_back: Option<(Instant, Instant)>,
}

impl Provisioned {
    pub fn new(kept: Option<Kept>) -> Self {
        Self {
            count: kept.as_ref().map_or(0, |kept| kept.count),
            logs: kept.map(|kept| kept.logs),
            readiness: Arc::default(),
            failure: None,
            reached: false,
            failures: 0,
            set_back: None,
        }
    }

    /// Another number from now on.
    pub fn keep(&mut self, count: u32) {
        self.reached &= count <= self.count;
        self.count = count;
        self.set_back = None;
    }

    /// Instances that are to be there now.
    pub fn wanted(&self) -> usize {
        let waits = self.set_back.is_some_and(|(_, until)| Instant::now() < until);
        if waits { 0 } else { self.count as usize }
    }

    /// Something did not come up.
    pub fn set_back(&mut self, why: &str) {
        let now = Instant::now();
        // What held for long was no failure of the same kind.
        if self.set_back.is_some_and(|(at, _)| now.duration_since(at) > 2 * SET_BACK_MAX) {
            self.failures = 0;
        }
        let wait = SET_BACK.saturating_mul(1 << self.failures.min(6)).min(SET_BACK_MAX);
        self.failures = self.failures.saturating_add(1);
        self.set_back = Some((now, now + wait));
        self.failure = Some(why.to_owned());
    }
}

impl Version {
    /// When to look after what is kept ready; `None` where nothing is.
    pub(super) fn look_after_kept_at(&self) -> Option<Instant> {
        if self.provisioned.count == 0 || self.retired {
            return None;
        }
        let now = Instant::now();
        let there = self.live.as_ref().map_or(0, |live| live.spares.len() + live.ordered.len());
        let soon = match self.provisioned.set_back {
            Some((_, until)) if now < until => until,
            _ => now + TICK,
        };
        Some(if there < self.provisioned.count as usize { soon } else { now + LOOK_EVERY })
    }

    /// Says how far what is kept ready is.
    pub(super) fn tell_readiness(&mut self) {
        if self.provisioned.count == 0 {
            return;
        }
        let ready = self.live.as_ref().map_or(0, |live| live.spares.len() as u32);
        if ready >= self.provisioned.count {
            self.provisioned.reached = true;
            self.provisioned.failure = None;
        }
        let told = Readiness {
            ready,
            reached: self.provisioned.reached,
            failure: self.provisioned.failure.clone(),
            retired: self.retired,
        };
        *self.provisioned.readiness.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }
}
