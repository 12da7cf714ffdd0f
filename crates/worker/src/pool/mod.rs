//! The pool: one actor per function version that has been called. It boots the zygote on demand, keeps spares ahead of
//! demand, hands instances to calls, and lets everything go when it has been idle.

mod ahead;
mod boot;
mod handle;
mod instances;
mod provisioned;
mod reuse;
mod sandbox;

pub use ahead::Ahead;
pub use handle::{Lease, Refusal, Taken, VersionHandle};
pub use provisioned::{Kept, Readiness};
pub use reuse::{Again, Service};

use crate::{Shared, interpreters::Interpreter, job::TaskFolder, log_pipe::LogPipe};
use dayfly_sandbox::{Control, Order, Report, cgroup::Cgroup, protocol::Exit};
use dayfly_types::{FunctionConfiguration, LogLine, LogSink, LogSource, Timestamp};
use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::Child,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

/// Lambda's measure: so much memory goes with one CPU.
pub(crate) const MEMORY_MB_PER_CPU: u32 = 1769;
/// How often demand is measured while there is any.
const TICK: Duration = Duration::from_millis(100);
/// Spares leave after this time without a call.
const SPARES_IDLE: Duration = Duration::from_secs(10);
/// Most spares of one version.
const SPARES_MAX: usize = 32;
/// Spares are there for the calls of so many seconds, or of twice the time that it takes to make one.
const AHEAD_S: f64 = 0.02;
/// Most clones under way for one version.
const ORDERED_MAX: usize = 16;
/// Most one-use boots under way for one version.
const BOOTING_MAX: usize = 4;
/// A version whose instances fail to come up this often in a row gives its callers an error.
const FAILURES_MAX: u32 = 3;
/// How long an instance may take to be prepared; then its launcher is given up. It gives up a zygote long before.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A zygote older than this is replaced: its credentials would run out.
const ZYGOTE_AGE_MAX: Duration = Duration::from_secs(6 * 3600);
/// The least memory that an instance gets beyond what it shares with its zygote.
const INSTANCE_BYTES_MIN: u64 = 8 << 20;
/// What a clone costs its zygote's cgroup: page tables, and what it touches before it is moved to its own.
const CLONE_BYTES: u64 = 2 << 20;
/// A zygote's memory limit grows by the cost of so many clones at once, so that few calls pay for a change.
const CLONES_PER_STEP: u64 = 64;

enum Command {
    Take { reply: oneshot::Sender<Result<Taken, Refusal>>, logs: Arc<dyn LogSink>, asked: Instant },
    Kill(u64),
    Done(Cgroup),
    Again(Box<Again>),
    Abandoned(u64, Cgroup),
    Booted { number: u64, booted: Result<(UnixStream, LogPipe, Vec<LogLine>, u64), InitError> },
    Retire,
    Keep(u32),
    EvictIfIdle,
    GiveUp,
}

struct InitError {
    error_type: String,
    body: bytes::Bytes,
    lines: Vec<LogLine>,
}

/// What a version is made of.
pub struct Recipe {
    /// The configuration.
    pub function: Arc<FunctionConfiguration>,
    /// Runs it.
    pub interpreter: Interpreter,
    /// What is at `/var/task`.
    pub code: Code,
    /// What is at `/opt`.
    pub layers: Option<PathBuf>,
    /// boto3 and what it needs, if it is there.
    pub sdk: Option<PathBuf>,
    /// Instances that are kept ready whether or not there are calls.
    pub kept: Option<Kept>,
}

/// A version's code.
pub enum Code {
    /// An unpacked package.
    Package(PathBuf),
    /// A function file, and what is seen beside it. Kept while the version is.
    Job(Arc<crate::job::Published>),
}

impl Code {
    /// At most so much of the zygote's memory is data that all calls share: it is not counted against each of them.
    fn shared_bytes(&self) -> u64 {
        match self {
            Self::Package(_) => 0,
            Self::Job(published) => std::fs::metadata(published.file.path()).map_or(0, |metadata| metadata.len()),
        }
    }
}

