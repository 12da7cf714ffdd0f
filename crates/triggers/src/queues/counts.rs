//! How many messages a queue has, without reading them: counted at the start, kept from then on. To the second.

use std::collections::BTreeMap;

/// How many messages there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Can be received.
    pub visible: u64,
    /// Were received and are hidden.
    pub in_flight: u64,
    /// Were sent and are hidden yet.
    pub delayed: u64,
}

/// The books of a queue.
#[derive(Debug, Default)]
pub(super) struct Tally {
    total: u64,
    /// Hidden messages by the second in which they become visible.
    in_flight: BTreeMap<i64, u64>,
    delayed: BTreeMap<i64, u64>,
}

impl Tally {
    /// A message is there now, received before or not.
    pub fn enter(&mut self, visible_us: i64, received: bool, now_us: i64) {
        self.total += 1;
        if visible_us > now_us {
            let hidden = if received { &mut self.in_flight } else { &mut self.delayed };
            *hidden.entry(second(visible_us)).or_default() += 1;
        }
    }

    /// It is there no longer.
    pub fn leave(&mut self, visible_us: i64, received: bool) {
        self.total = self.total.saturating_sub(1);
        let hidden = if received { &mut self.in_flight } else { &mut self.delayed };
        if let Some(count) = hidden.get_mut(&second(visible_us)) {
            *count -= 1;
            if *count == 0 {
                hidden.remove(&second(visible_us));
            }
        }
    }

    pub fn counts(&mut self, now_us: i64) -> Counts {
        let now = now_us.div_euclid(1_000_000);
        self.in_flight = self.in_flight.split_off(&(now + 1));
        self.delayed = self.delayed.split_off(&(now + 1));
        let (in_flight, delayed) = (self.in_flight.values().sum(), self.delayed.values().sum());
        Counts { visible: self.total.saturating_sub(in_flight + delayed), in_flight, delayed }
    }
}

/// The second that ends with, or after, this moment.
fn second(us: i64) -> i64 {
    us.div_euclid(1_000_000) + i64::from(us.rem_euclid(1_000_000) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_messages_become_visible_and_leave_without_a_trace() {
        let mut tally = Tally::default();
        tally.enter(0, false, 10);
        tally.enter(5_000_000, false, 10);
        tally.enter(9_000_000, true, 10);
        assert_eq!(tally.counts(20), Counts { visible: 1, in_flight: 1, delayed: 1 });
        assert_eq!(tally.counts(5_000_000), Counts { visible: 2, in_flight: 1, delayed: 0 });
        tally.leave(9_000_000, true);
        tally.leave(5_000_000, false);
        assert_eq!(tally.counts(6_000_000), Counts { visible: 1, in_flight: 0, delayed: 0 });
        tally.leave(0, false);
        assert_eq!(tally.counts(6_000_000), Counts::default());
    }
}
