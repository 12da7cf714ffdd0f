//! Instances that serve more calls than one, where a function asks for it. Between two calls one has next to no CPU.

use super::{SPARES_IDLE, Spare, Version, cpu_share};
use crate::log_pipe::LogPipe;
use dayfly_sandbox::{cgroup::Cgroup, protocol::Exit};
use dayfly_types::function::Reuse;
use std::time::Duration;
use tokio::{net::UnixStream, sync::oneshot, time::Instant};

/// Who an instance is, and what it has served.
#[derive(Debug, Clone)]
pub struct Service {
    /// 32 random hexadecimal digits.
    pub id: String,
    /// Calls that it has served.
    pub calls: u32,
    /// When the first one began.
    since: Option<Instant>,
}

impl Service {
    /// Of one that has served nobody.
    pub fn new() -> Self {
        Self { id: uuid::Uuid::new_v4().simple().to_string(), calls: 0, since: None }
    }

    /// After one more call, which began at `started`.
    pub fn after_call(&self, started: Instant) -> Self {
        Self { id: self.id.clone(), calls: self.calls.saturating_add(1), since: self.since.or(Some(started)) }
    }

    /// Whether it may serve another.
    pub fn may_serve(&self, reuse: Reuse) -> bool {
        match reuse {
            Reuse::Calls(most) => self.calls < most,
            Reuse::Seconds(most) => self.since.is_none_or(|since| since.elapsed() < Duration::from_secs(most.into())),
        }
    }
}

/// An instance that is ready for another call.
pub struct Again {
    pub number: u64,
    pub cgroup: Cgroup,
    pub socket: UnixStream,
    pub log: LogPipe,
    pub exit: oneshot::Receiver<Exit>,
    pub service: Service,
}

impl Version {
    /// Takes an instance back for the next call.
    pub(super) fn take_back(&mut self, again: Again) {
        let Again { number, cgroup, socket, mut log, exit, service } = again;
        self.failures = 0;
        let is_wanted = !self.retired && self.handle.reuse.is_some_and(|reuse| service.may_serve(reuse));
        let Some(live) = self.live.as_mut().filter(|live| is_wanted && live.running.contains_key(&number)) else {
            self.kill(number);
            return self.shared.bury(cgroup);
        };
        log.begin_anew();
        cgroup.forget_peak();
        // What it has started may not work on, at nobody's cost, while it waits.
        if cgroup.set_cpu(0).is_err() {
            self.kill(number);
            return self.shared.bury(cgroup);
        }
        // Before those that have served nobody: these are for when there are too few.
        live.spares.push_front(Spare {
            number,
            socket,
            log,
            log_head: Vec::new(),
            cgroup,
            exit,
            restore_us: 0,
            init_us: None,
            service,
        });
        self.give_out();
    }

    /// The instance that the next call gets.
    pub(super) fn next_spare(&mut self) -> Option<Spare> {
        loop {
            let spare = self.live.as_mut()?.spares.pop_front()?;
            if spare.service.calls == 0 {
                return Some(spare);
            }
            let may_serve = self.handle.reuse.is_some_and(|reuse| spare.service.may_serve(reuse));
            // One that says something unasked is not to be trusted with another call.
            let is_silent =
                spare.socket.try_read(&mut [0]).is_err_and(|it| it.kind() == std::io::ErrorKind::WouldBlock);
            if may_serve && is_silent && spare.cgroup.set_cpu(cpu_share(&self.recipe.function)).is_ok() {
                return Some(spare);
            }
            self.kill(spare.number);
            self.shared.bury(spare.cgroup);
        }
    }

    /// Spares leave after this time without a call.
    pub(super) fn spares_idle(&self) -> Duration {
        match self.handle.reuse {
            Some(_) => self.shared.options.zygote_idle.max(SPARES_IDLE),
            None => SPARES_IDLE,
        }
    }
}