/// Starts the actor of a version.
pub fn start(shared: Arc<Shared>, recipe: Recipe) -> VersionHandle {
    // Bounded by the calls admitted above: each has at most one command under way.
    let (sender, commands) = mpsc::unbounded_channel();
    let provisioned = provisioned::Provisioned::new(recipe.kept.clone());
    let readiness = provisioned.readiness.clone();
    let reuse = recipe.function.reuse();
    let handle = VersionHandle { commands: sender.clone(), shared: shared.clone(), readiness, reuse };
    let other_language = recipe.function.runtime.python_minor().is_none();
    let one_use = match reuse {
        _ if other_language => Some("only a Python interpreter is cloned"),
        // What lasts is worth a boot, and may have threads.
        Some(_) => Some("its instances serve more calls than one"),
        None => None,
    };
    let version = Version {
        shared,
        recipe: Arc::new(recipe),
        handle: handle.clone(),
        live: None,
        waiting: VecDeque::new(),
        one_use: one_use.map(str::to_owned),
        retired: false,
        owes_one_ahead: false,
        missed_one_ahead: false,
        failures: 0,
        arrivals: 0,
        rate: 0.0,
        lead_s: 0.005,
        last_used: Instant::now(),
        timeouts_in_init: 0,
        free_cgroups: Vec::new(),
        provisioned,
    };
    tokio::spawn(version.run(commands));
    handle
}

struct Version {
    shared: Arc<Shared>,
    recipe: Arc<Recipe>,
    handle: VersionHandle,
    /// The sandbox, while there is one.
    live: Option<Live>,
    waiting: VecDeque<Waiting>,
    /// Why the zygote is not cloned: each call then boots an instance of its own.
    one_use: Option<String>,
    retired: bool,
    /// A job's zygote is up, and the next job of its environment has none yet.
    owes_one_ahead: bool,
    /// Nor was there memory for one.
    missed_one_ahead: bool,
    /// Instances that failed to come up, in a row.
    failures: u32,
    /// Calls since the last tick.
    arrivals: u32,
    /// Calls per second, smoothed.
    rate: f64,
    /// Seconds from order to spare, smoothed.
    lead_s: f64,
    last_used: Instant,
    timeouts_in_init: u32,
    /// Cgroups to be used again.
    free_cgroups: Vec<Cgroup>,
    /// What is kept ready without a call that asks for it.
    provisioned: provisioned::Provisioned,
}

struct Waiting {
    reply: oneshot::Sender<Result<Taken, Refusal>>,
    logs: Arc<dyn LogSink>,
    asked: Instant,
}

/// A launcher and what it runs.
struct Live {
    control: AsyncFd<Control>,
    process: Child,
    stream: Arc<str>,
    zygote: Zygote,
    zygote_cgroup: Option<Cgroup>,
    task: Option<TaskFolder>,
    /// The zygote was booted before there was a call for it.
    ahead: bool,
    started: Instant,
    resident_bytes: u64,
    /// Init time, until the call that waited for it has taken it.
    init_us: Option<u64>,
    spares: VecDeque<Spare>,
    ordered: HashMap<u64, Ordered>,
    /// Keeps the sandbox's endpoint served.
    endpoint: Option<crate::EndpointGuard>,
    /// Who wants to know of an instance's end.
    running: HashMap<u64, oneshot::Sender<Exit>>,
    /// Instances to be killed, of which the launcher has not been told yet.
    to_kill: VecDeque<u64>,
}

enum Zygote {
    None,
    Booting { log: LogPipe, logs: Arc<dyn LogSink>, deadline: Instant, error: Option<bytes::Bytes> },
    Ready,
}

struct Ordered {
    at: Instant,
    socket: std::os::unix::net::UnixStream,
    log: OwnedFd,
    cgroup: Cgroup,
    exit: oneshot::Receiver<Exit>,
}

