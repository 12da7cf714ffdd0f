//! Interpreter processes: booting one (a zygote, or an instance of its own) and preparing a clone from outside.
//!
//! Nothing that runs here after `boot` is trusted, and nothing in it needs privilege: the launcher mounts, maps ids and
//! moves into cgroups on its behalf.

use crate::{
    control::{receive_bytes, send_bytes},
    protocol::{CALL_FD, Spec},
    root::{self, Private, at, is_private},
    seccomp, sys,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{DumpableBehavior, Gid, Pid, PidfdFlags, Uid, pidfd_open, set_dumpable_behavior},
    thread::{CapabilitiesSecureBits, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups},
};
use seccompiler::BpfProgram;
use std::{collections::BTreeMap, ffi::CString, fs, io, path::Path};

/// Uid and gid of a function inside, where the host gives us more than one id.
pub const FUNCTION_ID: u32 = 993;
/// Where an interpreter finds its control socket.
const CONTROL_FD: i32 = 3;
/// Longest datagram that a zygote may send: an init error with its stack trace.
const ZYGOTE_DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// What is the same for all processes of a version.
pub struct Template {
    /// The server's specification.
    pub spec: Spec,
    /// The id that function code runs under, in the launcher's user namespace.
    pub uid: u32,
    program: Vec<CString>,
    environment: Vec<CString>,
    filters: [BpfProgram; 2],
    private: Private,
}

/// A booted interpreter, and the launcher's end of its control socket.
pub struct Zygote {
    /// Its pid in the launcher's namespace.
    pub pid: i32,
    /// Datagrams to and from it. What it says is untrusted.
    pub socket: OwnedFd,
    /// How often it has said that it waits for a job.
    pub waits: u32,
    /// Whether it was given a job.
    pub has_job: bool,
    /// Whether it has reported that init is done.
    pub ready: bool,
    /// Where its words are put: too large to be made anew for each.
    heard: Vec<u8>,
}

/// What a zygote may say.
pub enum Word {
    /// An environment's imports are done: it waits for its job.
    Waits,
    /// Init succeeded. It may not be able to clone itself, and says why.
    Ready { unclonable: Option<String> },
    /// Init failed, with this error JSON.
    Failed(String),
    /// The clone that was asked for first has this pid.
    Cloned(i32),
    /// The clone that was asked for first failed.
    NotCloned(String),
}

/// How a process is booted.
pub enum Boot<'a> {
    /// A zygote, in the launcher's namespaces.
    Zygote,
    /// An instance that serves one call through this socket, in namespaces of its own.
    Instance { call: BorrowedFd<'a> },
}

impl Template {
    /// Prepares what every boot needs.
    pub fn new(spec: Spec, uid: u32) -> io::Result<Self> {
        let text = |text: &String| CString::new(text.as_str()).map_err(io::Error::from);
        let pair = |(name, value): &(String, String)| CString::new(format!("{name}={value}")).map_err(io::Error::from);
        Ok(Self {
            program: spec.program.iter().map(text).collect::<io::Result<_>>()?,
            environment: spec.environment.iter().map(pair).collect::<io::Result<_>>()?,
            filters: seccomp::boot().map_err(io::Error::other)?,
            private: Private::of(&spec)?,
            spec,
            uid,
        })
    }

