//! Slots: the right to run one instance of a given memory size on this node. Given in the order of asking.

use dayfly_types::{InvokeError, ThrottleReason};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a call waits for memory before it is throttled.
const WAIT: Duration = Duration::from_secs(30);

/// The node's memory, to be handed out.
#[derive(Clone)]
pub struct Slots {
    megabytes: Arc<Semaphore>,
    capacity_mb: u32,
}

impl Slots {
    /// Slots for `capacity_mb` of configured memory in all.
    pub fn new(capacity_mb: u32) -> Self {
        Self { megabytes: Arc::new(Semaphore::new(capacity_mb as usize)), capacity_mb }
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
