//! Packages, as the code cache takes or refuses them.

#![allow(clippy::unwrap_used, missing_docs)]

mod compiled;
mod hostile;
mod mutated;
mod ordinary;
#[path = "../common/plain.rs"]
mod plain;
mod raw;

use dayfly_types::{Limits, Runtime};
use dayfly_worker::{
    code::{
        Cache, Error,
        compile::{Compile, Job, Take},
    },
    interpreters::Interpreter,
};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A cache in `cache/` of a folder that has nothing else but the uploads.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub cache: Cache,
    pub compiled: Arc<AtomicUsize>,
}

/// Counts the jobs.
pub struct NoCompiler(pub Arc<AtomicUsize>);

impl Compile for NoCompiler {
    fn compile(&self, _: &Job<'_>, _: Take<'_>) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Fixture {
    pub fn new(limits: &Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let compiled = Arc::default();
        let compiler = Arc::new(NoCompiler(Arc::clone(&compiled)));
        let cache = Cache::open(&folder.path().join("cache"), limits, compiler).unwrap();
        fs::create_dir(folder.path().join("uploads")).unwrap();
        Self { folder, cache, compiled }
    }

    pub async fn publish(&self, zip: &[u8]) -> Result<PathBuf, Error> {
        let path = self.folder.path().join("uploads/zip");
        fs::write(&path, zip).unwrap();
        self.cache.publish(&sha256(zip), &path, &interpreter()).await
    }

    /// What is in the cache, and asserts that nothing is anywhere else.
    pub fn trees(&self) -> Vec<String> {
        let mut beside = names(self.folder.path());
        beside.sort();
        assert_eq!(beside, ["cache", "uploads"]);
        assert_eq!(names(&self.folder.path().join("uploads")), ["zip"]);
        names(&self.folder.path().join("cache"))
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// One that is never run.
pub fn interpreter() -> Interpreter {
    Interpreter {
        runtime: Runtime::Python { minor: 11 },
        version: "3.11.0".into(),
        executable: "/nonexistent".into(),
        cache_tag: "cpython-311".into(),
        has_ctypes: true,
        has_glibc: true,
        prefix: "/usr".into(),
        mounts: Vec::new(),
    }
}
