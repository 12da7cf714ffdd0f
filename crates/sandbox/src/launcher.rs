//! The launcher: `dayfly launcher`, one per function version, started by the server with a control socket as standard
//! input. Its first process builds the root and the user namespace and then only waits; the launcher proper is process 1
//! of the version's pid namespace. When the server goes, it goes, and everything inside is gone.

use crate::{
    control::Control,
    idle::IdleWatch,
    protocol::{DATAGRAM_BYTES_MAX, Exit, Order, Report, Spec},
    root, sys,
    zygote::{Boot, FUNCTION_ID, Template, Word, Zygote},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    process::{DumpableBehavior, Pid, WaitOptions, getgid, getuid, set_dumpable_behavior, waitpid},
    thread::UnshareFlags,
};
use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    net::{Ipv4Addr, TcpListener},
    time::{Duration, Instant},
};

/// How long a zygote may take over one clone before it is given up.
const CLONE_DEADLINE: Duration = Duration::from_secs(10);
/// Most words of a zygote that are heard before orders are looked at again: it may talk without end.
const WORDS_PER_TURN: usize = 64;
/// Longest text of a zygote's that is passed on; a report in JSON may be six times as long.
const WORDS_BYTES_MAX: usize = DATAGRAM_BYTES_MAX / 8;
/// Most clones that may be asked for and not yet made.
const PENDING_MAX: usize = 4096;

/// How often a zygote may say that it waits for a job: once, and once more when it has started over.
const WAITS_MAX: u32 = 2;

/// Runs the launcher; the process ends with it.
pub fn main() -> ! {
    let control = match sys::take_standard_input() {
        Ok(socket) => socket,
        Err(error) => fail(&error),
    };
    let mut control = Control::from_socket(control);
    let spec = match control.receive::<Spec>(true) {
        Ok(Some((spec, _))) => spec,
        Ok(None) => sys::exit_now(0),
        Err(error) => fail(&error),
    };
    match first_process(&mut control, spec) {
        Ok(code) => sys::exit_now(code),
        Err(error) => {
            let _ = control.send(&Report::Broken { reason: error.to_string() }, &[]);
            sys::exit_now(1)
        }
    }
}

fn fail(error: &io::Error) -> ! {
    eprintln!("dayfly launcher: {error} (it is started by the server, not by hand)");
    sys::exit_now(2)
}

/// This is the process that the server started. It has the server's rights on the host until the root is built.
fn first_process(control: &mut Control, spec: Spec) -> io::Result<i32> {
    let privileged = getuid().is_root() && may_map_ids();
    if privileged {
        sys::unshare(UnshareFlags::NEWNS)?;
    } else {
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
            .map_err(|error| io::Error::new(error.kind(), format!("no user namespace: {error}")))?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))?;
    }
    root::build(&spec)?;
    // The launcher proper waits on this pipe until its ids are mapped.
    let (mapped, map) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let base = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNET;
    let flags = if privileged { base | libc::CLONE_NEWUSER } else { base };
    let host_id_base = spec.host_id_base;
    match sys::fork(flags)? {
        None => {
            drop(map);
            let mut byte = [0];
            if rustix::io::read(&mapped, &mut byte)? != 1 {
                return Ok(1);
            }
            process_one(control, spec, privileged)
        }
        Some(pid) => {
            if privileged {
                let range = format!("0 {host_id_base} {}\n", FUNCTION_ID + 1);
                fs::write(format!("/proc/{}/uid_map", pid.as_raw_nonzero()), &range)?;
                fs::write(format!("/proc/{}/gid_map", pid.as_raw_nonzero()), &range)?;
            }
            rustix::io::write(&map, b"m")?;
            supervise(pid)
        }
    }
}

/// Waits for the launcher proper, and keeps nothing open meanwhile.
fn supervise(pid: Pid) -> io::Result<i32> {
    sys::close_all_from(0)?;
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status.exit_status().unwrap_or(1)),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Root inside a container may lack what it takes to map a range of ids.
fn may_map_ids() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| {
        use rustix::thread::CapabilitySet;
        sets.effective.contains(CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SYS_ADMIN)
    })
}

/// This is pid 1 of the version's pid namespace, root of its user namespace, without any right on the host.
fn process_one(control: &mut Control, spec: Spec, privileged: bool) -> io::Result<i32> {
    use rustix::process::{Gid, Uid};
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    // Nobody inside may read or trace the launcher, even where the kernel takes both for the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // The server kills the first process when this one does not listen. Set after the ids: a change of them clears it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::system::sethostname(spec.hostname.as_bytes())?;
    sys::loopback_up()?;
    root::mount_proc(true)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, spec.endpoint_port))?;
    control.send(&Report::Up, &[listener.as_fd()])?;
    drop(listener);
    let template = Template::new(spec, if privileged { FUNCTION_ID } else { 0 })?;
    let namespace = rustix::fs::open("/proc/self/ns/mnt", OFlags::CLOEXEC, Mode::empty())?;
    let children = sys::child_signals()?;
    Launching {
        control,
        template,
        namespace,
        zygote: None,
        idle: None,
        pending: VecDeque::new(),
        instances: HashMap::new(),
    }
    .run(&children)
}

