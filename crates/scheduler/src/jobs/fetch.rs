//! Outcomes of a detached job on their way to a client that fetches them: each is there until it is confirmed.

use super::{
    job::Job,
    outcome::{CallOutcome, Counts},
    rows::Rows,
};
use bytes::Bytes;
use dayfly_store::Error;
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::Arc,
};
use tokio::sync::watch;

/// Calls with an outcome that is not confirmed, in the order in which they ended.
#[derive(Default)]
pub(super) struct Unfetched {
    calls: BTreeMap<u64, u64>,
    places: HashMap<u64, u64>,
    next: u64,
    /// Who fetches; a later one takes over.
    fetcher: u64,
}

impl Unfetched {
    pub fn add(&mut self, n: u64) {
        self.calls.insert(self.next, n);
        self.places.insert(n, self.next);
        self.next += 1;
    }

    pub fn remove(&mut self, n: u64) {
        if let Some(place) = self.places.remove(&n) {
            self.calls.remove(&place);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub fn len(&self) -> u64 {
        self.calls.len() as u64
    }
}

/// Fetches what there is and what comes.
pub struct Fetcher {
    job: Arc<Job>,
    rows: Rows,
    number: u64,
    /// The place after the last outcome that was given.
    next: u64,
    draining: watch::Receiver<bool>,
}

/// What there is to fetch.
pub enum Fetched {
    /// An outcome.
    Outcome(Box<CallOutcome>, Bytes),
    /// All calls have ended, and all outcomes have been given.
    Ended(Counts),
    /// Another client fetches now.
    Superseded,
    /// The server ends; the next one has the rest.
    Suspended,
}

enum Step {
    Read { place: u64, n: u64 },
    Give(Fetched),
    Wait,
}

impl Fetcher {
    pub(super) fn new(job: Arc<Job>, rows: Rows, draining: watch::Receiver<bool>) -> Self {
        let number = {
            let mut state = job.lock();
            state.unfetched.fetcher += 1;
            state.unfetched.fetcher
        };
        job.changed.notify_waiters();
        Self { job, rows, number, next: 0, draining }
    }

    /// The next of what there is, as soon as there is something. Nothing is skipped when this is given up half-way.
    pub async fn next(&mut self) -> Result<Fetched, Error> {
        let job = Arc::clone(&self.job);
        loop {
            let changed = job.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.step() {
                Step::Give(fetched) => return Ok(fetched),
                Step::Wait => changed.await,
                Step::Read { place, n } => {
                    let read = self.rows.outcome(job.id, n).await?;
                    self.next = place + 1;
                    // It may have been confirmed in the meantime.
                    if let Some((outcome, body)) = read {
                        return Ok(Fetched::Outcome(Box::new(outcome), body));
                    }
                }
            }
        }
    }

    /// Resolves when the server ends: who has everything need not be waited for.
    pub fn server_ends(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut draining = self.draining.clone();
        async move { drop(draining.wait_for(|draining| *draining).await) }
    }

    fn step(&self) -> Step {
        let state = self.job.lock();
        if state.unfetched.fetcher != self.number {
            return Step::Give(Fetched::Superseded);
        }
        if let Some((place, n)) = state.unfetched.calls.range(self.next..).next() {
            return Step::Read { place: *place, n: *n };
        }
        match state.ended_at {
            Some(_) => Step::Give(Fetched::Ended(state.counts)),
            None if state.suspended => Step::Give(Fetched::Suspended),
            None => Step::Wait,
        }
    }

    /// The client has these outcomes; not when another one fetches now.
    pub fn confirm(&self, calls: Vec<u64>) {
        if self.job.lock().unfetched.fetcher == self.number {
            self.job.confirm(calls);
        }
    }
}
