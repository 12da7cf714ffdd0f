//! What of the machine a sandbox shows: an interpreter, its libraries, a shell's usual programs, and certificates.
//!
//! Nothing else of the host is there: no home folders, no `/etc` but the few entries below, no `/var`, no `/opt` or
//! `/usr/local` as a whole. Packages that happen to be installed on the host are hidden, since a function that imports
//! them works here and nowhere else.

use super::probe::Probe;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// One entry of a sandbox's read-only root; the same path in the sandbox and outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A folder with everything below it.
    Folder {
        /// Where.
        path: PathBuf,
        /// Folders below it that are covered by empty ones.
        hide: Vec<PathBuf>,
    },
    /// A single file.
    File {
        /// Where.
        path: PathBuf,
    },
    /// A symbolic link, made anew.
    Link {
        /// Where.
        path: PathBuf,
        /// Its target, as the link says it.
        target: PathBuf,
    },
}

/// Folders that every machine's programs need, when they exist. Some are links on a machine with merged `/usr`.
const FOLDERS: [&str; 13] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/bin",
    "/lib",
    "/lib64",
    "/bin",
    // Links that choose between programs, and nothing but links.
    "/etc/alternatives",
    "/usr/share/zoneinfo",
    // Certificates. Never `/etc/ssl` as a whole: it holds private keys.
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
];

const FILES: [&str; 3] = ["/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem"];

/// What conda's packages have beside `lib`, where they look for it: programs, data, settings, certificates.
const CONDA_FOLDERS: [&str; 5] = ["bin", "etc", "libexec", "share", "ssl"];

/// Folder of the interpreter's names in a sandbox.
const LANGUAGE_FOLDER: &str = "/var/lang/bin";

/// Where system-wide packages may be, below folders that are shown.
const PACKAGE_FOLDERS: [&str; 2] = ["/usr/lib", "/usr/lib64"];

impl Mount {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder { path, .. } | Self::File { path } | Self::Link { path, .. } => path,
        }
    }
}

/// What a sandbox must show for the interpreter. A folder comes before what lies in it.
pub(super) fn mounts(executable: &Path, probe: &Probe) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for path in FOLDERS.iter().chain(&FILES) {
        add(&mut mounts, Path::new(path));
    }

    let folder = probe.prefix.join("lib");
    if is_private(&probe.prefix) && probe.library_folders.iter().all(|library| library.starts_with(&folder)) {
        add(&mut mounts, &folder);
        if probe.prefix.join("conda-meta").is_dir() {
            for name in CONDA_FOLDERS {
                add(&mut mounts, &probe.prefix.join(name));
            }
        }
    } else {
        for folder in &probe.library_folders {
            add(&mut mounts, folder);
        }
        if let (Some(folder), Some(name)) = (&probe.library_folder, &probe.library) {
            add(&mut mounts, &folder.join(name));
        }
    }
    add(&mut mounts, executable);
    // Where Lambda has its interpreter, first on its `PATH`. Python finds its library through links.
    let own_name = executable.file_name().unwrap_or_default();
    for name in [own_name, "python3".as_ref(), "python".as_ref()] {
        let path = Path::new(LANGUAGE_FOLDER).join(name);
        if !is_covered(&mounts, &path) {
            mounts.push(Mount::Link { path, target: executable.to_owned() });
        }
    }

    let mut packages: Vec<PathBuf> = probe.packages.clone();
    for folder in PACKAGE_FOLDERS.iter().map(Path::new).chain([folder.as_path()]) {
        packages.extend(packages_below(folder));
    }
    packages.sort();
    packages.dedup();
    for mount in &mut mounts {
        if let Mount::Folder { path, hide } = mount {
            hide.extend(packages.iter().filter(|package| package.starts_with(&path) && package.is_dir()).cloned());
        }
    }
    mounts
}

/// Adds what is at `path`, unless nothing is, or it is shown already.
pub(super) fn add(mounts: &mut Vec<Mount>, path: &Path) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if is_covered(mounts, path) {
        return;
    }
    let path = path.to_owned();
    let link = fs::read_link(&path).ok().filter(|_| metadata.is_symlink());
    match link {
        // A link to what is shown stays a link; any other is shown as what it leads to.
        Some(target) if path.canonicalize().is_ok_and(|real| is_covered(mounts, &real)) => {
            mounts.push(Mount::Link { path, target });
        }
        _ if path.is_dir() => mounts.push(Mount::Folder { path, hide: Vec::new() }),
        _ if path.is_file() => mounts.push(Mount::File { path }),
        _ => {}
    }
}

fn is_covered(mounts: &[Mount], path: &Path) -> bool {
    mounts.iter().any(|mount| match mount {
        Mount::Folder { path: folder, .. } => path.starts_with(folder),
        other => path == other.path(),
    })
}

/// Whether only an interpreter lives below this prefix, so that all of its `lib` may be shown.
fn is_private(prefix: &Path) -> bool {
    let shared = ["/", "/usr", "/usr/local", "/opt"].iter().any(|shared| prefix == Path::new(shared));
    let personal = env::home_dir().is_some_and(|home| home.starts_with(prefix) || prefix == home.join(".local"));
    !shared && !personal
}

/// `python3*/site-packages` and `python3*/dist-packages` below a folder.
fn packages_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"python3"))
        .flat_map(|entry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name)))
        .collect()
}
