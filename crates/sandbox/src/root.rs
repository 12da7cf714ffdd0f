//! The sandbox's root file system: an in-memory root with read-only mounts of exactly what the specification lists.
//! Built by the launcher's first process, before the user namespace, and inherited (so locked) by everything inside.

use crate::{
    protocol::{BindMount, Spec},
    sys,
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{Mode, OFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_fd, fsmount, fsopen, mount, mount_bind, mount_bind_recursive, mount_change,
        mount_remount, move_mount, unmount,
    },
    process::pivot_root,
};
use std::{
    ffi::CString,
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

/// Device nodes that a program may expect; all without effect on the host.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Where each instance gets mounts of its own.
const PRIVATE_FOLDERS: [&str; 4] = ["tmp", "dev/shm", "proc", "opt"];

/// Builds the root at `spec.mount_point` in the caller's mount namespace, which must be its own, and makes it the
/// caller's root. The host's file system cannot be reached afterwards.
pub fn build(spec: &Spec) -> io::Result<()> {
    let root = &spec.mount_point;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).map_err(at("/"))?;
    mount("tmpfs", root, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=16m,nr_inodes=4k,mode=755")
        .map_err(at(root))?;
    for folder in PRIVATE_FOLDERS {
        make_folder(&root.join(folder))?;
    }
    make_devices(root)?;
    for (number, bind) in spec.binds.iter().enumerate() {
        let place = if is_private(&bind.target) { kept_aside(number) } else { bind.target.clone() };
        bind_sealed(root, bind, &place).map_err(at(&bind.source))?;
    }
    for (path, content) in &spec.files {
        let path = inside(root, path);
        make_folder(path.parent().unwrap_or(root))?;
        fs::write(&path, content).map_err(at(&path))?;
    }
    for (path, target) in spec.links.iter().filter(|(path, _)| !is_private(path)) {
        make_link(&inside(root, path), target)?;
    }
    // The host's /proc lets a new one be mounted inside (the kernel asks that one be fully visible); the new one covers it.
    mount_bind_recursive("/proc", root.join("proc")).map_err(at("/proc"))?;
    enter(root)?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, c"")
        .map_err(at("remount of the root"))
}

/// Mounts a new `/proc` of the caller's pid namespace. With `hide_others`, processes that the reader may not trace are
/// invisible: the zygote does not see its clones.
pub fn mount_proc(hide_others: bool) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = if hide_others { c"hidepid=2" } else { c"" };
    mount("proc", "/proc", "proc", flags, options).map_err(at("/proc"))
}

/// Mounts a `/proc` of the pid namespace of `pid`, whose mount namespace the caller has entered.
///
/// Newer kernels (6.17 on) can be told which pid namespace is meant. On older ones somebody in it has to mount.
pub fn mount_proc_of(pid: i32, process: BorrowedFd<'_>) -> io::Result<()> {
    let by_path = |_| rustix::fs::open(format!("/proc/{pid}/ns/pid"), OFlags::CLOEXEC, Mode::empty());
    let namespace = sys::pid_namespace_of(process).or_else(by_path)?;
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    if fsconfig_set_fd(&context, "pidns", &namespace).is_err() {
        return sys::in_pid_namespace(namespace.as_fd(), || mount_proc(false));
    }
    fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&proc, "", rustix::fs::CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(at("/proc"))
}

