//! Compiles packages in a sandbox of their own: `code::Cache` calls, the launcher boots the interpreter like an instance
//! whose one call is the conversation with the compiler. It sees the package, its own library and nothing else, and can
//! write nowhere but into its socket.

use crate::{
    Shared,
    code::compile::{Compile, Job, TASK_ROOT, Take, arguments, converse},
    spec::COMPILER_PROCESSES,
};
use dayfly_sandbox::{
    Control, Launcher, Order, Report,
    cgroup::{Cgroup, CgroupLimits},
    protocol::{CALL_FD, Exit},
};
use std::{
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// It is ended after this time; what it has compiled until then is kept.
const TIME: Duration = Duration::from_secs(60);
/// How long it may take to end after it has closed its socket.
const END_GRACE: Duration = Duration::from_secs(1);
/// Memory, with the page cache of what it reads.
const MEMORY_BYTES: u64 = 1 << 30;
/// What is read of its last words.
const WORDS_BYTES_MAX: u64 = 1024;

/// Compiles in sandboxes that the worker's launcher makes.
pub struct Compiler {
    shared: Arc<Shared>,
}

impl Compiler {
    /// With the worker's cgroups, folders and numbers.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Compile for Compiler {
    fn compile(&self, job: &Job<'_>, take: Take<'_>) -> io::Result<()> {
        let number = self.shared.next_number();
        let limits = CgroupLimits {
            memory_bytes: MEMORY_BYTES,
            cpu_millis: Some(1000),
            processes: COMPILER_PROCESSES,
            counted: true,
        };
        let cgroup = self.shared.cgroups.create(&format!("compile-{number}"), &limits).map_err(io::Error::other)?;
        let done = self.run(job, take, number, &cgroup);
        self.shared.bury(cgroup);
        done
    }
}

impl Compiler {
    fn run(&self, job: &Job<'_>, take: Take<'_>, number: u64, cgroup: &Cgroup) -> io::Result<()> {
        let deadline = Instant::now() + TIME;
        let mut spec = self.shared.sandbox.compiler(job.interpreter, job.tree, number);
        let arguments = arguments(Path::new(TASK_ROOT), job.root, CALL_FD);
        spec.program.extend(arguments.iter().map(|argument| argument.to_string_lossy().into_owned()));
        let mut launcher = Launcher::start(&self.shared.binary, &spec)?;
        let done = boot(&launcher.control, number, cgroup).and_then(|(socket, log)| {
            let said = converse(&socket, job.sources, deadline, take);
            drop(socket);
            match said {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    tracing::warn!(tree = %job.tree.display(), "byte-compiling took too long and was ended");
                    Ok(())
                }
                said => settle(&mut launcher.control, said, log),
            }
        });
        launcher.end().and(done)
    }
}

/// Orders the compiler. Gives our ends of its socket and of its output.
fn boot(control: &Control, number: u64, cgroup: &Cgroup) -> io::Result<(UnixStream, io::PipeReader)> {
    let (ours, theirs) = UnixStream::pair()?;
    let (log, log_writer) = io::pipe()?;
    let descriptors: Vec<_> = [theirs.as_fd(), log_writer.as_fd()].into_iter().chain(cgroup.entrances()).collect();
    control.order(&Order::BootInstance { instance: number }, &descriptors)?;
    Ok((ours, log))
}

/// Hears how the compiler ended: why there was none, or its last words when it did not end well.
fn settle(control: &mut Control, said: io::Result<()>, log: io::PipeReader) -> io::Result<()> {
    let deadline = Instant::now() + END_GRACE;
    loop {
        match control.report_before(deadline)? {
            Some(Report::Up | Report::Prepared { .. }) => {}
            Some(Report::Exited { exit: Exit { code: Some(0), .. }, .. }) => return said,
            Some(Report::Exited { exit, .. }) => {
                use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
                match said {
                    // What the end of the other side looks like from here: its exit says more.
                    Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => {}
                    said => said?,
                }
                let mut words = Vec::new();
                log.take(WORDS_BYTES_MAX).read_to_end(&mut words)?;
                let words = String::from_utf8_lossy(&words);
                return Err(io::Error::other(format!("the compiler ended with {exit:?}: {}", words.trim())));
            }
            Some(Report::Broken { reason } | Report::NotPrepared { reason, .. }) => {
                return Err(io::Error::other(reason));
            }
            Some(other) => return Err(io::Error::other(format!("the launcher said {other:?}"))),
            None => return Err(io::Error::other("the launcher ended")),
        }
    }
}