struct Launching<'a> {
    control: &'a mut Control,
    template: Template,
    /// The launcher's own mount namespace, to come back to.
    namespace: OwnedFd,
    zygote: Option<Zygote>,
    /// Watches a zygote whose init is done.
    idle: Option<IdleWatch>,
    /// Clones that were asked of the zygote, in order.
    pending: VecDeque<Pending>,
    /// Instances that live, by pid.
    instances: HashMap<i32, u64>,
}

struct Pending {
    instance: u64,
    asked_at: Instant,
    cgroups: Vec<OwnedFd>,
}

impl Launching<'_> {
    fn run(mut self, children: &OwnedFd) -> io::Result<i32> {
        loop {
            let late = self.pending.front().map(|first| first.asked_at + CLONE_DEADLINE);
            let look = self.idle.as_ref().map(IdleWatch::due);
            let (orders, words, deaths) = self.wait(children, late.into_iter().chain(look).min())?;
            if orders {
                // One wake may stand for many orders; take what is there.
                loop {
                    match self.control.receive::<Order>(false) {
                        Ok(Some((order, descriptors))) => self.obey(order, descriptors)?,
                        Ok(None) => return Ok(0),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
            }
            if words {
                self.hear()?;
            }
            if deaths {
                let mut buffer = [0; 1024];
                let _ = rustix::io::read(children, &mut buffer);
                while let Some(dead) = sys::reap()? {
                    self.bury(&dead)?;
                }
            }
            let caught = self.idle.as_mut().is_some_and(IdleWatch::caught);
            if caught || late.is_some_and(|late| Instant::now() > late) {
                self.give_up_zygote();
            }
        }
    }

    fn wait(&self, children: &OwnedFd, until: Option<Instant>) -> io::Result<(bool, bool, bool)> {
        let mut fds = vec![PollFd::new(self.control, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
        if let Some(zygote) = &self.zygote {
            fds.push(PollFd::new(&zygote.socket, PollFlags::IN));
        }
        let timeout = until.map(|until| {
            rustix::time::Timespec::try_from(until.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .unwrap_or_default()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let there = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok((there(0), there(2), there(1)))
    }

    fn obey(&mut self, order: Order, mut descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match order {
            Order::BootZygote => {
                if descriptors.is_empty() || self.zygote.is_some() {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let log = descriptors.remove(0);
                self.zygote = Some(self.template.boot(&Boot::Zygote, log.as_fd(), &descriptors)?);
                Ok(())
            }
            Order::Become { environment } => {
                if let Some(zygote) = self.zygote.as_mut().filter(|zygote| !zygote.ready && !zygote.has_job) {
                    // What it does from here on is the job's init.
                    self.idle = None;
                    if zygote.give_job(&environment).is_err() {
                        self.give_up_zygote();
                    }
                }
                // One that has ended is told as ended.
                Ok(())
            }
            Order::Clone { instance } => {
                if descriptors.len() < 2 {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let cgroups = descriptors.split_off(2);
                let asked = match &self.zygote {
                    _ if self.pending.len() >= PENDING_MAX => Err(io::Error::other("too many clones at once")),
                    None => Err(io::Error::other("there is no zygote")),
                    Some(zygote) => zygote.ask_for_clone(descriptors[0].as_fd(), descriptors[1].as_fd()),
                };
                match asked {
                    Ok(()) => {
                        self.idle.iter_mut().for_each(IdleWatch::cloned);
                        self.pending.push_back(Pending { instance, asked_at: Instant::now(), cgroups });
                        Ok(())
                    }
                    Err(error) => self.report(&Report::NotPrepared { instance, reason: error.to_string() }),
                }
            }
            Order::BootInstance { instance } => {
                if descriptors.len() < 2 {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let cgroups = descriptors.split_off(2);
                let boot = Boot::Instance { call: descriptors[0].as_fd() };
                match self.template.boot(&boot, descriptors[1].as_fd(), &cgroups) {
                    // Its control socket is closed on purpose: an instance says what it has to say on its call socket.
                    Ok(booted) => {
                        self.instances.insert(booted.pid, instance);
                        self.report(&Report::Prepared { instance, clone_us: 0, prepare_us: 0 })
                    }
                    Err(error) => self.report(&Report::NotPrepared { instance, reason: error.to_string() }),
                }
            }
            Order::Kill { instance } => {
                if let Some((pid, _)) = self.instances.iter().find(|(_, number)| **number == instance) {
                    sys::kill(*pid);
                }
                Ok(())
            }
        }
    }

    /// Hears what the zygote has to say. None of it is believed where it matters.
    fn hear(&mut self) -> io::Result<()> {
        for _ in 0..WORDS_PER_TURN {
            let Some(zygote) = &mut self.zygote else { return Ok(()) };
            match zygote.listen() {
                Ok(Some(Word::Waits)) if !zygote.ready && zygote.waits < WAITS_MAX => {
                    zygote.waits += 1;
                    if !zygote.has_job {
                        self.idle = Some(IdleWatch::start(zygote.pid));
                    }
                    self.report(&Report::ZygoteWaits)?;
                }
                Ok(Some(Word::Ready { unclonable })) if !zygote.ready => {
                    zygote.ready = true;
                    self.idle = Some(IdleWatch::start(zygote.pid));
                    let unclonable = unclonable.map(shortened).or_else(|| zygote.unclonable());
                    self.report(&Report::ZygoteReady { unclonable })?;
                }
                Ok(Some(Word::Failed(error))) if !zygote.ready => {
                    self.report(&Report::ZygoteFailed { error: fitting(error) })?;
                }
                Ok(Some(Word::Cloned(pid))) => self.prepare(pid)?,
                Ok(Some(Word::NotCloned(reason))) => {
                    let Some(Pending { instance, .. }) = self.pending.pop_front() else {
                        self.give_up_zygote();
                        return Ok(());
                    };
                    self.report(&Report::NotPrepared { instance, reason: shortened(reason) })?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Closed, or out of turn: its end will be seen as the end of a child.
                _ => {
                    self.give_up_zygote();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn prepare(&mut self, pid: i32) -> io::Result<()> {
        let Some(pending) = self.pending.pop_front() else {
            self.give_up_zygote();
            return Ok(());
        };
        let instance = pending.instance;
        let cloned_at = Instant::now();
        let known = self.instances.contains_key(&pid) || self.zygote.as_ref().is_some_and(|zygote| zygote.pid == pid);
        let prepared = if known {
            Err(io::Error::other("the zygote named a process that is no new clone"))
        } else {
            self.template.prepare(pid, &pending.cgroups, self.namespace.as_fd())
        };
        match prepared {
            Ok(()) => {
                self.instances.insert(pid, instance);
                self.report(&Report::Prepared {
                    instance,
                    clone_us: cloned_at.duration_since(pending.asked_at).as_micros() as u64,
                    prepare_us: cloned_at.elapsed().as_micros() as u64,
                })
            }
            Err(error) => {
                if !known && sys::is_living_child(pid) {
                    sys::kill(pid);
                }
                self.report(&Report::NotPrepared { instance, reason: error.to_string() })
            }
        }
    }

    fn give_up_zygote(&mut self) {
        if let Some(zygote) = &self.zygote {
            sys::kill(zygote.pid);
        }
    }

    fn bury(&mut self, dead: &sys::Reaped) -> io::Result<()> {
        let exit = Exit { code: dead.code, signal: dead.signal, cpu_us: dead.cpu_us };
        if let Some(instance) = self.instances.remove(&dead.pid) {
            return self.report(&Report::Exited { instance, exit });
        }
        if self.zygote.as_ref().is_some_and(|zygote| zygote.pid == dead.pid) {
            // What it said last still counts: an init error comes just before the end.
            self.hear()?;
            self.zygote = None;
            self.idle = None;
            for Pending { instance, .. } in std::mem::take(&mut self.pending) {
                self.report(&Report::NotPrepared { instance, reason: "the zygote ended".to_owned() })?;
            }
            return self.report(&Report::ZygoteExited(exit));
        }
        Ok(())
    }

    /// Tells the server, waiting for it when it is behind: it has a deadline of its own for a launcher that is silent.
    fn report(&self, report: &Report) -> io::Result<()> {
        self.control.send_waiting(report)
    }
}

/// A reason that the zygote gave, no longer than a report can carry.
fn shortened(mut text: String) -> String {
    let mut end = text.len().min(WORDS_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// An init error that a report can carry. What is cut would not be JSON any more, so the server is told that it was long.
fn fitting(error: String) -> String {
    if serde_json::to_string(&error).is_ok_and(|text| text.len() < DATAGRAM_BYTES_MAX - 1024) {
        return error;
    }
    r#"{"errorType": "Runtime.Unknown", "errorMessage": "init failed with an error too long to be told"}"#.to_owned()
}
