//! Limits and accounts of instances, in cgroups of version 2 where the machine has it, else of version 1.
//!
//! The server makes and removes the folders and reads the accounts; the launcher only writes process ids into
//! `cgroup.procs` files that the server has opened for it (the kernel checks the opener's rights). Layout below the
//! server's own place: `dayfly-SERVER/NAME`, one `NAME` per zygote and per instance.

use serde::Serialize;
use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Period of the CPU quota in microseconds, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// What TCP's buffers may hold on version 1, which counts them apart from other memory.
const TCP_BYTES_MAX: u64 = 16 << 20;
/// Prefix of the folders of all servers on this machine.
const PREFIX: &str = "dayfly-";

/// Which generation of cgroups is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Generation {
    /// Unified.
    V2,
    /// One hierarchy per controller.
    V1,
}

/// The server's place in the cgroup hierarchies.
#[derive(Debug, Clone)]
pub struct Cgroups {
    generation: Generation,
    /// Folders `dayfly-SERVER` of the memory and the CPU controller. Version 2: one folder.
    memory: PathBuf,
    cpu: PathBuf,
    /// Version 1's count of processes, where the machine has it.
    count: Option<PathBuf>,
    /// Where this process is already.
    own: PathBuf,
}

/// Limits of one cgroup.
#[derive(Debug, Clone, Copy)]
pub struct CgroupLimits {
    /// Memory, with what the kernel keeps for the processes.
    pub memory_bytes: u64,
    /// CPU time per second of wall time, in thousandths of one CPU; `None` for no quota.
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    pub processes: u64,
    /// Whether version 1 is to count processes too. Clones go without, for it costs each call a write and their rlimit
    /// holds per user namespace; a zygote's cannot (its clones would share it).
    pub counted: bool,
}

/// One cgroup: of a zygote or of an instance. Dropping it leaves it in place: call `remove`.
///
/// What is read or written for every call is kept open.
#[derive(Debug)]
pub struct Cgroup {
    generation: Generation,
    memory: PathBuf,
    cpu: PathBuf,
    count: Option<PathBuf>,
    /// The memory limit that is set.
    memory_bytes: AtomicU64,
    /// Its quota was lifted for a quick end.
    hurried: AtomicBool,
    /// `cgroup.procs` of each folder, for the launcher to write into.
    entrances: Vec<OwnedFd>,
    peak: File,
    events: File,
}

/// Why there are no cgroups to work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has none, or none that this user may write.
    #[error(
        "no writable cgroup with the {controllers} controller(s): as an ordinary user start the server with \
         `systemd-run --user --scope -p Delegate=yes dayfly serve`"
    )]
    NotDelegated {
        /// What is missing.
        controllers: String,
    },
    /// A file of the cgroup file system could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

fn write(path: &Path, value: impl ToString) -> Result<(), Error> {
    fs::write(path, value.to_string()).map_err(file_error(path))
}

