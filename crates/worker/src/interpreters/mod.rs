//! Finds the Python interpreters of this machine. Called once, when a worker starts.
//!
//! Each candidate is run with a small script that tells what it is; nothing is guessed from names. What a sandbox must
//! show of the machine for an interpreter is worked out in `mounts`.

mod languages;
mod mounts;
mod probe;

pub use languages::others;
pub use mounts::Mount;
pub(crate) use probe::Probes;

use dayfly_types::Runtime;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

/// Probes that run at the same time.
const CONCURRENT_PROBES: usize = 8;
/// CPython 3.9 to 3.14.
const MINORS: std::ops::RangeInclusive<u8> = 9..=14;

/// One CPython of this machine.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// The runtime that it serves.
    pub runtime: Runtime,
    /// Full version, for example `3.11.7`.
    pub version: String,
    /// The executable itself: no link, no shim, not in a virtual environment.
    pub executable: PathBuf,
    /// Part of the names of its bytecode files, for example `cpython-311`.
    pub cache_tag: String,
    /// Whether `import ctypes` works.
    pub has_ctypes: bool,
    /// Whether its C library is glibc, whose tunables it then understands; else it is musl.
    pub has_glibc: bool,
    /// `sys.base_prefix`.
    pub prefix: PathBuf,
    /// What a sandbox must show for it, in an order in which it can be mounted: always read-only, at the same path.
    pub mounts: Vec<Mount>,
}

/// The best interpreter of each minor version, 3.9 to 3.14, oldest first. Those in `explicit` come before all others;
/// then the highest patch level wins. Interpreters that this user cannot read, or not everybody may run, are left out:
/// functions run as another user. Blocks for about a second.
pub fn find(explicit: &[PathBuf]) -> Vec<Interpreter> {
    find_by(&Probes::default(), explicit)
}

/// The same, and quicker: `memory` is a file in which answers are remembered, and only executables that are new or have
/// changed since are run.
pub fn find_again(explicit: &[PathBuf], memory: &Path) -> Vec<Interpreter> {
    let probes = Probes::remembered(memory);
    let found = find_by(&probes, explicit);
    if let Err(error) = probes.remember(memory) {
        tracing::warn!(%error, "what the interpreters are cannot be remembered");
    }
    found
}

fn find_by(probes: &Probes, explicit: &[PathBuf]) -> Vec<Interpreter> {
    best(probe_all(probes, explicit), probe_all(probes, &candidates()))
}

fn best(explicit: Vec<Interpreter>, found: Vec<Interpreter>) -> Vec<Interpreter> {
    let mut best: BTreeMap<Runtime, Interpreter> = BTreeMap::new();
    for interpreter in explicit {
        best.entry(interpreter.runtime).or_insert(interpreter);
    }
    let fixed: BTreeSet<Runtime> = best.keys().copied().collect();
    for interpreter in found {
        match best.get(&interpreter.runtime) {
            Some(_) if fixed.contains(&interpreter.runtime) => {}
            // On a tie the first one found stays.
            Some(known) if rank(&known.version) >= rank(&interpreter.version) => {}
            _ => {
                best.insert(interpreter.runtime, interpreter);
            }
        }
    }
    best.into_values().collect()
}

/// Patch level; a release comes after its candidates.
fn rank(version: &str) -> (u32, bool) {
    let patch = version.rsplit('.').next().unwrap_or_default();
    let digits: String = patch.chars().take_while(char::is_ascii_digit).collect();
    (digits.parse().unwrap_or(0), digits.len() == patch.len())
}

/// Paths at which an interpreter may be.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    folders.extend(["/usr/bin", "/usr/local/bin"].map(PathBuf::from));
    let mut parents = vec![PathBuf::from("/opt")];
    if let Some(home) = env::home_dir() {
        parents.extend([home.join(".pyenv/versions"), home.join(".local/share/uv/python")]);
    }
    for parent in parents {
        let Ok(entries) = fs::read_dir(parent) else { continue };
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path().join("bin")).collect();
        found.sort();
        folders.extend(found);
    }
    let names: Vec<String> =
        MINORS.map(|minor| format!("python3.{minor}")).chain(["python3".into(), "python".into()]).collect();
    let mut candidates = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_absolute()) {
        candidates.extend(names.iter().map(|name| folder.join(name)).filter(|path| path.exists()));
    }
    candidates
}

