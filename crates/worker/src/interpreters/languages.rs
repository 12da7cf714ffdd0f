//! The runtimes that are no Python: each is a program that speaks the Runtime API, which `runtimes/api/api.py` serves it.

use super::{Interpreter, Mount, executable, mounts};
use dayfly_types::Runtime;
use std::{env, path::PathBuf, process::Command};

/// Where Node is in a sandbox.
const NODE: &str = "/var/lang/bin/node";

/// What this machine has beside Python, of which any does for serving the Runtime API. Runs `node` once. Blocks.
pub fn others(pythons: &[Interpreter]) -> Vec<Interpreter> {
    let Some(host) = pythons.last() else { return Vec::new() };
    let like = |runtime: Runtime| Interpreter { runtime, cache_tag: runtime.code_tag(), ..host.clone() };
    let mut found: Vec<Interpreter> = [2, 2023].map(|release| like(Runtime::Provided { release })).into();
    if let Some((path, version)) = node()
        && let Ok(runtime) = format!("nodejs{}.x", version.split('.').next().unwrap_or_default()).parse()
    {
        let mut mounts = host.mounts.clone();
        mounts::add(&mut mounts, &path);
        // Debian's Node loads a part of itself from there.
        let shared = PathBuf::from("/usr/share/nodejs");
        if shared.is_dir() {
            mounts.push(Mount::Folder { path: shared, hide: Vec::new() });
        }
        mounts.push(Mount::Link { path: NODE.into(), target: path });
        found.push(Interpreter { version, mounts, ..like(runtime) });
    }
    found
}

/// The first `node` on the path that everybody may run, and its version.
fn node() -> Option<(PathBuf, String)> {
    let folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let usual = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let path = folders.iter().chain(&usual).filter_map(|folder| executable(&folder.join("node"))).next()?;
    let said = Command::new(&path).arg("--version").env_clear().output().ok().filter(|said| said.status.success())?;
    let version = String::from_utf8(said.stdout).ok()?.trim().strip_prefix('v')?.to_owned();
    Some((path, version))
}