/// The number after `key` in a text of `key number` lines.
fn number_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// The small text of a file that is kept open.
fn text_of(file: &File) -> String {
    let mut buffer = [0; 1024];
    let length = file.read_at(&mut buffer, 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

impl Cgroups {
    /// Finds the machine's cgroups and makes this server's folder. What an earlier server with the same id left is removed.
    pub fn open(server_id: &str) -> Result<Self, Error> {
        let found = Self::find(server_id)?;
        for folder in found.folders() {
            fs::create_dir_all(folder).map_err(file_error(folder))?;
        }
        if found.generation == Generation::V2 {
            enable_controllers(&found.memory)?;
        }
        found.remove_children();
        Ok(found)
    }

    /// Where this server's cgroups are or would be. Makes nothing, but on version 2 moves the calling process into a
    /// leaf if it has to: a cgroup with processes of its own cannot pass controllers on.
    fn find(server_id: &str) -> Result<Self, Error> {
        let name = format!("{PREFIX}{server_id}");
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(file_error(Path::new("/proc/self/mounts")))?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(file_error(Path::new("/proc/self/cgroup")))?;
        if let Some(folder) = find_v2(&mounts, &own)? {
            let folder = folder.join(name);
            let own = own_v2(&mounts).unwrap_or_default();
            return Ok(Self { generation: Generation::V2, memory: folder.clone(), cpu: folder, count: None, own });
        }
        let mut missing = Vec::new();
        let mut place = |controller: &'static str| {
            let found = find_v1(&mounts, &own, controller);
            if found.is_none() {
                missing.push(controller);
            }
            found.unwrap_or_default().join(&name)
        };
        let (memory, cpu) = (place("memory"), place("cpu"));
        if missing.is_empty() {
            let count = find_v1(&mounts, &own, "pids").map(|found| found.join(&name));
            let own = memory.parent().unwrap_or(&memory).to_owned();
            Ok(Self { generation: Generation::V1, memory, cpu, count, own })
        } else {
            Err(Error::NotDelegated { controllers: missing.join(", ") })
        }
    }

    /// Which generation this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Prepares the kernel for processes that will enter a cgroup in a moment. The first one in a while would wait for some
    /// 10 ms, until all processors have agreed; those that follow within that time do not. This waits in its place, by
    /// entering the cgroup where this process is.
    pub fn rouse(&self) {
        let _ = fs::write(self.own.join("cgroup.procs"), "0");
    }

    /// Makes a cgroup with limits.
    pub fn create(&self, name: &str, limits: &CgroupLimits) -> Result<Cgroup, Error> {
        let (memory, cpu) = (self.memory.join(name), self.cpu.join(name));
        let count = self.count.as_ref().filter(|_| limits.counted).map(|count| count.join(name));
        let folders = distinct(&memory, &cpu, count.as_deref());
        for folder in &folders {
            fs::create_dir(folder).map_err(file_error(folder))?;
        }
        let made = furnish(self.generation, &memory, &cpu, count.as_deref(), limits);
        if made.is_err() {
            for folder in folders {
                let _ = fs::remove_dir(folder);
            }
        }
        made
    }

    /// Kills what is left inside and removes this server's folders. For the end of a drain.
    pub fn remove(&self) {
        self.remove_children();
        for folder in self.folders() {
            let _ = fs::remove_dir(folder);
        }
    }

    fn folders(&self) -> Vec<&Path> {
        distinct(&self.memory, &self.cpu, self.count.as_deref())
    }

    fn remove_children(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        for entry in fs::read_dir(&self.cpu).into_iter().flatten().flatten() {
            hurry(self.generation, &entry.path());
        }
        for folder in self.folders() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    empty_and_remove(&entry.path(), deadline);
                }
            }
        }
    }
}

impl Cgroup {
    fn limit(&self, limits: &CgroupLimits) -> Result<(), Error> {
        match self.generation {
            Generation::V2 => {
                write(&self.memory.join("memory.max"), limits.memory_bytes)?;
                // Not there without swap: then there is nothing to limit.
                let _ = write(&self.memory.join("memory.swap.max"), 0);
                write(&self.memory.join("pids.max"), limits.processes)?;
            }
            Generation::V1 => {
                write(&self.memory.join("memory.limit_in_bytes"), limits.memory_bytes)?;
                let _ = write(&self.memory.join("memory.memsw.limit_in_bytes"), limits.memory_bytes);
                // Not there where the kernel was built without; what a socket holds is outside all other limits.
                let _ = write(&self.memory.join("memory.kmem.tcp.limit_in_bytes"), TCP_BYTES_MAX);
                if let Some(count) = &self.count {
                    write(&count.join("pids.max"), limits.processes)?;
                }
            }
        }
        limits.cpu_millis.map_or(Ok(()), |millis| self.set_cpu(millis))
    }

    /// Sets the CPU share, in thousandths of a processor; 0 is next to none.
    pub fn set_cpu(&self, millis: u64) -> Result<(), Error> {
        match self.generation {
            Generation::V2 => write(&self.cpu.join("cpu.max"), format!("{} {CPU_PERIOD_US}", quota_us(millis))),
            Generation::V1 => {
                write(&self.cpu.join("cpu.cfs_period_us"), CPU_PERIOD_US)?;
                write(&self.cpu.join("cpu.cfs_quota_us"), quota_us(millis))
            }
        }
    }

