//! Who holds which message. Kept in memory only: after a restart every message is free again.

use super::format::MessageKey;
use std::collections::{BTreeSet, HashMap};

/// The leases of all queues.
#[derive(Default)]
pub(super) struct Leases {
    queues: HashMap<String, QueueLeases>,
    /// The last generation given out.
    generation: u64,
}

/// The leases of one queue.
pub(super) struct QueueLeases {
    held: HashMap<u64, Held>,
    /// Ends of the leases in `held`, in microseconds, with the message's id.
    ends: BTreeSet<(i64, u64)>,
    /// Every message on disk below this key is held. Where a search for free ones starts, so that it need not step over
    /// thousands of held ones each time.
    pub floor: MessageKey,
}

struct Held {
    key: MessageKey,
    until_us: i64,
    generation: u64,
    /// The writer thread is removing or putting back this message: the lease neither ends nor serves again meanwhile.
    settling: bool,
}

impl Default for QueueLeases {
    fn default() -> Self {
        Self { held: HashMap::new(), ends: BTreeSet::new(), floor: MessageKey::MIN }
    }
}

impl Leases {
    pub fn queue(&mut self, queue: &str) -> &mut QueueLeases {
        // Not `entry`: that would copy the name on every call.
        if !self.queues.contains_key(queue) {
            self.queues.insert(queue.to_owned(), QueueLeases::default());
        }
        self.queues.entry(queue.to_owned()).or_default()
    }

    pub fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Forgets a queue that was dropped.
    pub fn forget(&mut self, queue: &str) {
        self.queues.remove(queue);
    }

    /// The key of a message whose lease is current, now reserved for the writer thread. `None` when it is not current.
    pub fn settle(&mut self, queue: &str, id: u64, generation: u64) -> Option<MessageKey> {
        let held = self.queues.get_mut(queue)?.held.get_mut(&id)?;
        if held.generation != generation || held.settling {
            return None;
        }
        held.settling = true;
        Some(held.key)
    }

    /// Undoes `settle`, when the commit failed.
    pub fn unsettle(&mut self, queue: &str, id: u64) {
        if let Some(held) = self.queues.get_mut(queue).and_then(|queue| queue.held.get_mut(&id)) {
            held.settling = false;
        }
    }

    /// The message was removed, or put back at a new place.
    pub fn settled(&mut self, queue: &str, id: u64) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.release(id);
        }
    }

    /// A message is on disk at `key`.
    pub fn added(&mut self, queue: &str, key: MessageKey) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.floor = queue.floor.min(key);
        }
    }
}

impl QueueLeases {
    /// Frees the messages whose leases have ended.
    pub fn expire(&mut self, now_us: i64) {
        let mut from = (i64::MIN, 0);
        while let Some(&(until_us, id)) = self.ends.range(from..=(now_us, u64::MAX)).next() {
            from = (until_us, id.saturating_add(1));
            if let Some(held) = self.held.get(&id).filter(|held| !held.settling) {
                self.floor = self.floor.min(held.key);
                self.release(id);
            }
        }
    }

    pub fn is_held(&self, id: u64) -> bool {
        self.held.contains_key(&id)
    }

    pub fn hold(&mut self, key: MessageKey, until_us: i64, generation: u64) {
        self.ends.insert((until_us, key.id));
        self.held.insert(key.id, Held { key, until_us, generation, settling: false });
    }

    /// When the first lease ends.
    pub fn first_end_us(&self) -> Option<i64> {
        self.ends.first().map(|(until_us, _)| *until_us)
    }

    fn release(&mut self, id: u64) {
        if let Some(held) = self.held.remove(&id) {
            self.ends.remove(&(held.until_us, id));
        }
    }
}