/// The interpreters at these paths, in the same order, each once.
fn probe_all(probes: &Probes, paths: &[PathBuf]) -> Vec<Interpreter> {
    let mut seen = BTreeSet::new();
    let executables: Vec<PathBuf> =
        paths.iter().filter_map(|path| executable(path)).filter(|path| seen.insert(path.clone())).collect();
    let mut found = Vec::new();
    for some in executables.chunks(CONCURRENT_PROBES) {
        let answers = thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|path| scope.spawn(move || interpreter(probes, path))).collect();
            threads.into_iter().map(|thread| thread.join().ok().flatten()).collect::<Vec<_>>()
        });
        found.extend(answers.into_iter().flatten());
    }
    let mut seen = BTreeSet::new();
    found.retain(|interpreter| seen.insert(interpreter.executable.clone()));
    found
}

/// The interpreter behind `path`, or why there is none that can run functions.
pub(crate) fn at(probes: &Probes, path: &Path) -> Result<Interpreter, String> {
    if !path.exists() {
        return Err("there is no such file".to_owned());
    }
    let executable = executable(path).ok_or("it is no program that everybody may run and only its owner may change")?;
    interpreter(probes, &executable).ok_or_else(|| {
        "it is no CPython 3.9 to 3.14 with a global lock, or not everybody may read its library".to_owned()
    })
}

/// The real file behind `path`, if it is a program that everybody may run and only its owner may change. Shims are
/// scripts, so they are not.
fn executable(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    let metadata = real.metadata().ok()?;
    let mode = metadata.permissions().mode();
    let mut magic = [0; 4];
    let is_program = metadata.is_file() && mode & 0o005 == 0o005 && mode & 0o002 == 0;
    (is_program && fs::File::open(&real).ok()?.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF").then_some(real)
}

fn interpreter(probes: &Probes, executable: &Path) -> Option<Interpreter> {
    let mut executable = executable.to_owned();
    let mut probe = probes.of(&executable)?;
    // In a virtual environment made of copies, the file itself is not the base interpreter's.
    let in_environment = executable.ancestors().nth(2).is_some_and(|folder| folder.join("pyvenv.cfg").exists());
    if in_environment {
        executable = self::executable(&probe.base_executable).filter(|base| *base != executable)?;
        probe = probes.of(&executable)?;
    }
    let (major, minor, micro, level, serial) = &probe.version;
    let supported = probe.implementation == "cpython" && *major == 3 && MINORS.contains(minor) && !probe.free_threaded;
    let readable =
        |folder: &PathBuf| folder.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o005 == 5);
    if !supported || !probe.library_folders.iter().all(readable) {
        tracing::debug!(executable = %executable.display(), version = ?probe.version, "interpreter left out");
        return None;
    }
    let version = match level.as_str() {
        "final" => format!("3.{minor}.{micro}"),
        other => format!("3.{minor}.{micro}{other}{serial}"),
    };
    Some(Interpreter {
        runtime: Runtime::Python { minor: *minor },
        version,
        cache_tag: probe.cache_tag.clone()?,
        has_ctypes: probe.has_ctypes,
        has_glibc: probe.glibc,
        prefix: probe.prefix.clone(),
        mounts: mounts::mounts(&executable, &probe),
        executable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_beats_its_candidates_and_ten_beats_nine() {
        let mut versions = ["3.13.10", "3.13.9", "3.13.0rc2", "3.13.0"];
        versions.sort_by_key(|version| rank(version));
        assert_eq!(versions, ["3.13.0rc2", "3.13.0", "3.13.9", "3.13.10"]);
    }

    #[test]
    fn an_explicit_interpreter_beats_a_newer_one() {
        let one = |version: &str, path: &str| Interpreter {
            runtime: Runtime::Python { minor: 12 },
            version: version.into(),
            executable: path.into(),
            cache_tag: "cpython-312".into(),
            has_ctypes: true,
            has_glibc: true,
            prefix: "/usr".into(),
            mounts: Vec::new(),
        };
        let found = || vec![one("3.12.1", "/a"), one("3.12.4", "/b"), one("3.12.4", "/c")];
        assert_eq!(best(Vec::new(), found())[0].executable, Path::new("/b"));
        assert_eq!(best(vec![one("3.12.0", "/d"), one("3.12.3", "/e")], found())[0].executable, Path::new("/d"));
    }
}