    /// CPU time so far, in microseconds, where the kernel tells it here.
    pub fn cpu_us(&self) -> Option<u64> {
        match self.generation {
            Generation::V2 => number_of(&fs::read_to_string(self.cpu.join("cpu.stat")).ok()?, "usage_usec "),
            Generation::V1 => {
                let nanoseconds = fs::read_to_string(self.cpu.join("cpuacct.usage")).ok()?;
                nanoseconds.trim().parse::<u64>().ok().map(|nanoseconds| nanoseconds / 1000)
            }
        }
    }

    /// Sets the peak of memory use back to what is in use now, where the kernel can.
    pub fn forget_peak(&self) {
        let _ = self.peak.write_at(b"0", 0);
    }

    /// The files that a process is moved in through, open for writing.
    pub fn entrances(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entrances.iter().map(AsFd::as_fd)
    }

    /// Highest memory use so far, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        text_of(&self.peak).trim().parse().unwrap_or(0)
    }

    /// Processes that the kernel has killed for want of memory.
    pub fn out_of_memory_kills(&self) -> u64 {
        number_of(&text_of(&self.events), "oom_kill ").unwrap_or(0)
    }

    /// Memory of processes and of files that exist only in memory, in bytes: what cannot be dropped like a page cache.
    pub fn resident_bytes(&self) -> u64 {
        let stat = fs::read_to_string(self.memory.join("memory.stat")).unwrap_or_default();
        let anonymous = match self.generation {
            Generation::V2 => "anon ",
            Generation::V1 => "rss ",
        };
        number_of(&stat, anonymous).unwrap_or(0) + number_of(&stat, "shmem ").unwrap_or(0)
    }

    /// Sets the memory limit anew.
    pub fn set_memory(&self, memory_bytes: u64) -> Result<(), Error> {
        let before = self.memory_bytes.swap(memory_bytes, Ordering::Relaxed);
        if before == memory_bytes {
            return Ok(());
        }
        match self.generation {
            Generation::V2 => write(&self.memory.join("memory.max"), memory_bytes),
            Generation::V1 => {
                // Memory with swap may at no time be less than memory alone. It is not there where swap is not counted.
                let with_swap = self.memory.join("memory.memsw.limit_in_bytes");
                if memory_bytes > before {
                    let _ = write(&with_swap, memory_bytes);
                }
                write(&self.memory.join("memory.limit_in_bytes"), memory_bytes)?;
                if memory_bytes < before {
                    let _ = write(&with_swap, memory_bytes);
                }
                Ok(())
            }
        }
    }

    /// Lets others of this server have the processors first, or takes that back.
    pub fn set_patient(&self, patient: bool) -> Result<(), Error> {
        match self.generation {
            Generation::V2 => write(&self.cpu.join("cpu.weight"), if patient { 1 } else { 100 }),
            Generation::V1 => write(&self.cpu.join("cpu.shares"), if patient { 10 } else { 1024 }),
        }
    }

    /// Makes room for clones, which version 1 counts with their zygote (their rlimits bound each of them): together no
    /// more than a quarter of the machine's process ids.
    pub fn admit_clones(&self, processes: u64) -> Result<(), Error> {
        let Some(count) = &self.count else { return Ok(()) };
        let ids = fs::read_to_string("/proc/sys/kernel/pid_max")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(32_768_u64);
        write(&count.join("pids.max"), (ids / 4).max(processes))
    }

    /// Lifts the CPU quota, so that what was killed can end: a process that has used up its share dies only when it
    /// gets the next one, which after a long reclaim may take many seconds.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
        hurry(self.generation, &self.cpu);
    }

    /// Sets the peak back for another instance of the same function version, where the kernel can (version 2 keeps its
    /// peak). False also where something was killed for want of memory, or the quota was lifted.
    pub fn recycle(&self) -> bool {
        self.generation == Generation::V1
            && !self.hurried.load(Ordering::Relaxed)
            && self.out_of_memory_kills() == 0
            && self.peak.write_at(b"0", 0).is_ok()
    }

    /// Removes the cgroup. Its processes must have ended; the kernel may need a moment to notice, so a caller off the
    /// path of calls tries again on `false`.
    pub fn remove(&self) -> bool {
        let mut gone = true;
        for folder in self.folders() {
            gone &= fs::remove_dir(folder).is_ok() || !folder.exists();
        }
        gone
    }

    fn folders(&self) -> Vec<&Path> {
        distinct(&self.memory, &self.cpu, self.count.as_deref())
    }
}

