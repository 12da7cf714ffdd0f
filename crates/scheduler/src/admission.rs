//! Whether a call may run now: the concurrency of an account in a region, what is reserved of it for single functions,
//! and a fair share of the rest. Memory is the worker's to place.
//!
//! A function without a reservation gets a place while it has fewer than [`SHARE`] times what is still free. Alone it so
//! gets nine tenths of all there is, `n` greedy ones get about the same each, and there is always a place
//! left for one that has none. It is the dynamic threshold that switches share their memory by (Choudhury and Hahne,
//! 1998).

use dayfly_types::{AccountId, FunctionArn, FunctionName, InvokeError, Qualifier, Region, ThrottleReason};
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
    functions: HashMap<FunctionName, Running>,
}

/// The calls of a function.
#[derive(Default)]
struct Running {
    all: u32,
    /// Those of them that have a provisioned instance, by version or alias.
    provisioned: HashMap<Qualifier, u32>,
}

impl Running {
    fn provisioned(&self) -> u32 {
        self.provisioned.values().sum()
    }
}

/// Places that a call may have beside those of the account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// That are the function's alone, and all that it gets.
    pub reserved: Option<u32>,
    /// That its version or alias has ready.
    pub provisioned: Option<(Qualifier, u32)>,
}

/// The right to run one call; given back when dropped.
pub(crate) struct Permit {
    admission: Admission,
    region: (AccountId, Region),
    function: FunctionName,
    is_reserved: bool,
    provisioned: Option<Qualifier>,
    /// There are provisioned instances, and others have them.
    spilled: bool,
}

impl Permit {
    /// Where there are provisioned instances for the call: whose, and whether it has one.
    pub(crate) fn provisioned(&self) -> Option<(FunctionArn, bool)> {
        let (account, region) = self.region.clone();
        let function = FunctionArn { region, account, name: self.function.clone(), qualifier: None };
        (self.spilled || self.provisioned.is_some()).then_some((function, !self.spilled))
    }
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

    /// Takes a permit, or refuses at once.
    pub(crate) fn admit(&self, function: &FunctionArn, places: &Places) -> Result<Permit, InvokeError> {
        let region = (function.account.clone(), function.region.clone());
        let limit = self.limit;
        let reserved = places.reserved;
        let admitted = self.change(region.clone(), |in_flight| {
            let calls = in_flight.functions.get(&function.name);
            let running = calls.map_or(0, |calls| calls.all);
            let unprovisioned = running - calls.map_or(0, Running::provisioned);
            let taken = |qualifier| calls.and_then(|calls| calls.provisioned.get(qualifier)).copied().unwrap_or(0);
            let ready = places.provisioned.as_ref().filter(|(qualifier, count)| taken(qualifier) < *count);
            let ready = ready.map(|(qualifier, _)| qualifier);
            let free = limit.saturating_sub(in_flight.reserved).saturating_sub(in_flight.unreserved);
            let reason = match reserved {
                Some(most) if running >= most => ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
                None if ready.is_none() && unprovisioned >= free.saturating_mul(SHARE) => {
                    ThrottleReason::ConcurrentInvocationLimitExceeded
                }
                _ => {
                    let calls = in_flight.functions.entry(function.name.clone()).or_default();
                    calls.all += 1;
                    if let Some(qualifier) = ready {
                        *calls.provisioned.entry(qualifier.clone()).or_default() += 1;
                    }
                    in_flight.unreserved += u32::from(reserved.is_none() && ready.is_none());
                    return Ok(ready.cloned());
                }
            };
            Err(InvokeError::Throttled { reason, retry_after: RETRY_AFTER })
        });
        let (function, is_reserved) = (function.name.clone(), reserved.is_some());
        admitted.map(|provisioned| {
            let spilled = places.provisioned.is_some() && provisioned.is_none();
            Permit { admission: self.clone(), region, function, is_reserved, provisioned, spilled }
        })
    }

