//! How many asynchronous attempts run at a time. Begins wide, halves when an attempt is throttled, grows by one with
//! each that was not: so a burst of events finds by itself what the machine can hold.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The window. Cheap to clone.
#[derive(Clone)]
pub(super) struct Window {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    freed: Notify,
    max: u32,
}

struct State {
    size: u32,
    inside: u32,
}

/// A place in the window; given back when dropped.
pub(super) struct Place {
    window: Window,
}

impl Window {
    /// A tenth of the account's concurrency is left to synchronous calls.
    pub(super) fn new(concurrency: u32) -> Self {
        let max = (concurrency - concurrency / 10).max(1);
        Self { inner: Arc::new(Inner { state: Mutex::new(State { size: max, inside: 0 }), freed: Notify::new(), max }) }
    }

    pub(super) async fn enter(&self) -> Place {
        loop {
            let freed = self.inner.freed.notified();
            if let Some(place) = self.try_enter() {
                return place;
            }
            freed.await;
        }
    }

    pub(super) fn try_enter(&self) -> Option<Place> {
        let mut state = self.lock();
        if state.inside >= state.size {
            return None;
        }
        state.inside += 1;
        let more = state.inside < state.size;
        drop(state);
        if more {
            // Wake-ups are not counted out exactly; whoever got in wakes the next while there is room.
            self.inner.freed.notify_one();
        }
        Some(Place { window: self.clone() })
    }

    pub(super) fn throttled(&self) {
        let mut state = self.lock();
        state.size = (state.size / 2).max(1);
    }

    pub(super) fn went_well(&self) {
        let mut state = self.lock();
        state.size = (state.size + 1).min(self.inner.max);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.window.lock().inside -= 1;
        self.window.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_shrinks_by_half_grows_by_one_and_wakes_all_who_wait() {
        let window = Window::new(9);
        let mut places: Vec<Place> = std::iter::from_fn(|| window.try_enter()).collect();
        assert_eq!(places.len(), 9);
        window.throttled();
        places.truncate(4);
        assert!(window.try_enter().is_none());
        window.went_well();
        places.push(window.try_enter().unwrap());
        assert!(window.try_enter().is_none());

        let waiters: Vec<_> = (0..20)
            .map(|_| {
                let window = window.clone();
                tokio::spawn(async move {
                    let _place = window.enter().await;
                    tokio::task::yield_now().await;
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(places);
        for waiter in waiters {
            tokio::time::timeout(Duration::from_secs(10), waiter).await.expect("a waiter was forgotten").unwrap();
        }
    }
}
