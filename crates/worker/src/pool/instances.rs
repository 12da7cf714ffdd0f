//! Instances of a version: ordering as many as are wanted, and what becomes of each.

use super::{
    AHEAD_S, BOOTING_MAX, CLONE_BYTES, CLONES_PER_STEP, Command, FAILURES_MAX, INSTANCE_BYTES_MIN, InitError,
    ORDERED_MAX, Ordered, Refusal, SPARES_MAX, Service, Spare, Version, Zygote, cpu_share,
};
use crate::{
    instance::{self, Answer},
    log_pipe::LogPipe,
    report,
};
use dayfly_sandbox::{
    Control, Order,
    cgroup::{Cgroup, CgroupLimits},
    protocol::Exit,
};
use dayfly_types::{Limits, LogLine, UsageStatus};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};
use tokio::{
    net::{UnixStream, unix::pipe},
    sync::oneshot,
    time::{Instant, timeout},
};

impl Version {
    /// Keeps as many instances coming as there are calls waiting and spares wanted.
    pub(super) fn order_more(&mut self) {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        let kept = if self.retired { 0 } else { self.provisioned.wanted() };
        if self.live.is_none() {
            let first = self.waiting.front().map(|waiting| waiting.logs.clone());
            let Some(logs) = first.or_else(|| self.provisioned.logs.clone().filter(|_| kept > 0)) else { return };
            self.boot(logs);
        }
        let spares = self.spares_wanted();
        let wanted = spares.max(kept) + self.waiting.len();
        // Spares are made in batches, when half of them are gone: a call that is not waiting for one need not share the
        // processors with the making of the next.
        let enough = spares.div_ceil(2).max(kept) + self.waiting.len();
        if self.live.as_ref().is_some_and(|live| live.spares.len() + live.ordered.len() >= enough) {
            return;
        }
        let one_use = self.one_use.is_some();
        let at_once = if one_use { BOOTING_MAX } else { ORDERED_MAX };
        loop {
            let Some(live) = &self.live else { return };
            let able = one_use || matches!(live.zygote, Zygote::Ready);
            if !able || live.ordered.len() >= at_once || live.spares.len() + live.ordered.len() >= wanted {
                return;
            }
            match self.order_one(one_use) {
                Ok(()) => {}
                // The launcher is behind: again at the next turn.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.failed(&error.to_string()),
            }
        }
    }

    fn spares_wanted(&self) -> usize {
        // Who waited already when the version was retired is still served.
        if self.retired || self.last_used.elapsed() > self.spares_idle() {
            return 0;
        }
        let most = if self.one_use.is_some() { BOOTING_MAX * 2 } else { SPARES_MAX };
        let ahead_s = (self.lead_s * 2.0).max(AHEAD_S);
        ((self.rate * ahead_s).ceil() as usize + 1).min(most)
    }

    fn order_one(&mut self, one_use: bool) -> io::Result<()> {
        let number = self.shared.next_number();
        let function = &self.recipe.function;
        let Some(live) = &mut self.live else { return Ok(()) };
        let limits = CgroupLimits {
            memory_bytes: (u64::from(function.memory_mb) << 20)
                .saturating_sub(live.resident_bytes)
                .max(INSTANCE_BYTES_MIN),
            cpu_millis: Some(cpu_share(function)),
            processes: self.shared.options.limits.processes,
            counted: one_use,
        };
        if let Some(zygote) = &live.zygote_cgroup {
            let steps = (live.running.len() as u64 / CLONES_PER_STEP) + 1;
            let clones_bytes = steps * CLONES_PER_STEP * CLONE_BYTES;
            zygote.set_memory((u64::from(function.memory_mb) << 20) + clones_bytes).map_err(io::Error::other)?;
        }
        let cgroup = match self.free_cgroups.pop() {
            Some(cgroup) => {
                if cgroup.set_memory(limits.memory_bytes).is_err() {
                    self.shared.bury(cgroup);
                    return Err(io::Error::other("a cgroup could not be used again"));
                }
                cgroup
            }
            None => self.shared.cgroups.create(&format!("instance-{number}"), &limits).map_err(io::Error::other)?,
        };
        let order = if one_use { Order::BootInstance { instance: number } } else { Order::Clone { instance: number } };
        let (socket, log) = match send_order(live.control.get_ref(), &order, &cgroup) {
            Ok(ends) => ends,
            Err(error) => {
                self.shared.bury(cgroup);
                return Err(error);
            }
        };
        let (ended, exit) = oneshot::channel();
        live.running.insert(number, ended);
        let ordered = Ordered { at: Instant::now(), socket, log, cgroup, exit };
        live.ordered.insert(number, ordered);
        Ok(())
    }