    /// Takes a permit without a reservation as soon as there is one.
    pub(crate) async fn admit_in_turn(&self, function: &FunctionArn) -> Permit {
        loop {
            let given_back = self.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            if let Ok(permit) = self.admit(function, &Places::default()) {
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
            in_flight.unreserved -= u32::from(!self.is_reserved && self.provisioned.is_none());
            if let Some(running) = in_flight.functions.get_mut(&self.function) {
                running.all -= 1;
                if let Some(qualifier) = &self.provisioned
                    && let Some(taken) = running.provisioned.get_mut(qualifier)
                {
                    *taken -= 1;
                }
                if running.all == 0 {
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

    fn none() -> Places {
        Places::default()
    }

    fn reserved(calls: u32) -> Places {
        Places { reserved: Some(calls), ..none() }
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
        let first = admission.admit(&here, &none()).unwrap();
        let second = admission.admit(&here, &none()).unwrap();
        assert_eq!(reason(admission.admit(&here, &none())), ThrottleReason::ConcurrentInvocationLimitExceeded);
        let elsewhere = admission.admit(&there, &none()).unwrap();
        drop(first);
        let third = admission.admit(&here, &none()).unwrap();
        drop((second, third, elsewhere));
        assert!(admission.lock().is_empty());
    }

    #[test]
    fn what_is_reserved_is_the_functions_alone_and_all_that_it_gets() {
        let admission = Admission::new(10);
        let (kept, other) = (function("eu-west-1", "kept"), function("eu-west-1", "other"));
        admission.set_reserved(&kept.account, &kept.region, 3);
        let others: Vec<_> = std::iter::from_fn(|| admission.admit(&other, &none()).ok()).collect();
        assert_eq!(others.len(), 7);
        let own: Vec<_> = std::iter::from_fn(|| admission.admit(&kept, &reserved(3)).ok()).collect();
        assert_eq!(own.len(), 3);
        let refused = reason(admission.admit(&kept, &reserved(3)));
        assert_eq!(refused, ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
        let refused = reason(admission.admit(&function("eu-west-1", "never"), &reserved(0)));
        assert_eq!(refused, ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
        drop((others, own));
        admission.set_reserved(&kept.account, &kept.region, 0);
        assert!(admission.lock().is_empty());
    }

    #[test]
    fn what_is_provisioned_is_taken_first_and_then_the_accounts_places() {
        let admission = Admission::new(10);
        let (ready, other) = (function("eu-west-1", "ready"), function("eu-west-1", "other"));
        admission.set_reserved(&ready.account, &ready.region, 2);
        let others: Vec<_> = std::iter::from_fn(|| admission.admit(&other, &none()).ok()).collect();
        assert_eq!(others.len(), 8);
        let places = Places { provisioned: Some((Qualifier::Version(1), 2)), ..none() };
        let own: Vec<_> = std::iter::from_fn(|| admission.admit(&ready, &places).ok()).collect();
        assert_eq!(own.len(), 2, "its two, and none of the others'");
        assert!(own.iter().all(|permit| !permit.spilled));
        drop(others);
        let third = admission.admit(&ready, &places).unwrap();
        assert!(third.spilled);
        let elsewhere = admission.admit(&ready, &none()).unwrap();
        assert!(!elsewhere.spilled, "another version has nothing to spill from");
        drop((own, third, elsewhere));
        assert!(!admission.admit(&ready, &places).unwrap().spilled);
        admission.set_reserved(&ready.account, &ready.region, 0);
        assert!(admission.lock().is_empty());
    }

    #[test]
    fn greedy_functions_share_and_leave_room_for_a_modest_one() {
        let admission = Admission::new(1000);
        let take = |name: &str| -> Vec<_> {
            let arn = function("eu-west-1", name);
            std::iter::from_fn(|| admission.admit(&arn, &none()).ok()).collect()
        };
        let first = take("first");
        assert_eq!(first.len(), 900);
        let second = take("second");
        assert!(second.len() >= 40, "{}", second.len());
        let modest = admission.admit(&function("eu-west-1", "modest"), &none());
        assert!(modest.is_ok(), "two that are greedy leave a place");
        // Once calls end, the two come to have the same.
        drop(first);
        assert!(take("second").len() + second.len() > 850);
    }
}