    /// Boots an interpreter whose output goes to `log`, inside the cgroups behind `cgroups`.
    pub fn boot(&self, boot: &Boot<'_>, log: BorrowedFd<'_>, cgroups: &[OwnedFd]) -> io::Result<Zygote> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let flags = match boot {
            Boot::Zygote => libc::CLONE_NEWNS | libc::CLONE_NEWIPC,
            Boot::Instance { .. } => libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS,
        };
        match sys::fork(flags)? {
            Some(pid) => Ok(Zygote {
                pid: pid.as_raw_nonzero().get(),
                socket: ours,
                waits: 0,
                has_job: false,
                ready: false,
                heard: vec![0; ZYGOTE_DATAGRAM_BYTES_MAX],
            }),
            None => {
                let error = self.become_interpreter(boot, log, cgroups, theirs.as_fd());
                // The log pipe is where the owner of the function looks.
                let _ = rustix::io::write(log, format!("cannot start the runtime: {error}\n").as_bytes());
                sys::exit_now(126)
            }
        }
    }

    /// This is the child: it shuts itself in, step by step, and becomes the interpreter. Returns only an error.
    fn become_interpreter(
        &self,
        boot: &Boot<'_>,
        log: BorrowedFd<'_>,
        cgroups: &[OwnedFd],
        control: BorrowedFd<'_>,
    ) -> io::Error {
        match self.shut_in(boot, log, cgroups, control) {
            Err(error) => error,
            Ok(()) => sys::execute(&self.program, &self.environment),
        }
    }

    fn shut_in(
        &self,
        boot: &Boot<'_>,
        log: BorrowedFd<'_>,
        cgroups: &[OwnedFd],
        control: BorrowedFd<'_>,
    ) -> io::Result<()> {
        for cgroup in cgroups {
            rustix::io::write(cgroup, b"0").map_err(at("entering the cgroup"))?;
        }
        self.private.mount()?;
        let processes = match boot {
            Boot::Instance { .. } => {
                root::mount_proc(false)?;
                self.spec.processes
            }
            // A user namespace made by the zygote would hand its own limit down as the limit of all clones together.
            Boot::Zygote => libc::RLIM_INFINITY,
        };
        for (resource, value) in [
            (libc::RLIMIT_NPROC, processes),
            (libc::RLIMIT_NOFILE, self.spec.open_files),
            (libc::RLIMIT_CORE, 0),
            (libc::RLIMIT_MEMLOCK, 64 << 10),
        ] {
            sys::limit(0, resource, value).map_err(at("setting limits"))?;
        }
        rustix::process::chdir("/var/task")?;
        rustix::process::setsid().map_err(at("setsid"))?;
        self.drop_privileges()?;
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
        // Sources first to high numbers, so that no placing overwrites one that is still needed.
        let high = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 64).map_err(io::Error::from);
        let (null, log, control) = (high(null.as_fd())?, high(log)?, high(control)?);
        let call = match boot {
            Boot::Instance { call } => Some(high(*call)?),
            Boot::Zygote => None,
        };
        sys::place_descriptor(&null, 0)?;
        sys::place_descriptor(&log, 1)?;
        sys::place_descriptor(&log, 2)?;
        sys::place_descriptor(&control, CONTROL_FD)?;
        let mut kept = CONTROL_FD + 1;
        if let Some(call) = call {
            sys::place_descriptor(&call, CALL_FD)?;
            kept = CALL_FD + 1;
        }
        sys::close_on_exec_from(kept as u32)?;
        sys::unblock_signals()?;
        for filter in &self.filters {
            seccompiler::apply_filter(filter).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// From root of the sandbox's user namespace to nobody in particular, for good.
    fn drop_privileges(&self) -> io::Result<()> {
        // setgroups is refused where an ordinary user made the namespace; there is nothing to give up there either.
        if self.uid != 0 {
            set_thread_groups(&[]).map_err(at("dropping groups"))?;
        }
        // Even a program run as uid 0 gets no capabilities (an ordinary user's namespace has no other uid).
        set_capabilities_secure_bits(
            CapabilitiesSecureBits::NO_ROOT
                | CapabilitiesSecureBits::NO_ROOT_LOCKED
                | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
                | CapabilitiesSecureBits::KEEP_CAPS_LOCKED,
        )
        .map_err(at("setting secure bits"))?;
        drop_bounding_set().map_err(at("dropping capabilities"))?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.uid));
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at("setting the group"))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at("setting the user"))?;
        set_no_new_privs(true)?;
        let none = rustix::thread::CapabilitySet::empty();
        rustix::thread::set_capabilities(
            None,
            rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none },
        )?;
        // So that the launcher may look at it and enter its clones' mount namespaces.
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        Ok(())
    }

    /// Makes a fresh clone fit for a call: its limits, cgroup, ids and mounts. The clone itself is hostile for all we know.
    pub fn prepare(&self, pid: i32, cgroups: &[OwnedFd], namespace: BorrowedFd<'_>) -> io::Result<()> {
        if !sys::is_living_child(pid) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the zygote named a process that is no clone of it"));
        }
        for cgroup in cgroups {
            rustix::io::write(cgroup, pid.to_string().as_bytes()).map_err(at("entering the cgroup"))?;
        }
        sys::limit(pid, libc::RLIMIT_NPROC, self.spec.processes)?;
        let process = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let clone = pidfd_open(process, PidfdFlags::empty())?;
        map_ids(pid, FUNCTION_ID, self.uid)?;
        sys::enter_mount_namespace(clone.as_fd())?;
        let mounted = self.mount_for(pid, clone.as_fd());
        // A launcher that cannot come back must not go on.
        if sys::enter_mount_namespace(namespace).is_err() {
            sys::exit_now(70);
        }
        mounted
    }

    fn mount_for(&self, pid: i32, clone: BorrowedFd<'_>) -> io::Result<()> {
        self.private.mount()?;
        root::mount_proc_of(pid, clone)
    }
}

impl Zygote {
    /// Tells it the environment variables of the job that it is to serve.
    pub fn give_job(&mut self, environment: &[(String, String)]) -> io::Result<()> {
        self.has_job = true;
        let variables: BTreeMap<&str, &str> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        send_bytes(&self.socket, &[b"J", &*serde_json::to_vec(&variables)?].concat(), &[], false)
    }

