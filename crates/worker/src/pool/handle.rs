//! What the pool gives to others: a handle of a version's actor, and instances.

use super::{Again, Command, Readiness, Service};
use crate::{Shared, log_pipe::LogPipe};
use dayfly_sandbox::{cgroup::Cgroup, protocol::Exit};
use dayfly_types::{Limits, LogLine, LogSink, UsageStatus, function::Reuse};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Speaks to a version's actor.
#[derive(Clone)]
pub struct VersionHandle {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) readiness: Arc<Mutex<Readiness>>,
    pub(super) reuse: Option<Reuse>,
}

impl VersionHandle {
    /// Takes an instance for a call, waiting for one if need be. Bounded by the deadlines of boot and init.
    pub async fn take(&self, logs: Arc<dyn LogSink>) -> Result<Taken, Refusal> {
        let (reply, taken) = oneshot::channel();
        if self.commands.send(Command::Take { reply, logs, asked: Instant::now() }).is_err() {
            return Err(Refusal::Retired);
        }
        taken.await.unwrap_or(Err(Refusal::Retired))
    }

    /// Kills an instance and all it started.
    pub fn kill(&self, number: u64) {
        let _ = self.commands.send(Command::Kill(number));
    }

    fn give_back(&self, command: Command) {
        // When the actor has ended, its launcher has been ended too, and the instance with it.
        match self.commands.send(command) {
            Err(mpsc::error::SendError(Command::Done(cgroup) | Command::Abandoned(_, cgroup))) => {
                self.shared.bury(cgroup);
            }
            Err(mpsc::error::SendError(Command::Again(again))) => self.shared.bury(again.cgroup),
            _ => {}
        }
    }

    /// Kills the whole sandbox of the version: something in it does not end.
    pub fn give_up(&self) {
        let _ = self.commands.send(Command::GiveUp);
    }

    /// No new calls; ends when the running ones have.
    pub fn retire(&self) {
        let _ = self.commands.send(Command::Retire);
    }

    /// Keeps so many instances ready.
    pub fn keep(&self, count: u32) {
        let _ = self.commands.send(Command::Keep(count));
    }

    /// What is kept ready.
    pub fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the zygote go if nobody uses it: memory is short.
    pub fn evict_if_idle(&self) {
        let _ = self.commands.send(Command::EvictIfIdle);
    }

    /// How long its instances go on.
    pub fn reuse(&self) -> Option<Reuse> {
        self.reuse
    }

    /// Whether both speak to the same actor.
    pub fn is(&self, other: &Self) -> bool {
        self.commands.same_channel(&other.commands)
    }

    /// Whether the actor has ended.
    pub fn ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Resolves when the actor has ended and left nothing behind.
    pub async fn gone(&self) {
        self.commands.closed().await;
    }

    /// The worker's limits.
    pub fn limits(&self) -> &Limits {
        &self.shared.options.limits
    }
}

/// An instance, ready for one call.
pub struct Taken {
    /// Its cgroup, and the duty to end it.
    pub lease: Lease,
    /// Its id, and what it has served.
    pub service: Service,
    /// Where the event goes and the answer comes from.
    pub socket: UnixStream,
    /// Its output.
    pub log: LogPipe,
    /// Lines from before the call: its own init's, when it is not a clone.
    pub log_head: Vec<LogLine>,
    /// Resolves when it has ended; fails when its launcher has.
    pub exit: oneshot::Receiver<Exit>,
    /// Log stream of its lines.
    pub stream: Arc<str>,
    /// Time of the init that this call waited for.
    pub init_us: Option<u64>,
    /// Time of the clone that this call waited for.
    pub restore_us: Option<u64>,
    /// Memory that it shares with its zygote.
    pub resident_bytes: u64,
}

/// An instance that somebody answers for. When it is dropped before `done`, since its call was, the instance is killed.
pub struct Lease {
    pub(super) number: u64,
    pub(super) version: VersionHandle,
    /// There until `done` or the drop.
    pub(super) cgroup: Option<Cgroup>,
}

impl Lease {
    /// The instance's limits and accounts.
    pub fn cgroup(&self) -> &Cgroup {
        match &self.cgroup {
            Some(cgroup) => cgroup,
            None => unreachable!("`done` takes the lease along with its cgroup"),
        }
    }

    /// The pool's number of the instance.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The instance's version.
    pub fn version(&self) -> &VersionHandle {
        &self.version
    }

    /// The instance is ready for another call.
    pub fn again(mut self, socket: UnixStream, log: LogPipe, exit: oneshot::Receiver<Exit>, service: Service) {
        if let Some(cgroup) = self.cgroup.take() {
            let again = Again { number: self.number, cgroup, socket, log, exit, service };
            self.version.give_back(Command::Again(Box::new(again)));
        }
    }

    /// The instance has ended, or its launcher was given up: its cgroup may be used again.
    pub fn done(mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            self.version.give_back(Command::Done(cgroup));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            // What was killed but has no CPU time left could not end.
            cgroup.hurry();
            self.version.give_back(Command::Abandoned(self.number, cgroup));
        }
    }
}

/// Why there is no instance.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// Init failed: the error body, and how long it took. Only one of those who waited for it is to pay.
    Init { error_type: String, body: bytes::Bytes, init_us: u64, status: UsageStatus, pays: bool, stream: Arc<str> },
    /// Dayfly's fault.
    Internal(String),
    /// The version is being retired.
    Retired,
}
