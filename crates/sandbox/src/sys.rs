//! System calls that have no safe wrapper elsewhere: the only unsafe code of Dayfly.
#![allow(unsafe_code)]

use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    process::Pid,
};
use std::{ffi::CString, io, os::fd::RawFd, path::Path};

/// Flags that put a clone of a zygote into namespaces of its own: the one set that the seccomp filter lets pass.
/// `CLONE_PARENT` makes the launcher its parent, so that no hostile zygote is needed to reap it.
pub const INSTANCE_FLAGS: libc::c_int = libc::CLONE_PARENT
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_CHILD_CLEARTID;

/// All namespace flags of clone(2).
pub const NAMESPACE_FLAGS: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks with namespace flags. Returns `None` in the child.
///
/// The caller must be single-threaded, as the launcher is: then the child is an ordinary copy in which all of std works.
pub fn fork(flags: libc::c_int) -> io::Result<Option<Pid>> {
    // SAFETY: no stack, no thread flags: the kernel copies the process as fork(2) does. The launcher has one thread, so
    // no lock can be held by a thread that does not exist in the child.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags | libc::SIGCHLD), 0, 0, 0, 0) })?;
    Ok(Pid::from_raw(pid as i32))
}

/// Leaves the namespaces that `flags` name for new ones. The caller must be single-threaded, as the launcher is.
pub fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: no descriptor table or other thread-local state is unshared (only namespaces), and there is one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Moves the calling thread into the mount namespace of the process behind `pidfd` (or of a namespace file).
pub fn enter_mount_namespace(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns takes two integers; a wrong descriptor is an error, not undefined behaviour.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), libc::CLONE_NEWNS) })?;
    Ok(())
}

/// The pid namespace of the process behind `pidfd`. Newer kernels (6.11 on) give it without a look into `/proc`.
pub fn pid_namespace_of(pidfd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const PIDFD_GET_PID_NAMESPACE: libc::c_ulong = 0xff05;
    // SAFETY: this request takes no argument and returns a descriptor that nobody owns yet, close-on-exec.
    unsafe {
        let fd = check(libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_PID_NAMESPACE as _, 0).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Runs `work` in a short-lived child inside the pid namespace behind `namespace`, and waits for it.
pub fn in_pid_namespace(namespace: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let enter = |fd: BorrowedFd<'_>| {
        // SAFETY: setns takes two integers. For a pid namespace it concerns only children made from now on.
        check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), libc::CLONE_NEWPID) })
    };
    let own = rustix::fs::open("/proc/self/ns/pid", rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
    enter(namespace)?;
    let child = fork(0);
    if let Ok(None) = child {
        let code = work().map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0);
        exit_now(code);
    }
    // A launcher whose children are born into an instance's namespace must not go on.
    if own.map_err(io::Error::from).and_then(|own| enter(own.as_fd())).is_err() {
        exit_now(71);
    }
    let Some(child) = child? else { exit_now(71) };
    let mut status = 0;
    // SAFETY: `status` lives over the call; the child is ours and nobody else has waited for it.
    check(unsafe { libc::waitpid(child.as_raw_nonzero().get(), &raw mut status, libc::__WALL) }.into())?;
    match libc::WEXITSTATUS(status) {
        _ if !libc::WIFEXITED(status) => Err(io::Error::other("the child was killed")),
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Makes the mount at `path`, and all below it, read-only, without device nodes and set-user-id programs.
pub fn seal_mount(path: &Path, allow_devices: bool) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    if !allow_devices {
        attributes |= libc::MOUNT_ATTR_NODEV;
    }
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: `path` and `attributes` live over the call and the size given is that of `attributes`.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Brings the loopback interface of this network namespace up.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which `request` is.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())?;
    Ok(())
}

/// Sets soft and hard limit of `resource` for `pid` (0: the caller) to `value`, or leaves the hard limit where it is
/// lower already: only the host's root may raise one.
pub fn limit(pid: i32, resource: u32, value: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives over the call; no new limit is given.
    check(unsafe { libc::prlimit(pid, resource as _, std::ptr::null(), &raw mut limit) }.into())?;
    limit.rlim_max = limit.rlim_max.min(value);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` lives over the call; no old limit is asked for.
    check(unsafe { libc::prlimit(pid, resource as _, &raw const limit, std::ptr::null_mut()) }.into())?;
    Ok(())
}

/// A descriptor that becomes readable when a child changes state; SIGCHLD is blocked from now on.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is read; signalfd returns a descriptor that nobody owns yet.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Unblocks all signals: a program is not to inherit the launcher's mask.
pub fn unblock_signals() -> io::Result<()> {
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()).into())?;
    }
    Ok(())
}

/// A child that ended.
pub struct Reaped {
    /// Which.
    pub pid: i32,
    /// Exit status, when it was not a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// CPU time of it and of all it waited for, in microseconds.
    pub cpu_us: u64,
}

/// Reaps one child that has ended, if there is one.
pub fn reap() -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: rusage is plain data for which all zeroes is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type. __WALL also sees children of other exit signals.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, &raw mut usage) };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => {
            let micros = |t: libc::timeval| t.tv_sec.max(0) as u64 * 1_000_000 + t.tv_usec.max(0) as u64;
            Ok(Some(Reaped {
                pid,
                code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
                signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
                cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
            }))
        }
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        },
    }
}

/// Whether `pid` is a child of the caller that lives.
pub fn is_living_child(pid: i32) -> bool {
    // SAFETY: siginfo_t is plain data for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` lives over the call. WNOWAIT leaves the child as it is.
    let result = unsafe {
        libc::waitid(
            libc::P_PID,
            pid as libc::id_t,
            &raw mut info,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL,
        )
    };
    // SAFETY: waitid filled `info` or left it zeroed; either way si_pid may be read.
    result == 0 && unsafe { info.si_pid() } == 0
}

/// Sends SIGKILL to a child. An error means that it has ended already.
pub fn kill(pid: i32) {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Makes `source` the descriptor `target`, without close-on-exec. For a child before it executes a program.
pub fn place_descriptor(source: impl AsFd, target: RawFd) -> io::Result<()> {
    let source = source.as_fd().as_raw_fd();
    if source == target {
        // SAFETY: fcntl with F_SETFD takes integers.
        check(unsafe { libc::fcntl(source, libc::F_SETFD, 0) }.into())?;
    } else {
        // SAFETY: dup2 takes integers. The caller is a child that is about to execute another program, so no owner of
        // the former `target` can be surprised.
        check(unsafe { libc::dup2(source, target) }.into())?;
    }
    Ok(())
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range takes integers; with this flag it closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Closes every descriptor from `first` on. For a process that only waits from now on.
pub fn close_all_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range takes integers. The caller uses no descriptor afterwards, whoever owned them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Replaces the process by `program`. Returns only if that failed.
pub fn execute(program: &[CString], environment: &[CString]) -> io::Error {
    fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    }
    let (arguments, environment) = (pointers(program), pointers(environment));
    // SAFETY: both arrays end with a null pointer, and they and the strings live over the call.
    unsafe { libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once, without running anything.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches nothing.
    unsafe { libc::_exit(code) }
}

/// Takes ownership of the launcher's control socket, which the server passed as standard input.
pub fn take_standard_input() -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes integers and returns a descriptor that nobody owns yet.
    unsafe {
        let fd = check(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 10).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}