fn hurry(generation: Generation, cpu: &Path) {
    // It may be gone already, or be a file of the folder rather than a cgroup in it: then there is no quota to lift.
    let _ = match generation {
        Generation::V2 => write(&cpu.join("cpu.max"), "max"),
        Generation::V1 => write(&cpu.join("cpu.cfs_quota_us"), -1),
    };
}

fn quota_us(millis: u64) -> u64 {
    // The kernel takes no less than a millisecond.
    (millis * CPU_PERIOD_US / 1000).max(1000)
}

/// Opens what is kept open of a new cgroup, and sets its limits.
fn furnish(
    generation: Generation,
    memory: &Path,
    cpu: &Path,
    count: Option<&Path>,
    limits: &CgroupLimits,
) -> Result<Cgroup, Error> {
    let open = |name: &str| {
        let path = memory.join(name);
        // Only version 1's peak is written to, to set it back.
        let write = name == "memory.max_usage_in_bytes";
        File::options().read(true).write(write).open(&path).map_err(file_error(&path))
    };
    let (peak, events) = match generation {
        // memory.peak came with Linux 5.19; before, the use at the time of asking has to do.
        Generation::V2 => (open("memory.peak").or_else(|_| open("memory.current"))?, open("memory.events")?),
        Generation::V1 => (open("memory.max_usage_in_bytes")?, open("memory.oom_control")?),
    };
    let procs = |folder: &Path| {
        let path = folder.join("cgroup.procs");
        File::options().write(true).open(&path).map(OwnedFd::from).map_err(file_error(&path))
    };
    let cgroup = Cgroup {
        generation,
        memory: memory.to_owned(),
        cpu: cpu.to_owned(),
        count: count.map(Path::to_owned),
        memory_bytes: AtomicU64::new(limits.memory_bytes),
        hurried: AtomicBool::new(false),
        entrances: distinct(memory, cpu, count).into_iter().map(procs).collect::<Result<_, _>>()?,
        peak,
        events,
    };
    cgroup.limit(limits)?;
    Ok(cgroup)
}

fn distinct<'a>(memory: &'a Path, cpu: &'a Path, count: Option<&'a Path>) -> Vec<&'a Path> {
    let mut folders = vec![memory];
    folders.extend((cpu != memory).then_some(cpu));
    folders.extend(count);
    folders
}

