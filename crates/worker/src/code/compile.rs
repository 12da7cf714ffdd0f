//! Byte-compiles an unpacked package. Called by the cache; a package works without it, only its imports are slower.
//!
//! Compiling runs a parser on hostile text. So it happens in a sandbox, behind a trait that the tests have doubles of.
//! The compiler has one socket: names of sources go in, bytecode comes out, and every file is written on this side.

use crate::interpreters::Interpreter;
use std::{
    ffi::OsString,
    fs::{self, File, FileTimes, Permissions},
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// Where a function sees its package, and the compiler what it compiles.
pub const TASK_ROOT: &str = "/var/task";

/// The program that compiles, for `python -c`.
pub const SCRIPT: &str = include_str!("compile.py");

/// Largest bytecode of one source. It is held in memory.
const RESULT_BYTES_MAX: u64 = 64 << 20;

/// What is to be compiled.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The function's interpreter.
    pub interpreter: &'a Interpreter,
    /// The unpacked package. Need only be readable.
    pub tree: &'a Path,
    /// Where those who import from it will see it; the compiled code's file names say so.
    pub root: &'a Path,
    /// Python sources, relative to the tree.
    pub sources: &'a [PathBuf],
}

/// Takes a result: which of the job's sources it is of, and the bytecode.
pub type Take<'a> = &'a mut dyn FnMut(usize, &[u8]) -> io::Result<()>;

/// Runs a job's interpreter somewhere.
pub trait Compile: Send + Sync {
    /// Runs the job to its end, or until it has taken too long. Blocks. Results may come in any order, more than once,
    /// and for sources that there are not: the process may have been taken over.
    ///
    /// # Errors
    /// When the process could not be run, or what `take` failed with. Sources that do not compile are no error.
    fn compile(&self, job: &Job<'_>, take: Take<'_>) -> io::Result<()>;
}

/// Arguments for an interpreter that sees the tree at `tree`, which others will see at `root`, and has its end of the
/// socket as descriptor `socket`.
pub fn arguments(tree: &Path, root: &Path, socket: i32) -> Vec<OsString> {
    let options = ["-I", "-S", "-B", "-X", "utf8", "-W", "ignore", "-c", SCRIPT];
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
    arguments.extend([tree.into(), root.into(), socket.to_string().into()]);
    arguments
}

/// Tells a compiler at the other end of `socket` what to compile, and takes the results until it closes its end.
///
/// # Errors
/// `TimedOut` at the deadline, `InvalidData` when the other side does not keep to the protocol, what `take` failed with,
/// and what the socket says when the other side has ended too early.
pub fn converse(socket: &UnixStream, sources: &[PathBuf], deadline: Instant, take: Take<'_>) -> io::Result<()> {
    let mut socket = Timed { socket, deadline };
    let mut names = Vec::new();
    for source in sources {
        names.extend_from_slice(source.as_os_str().as_bytes());
        names.push(0);
    }
    socket.write_all(&names)?;
    // It answers once it has heard all, so neither side ever waits for the other to read.
    socket.socket.shutdown(Shutdown::Write)?;
    let mut result = Vec::new();
    loop {
        let mut head = [0; 8];
        if socket.read(&mut head[..1])? == 0 {
            return Ok(());
        }
        socket.read_exact(&mut head[1..])?;
        let [number, bytes] = [[head[0], head[1], head[2], head[3]], [head[4], head[5], head[6], head[7]]];
        let (number, bytes) = (u32::from_le_bytes(number) as usize, u64::from(u32::from_le_bytes(bytes)));
        if bytes > RESULT_BYTES_MAX || number >= sources.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        result.clear();
        if (&mut socket).take(bytes).read_to_end(&mut result)? as u64 != bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(number, &result)?;
    }
}

/// A socket that fails at a deadline, however little by little the other side speaks.
struct Timed<'a> {
    socket: &'a UnixStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

/// The system says of a socket that has waited too long that it would block.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compiles the job's sources and puts the results into the tree's `__pycache__` folders, at most `bytes_left` of them,
/// which becomes what is left. Gives the number of results.
pub(crate) fn run(compiler: &dyn Compile, job: &Job<'_>, bytes_left: &mut u64) -> io::Result<usize> {
    if job.sources.is_empty() {
        return Ok(0);
    }
    let mut taken = 0;
    compiler.compile(job, &mut |number, bytecode| {
        let Some(source) = job.sources.get(number) else { return Ok(()) };
        let Some(left) = bytes_left.checked_sub(bytecode.len() as u64) else { return Ok(()) };
        let Some(path) = cached_path(job.tree, source, &job.interpreter.cache_tag)? else { return Ok(()) };
        if let Err(error) = write_result(bytecode, &path) {
            // Python would trust half a file.
            fs::remove_file(&path)?;
            return Err(error);
        }
        *bytes_left = left;
        taken += 1;
        Ok(())
    })?;
    Ok(taken)
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

fn write_result(bytecode: &[u8], path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytecode)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800)))
}
