//! The store of one machine: tables and queues in one redb file, blobs as files beside it. Opened by the binary.
//!
//! All writes go through one thread that commits many of them with one fsync. Reads do not: a redb read
//! transaction is a snapshot that waits for nobody, and a point read costs some microseconds, less than handing it to
//! another thread would. Callers keep scans short by their `limit`.
//!
//! The bytes on disk are described in `docs/store-format.md`.

mod blobs;
mod engine;
mod file;
mod format;
mod leases;
mod queues;
mod tables;
mod transaction;
mod writer;

#[cfg(test)]
mod crash_tests;

use crate::{Error, Store};
use redb::backends::FileBackend;
use std::{fs, path::Path, sync::Arc};

/// Opens the store in `dir`; makes both when they are not there. Starts the writer thread. One process at a time: a
/// second one gets `Error::InUse`. After a crash the engine checks its file first, which takes time in proportion to it.
pub fn open(dir: &Path) -> Result<Store, Error> {
    fs::create_dir_all(dir).map_err(|error| Error::Engine(format!("cannot create {}: {error}", dir.display())))?;
    let path = dir.join("store.redb");
    if !path.exists() {
        create(dir, &path)?;
    }
    let source = move || -> Result<Box<dyn redb::StorageBackend>, redb::DatabaseError> {
        let file = fs::File::options().read(true).write(true).open(&path)?;
        Ok(Box::new(FileBackend::new(file)?))
    };
    open_over(Box::new(source), dir)
}

/// Makes an empty database under another name first: one whose making was cut short could never be opened.
fn create(dir: &Path, path: &Path) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Engine(format!("cannot create {}: {error}", path.display()));
    let new = tempfile::Builder::new().prefix("store.new").tempfile_in(dir).map_err(|error| failed(&error))?;
    drop(redb::Database::create(new.path()).map_err(|error| failed(&error))?);
    new.as_file().sync_all().map_err(|error| failed(&error))?;
    match new.persist_noclobber(path) {
        // Another server was faster; the lock decides who may have the file.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(&error)),
        Ok(_) => sync_directory(dir),
    }
}

/// The store over `source`, with its blobs in `dir`. Only who holds the lock on the source may clean the blobs.
fn open_over(source: file::Source, dir: &Path) -> Result<Store, Error> {
    let file = file::File::open(source).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => Error::InUse { path: dir.to_owned() },
        other => Error::Engine(format!("cannot open the store in {}: {other}", dir.display())),
    })?;
    format::check(&file)?;
    let engine = Arc::new(engine::Engine::start(file)?);
    let blobs = Arc::new(blobs::Files::open(&dir.join("blobs"))?);
    sync_directory(dir)?;
    Ok(Store::new(engine.clone(), engine, blobs))
}

/// Makes the names in `dir` as durable as the files they name.
fn sync_directory(dir: &Path) -> Result<(), Error> {
    fs::File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::Engine(format!("cannot sync {}: {error}", dir.display())))
}
