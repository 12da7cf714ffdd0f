//! Whether a call may run now: the concurrency of an account in a region. Memory is the worker's to place.

use dayfly_types::{AccountId, FunctionArn, InvokeError, Region, ThrottleReason};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// What a throttled caller is told to wait. Calls are short, so the next second is as good a guess as any.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts the calls in flight.
#[derive(Clone)]
pub(crate) struct Admission {
    limit: u32,
    in_flight: Arc<Mutex<HashMap<(AccountId, Region), u32>>>,
    given_back: Arc<Notify>,
}

/// The right to run one call; given back when dropped.
pub(crate) struct Permit {
    admission: Admission,
    place: (AccountId, Region),
}

impl Admission {
    /// `limit` calls at a time in each account and region.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, in_flight: Arc::default(), given_back: Arc::default() }
    }

    /// Takes a permit, or refuses at once.
    pub(crate) fn admit(&self, function: &FunctionArn) -> Result<Permit, InvokeError> {
        let place = (function.account.clone(), function.region.clone());
        {
            let mut in_flight = self.lock();
            let count = in_flight.entry(place.clone()).or_insert(0);
            if *count >= self.limit {
                return Err(InvokeError::Throttled {
                    reason: ThrottleReason::ConcurrentInvocationLimitExceeded,
                    retry_after: RETRY_AFTER,
                });
            }
            *count += 1;
        }
        Ok(Permit { admission: self.clone(), place })
    }

    /// Takes a permit as soon as there is one.
    pub(crate) async fn admit_in_turn(&self, function: &FunctionArn) -> Permit {
        loop {
            let given_back = self.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            if let Ok(permit) = self.admit(function) {
                return permit;
            }
            given_back.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(AccountId, Region), u32>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_flight = self.admission.lock();
        if let Some(count) = in_flight.get_mut(&self.place) {
            *count -= 1;
            // Regions are any well-formed text: the map must not remember each that was ever called.
            if *count == 0 {
                in_flight.remove(&self.place);
            }
        }
        drop(in_flight);
        self.admission.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_per_account_and_region_and_permits_come_back() {
        let admission = Admission::new(2);
        let here: FunctionArn = "arn:aws:lambda:eu-west-1:000000000000:function:f".parse().unwrap();
        let there: FunctionArn = "arn:aws:lambda:us-east-1:000000000000:function:f".parse().unwrap();
        let first = admission.admit(&here).unwrap();
        let second = admission.admit(&here).unwrap();
        assert!(matches!(
            admission.admit(&here),
            Err(InvokeError::Throttled { reason: ThrottleReason::ConcurrentInvocationLimitExceeded, .. })
        ));
        let elsewhere = admission.admit(&there).unwrap();
        drop(first);
        let third = admission.admit(&here).unwrap();
        drop((second, third, elsewhere));
        assert!(admission.lock().is_empty());
    }
}
