//! Slots: the right to run one instance of a given memory size on this node. Given in the order of asking. What is booted
//! ahead of demand has what is left beside them, and of theirs what nobody asks for.

use dayfly_types::{InvokeError, ThrottleReason};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a call waits for memory before it is throttled.
const WAIT: Duration = Duration::from_secs(30);

/// The node's memory, to be handed out.
#[derive(Clone)]
pub struct Slots {
    megabytes: Arc<Semaphore>,
    /// Beside the slots, for what is booted ahead.
    beside: Arc<Semaphore>,
    capacity_mb: u32,
}

/// Memory of something that is booted ahead of demand, until it is dropped.
pub struct Room {
    _permit: OwnedSemaphorePermit,
    /// Calls may want it back.
    pub of_slots: bool,
}

impl Slots {
    /// Slots for `capacity_mb` of configured memory in all.
    pub fn new(capacity_mb: u32) -> Self {
        let semaphore = |megabytes: u32| Arc::new(Semaphore::new(megabytes as usize));
        // Half of what the host and the zygotes keep.
        Self { megabytes: semaphore(capacity_mb), beside: semaphore(capacity_mb / 14), capacity_mb }
    }

    /// What this machine has: its memory, but for an eighth that the host and the zygotes keep.
    pub fn of_machine() -> Self {
        let total_kb = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| {
                text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
            })
            .unwrap_or(2_u64 << 20);
        Self::new(u32::try_from(total_kb / 1024 / 8 * 7).unwrap_or(u32::MAX))
    }

    /// All there is to hand out.
    pub fn capacity_mb(&self) -> u32 {
        self.capacity_mb
    }

    /// Whether a slot of `memory_mb` can be had at once, by who asks next.
    pub fn has(&self, memory_mb: u32) -> bool {
        self.megabytes.available_permits() >= memory_mb.min(self.capacity_mb) as usize
    }

    /// Room for what is booted ahead of demand, if there is some that nobody needs.
    pub fn room(&self, memory_mb: u32) -> Option<Room> {
        let of = |semaphore: &Arc<Semaphore>| semaphore.clone().try_acquire_many_owned(memory_mb).ok();
        let beside = of(&self.beside).map(|permit| Room { _permit: permit, of_slots: false });
        beside.or_else(|| of(&self.megabytes).map(|permit| Room { _permit: permit, of_slots: true }))
    }

    /// Waits for a slot of `memory_mb`.
    pub async fn take(&self, memory_mb: u32) -> Result<OwnedSemaphorePermit, InvokeError> {
        // A function larger than the machine may still run, alone: its memory size is a limit, not a need.
        let megabytes = memory_mb.min(self.capacity_mb);
        match tokio::time::timeout(WAIT, self.megabytes.clone().acquire_many_owned(megabytes)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(InvokeError::ShuttingDown),
            Err(_) => Err(InvokeError::Throttled {
                reason: ThrottleReason::ConcurrentInvocationLimitExceeded,
                retry_after: Duration::from_secs(1),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::yield_now;

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_in_the_order_of_asking_and_comes_back() {
        let slots = Slots::new(1024);
        let first = slots.take(768).await.unwrap();
        let large = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take(512).await }
        });
        yield_now().await;
        let small = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take(128).await }
        });
        yield_now().await;
        // There is room for the small one, but it does not overtake: large ones would wait for ever.
        assert!(!large.is_finished() && !small.is_finished());
        drop(first);
        let (large, small) = (large.await.unwrap().unwrap(), small.await.unwrap().unwrap());
        assert_eq!(slots.megabytes.available_permits(), 1024 - 512 - 128);
        drop((large, small));
        assert_eq!(slots.megabytes.available_permits(), 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_throttled_and_who_leaves_leaves_nothing() {
        let slots = Slots::new(256);
        let held = slots.take(256).await.unwrap();
        let error = slots.take(1).await.unwrap_err();
        assert!(matches!(error, InvokeError::Throttled { .. }), "{error:?}");
        tokio::time::timeout(Duration::from_secs(1), slots.take(200)).await.unwrap_err();
        drop(held);
        assert_eq!(slots.megabytes.available_permits(), 256);
    }

    #[tokio::test]
    async fn what_is_ahead_has_its_own_first_and_never_what_somebody_waits_for() {
        let slots = Slots::new(1400);
        let beside = slots.room(100).unwrap();
        assert!(!beside.of_slots && slots.has(1400));
        let of_slots = slots.room(100).unwrap();
        assert!(of_slots.of_slots && !slots.has(1400) && slots.has(1300));
        let held = slots.take(1300).await.unwrap();
        assert!(slots.room(1).is_none());
        drop((held, of_slots));
        assert!(slots.has(1400));
        drop(beside);
        assert!(!slots.room(100).unwrap().of_slots);
    }

    #[tokio::test]
    async fn a_function_larger_than_the_machine_runs_alone() {
        let slots = Slots::new(512);
        let all = slots.take(10_240).await.unwrap();
        assert_eq!(slots.megabytes.available_permits(), 0);
        drop(all);
        assert!(Slots::of_machine().capacity_mb > 0);
    }
}