/// Kills what is in the cgroup at `folder` and removes it, trying until `deadline`.
fn empty_and_remove(folder: &Path, deadline: Instant) {
    loop {
        if fs::write(folder.join("cgroup.kill"), "1").is_err() {
            let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for pid in processes.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if fs::remove_dir(folder).is_ok() || !folder.exists() || Instant::now() > deadline {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The version 2 folder to work below, if version 2 has the controllers that are needed.
fn find_v2(mounts: &str, own: &str) -> Result<Option<PathBuf>, Error> {
    let Some(mount) = mount_of(mounts, |kind, _| kind == "cgroup2") else { return Ok(None) };
    let available = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    if !["memory", "cpu", "pids"].iter().all(|needed| available.split_ascii_whitespace().any(|one| one == *needed)) {
        return Ok(None);
    }
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let own = mount.join(own.trim_start_matches('/'));
    // A server that has been here has moved itself into a leaf; its place is above.
    let place = if own.ends_with("dayfly-server") { own.parent().unwrap_or(&mount).to_owned() } else { own };
    if place != mount && !delegated(&place) {
        // Root may work at the top; anybody else needs a scope of their own.
        if rustix::process::getuid().is_root() {
            enable_controllers(&mount)?;
            return Ok(Some(mount));
        }
        return Err(Error::NotDelegated { controllers: "memory, cpu, pids".to_owned() });
    }
    // Only the machine's own top cgroup, which has no type, may have processes and pass controllers on: a container's may not.
    if place.join("cgroup.type").exists() {
        let leaf = place.join("dayfly-server");
        fs::create_dir_all(&leaf).map_err(file_error(&leaf))?;
        // Every process of the scope, as one left behind would keep the controllers from being passed on.
        let procs = place.join("cgroup.procs");
        for pid in fs::read_to_string(&procs).map_err(file_error(&procs))?.lines() {
            let _ = write(&leaf.join("cgroup.procs"), pid);
        }
    }
    enable_controllers(&place)?;
    Ok(Some(place))
}

/// Where this process is, in the hierarchy that `mounts` shows.
fn own_v2(mounts: &str) -> Option<PathBuf> {
    let mount = mount_of(mounts, |kind, _| kind == "cgroup2")?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(mount.join(own.trim_start_matches('/')))
}

/// Whether the cgroup at `place` is this process's to divide: a scope or service with `Delegate=yes`.
fn delegated(place: &Path) -> bool {
    let controllers = fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
    let all = ["memory", "cpu", "pids"].iter().all(|needed| controllers.split_ascii_whitespace().any(|c| c == *needed));
    let probe = place.join("cgroup.subtree_control");
    let marked = rustix::fs::getxattr(place, "trusted.delegate", &mut [0u8; 8][..]).is_ok()
        || rustix::fs::getxattr(place, "user.delegate", &mut [0u8; 8][..]).is_ok();
    all && (marked || !rustix::process::getuid().is_root())
        && rustix::fs::access(&probe, rustix::fs::Access::WRITE_OK).is_ok()
}

fn enable_controllers(folder: &Path) -> Result<(), Error> {
    let control = folder.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).map_err(file_error(&control))?;
    for controller in ["memory", "cpu", "pids"] {
        if !enabled.split_ascii_whitespace().any(|one| one == controller) {
            write(&control, format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// The version 1 folder of `controller` to work below: the caller's own cgroup, if it may make folders there.
fn find_v1(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|one| one == controller);
    let mount = mount_of(mounts, |kind, options| kind == "cgroup" && has(options))?;
    let own = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        parts.next().filter(|list| has(list))?;
        parts.next()
    })?;
    let writable = |folder: &Path| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok();
    // Root works at the top, where the limits of a service that started the server do not add to a function's.
    let own = mount.join(own.trim_start_matches('/'));
    [mount, own].into_iter().find(|folder| folder.is_dir() && writable(folder))
}

/// Mount point of the first mount that `wanted` (type, options) takes.
fn mount_of(mounts: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields.len() > 3 && wanted(fields[2], fields[3])).then(|| PathBuf::from(fields[1]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_made_limited_read_and_removed() {
        let id = format!("test-{}", std::process::id());
        let Ok(cgroups) = Cgroups::open(&id) else { return eprintln!("skipped: no cgroups for this user") };
        let limits = CgroupLimits { memory_bytes: 64 << 20, cpu_millis: Some(72), processes: 16, counted: true };
        let cgroup = cgroups.create("one", &limits).unwrap();
        assert!(cgroup.entrances().count() > 0);
        assert_eq!(cgroup.out_of_memory_kills(), 0);
        cgroup.set_memory(32 << 20).unwrap();
        assert!(cgroup.remove());
        cgroups.create("left-behind", &limits).unwrap();
        let again = Cgroups::open(&id).unwrap();
        assert!(!again.memory.join("left-behind").exists());
        again.remove();
        assert!(!again.memory.exists());
    }

    #[test]
    fn quotas_grow_with_the_share() {
        assert_eq!(quota_us(1000), CPU_PERIOD_US);
        assert_eq!(quota_us(72), 7200);
        assert_eq!(quota_us(1), 1000);
    }
}
