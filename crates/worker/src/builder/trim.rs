//! Which environments go, and what nobody needs once they are gone. Called by `Builder::trim`.

use super::{Builder, Built, Error, Shared};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn trim(environments: &Builder, keep: &dyn Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let shared = &*environments.0;
    let found = environments.list()?;
    let mut removed = Vec::new();
    for id in superfluous(shared, found, SystemTime::now(), &bytes_of) {
        // One that is being built or removed is left alone.
        let lock = shared.lock(&id);
        let Ok(_alone) = lock.try_lock() else { continue };
        if keep(&id) {
            continue;
        }
        match shared.remove(&id) {
            Ok(()) => removed.push(id),
            Err(Error::InUse) => {}
            Err(error) => return Err(error),
        }
    }
    if !removed.is_empty() {
        // Nothing is being linked meanwhile.
        let permits = u32::try_from(super::CONCURRENT_BUILDS).unwrap_or(u32::MAX);
        if let Ok(_alone) = shared.permits.try_acquire_many(permits) {
            sweep(shared)?;
        }
    }
    Ok(removed)
}

/// Ids of those that are too old, and then of those used longest ago until the rest is small enough.
fn superfluous(
    shared: &Shared,
    mut found: Vec<(Built, SystemTime)>,
    now: SystemTime,
    bytes_of: &dyn Fn(&Shared) -> u64,
) -> Vec<String> {
    found.sort_by_key(|(_, used)| *used);
    let mut excess = bytes_of(shared).saturating_sub(shared.policy.total_bytes_max);
    let oldest = DAY * shared.policy.unused_days;
    let goes = |(built, used): (Built, SystemTime)| {
        let old = now.duration_since(used).is_ok_and(|age| age > oldest);
        if !old && excess == 0 {
            return None;
        }
        excess = excess.saturating_sub(built.own_bytes.max(1));
        Some(built.id)
    };
    found.into_iter().filter_map(goes).collect()
}

/// Bytes of everything, each file once.
fn bytes_of(shared: &Shared) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut bytes = 0;
    let counted = crate::tree::each(&shared.folder, &mut |_, metadata| {
        if metadata.is_file() && (metadata.nlink() == 1 || seen.insert(metadata.ino())) {
            bytes += metadata.len();
        }
        Ok(())
    });
    if let Err(error) = counted {
        tracing::warn!(%error, "the size of the environments is not known");
    }
    bytes
}

/// Removes unpacked wheels and compiled files that no environment has. uv fetches a wheel anew when it misses it.
fn sweep(shared: &Shared) -> io::Result<()> {
    for entry in there(&shared.folder.join("bytecode"))? {
        let entry = entry?;
        if entry.metadata()?.nlink() == 1 {
            fs::remove_file(entry.path())?;
        }
    }
    for version in there(&shared.folder.join("uv-cache"))? {
        let version = version?;
        if !version.file_name().as_encoded_bytes().starts_with(b"archive-") {
            continue;
        }
        for wheel in fs::read_dir(version.path())? {
            let wheel = wheel?.path();
            if wheel.is_dir() && !is_used(&wheel)? {
                fs::remove_dir_all(wheel)?;
            }
        }
    }
    Ok(())
}

fn is_used(wheel: &Path) -> io::Result<bool> {
    let mut used = false;
    crate::tree::each(wheel, &mut |_, metadata| {
        used |= metadata.is_file() && metadata.nlink() > 1;
        Ok(())
    })?;
    Ok(used)
}

/// The entries of a folder; none when it is not there.
fn there(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}
