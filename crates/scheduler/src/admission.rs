//! Whether a call may run now: the concurrency of an account in a region, what is reserved of it for single functions,
//! and a fair share of the rest. Memory is the worker's to place.
//!
//! A function without a reservation gets a place while it has fewer than [`SHARE`] times what is still free. Alone it so
//! gets nine tenths of all there is, `n` greedy ones get about the same each, and there is always a place
//! left for one that has none. It is the dynamic threshold that switches share their memory by (Choudhury and Hahne,
//! 1998).

use dayfly_types::{AccountId, FunctionArn, FunctionName, InvokeError, Region, ThrottleReason};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// What a throttled caller is told to wait. Calls are short, so the next second is as good a guess as any.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A function has at most so many times the free places. A caller that makes one call after the other needs two or three:
/// an answer is on its way before its instance is gone.
const SHARE: u32 = 9;

/// Counts the calls in flight.
#[derive(Clone)]
pub(crate) struct Admission {
    limit: u32,
    regions: Arc<Mutex<HashMap<(AccountId, Region), InFlight>>>,
    given_back: Arc<Notify>,
}

/// The calls of an account in a region.
#[derive(Default)]
struct InFlight {
    /// Places that are kept for single functions.
    reserved: u32,
    /// Calls that have none of those.
    unreserved: u32,
    functions: HashMap<FunctionName, u32>,
}

/// The right to run one call; given back when dropped.
pub(crate) struct Permit {
    admission: Admission,
    region: (AccountId, Region),
    function: FunctionName,
    is_reserved: bool,
}

impl Admission {
    /// `limit` calls at a time in each account and region.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, regions: Arc::default(), given_back: Arc::default() }
    }

    /// Keeps so many places for functions that have a reservation.
    pub(crate) fn set_reserved(&self, account: &AccountId, region: &Region, reserved: u32) {
        self.change((account.clone(), region.clone()), |in_flight| in_flight.reserved = reserved);
        self.given_back.notify_waiters();
    }

    /// Takes a permit, or refuses at once. `reserved` are the places that are the function's alone.
    pub(crate) fn admit(&self, function: &FunctionArn, reserved: Option<u32>) -> Result<Permit, InvokeError> {
        let region = (function.account.clone(), function.region.clone());
        let limit = self.limit;
        let admitted = self.change(region.clone(), |in_flight| {
            let running = in_flight.functions.get(&function.name).copied().unwrap_or_default();
            let free = limit.saturating_sub(in_flight.reserved).saturating_sub(in_flight.unreserved);
            let reason = match reserved {
                Some(most) if running >= most => ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
                None if running >= free.saturating_mul(SHARE) => ThrottleReason::ConcurrentInvocationLimitExceeded,
                _ => {
                    in_flight.functions.insert(function.name.clone(), running + 1);
                    in_flight.unreserved += u32::from(reserved.is_none());
                    return Ok(());
                }
            };
            Err(InvokeError::Throttled { reason, retry_after: RETRY_AFTER })
        });
        let (function, is_reserved) = (function.name.clone(), reserved.is_some());
        admitted.map(|()| Permit { admission: self.clone(), region, function, is_reserved })
    }

    /// Takes a permit without a reservation as soon as there is one.
    pub(crate) async fn admit_in_turn(&self, function: &FunctionArn) -> Permit {
        loop {
            let given_back = self.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            if let Ok(permit) = self.admit(function, None) {
                return permit;
            }
            given_back.await;
        }
    }

    /// Regions are any well-formed text: the map must not remember each that was ever called.
    fn change<T>(&self, region: (AccountId, Region), change: impl FnOnce(&mut InFlight) -> T) -> T {
        let mut regions = self.lock();
        let in_flight = regions.entry(region.clone()).or_default();
        let result = change(in_flight);
        if in_flight.functions.is_empty() && in_flight.reserved == 0 {
            regions.remove(&region);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(AccountId, Region), InFlight>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.change(self.region.clone(), |in_flight| {
            in_flight.unreserved -= u32::from(!self.is_reserved);
            if let Some(running) = in_flight.functions.get_mut(&self.function) {
                *running -= 1;
                if *running == 0 {
                    in_flight.functions.remove(&self.function);
                }
            }
        });
        self.admission.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(region: &str, name: &str) -> FunctionArn {
        format!("arn:aws:lambda:{region}:000000000000:function:{name}").parse().unwrap()
    }

    fn reason(result: Result<Permit, InvokeError>) -> ThrottleReason {
        match result {
            Err(InvokeError::Throttled { reason, .. }) => reason,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was admitted"),
        }
    }

    #[test]
    fn the_limit_holds_per_account_and_region_and_permits_come_back() {
        let admission = Admission::new(2);
        let (here, there) = (function("eu-west-1", "f"), function("us-east-1", "f"));
        let first = admission.admit(&here, None).unwrap();
        let second = admission.admit(&here, None).unwrap();
        assert_eq!(reason(admission.admit(&here, None)), ThrottleReason::ConcurrentInvocationLimitExceeded);
        let elsewhere = admission.admit(&there, None).unwrap();
        drop(first);
        let third = admission.admit(&here, None).unwrap();
        drop((second, third, elsewhere));
        assert!(admission.lock().is_empty());
    }

    #[test]
    fn what_is_reserved_is_the_functions_alone_and_all_that_it_gets() {
        let admission = Admission::new(10);
        let (kept, other) = (function("eu-west-1", "kept"), function("eu-west-1", "other"));
        admission.set_reserved(&kept.account, &kept.region, 3);
        let others: Vec<_> = std::iter::from_fn(|| admission.admit(&other, None).ok()).collect();
        assert_eq!(others.len(), 7);
        let own: Vec<_> = std::iter::from_fn(|| admission.admit(&kept, Some(3)).ok()).collect();
        assert_eq!(own.len(), 3);
        let refused = reason(admission.admit(&kept, Some(3)));
        assert_eq!(refused, ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
        let refused = reason(admission.admit(&function("eu-west-1", "never"), Some(0)));
        assert_eq!(refused, ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
        drop((others, own));
        admission.set_reserved(&kept.account, &kept.region, 0);
        assert!(admission.lock().is_empty());
    }

    #[test]
    fn greedy_functions_share_and_leave_room_for_a_modest_one() {
        let admission = Admission::new(1000);
        let take = |name: &str| -> Vec<_> {
            let arn = function("eu-west-1", name);
            std::iter::from_fn(|| admission.admit(&arn, None).ok()).collect()
        };
        let first = take("first");
        assert_eq!(first.len(), 900);
        let second = take("second");
        assert!(second.len() >= 40, "{}", second.len());
        let modest = admission.admit(&function("eu-west-1", "modest"), None);
        assert!(modest.is_ok(), "two that are greedy leave a place");
        // Once calls end, the two come to have the same.
        drop(first);
        assert!(take("second").len() + second.len() > 850);
    }
}