    pub(super) fn prepared(&mut self, number: u64) {
        if self.one_use.is_some() {
            return self.await_init(number);
        }
        let Some(live) = &mut self.live else { return };
        let Some(ordered) = live.ordered.remove(&number) else { return };
        let Ordered { at, socket, log, cgroup, exit } = ordered;
        let wrapped = socket
            .set_nonblocking(true)
            .and_then(|()| Ok((UnixStream::from_std(socket)?, pipe::Receiver::from_owned_fd(log)?)));
        let (socket, log) = match wrapped {
            Ok(wrapped) => wrapped,
            Err(error) => {
                self.kill(number);
                self.shared.bury(cgroup);
                return self.failed(&error.to_string());
            }
        };
        let restore_us = at.elapsed().as_micros() as u64;
        self.lead_s = 0.8 * self.lead_s + 0.2 * at.elapsed().as_secs_f64();
        live.spares.push_back(Spare {
            number,
            socket,
            log: LogPipe::new(log, &self.shared.options.limits),
            log_head: Vec::new(),
            cgroup,
            exit,
            restore_us,
            init_us: None,
            service: Service::new(),
        });
        self.give_out();
    }

    /// A one-use instance has been started: somebody waits for its init, reading what it says meanwhile.
    fn await_init(&mut self, number: u64) {
        let Some(ordered) = self.live.as_ref().and_then(|live| live.ordered.get(&number)) else { return };
        let (socket, log) = match (ordered.socket.try_clone(), ordered.log.try_clone()) {
            (Ok(socket), Ok(log)) => (socket, log),
            _ => {
                let cgroup = self.live.as_mut().and_then(|live| live.ordered.remove(&number)).map(|it| it.cgroup);
                self.kill(number);
                cgroup.into_iter().for_each(|cgroup| self.shared.bury(cgroup));
                return self.failed("out of file descriptors");
            }
        };
        let limits = self.shared.options.limits.clone();
        let commands = self.handle.commands.clone();
        let allowed = self.one_use_init_max();
        let at = ordered.at;
        tokio::spawn(async move {
            let booted = match timeout(allowed, one_use_init(socket, log, &limits)).await {
                Ok(result) => result.map(|(socket, log, lines)| (socket, log, lines, at.elapsed().as_micros() as u64)),
                Err(_) => Err(InitError {
                    error_type: "Sandbox.Timedout".to_owned(),
                    body: report::error("Sandbox.Timedout", "Error: init took too long").into(),
                    lines: Vec::new(),
                }),
            };
            let _ = commands.send(Command::Booted { number, booted });
        });
    }

    pub(super) fn booted(&mut self, number: u64, booted: Result<(UnixStream, LogPipe, Vec<LogLine>, u64), InitError>) {
        let Some(live) = &mut self.live else { return };
        let Some(ordered) = live.ordered.remove(&number) else { return };
        match booted {
            Ok((socket, log, log_head, init_us)) => {
                self.failures = 0;
                self.lead_s = 0.5 * self.lead_s + 0.5 * (init_us as f64 / 1e6);
                live.spares.push_back(Spare {
                    number,
                    socket,
                    log,
                    log_head,
                    cgroup: ordered.cgroup,
                    exit: ordered.exit,
                    restore_us: 0,
                    init_us: Some(init_us),
                    service: Service::new(),
                });
                self.give_out();
            }
            Err(InitError { error_type, body, lines }) => {
                let (stream, init_us) = (live.stream.clone(), ordered.at.elapsed().as_micros() as u64);
                self.kill(number);
                self.shared.bury(ordered.cgroup);
                if let Some(waiting) = self.waiting.pop_front() {
                    waiting.logs.lines(&stream, lines);
                    let status =
                        if error_type == "Sandbox.Timedout" { UsageStatus::Timeout } else { UsageStatus::InitError };
                    let refusal = Refusal::Init { error_type, body, init_us, status, pays: true, stream };
                    let _ = waiting.reply.send(Err(refusal));
                } else {
                    if let Some(logs) = &self.provisioned.logs {
                        logs.lines(&stream, lines);
                    }
                    // Not for ever: nobody hears of it.
                    self.failed("init failed ahead of demand");
                }
            }
        }
    }

