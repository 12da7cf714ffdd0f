//! What this machine gives to a sandbox, what it lacks, and what that means. For `dayfly doctor`.

use crate::{
    Launcher, Report, Spec,
    cgroup::{Cgroups, Generation},
};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What that means, when it is not good, and what to do.
    pub consequence: String,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Good,
    /// Calls run, with something less.
    Degraded,
    /// Calls cannot run.
    Missing,
}

fn check(name: &'static str, status: Status, detail: impl Into<String>, consequence: &str) -> Check {
    let consequence = if status == Status::Good { String::new() } else { consequence.to_owned() };
    Check { name, status, detail: detail.into(), consequence }
}

/// How long the trial sandbox may take to stand.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks at everything. `binary` is Dayfly's own, as which a launcher is started to see whether a sandbox can be built
/// here; it is gone again when this returns.
pub fn report(binary: &Path) -> Vec<Check> {
    let sandbox = sandbox(binary);
    let mut checks = vec![kernel(), user(), cgroups(), seccomp(), huge_pages(), thread_id()];
    // Why not, where it is known: in order, the most particular reason first.
    if sandbox.status != Status::Good {
        checks.extend([namespaces(), proc_mount()]);
    }
    checks.insert(2, sandbox);
    checks
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    // mount_setattr came with 5.12, process limits per user namespace with 5.14.
    let status = if version >= (5, 14) { Status::Good } else { Status::Missing };
    check("kernel", status, release, "Linux 5.14 or newer is needed")
}

fn user() -> Check {
    if rustix::process::getuid().is_root() {
        return check("user", Status::Good, "root: functions run as unprivileged users of their own", "");
    }
    check(
        "user",
        Status::Degraded,
        format!("uid {}", rustix::process::getuid().as_raw()),
        "functions run under this user's id, held by namespaces alone; as root each has an id of its own",
    )
}

/// Builds a sandbox of the machine's, with nothing in it: the only test that tells the truth in every container.
fn sandbox(binary: &Path) -> Check {
    let consequence = "no function runs: the kernel, or the container that this is, refuses what is named";
    match build_sandbox(binary) {
        Ok(()) => check("sandbox", Status::Good, "user, pid, mount, ipc, uts and network namespaces, and a root", ""),
        Err(error) => check("sandbox", Status::Missing, error.to_string(), consequence),
    }
}

fn build_sandbox(binary: &Path) -> io::Result<()> {
    let mount_point = std::env::temp_dir().join(format!("dayfly-doctor-{}", std::process::id()));
    fs::create_dir(&mount_point)?;
    let built = Launcher::start(binary, &trial(mount_point.clone())).and_then(|mut launcher| {
        let report = launcher.control.report_before(Instant::now() + PATIENCE);
        launcher.end()?;
        match report? {
            Some(Report::Up) => Ok(()),
            Some(Report::Broken { reason }) => Err(io::Error::other(reason)),
            _ => Err(io::Error::other("the launcher ended without a word")),
        }
    });
    fs::remove_dir(&mount_point)?;
    built
}

/// An empty sandbox, in which no program is ever run.
fn trial(mount_point: PathBuf) -> Spec {
    Spec {
        mount_point,
        binds: Vec::new(),
        links: Vec::new(),
        files: Vec::new(),
        host_id_base: 0x6000_0000,
        program: Vec::new(),
        environment: Vec::new(),
        hostname: "dayfly".to_owned(),
        tmp_bytes: 1 << 20,
        open_files: 64,
        processes: 1,
        endpoint_port: 4566,
    }
}

/// Settings that are known to forbid namespaces.
fn namespaces() -> Check {
    let setting = |path: &str| fs::read_to_string(Path::new("/proc/sys").join(path)).unwrap_or_default();
    let is = |path: &str, value: &str| setting(path).trim() == value;
    let root = rustix::process::getuid().is_root();
    let (status, detail, consequence) = if is("user/max_user_namespaces", "0") {
        (Status::Missing, "user.max_user_namespaces is 0", "set the sysctl user.max_user_namespaces above 0")
    } else if !root && is("kernel/unprivileged_userns_clone", "0") {
        (
            Status::Missing,
            "kernel.unprivileged_userns_clone is 0",
            "set the sysctl kernel.unprivileged_userns_clone to 1, or run as root",
        )
    } else if !root && is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            Status::Missing,
            "AppArmor restricts user namespaces",
            "set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or run as root",
        )
    } else {
        (Status::Good, "no setting of the kernel forbids them", "")
    };
    check("namespaces", status, detail, consequence)
}

fn cgroups() -> Check {
    match Cgroups::open(&format!("doctor-{}", std::process::id())) {
        Ok(cgroups) => {
            let generation = cgroups.generation();
            cgroups.remove();
            let detail = match generation {
                Generation::V2 => "version 2",
                Generation::V1 => "version 1: memory, cpu",
            };
            check("cgroups", Status::Good, detail, "")
        }
        Err(error) => check(
            "cgroups",
            Status::Missing,
            error.to_string(),
            "memory and CPU limits cannot hold, so no function runs",
        ),
    }
}

fn seccomp() -> Check {
    let there = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default().contains("errno");
    let status = if there { Status::Good } else { Status::Missing };
    check(
        "seccomp",
        status,
        if there { "filters" } else { "no filters" },
        "the kernel must be built with CONFIG_SECCOMP_FILTER",
    )
}

fn huge_pages() -> Check {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("absent").to_owned();
    let status = if mode == "always" || mode == "madvise" { Status::Good } else { Status::Degraded };
    check(
        "huge pages",
        status,
        mode,
        "clones of large zygotes take several times longer: set transparent_hugepage/enabled to madvise",
    )
}

fn thread_id() -> Check {
    let there = Path::new("/proc/self/timers").exists() || Path::new("/proc/self/map_files").exists();
    let status = if there { Status::Good } else { Status::Degraded };
    check(
        "checkpoint/restore",
        status,
        if there { "compiled in" } else { "not found" },
        "zygotes cannot be cloned correctly, so each call boots an instance: a kernel with CONFIG_CHECKPOINT_RESTORE is faster",
    )
}

fn proc_mount() -> Check {
    // A container's /proc with parts covered keeps the kernel from mounting another inside a user namespace.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let covered: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| point.starts_with("/proc/") && *point != "/proc/sys/fs/binfmt_misc")
        .collect();
    if covered.is_empty() {
        return check("/proc", Status::Good, "fully visible", "");
    }
    check(
        "/proc",
        Status::Missing,
        format!("covered in part: {}", covered.join(", ")),
        "a sandbox cannot have a /proc of its own: run outside this container, or with its /proc unmasked",
    )
}
