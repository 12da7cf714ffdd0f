//! A sandbox in which a zygote boots: its launcher, and what the server holds for it until a version's actor goes on with it.

use super::{Code, Recipe, cpu_millis};
use crate::{EndpointGuard, Shared, job::TaskFolder, log_pipe::LogPipe, spec};
use dayfly_sandbox::{
    Control, Launcher, Order,
    cgroup::{Cgroup, CgroupLimits},
};
use dayfly_types::LogLine;
use std::{io, os::fd::AsFd, path::Path, process::Child, sync::Arc, time::Duration};
use tokio::{io::unix::AsyncFd, net::unix::pipe, time::Instant};

/// What boots in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// A zygote of this log stream: a job's is still to be given its job.
    Zygote(&'a str),
    /// Nothing yet: instances of this log stream will be booted one by one.
    OneUse(&'a str),
    /// A zygote that has no job yet, behind all others that want the processors.
    Ahead,
}

/// A launcher, and the zygote that it boots.
pub struct Sandbox {
    pub control: AsyncFd<Control>,
    pub process: Child,
    /// The zygote's; none where instances are booted one by one.
    pub zygote: Option<(Cgroup, LogPipe)>,
    /// What the zygote wrote while nobody wanted to know.
    pub lines: Vec<LogLine>,
    /// Keeps the sandbox's endpoint served.
    pub endpoint: Option<EndpointGuard>,
    /// A job's.
    pub task: Option<TaskFolder>,
    pub started: Instant,
}

impl Sandbox {
    /// Starts the launcher, which boots what `purpose` says. Does not wait for it.
    pub fn boot(
        shared: &Arc<Shared>,
        recipe: &Recipe,
        purpose: Purpose<'_>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let function = &recipe.function;
        let number = shared.next_number();
        let mut spec = shared.sandbox.spec(&shared.options, recipe, number);
        let task = match (&recipe.code, &function.job) {
            (Code::Job(published), Some(job)) => {
                let task = TaskFolder::new(&shared.sandbox.tasks, number, &published.description(job))?;
                spec.binds.push(spec::bind(task.path(), Path::new(crate::code::compile::TASK_ROOT), &[]));
                Some(task)
            }
            _ => None,
        };
        // A job's zygote gets its identity, and its function, with the job.
        if let Purpose::Zygote(stream) | Purpose::OneUse(stream) = purpose
            && (task.is_none() || purpose == Purpose::OneUse(stream))
        {
            spec.environment.extend(spec::identity(&shared.options, function, stream));
        }
        if let (Purpose::OneUse(_), Some(task), Code::Job(published)) = (purpose, &task, &recipe.code) {
            task.give(&published.file)?;
        }
        let launcher = Launcher::start(&shared.binary, &spec)?;
        let mut sandbox = Self {
            control: watched(launcher.control)?,
            process: launcher.process,
            zygote: None,
            lines: Vec::new(),
            endpoint: None,
            task,
            started: Instant::now(),
        };
        if !matches!(purpose, Purpose::OneUse(_)) {
            // Init has a whole CPU, as Lambda's has.
            let limits = CgroupLimits {
                memory_bytes: u64::from(function.memory_mb) << 20,
                cpu_millis: Some(cpu_millis(function.memory_mb).max(1000)),
                processes: shared.options.limits.processes,
                counted: true,
            };
            let cgroup = shared.cgroups.create(&format!("zygote-{number}"), &limits)?;
            if purpose == Purpose::Ahead {
                // Where the kernel knows no weights, it only is in the way a little.
                let _ = cgroup.set_patient(true);
            }
            let (log, log_writer) = io::pipe()?;
            let descriptors: Vec<_> = [log_writer.as_fd()].into_iter().chain(cgroup.entrances()).collect();
            sandbox.control.get_ref().order(&Order::BootZygote, &descriptors)?;
            let log = LogPipe::new(pipe::Receiver::from_owned_fd(log.into())?, &shared.options.limits);
            sandbox.zygote = Some((cgroup, log));
        }
        Ok(sandbox)
    }

    /// Makes the zygote that of a job, once it has done its imports.
    pub fn give_job(&self, shared: &Shared, recipe: &Recipe, stream: &str) -> Result<(), Box<dyn std::error::Error>> {
        let (Some(task), Code::Job(published)) = (&self.task, &recipe.code) else { return Ok(()) };
        task.give(&published.file)?;
        let environment = spec::identity(&shared.options, &recipe.function, stream);
        self.control.get_ref().order(&Order::Become { environment }, &[])?;
        Ok(())
    }

    /// Ends the launcher and everything in it.
    pub fn end(self, shared: &Arc<Shared>) {
        let Self { control, process, zygote, task, .. } = self;
        drop(control);
        end(shared, process, zygote.map(|(cgroup, _log)| cgroup).into_iter().collect(), task);
    }
}

/// Waits for the end of a launcher whose control socket is closed, then removes what its sandbox had. Makes nobody wait.
pub fn end(shared: &Arc<Shared>, mut process: Child, cgroups: Vec<Cgroup>, task: Option<TaskFolder>) {
    let shared = shared.clone();
    shared.endings.clone().spawn(async move {
        // The launcher ends when its control socket closes; it is killed if it does not.
        let waited = tokio::task::spawn_blocking(move || {
            for _ in 0..500 {
                if let Ok(Some(_)) = process.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(4));
            }
            let _ = process.kill();
            let _ = process.wait();
        });
        let _ = waited.await;
        drop(task);
        for cgroup in cgroups {
            shared.bury_now(cgroup).await;
        }
    });
}

/// Registers a launcher's socket with the runtime's poller.
#[expect(
    deprecated,
    reason = "its successor is unsafe for types whose descriptor may change; `Control` owns one for life"
)]
fn watched(control: Control) -> io::Result<AsyncFd<Control>> {
    AsyncFd::new(control)
}