    /// Asks for a clone that serves one call through `call` and writes to `log`.
    pub fn ask_for_clone(&self, call: BorrowedFd<'_>, log: BorrowedFd<'_>) -> io::Result<()> {
        send_bytes(&self.socket, b"clone", &[call, log], false)
    }

    /// What the zygote says next; `None` when it has closed its end.
    pub fn listen(&mut self) -> io::Result<Option<Word>> {
        let buffer = &mut self.heard;
        let (bytes, _unwanted) = receive_bytes(&self.socket, buffer, false)?;
        let text = || String::from_utf8_lossy(&buffer[1..bytes]).into_owned();
        Ok(match buffer[..bytes].first() {
            None => None,
            Some(b'W') => Some(Word::Waits),
            Some(b'R') => Some(Word::Ready { unclonable: Some(text()).filter(|why| !why.is_empty()) }),
            Some(b'F') => Some(Word::Failed(text())),
            Some(kind) => Some(match (kind, buffer[1..bytes].try_into().map(i32::from_le_bytes)) {
                (b'C', Ok(pid)) => Word::Cloned(pid),
                (b'E', Ok(error)) => {
                    let error = io::Error::from_raw_os_error(error.saturating_neg());
                    Word::NotCloned(format!("the zygote cannot clone itself: {error}"))
                }
                _ => Word::NotCloned("the zygote answered nonsense".to_owned()),
            }),
        })
    }

    /// Why the zygote cannot be cloned correctly, seen from outside, so that it cannot lie: threads would be missing in a
    /// clone, and open channels or shared memory would join calls that must not meet.
    pub fn unclonable(&self) -> Option<String> {
        let proc = Path::new("/proc").join(self.pid.to_string());
        self.threads(&proc)
            .or_else(|| self.descendants())
            .or_else(|| self.working_folder(&proc))
            .or_else(|| self.channels(&proc))
            .or_else(|| self.shared_memory(&proc))
    }

    fn threads(&self, proc: &Path) -> Option<String> {
        let names: Vec<String> = fs::read_dir(proc.join("task"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|task| task.file_name() != *self.pid.to_string())
            .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .collect();
        (!names.is_empty()).then(|| format!("init left {} more thread(s) running: {}", names.len(), names.join(", ")))
    }

    /// Any process beside the launcher and the zygote: a daemon that has forked twice is nobody's child any more.
    fn descendants(&self) -> Option<String> {
        let others = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .any(|pid| pid != 1 && pid != self.pid);
        others.then(|| "init left child processes running".to_owned())
    }

    /// A working folder that is the zygote's alone: files that a call makes there would be the next call's.
    fn working_folder(&self, proc: &Path) -> Option<String> {
        let folder = fs::read_link(proc.join("cwd")).ok()?;
        is_private(&folder)
            .then(|| format!("init changed the working folder to {}, which calls would share", folder.display()))
    }

    fn channels(&self, proc: &Path) -> Option<String> {
        for entry in fs::read_dir(proc.join("fd")).into_iter().flatten().flatten() {
            let number: i32 = entry.file_name().to_str().and_then(|name| name.parse().ok()).unwrap_or(-1);
            if (0..=CONTROL_FD).contains(&number) {
                continue;
            }
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let name = target.to_string_lossy();
            // What is in a private folder can be opened anew for writing, whatever it is open for now.
            let harmless = !is_private(&target)
                && (name.starts_with("/dev/")
                    || (name.starts_with('/') && !name.starts_with("/memfd:") && !writable(proc, number)));
            if !harmless {
                return Some(format!("init left open {name} (descriptor {number}), which calls would share"));
            }
        }
        None
    }

    fn shared_memory(&self, proc: &Path) -> Option<String> {
        let maps = fs::read_to_string(proc.join("maps")).unwrap_or_default();
        let shared = maps.lines().find(|line| {
            let permissions = line.split_ascii_whitespace().nth(1).unwrap_or_default();
            permissions.starts_with("rw") && permissions.ends_with('s')
        })?;
        let name = shared.split_ascii_whitespace().nth(5).unwrap_or("anonymous memory");
        Some(format!("init left shared writable memory ({name}), which calls would share"))
    }
}

/// Whether descriptor `number` is open for writing, by its `fdinfo`.
fn writable(proc: &Path, number: i32) -> bool {
    let info = fs::read_to_string(proc.join("fdinfo").join(number.to_string())).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim).unwrap_or_default();
    i32::from_str_radix(flags, 8).map_or(true, |flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// Maps one id inside a process's new user namespace to one of ours.
fn map_ids(pid: i32, inside: u32, ours: u32) -> io::Result<()> {
    let map = format!("{inside} {ours} 1\n");
    if ours == 0 {
        // An ordinary user may map groups only after giving setgroups up.
        fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    }
    fs::write(format!("/proc/{pid}/uid_map"), &map)?;
    fs::write(format!("/proc/{pid}/gid_map"), &map)
}

fn drop_bounding_set() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no such capability: there are no more.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
