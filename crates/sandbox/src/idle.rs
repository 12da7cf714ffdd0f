//! Watches that a zygote computes only when it clones: what it did beside that, nobody would pay for. Used by the launcher.

use std::{
    fs,
    time::{Duration, Instant},
};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// CPU time per look that is nobody's business, in the kernel's ticks of 10 ms.
const FREE_TICKS: u64 = 20;
/// CPU time per clone that is taken for the clone's cost, in ticks: a large zygote takes one.
const CLONE_TICKS: u64 = 3;
/// Looks in a row at which a zygote may have computed too much.
const STRIKES: u32 = 3;

/// What was seen of one zygote.
pub struct IdleWatch {
    pid: i32,
    seen_at: Instant,
    ticks: u64,
    clones: u64,
    strikes: u32,
}

impl IdleWatch {
    /// Begins once init is done.
    pub fn start(pid: i32) -> Self {
        Self { pid, seen_at: Instant::now(), ticks: ticks_of(pid), clones: 0, strikes: 0 }
    }

    /// When to look next.
    pub fn due(&self) -> Instant {
        self.seen_at + EVERY
    }

    /// Counts a clone that was ordered.
    pub fn cloned(&mut self) {
        self.clones += 1;
    }

    /// Looks, if it is time. True when the zygote has computed for itself for too long.
    pub fn caught(&mut self) -> bool {
        if Instant::now() < self.due() {
            return false;
        }
        let ticks = ticks_of(self.pid);
        let spent = ticks.saturating_sub(self.ticks);
        self.strikes = if spent > FREE_TICKS + self.clones * CLONE_TICKS { self.strikes + 1 } else { 0 };
        (self.seen_at, self.ticks, self.clones) = (Instant::now(), ticks, 0);
        self.strikes >= STRIKES
    }
}

/// User and system time of a process, from its `stat`; 0 when it is gone.
fn ticks_of(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; the fields after it are numbers.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_what_its_stat_says() {
        let own = std::process::id() as i32;
        let before = ticks_of(own);
        let started = Instant::now();
        while ticks_of(own) < before + 2 {
            assert!(started.elapsed() < Duration::from_secs(30), "no CPU time is counted");
        }
        assert_eq!(ticks_of(-1), 0);
    }
}