/// What each instance has for itself: worked out once, mounted for each.
pub struct Private {
    options: CString,
    /// Where a mount waits, and where it belongs.
    binds: Vec<(PathBuf, PathBuf)>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Private {
    /// An empty `/tmp` and an empty `/dev/shm` of `spec.tmp_bytes` each, and in them what the specification shows there.
    pub fn of(spec: &Spec) -> io::Result<Self> {
        let tmp_bytes = spec.tmp_bytes;
        // An inode per 4 KiB, as file systems on disk have by default: no more, or empty files would be free memory.
        let options = format!("size={tmp_bytes},nr_inodes={},mode=1777", (tmp_bytes / 4096).max(1024));
        let binds = spec.binds.iter().enumerate().filter(|(_, bind)| is_private(&bind.target));
        let links = spec.links.iter().filter(|(path, _)| is_private(path));
        Ok(Self {
            options: CString::new(options)?,
            binds: binds.map(|(number, bind)| (kept_aside(number), bind.target.clone())).collect(),
            links: links.cloned().collect(),
        })
    }

    /// Mounts all of it.
    pub fn mount(&self) -> io::Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        for folder in [c"/tmp", c"/dev/shm"] {
            mount(c"tmpfs", folder, c"tmpfs", flags, &*self.options)
                .map_err(|error| at(folder.to_string_lossy().as_ref())(error))?;
        }
        for (place, target) in &self.binds {
            make_mount_point(target, fs::metadata(place)?.is_dir())?;
            mount_bind_recursive(place, target).map_err(at(target))?;
        }
        for (path, target) in &self.links {
            make_link(path, target)?;
        }
        Ok(())
    }
}

/// Whether `path` is in a folder that each instance has for itself.
pub(crate) fn is_private(path: &Path) -> bool {
    ["/tmp", "/dev/shm"].iter().any(|folder| path.starts_with(folder))
}

/// Where a mount that belongs into a private folder waits for the instances to get theirs.
fn kept_aside(number: usize) -> PathBuf {
    PathBuf::from(format!("/var/aside/{number}"))
}

fn make_devices(root: &Path) -> io::Result<()> {
    for device in DEVICES {
        let (host, path) = (Path::new("/dev").join(device), root.join("dev").join(device));
        fs::write(&path, "").map_err(at(&path))?;
        mount_bind(&host, &path).map_err(at(&host))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, root.join("dev").join(name))?;
    }
    Ok(())
}

/// Mounts at `place` inside.
fn bind_sealed(root: &Path, bind: &BindMount, place: &Path) -> io::Result<()> {
    let target = inside(root, place);
    // A source that is a link is mounted as what it points to.
    make_mount_point(&target, fs::metadata(&bind.source)?.is_dir())?;
    mount_bind_recursive(&bind.source, &target)?;
    let below = |hidden: &PathBuf| Some(target.join(hidden.strip_prefix(&bind.target).ok()?));
    for hidden in bind.hide.iter().filter_map(below).filter(|hidden| hidden.is_dir()) {
        mount("tmpfs", &hidden, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=4k,nr_inodes=1,mode=755")?;
    }
    sys::seal_mount(&target, false)
}

/// Makes `root` the root and lets go of the host's.
fn enter(root: &Path) -> io::Result<()> {
    let folder = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    leave_chroot(root).map_err(at("leaving a chroot"))?;
    rustix::process::fchdir(&folder)?;
    pivot_root(".", ".").map_err(at("pivot_root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(at("unmount of the host's root"))?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Makes the root of the mount namespace the caller's root. The kernel makes no user namespace for a process whose root
/// is another folder, as a server's is that was started under chroot(8).
fn leave_chroot(below: &Path) -> io::Result<()> {
    rustix::process::chdir("/")?;
    rustix::process::chroot(below)?;
    // Outside of its own root now, the caller goes up until up leads nowhere.
    let place = || rustix::fs::stat(".").map(|stat| (stat.st_dev, stat.st_ino));
    let mut here = place()?;
    loop {
        rustix::process::chdir("..")?;
        let above = place()?;
        if above == here {
            return rustix::process::chroot(".").map_err(io::Error::from);
        }
        here = above;
    }
}

fn make_mount_point(path: &Path, is_folder: bool) -> io::Result<()> {
    if is_folder {
        return make_folder(path);
    }
    make_folder(path.parent().unwrap_or(path))?;
    if !path.exists() {
        fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(at(path))?;
    }
    Ok(())
}

fn make_link(path: &Path, target: &Path) -> io::Result<()> {
    make_folder(path.parent().unwrap_or(path))?;
    symlink(target, path).map_err(at(path))
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(at(path))
}

/// `path`, which is absolute inside, below `root`.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Names the path, or the step, in an error of the system.
pub(crate) fn at<E: Into<io::Error>>(path: impl AsRef<Path>) -> impl Fn(E) -> io::Error {
    let path = path.as_ref().display().to_string();
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{path}: {error}"))
    }
}