    pub(super) fn not_prepared(&mut self, number: u64, reason: &str) {
        let Some(live) = &mut self.live else { return };
        live.running.remove(&number);
        if let Some(ordered) = live.ordered.remove(&number) {
            self.shared.bury(ordered.cgroup);
            self.failed(reason);
        }
    }

    pub(super) fn exited(&mut self, number: u64, exit: Exit) {
        let Some(live) = &mut self.live else { return };
        if let Some(ended) = live.running.remove(&number) {
            let _ = ended.send(exit);
        }
        // A spare that ended before its call is no spare.
        if let Some(at) = live.spares.iter().position(|spare| spare.number == number) {
            let spare = live.spares.remove(at);
            // One that has served may end as it likes.
            let has_served = spare.as_ref().is_some_and(|spare| spare.service.calls > 0);
            spare.into_iter().for_each(|spare| self.shared.bury(spare.cgroup));
            if !has_served {
                self.failed("a spare ended before its call");
            }
        }
    }

    /// An instance did not come up. Tried again, but not for ever.
    fn failed(&mut self, reason: &str) {
        tracing::warn!(function = %self.recipe.function.arn, reason, "an instance did not come up");
        self.provisioned.set_back(reason);
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            self.failures = 0;
            self.refuse_all(|_| Refusal::Internal(reason.to_owned()));
            self.give_up_live();
        }
    }

    /// Longest init of an instance that is not a clone.
    pub(super) fn one_use_init_max(&self) -> Duration {
        let init = Duration::from_millis(self.shared.options.limits.init_ms);
        init.max(Duration::from_secs(self.recipe.function.timeout_s.into()))
    }
}

/// Orders an instance in this cgroup, and gives our ends of its call socket and its output.
fn send_order(
    control: &Control,
    order: &Order,
    cgroup: &Cgroup,
) -> io::Result<(std::os::unix::net::UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let (log, log_writer) = io::pipe()?;
    let descriptors: Vec<_> = [theirs.as_fd(), log_writer.as_fd()].into_iter().chain(cgroup.entrances()).collect();
    control.order(order, &descriptors)?;
    Ok((ours, log.into()))
}

async fn one_use_init(
    socket: std::os::unix::net::UnixStream,
    log: OwnedFd,
    limits: &Limits,
) -> Result<(UnixStream, LogPipe, Vec<LogLine>), InitError> {
    let broken = |error: io::Error| InitError {
        error_type: "Runtime.ExitError".to_owned(),
        body: report::error("Runtime.ExitError", &format!("Error: Runtime exited during init: {error}")).into(),
        lines: Vec::new(),
    };
    socket.set_nonblocking(true).map_err(broken)?;
    let mut socket = UnixStream::from_std(socket).map_err(broken)?;
    let mut log = LogPipe::new(pipe::Receiver::from_owned_fd(log).map_err(broken)?, limits);
    let mut lines = Vec::new();
    let answer = {
        let answer = instance::answer(&mut socket, 0);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                some = log.read(), if !log.ended => lines.extend(some),
            }
        }
    };
    match answer {
        Ok((Answer::Ready, _)) => Ok((socket, log, lines)),
        Ok((Answer::Error { body, in_init: true }, words)) => {
            lines.extend(words.map(|words| crate::log_pipe::function_line(&words)));
            Err(InitError { error_type: instance::error_type_of(&body), body, lines })
        }
        Ok(_) => Err(InitError { lines, ..broken(io::ErrorKind::InvalidData.into()) }),
        Err(error) => Err(InitError { lines, ..broken(error) }),
    }
}