struct Spare {
    number: u64,
    socket: UnixStream,
    log: LogPipe,
    log_head: Vec<LogLine>,
    cgroup: Cgroup,
    exit: oneshot::Receiver<Exit>,
    restore_us: u64,
    init_us: Option<u64>,
    /// What it has served.
    service: Service,
}

impl Version {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        // What is kept ready does not wait for a first call.
        self.order_more();
        loop {
            let next = self.next_deadline();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                event = next_event(&mut self.live) => match event {
                    Event::InitSaid(lines) => self.init_said(lines),
                    Event::Report(Ok(Some((report, descriptors)))) => self.hear(report, descriptors),
                    Event::Report(Ok(None)) => self.lost("the launcher ended"),
                    Event::Report(Err(error)) => self.lost(&format!("the launcher failed: {error}")),
                },
                () = sleep_until(next) => self.tick(),
            }
            self.send_kills();
            self.order_more();
            self.tell_readiness();
            if self.retired && !self.in_use() {
                break;
            }
        }
        // In this order: who waits for the actor's end also waits for the clean-up that this begins.
        self.end_live();
        commands.close();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Done(cgroup) | Command::Abandoned(_, cgroup) => self.free_cgroups.push(cgroup),
                Command::Again(again) => self.free_cgroups.push(again.cgroup),
                Command::Take { reply, .. } => drop(reply.send(Err(Refusal::Retired))),
                _ => {}
            }
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.reply.send(Err(Refusal::Retired));
        }
        for cgroup in self.free_cgroups.drain(..) {
            self.shared.bury(cgroup);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Take { reply, .. } if self.retired => drop(reply.send(Err(Refusal::Retired))),
            Command::Take { reply, logs, asked } => {
                self.arrivals += 1;
                self.last_used = Instant::now();
                self.waiting.push_back(Waiting { reply, logs, asked });
                self.give_out();
            }
            Command::Kill(number) => self.kill(number),
            Command::Done(cgroup) => {
                // Only a call tells that instances are sound: one that ends before its call has come up, too.
                self.failures = 0;
                if cgroup.recycle() && self.free_cgroups.len() < SPARES_MAX {
                    self.free_cgroups.push(cgroup);
                } else {
                    self.shared.bury(cgroup);
                }
            }
            Command::Again(again) => self.take_back(*again),
            Command::Abandoned(number, cgroup) => {
                self.kill(number);
                self.shared.bury(cgroup);
            }
            Command::Booted { number, booted } => self.booted(number, booted),
            Command::Retire => {
                self.retired = true;
                self.drop_spares();
                // There may have been no room for it while the calls ran.
                self.owes_one_ahead |= self.missed_one_ahead;
                self.see_to_next_job();
            }
            Command::Keep(count) => self.provisioned.keep(count),
            Command::EvictIfIdle => {
                if !self.in_use() && self.provisioned.count == 0 {
                    self.end_live();
                }
            }
            Command::GiveUp => {
                self.end_live();
                if self.retired {
                    self.refuse_all(|_| Refusal::Retired);
                }
            }
        }
    }

    /// Hands spares to those who wait.
    fn give_out(&mut self) {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        while !self.waiting.is_empty() {
            let Some(spare) = self.next_spare() else { return };
            let Some(live) = &mut self.live else { return };
            let Some(waiting) = self.waiting.pop_front() else { return };
            let waited_us = waiting.asked.elapsed().as_micros() as u64;
            let taken = Taken {
                lease: Lease { number: spare.number, version: self.handle.clone(), cgroup: Some(spare.cgroup) },
                service: spare.service,
                socket: spare.socket,
                log: spare.log,
                log_head: spare.log_head,
                exit: spare.exit,
                stream: live.stream.clone(),
                init_us: live.init_us.take().or(spare.init_us),
                // A spare that was there costs its call nothing.
                restore_us: (waited_us > spare.restore_us / 2 && spare.restore_us > 0).then_some(spare.restore_us),
                resident_bytes: live.resident_bytes,
            };
            // A caller that goes away just now drops the lease.
            let _ = waiting.reply.send(Ok(taken));
        }
    }

    fn hear(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        match report {
            Report::Up => {
                if let Some(listener) = descriptors.into_iter().next() {
                    let guard = (self.shared.options.endpoint)(listener.into());
                    if let Some(live) = &mut self.live {
                        live.endpoint = Some(guard);
                    }
                }
            }
            Report::Broken { reason } => self.lost(&reason),
            // Its job is on its way to it.
            Report::ZygoteWaits => {}
            Report::ZygoteReady { unclonable } => self.zygote_ready(unclonable),
            Report::ZygoteFailed { error: body } => {
                if let Some(Live { zygote: Zygote::Booting { error, .. }, .. }) = &mut self.live {
                    *error = Some(body.into());
                }
            }
            Report::ZygoteExited(exit) => self.zygote_exited(exit),
            Report::Prepared { instance, .. } => self.prepared(instance),
            Report::NotPrepared { instance, reason } => self.not_prepared(instance, &reason),
            Report::Exited { instance, exit } => self.exited(instance, exit),
        }
    }

    /// The launcher is gone, or never came up.
    fn lost(&mut self, reason: &str) {
        tracing::warn!(function = %self.recipe.function.arn, reason, "a sandbox was lost");
        self.end_live();
        self.provisioned.set_back(reason);
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            self.failures = 0;
            match self.gone() {
                Some(path) => self.refuse_for_gone(&path),
                None => self.refuse_all(|_| Refusal::Internal(reason.to_owned())),
            }
        }
    }

    /// Ends the launcher, and with it every process inside; calls in flight see their instance end.
    fn end_live(&mut self) {
        let Some(live) = self.live.take() else { return };
        let Live { control, process, zygote_cgroup, task, spares, ordered, running, endpoint, .. } = live;
        drop(control);
        drop(endpoint);
        drop(running);
        let cgroups: Vec<Cgroup> = zygote_cgroup
            .into_iter()
            .chain(spares.into_iter().map(|spare| spare.cgroup))
            .chain(ordered.into_values().map(|ordered| ordered.cgroup))
            .collect();
        if self.handle.reuse.is_some() {
            // Those that wait have too little CPU to end.
            cgroups.iter().for_each(Cgroup::hurry);
        }
        sandbox::end(&self.shared, process, cgroups, task);
    }

    /// Has a zygote booted for the next job like this one, now that this one's calls run.
    fn see_to_next_job(&mut self) {
        if std::mem::take(&mut self.owes_one_ahead) {
            self.missed_one_ahead = !self.shared.ahead.want(&self.shared, &self.recipe, false);
        }
    }

    /// Lets go what is ready, but for what is kept so.
    fn drop_spares(&mut self) {
        let kept = if self.retired { 0 } else { self.provisioned.count as usize };
        let Some(live) = &mut self.live else { return };
        let spares: Vec<Spare> = live.spares.drain(kept.min(live.spares.len())..).collect();
        for spare in spares {
            self.kill(spare.number);
            self.shared.bury(spare.cgroup);
        }
    }

    /// Lets the sandbox go for a new one. Calls that run in it go on: then this actor serves nobody else, and the next
    /// call makes a successor.
    fn give_up_live(&mut self) {
        if self.runs_calls() {
            self.retired = true;
            self.refuse_all(|_| Refusal::Retired);
            self.drop_spares();
        } else {
            self.end_live();
        }
    }

    /// Has an instance killed: at once, or when the launcher has caught up.
    fn kill(&mut self, number: u64) {
        let Some(live) = &mut self.live else { return };
        live.to_kill.push_back(number);
        self.send_kills();
    }

    fn send_kills(&mut self) {
        while let Some(live) = &mut self.live
            && let Some(instance) = live.to_kill.pop_front()
        {
            match live.control.get_ref().order(&Order::Kill { instance }, &[]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return live.to_kill.push_front(instance),
                Err(error) => return self.lost(&format!("the launcher does not take orders: {error}")),
            }
        }
    }

    /// Whether a call runs or waits.
    fn in_use(&self) -> bool {
        self.runs_calls() || !self.waiting.is_empty()
    }

    /// Whether there are instances that are neither spares nor still to come.
    fn runs_calls(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.running.len() > live.spares.len() + live.ordered.len())
    }

    /// Whether the launcher has not made, or told of, an instance for too long.
    fn is_silent(&self) -> bool {
        let init = if self.one_use.is_some() { self.one_use_init_max() } else { Duration::ZERO };
        self.live.as_ref().is_some_and(|live| live.ordered.values().any(|it| it.at.elapsed() > SILENCE_MAX + init))
    }

    fn next_deadline(&self) -> Instant {
        match self.look_after_kept_at() {
            Some(at) => self.next_deadline_of_calls(at).min(at),
            None => self.next_deadline_of_calls(self.last_used + self.shared.options.zygote_idle),
        }
    }

    fn next_deadline_of_calls(&self, idle_at: Instant) -> Instant {
        let Some(live) = &self.live else {
            return match (&self.one_use, self.waiting.is_empty()) {
                // The sandbox could not be started: again, soon.
                (_, false) => Instant::now() + TICK,
                (None, true) => idle_at,
                (Some(_), true) => Instant::now() + Duration::from_secs(3600),
            };
        };
        let owed = !live.ordered.is_empty() || !live.to_kill.is_empty() || !self.waiting.is_empty();
        let next =
            if owed || self.last_used.elapsed() <= self.spares_idle() + TICK { Instant::now() + TICK } else { idle_at };
        match &live.zygote {
            Zygote::Booting { deadline, .. } => next.min(*deadline),
            _ => next,
        }
    }

    fn tick(&mut self) {
        self.see_to_next_job();
        self.rate = 0.7 * self.rate + 0.3 * f64::from(self.arrivals) / TICK.as_secs_f64();
        self.arrivals = 0;
        let idle = self.last_used.elapsed();
        if idle >= self.shared.options.zygote_idle && !self.in_use() && self.provisioned.count == 0 {
            // An actor that is not called any more ends, but for what its successor would have to find out anew.
            self.retired |= self.one_use.is_none();
            return self.end_live();
        }
        let Some(live) = &self.live else { return };
        if let Zygote::Booting { deadline, .. } = live.zygote
            && Instant::now() >= deadline
        {
            return self.init_timed_out();
        }
        let too_old = live.started.elapsed() > ZYGOTE_AGE_MAX;
        if self.is_silent() {
            self.lost("the launcher is silent");
        } else if too_old && !self.retired {
            self.give_up_live();
        } else if idle > self.spares_idle() {
            self.drop_spares();
        }
    }
}

