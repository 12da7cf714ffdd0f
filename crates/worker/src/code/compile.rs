//! Byte-compiles an unpacked package. Called by the cache; a package works without it, only its imports are slower.
//!
//! Compiling runs a parser on hostile text. So it happens in a process of its own behind a trait: the worker gives one
//! that runs in the sandbox, and the tests use `Subprocess`. Nothing that this process leaves behind is trusted: it
//! writes to a folder with nothing else in it, of which only regular files with expected names and sizes are taken.

use super::unpack::Unpacked;
use crate::interpreters::Interpreter;
use rustix::{
    fs::OFlags,
    process::{Pid, Resource, Rlimit, prlimit, setpriority_process},
};
use std::{
    ffi::OsString,
    fs::{self, File, FileTimes, Permissions},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

/// Where a function sees its package; the compiled code's file names say so.
pub const TASK_ROOT: &str = "/var/task";

/// The program that compiles, for `python -c`.
pub const SCRIPT: &str = include_str!("compile.py");

/// What is to be compiled.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The function's interpreter.
    pub interpreter: &'a Interpreter,
    /// The unpacked package. Need only be readable.
    pub tree: &'a Path,
    /// Has the file `sources`; takes the results. Must be writable for whoever compiles.
    pub output: &'a Path,
}

/// Runs a job's interpreter somewhere.
pub trait Compile: Send + Sync {
    /// Runs the job to its end, or until it has taken too long. Blocks.
    ///
    /// # Errors
    /// When the process could not be run. Sources that do not compile are no error.
    fn compile(&self, job: &Job<'_>) -> io::Result<()>;
}

/// Arguments for the interpreter when it sees the tree and the output folder at these paths. It starts when its
/// standard input has ended.
pub fn arguments(tree: &Path, output: &Path) -> Vec<OsString> {
    let options = ["-I", "-S", "-B", "-X", "utf8", "-W", "ignore", "-c", SCRIPT];
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
    arguments.extend([tree.into(), output.into(), TASK_ROOT.into()]);
    arguments
}

/// Runs the interpreter as a plain process of this user, at low priority and with limits, but with no sandbox.
#[derive(Debug, Clone)]
pub struct Subprocess {
    /// It is killed after this time; what it has compiled until then is kept.
    pub timeout: Duration,
    /// Most address space, in bytes.
    pub memory_bytes: u64,
    /// Largest file that it may write, in bytes.
    pub file_bytes: u64,
}

impl Default for Subprocess {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), memory_bytes: 2 << 30, file_bytes: 64 << 20 }
    }
}

impl Compile for Subprocess {
    fn compile(&self, job: &Job<'_>) -> io::Result<()> {
        let mut child = Command::new(&job.interpreter.executable)
            .args(arguments(job.tree, job.output))
            .env_clear()
            .current_dir(job.tree)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + self.timeout;
        let limited = self.limit(Pid::from_child(&child));
        if limited.is_ok() {
            drop(child.stdin.take());
        }
        let result = limited.and_then(|()| {
            loop {
                if child.try_wait()?.is_some() {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    tracing::warn!(tree = %job.tree.display(), "byte-compiling took too long and was ended");
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        // Fails only when it has ended already.
        let _ = child.kill();
        child.wait()?;
        result
    }
}

impl Subprocess {
    /// From outside, while the process waits for its standard input: before it has read anything hostile.
    fn limit(&self, process: Pid) -> io::Result<()> {
        let most = |value| Rlimit { current: Some(value), maximum: Some(value) };
        for (resource, value) in [
            (Resource::As, self.memory_bytes),
            (Resource::Fsize, self.file_bytes),
            (Resource::Cpu, self.timeout.as_secs() + 1),
            (Resource::Nofile, 64),
            (Resource::Core, 0),
        ] {
            prlimit(Some(process), resource, most(value))?;
        }
        setpriority_process(Some(process), 10)?;
        Ok(())
    }
}

/// Compiles the sources of the tree and puts the results into its `__pycache__` folders. Gives the number of them.
pub(super) fn run(
    compiler: &dyn Compile,
    interpreter: &Interpreter,
    tree: &Path,
    unpacked: &Unpacked,
    output: &Path,
    bytes_max: u64,
) -> io::Result<usize> {
    if unpacked.sources.is_empty() {
        return Ok(0);
    }
    let mut names = Vec::new();
    for source in &unpacked.sources {
        names.extend_from_slice(source.as_os_str().as_bytes());
        names.push(0);
    }
    fs::create_dir(output)?;
    fs::write(output.join("sources"), names)?;
    compiler.compile(&Job { interpreter, tree, output })?;

    let mut taken = 0;
    let mut bytes_left = bytes_max;
    for (number, source) in unpacked.sources.iter().enumerate() {
        let Some(compiled) = open_result(&output.join(format!("{number}.pyc")), bytes_left) else { continue };
        let Some(path) = cached_path(tree, source, &interpreter.cache_tag)? else { continue };
        match write_result(compiled, &path, bytes_left) {
            Ok(bytes) => bytes_left -= bytes,
            Err(error) => {
                // Python would trust half a file.
                fs::remove_file(&path)?;
                return Err(error);
            }
        }
        taken += 1;
    }
    Ok(taken)
}

/// A result, if it is a regular file of a possible size. The compiler may have been taken over: it may have left a
/// link, a pipe, or a file without end.
fn open_result(path: &Path, bytes_max: u64) -> Option<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.len() <= bytes_max).then_some(file)
}

/// Where Python looks for the bytecode of `source`; `None` when the package has put something else there.
fn cached_path(tree: &Path, source: &Path, cache_tag: &str) -> io::Result<Option<PathBuf>> {
    let Some(stem) = source.file_stem() else { return Ok(None) };
    let mut name = stem.to_owned();
    name.push(format!(".{cache_tag}.pyc"));
    if name.len() > super::plan::NAME_BYTES_MAX {
        return Ok(None);
    }
    let folder = tree.join(source).with_file_name("__pycache__");
    match fs::symlink_metadata(&folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        }
        Err(error) => return Err(error),
    }
    let path = folder.join(name);
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Ok(None),
        // Stale bytecode that was packed along.
        Ok(_) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(Some(path))
}

fn write_result(from: File, path: &Path, bytes_max: u64) -> io::Result<u64> {
    let mut to = File::options().write(true).create_new(true).mode(0o644).open(path)?;
    let bytes = io::copy(&mut from.take(bytes_max), &mut to)?;
    to.set_permissions(Permissions::from_mode(0o644))?;
    to.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800)))?;
    Ok(bytes)
}
