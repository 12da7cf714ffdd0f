//! A compiler without a sandbox, for tests of what is compiled and not of the walls around it.

use dayfly_worker::code::compile::{self, Compile, Job, Take};
use std::{
    io,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs the interpreter for so long.
pub struct Plain(pub Duration);

impl Compile for Plain {
    fn compile(&self, job: &Job<'_>, take: Take<'_>) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(&job.interpreter.executable)
            .args(compile::arguments(job.tree, job.root, 0))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .spawn()?;
        let said = compile::converse(&ours, job.sources, Instant::now() + self.0, take);
        child.kill()?;
        child.wait()?;
        said
    }
}