/// What comes from a sandbox.
enum Event {
    Report(io::Result<Option<(Report, Vec<OwnedFd>)>>),
    InitSaid(Vec<LogLine>),
}

/// The next event of the sandbox; never resolves while there is no sandbox. Cancel-safe.
async fn next_event(live: &mut Option<Live>) -> Event {
    let Some(live) = live else { return std::future::pending().await };
    let control = &mut live.control;
    let report = async {
        loop {
            let mut ready = control.readable_mut().await?;
            match ready.try_io(|control| control.get_mut().report()) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    };
    match &mut live.zygote {
        Zygote::Booting { log, .. } if !log.ended => tokio::select! {
            report = report => Event::Report(report),
            lines = log.read() => Event::InitSaid(lines),
        },
        _ => Event::Report(report.await),
    }
}

/// CPU share of a function's calls, in thousandths. A job's may have a processor each where nobody else wants it.
pub(crate) fn cpu_share(function: &FunctionConfiguration) -> u64 {
    let share = cpu_millis(function.memory_mb);
    if function.job.is_some() { share.max(1000) } else { share }
}

/// CPU share of a memory size, in thousandths.
pub(crate) fn cpu_millis(memory_mb: u32) -> u64 {
    u64::from(memory_mb) * 1000 / u64::from(MEMORY_MB_PER_CPU)
}

fn platform(text: String) -> LogLine {
    LogLine { at: Timestamp::now(), source: LogSource::Platform, text }
}
