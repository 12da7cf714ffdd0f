//! What this machine gives to a sandbox, what it lacks, and what that means. For `dayfly doctor`.

use crate::cgroup::{self, Cgroups, Generation};
use serde::Serialize;
use std::{fs, path::Path, process::Command};

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

/// Looks at everything. Makes and removes namespaces in short-lived processes of its own; changes nothing.
pub fn report() -> Vec<Check> {
    vec![kernel(), user(), namespaces(), cgroups(), seccomp(), huge_pages(), thread_id(), proc_mount(), egress()]
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

fn namespaces() -> Check {
    // Our own binary may be anything here (a test, say), so the tool of util-linux is asked where it is there.
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let limit: u64 = limit.trim().parse().unwrap_or(0);
    let clone = fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone").unwrap_or_else(|_| "1".to_owned());
    let restricted = fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").unwrap_or_default();
    let root = rustix::process::getuid().is_root();
    let (status, detail, consequence) = if limit == 0 {
        (Status::Missing, "user.max_user_namespaces is 0", "set the sysctl user.max_user_namespaces above 0")
    } else if !root && clone.trim() == "0" {
        (
            Status::Missing,
            "kernel.unprivileged_userns_clone is 0",
            "set the sysctl kernel.unprivileged_userns_clone to 1, or run as root",
        )
    } else if !root && restricted.trim() == "1" {
        (
            Status::Missing,
            "AppArmor restricts user namespaces",
            "set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or run as root",
        )
    } else {
        match Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--mount", "--net", "--ipc", "--uts", "--fork", "true"])
            .output()
        {
            Ok(output) if !output.status.success() => (
                Status::Missing,
                "making namespaces was refused",
                "this container or kernel forbids namespaces: allow them (seccomp, AppArmor) or run on the host",
            ),
            _ => (Status::Good, "user, pid, mount, ipc, uts and network", ""),
        }
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
        Err(error @ cgroup::Error::NotDelegated { .. }) => check(
            "cgroups",
            Status::Missing,
            error.to_string(),
            "memory and CPU limits cannot hold, so no function runs",
        ),
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

fn egress() -> Check {
    check("network", Status::Good, "functions reach Dayfly's own endpoint and nothing else", "")
}
