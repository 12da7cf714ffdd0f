//! The code cache: packages are checked, unpacked once under their SHA-256, and byte-compiled at publish time.
//!
//! A tree appears in the cache all at once, by a rename, and never changes. What is not in place yet lies in folders
//! whose names begin with a dot; a start removes those that a crash left. Never opens the store, never runs a call.

pub mod compile;
mod directory;
mod layers;
mod plan;
pub mod unpack;

pub use layers::{LayerSource, ROOT as LAYERS_ROOT};

use crate::{interpreters::Interpreter, tree};
use compile::Compile;
use dayfly_types::{Limits, Runtime};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};
use thiserror::Error;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Packages that are unpacked and compiled at the same time; more wait.
const CONCURRENT_UNPACKS: usize = 2;

/// Unpacked packages, in a folder. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    limits: Limits,
    compiler: Arc<dyn Compile>,
    /// One lock per tree that is being made.
    busy: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    permits: Arc<Semaphore>,
}

/// What is wrong with a package. The gateway answers `InvalidParameterValueException` or `InvalidZipFileException`.
#[derive(Debug, Error)]
pub enum Error {
    /// Not a zip that can be unpacked safely.
    #[error("{0}")]
    Invalid(String),
    /// Unpacked it is larger than the limit.
    #[error("Unzipped size must be smaller than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The environment that a job asks for cannot be shown.
    #[error(transparent)]
    Environment(#[from] crate::environment::Error),
    /// The packages of a layer cannot be built.
    #[error(transparent)]
    Build(#[from] crate::builder::Error),
    /// The disk failed: Dayfly's own fault.
    #[error("unpacking failed: {0}")]
    Io(#[from] io::Error),
}

/// Lambda's sentence, and what exactly is wrong.
fn invalid(detail: impl Into<String>) -> Error {
    let detail = detail.into();
    Error::Invalid(format!(
        "Could not unzip uploaded file. Please check your file, then try to upload again. ({detail})"
    ))
}

/// A name of the package for an error, cut to a readable length.
fn quoted(name: &str) -> String {
    format!("{:?}", name.chars().take(100).collect::<String>())
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is missing, and removes what interrupted unpacks left there.
    /// A folder has one cache at a time.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, limits: &Limits, compiler: Arc<dyn Compile>) -> io::Result<Self> {
        let folder = tree::open_folder(folder)?;
        Ok(Self(Arc::new(Shared {
            folder,
            limits: limits.clone(),
            compiler,
            busy: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONCURRENT_UNPACKS)),
        })))
    }

    /// Unpacks and byte-compiles the package at `zip`, unless that is done already, and gives the tree's folder. Its
    /// files are owned by this process's user and readable by all. Several calls for the same tree share the work;
    /// work that has begun goes on when the caller leaves.
    ///
    /// # Errors
    /// `Invalid` and `TooLarge` for what the package's maker did wrong, `Io` otherwise. Nothing is left behind then.
    pub async fn publish(&self, sha256_hex: &str, zip: &Path, interpreter: &Interpreter) -> Result<PathBuf, Error> {
        self.publish_at(sha256_hex, zip, interpreter, &interpreter.cache_tag, compile::TASK_ROOT).await
    }

    /// The same for a package that will be seen at `root`.
    async fn publish_at(
        &self,
        sha256_hex: &str,
        zip: &Path,
        interpreter: &Interpreter,
        tag: &str,
        root: &'static str,
    ) -> Result<PathBuf, Error> {
        let name = tree_name(sha256_hex, tag).ok_or_else(|| invalid("the SHA-256 is not 64 hexadecimal digits"))?;
        let path = self.0.folder.join(&name);
        let guard = self.lock(&name).lock_owned().await;
        if path.is_dir() {
            return Ok(path);
        }
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.map_err(io::Error::other)?;
        let work = Work {
            shared: Arc::clone(&self.0),
            sha256_hex: sha256_hex.to_owned(),
            zip: zip.to_owned(),
            interpreter: interpreter.clone(),
            root,
            path,
            _held: (guard, permit),
        };
        tokio::task::spawn_blocking(move || work.run()).await.map_err(io::Error::other)?
    }

    /// The tree of a package for a runtime, if it is there.
    pub fn path_of(&self, sha256_hex: &str, runtime: Runtime) -> Option<PathBuf> {
        let path = self.0.folder.join(tree_name(sha256_hex, &runtime.code_tag())?);
        path.is_dir().then_some(path)
    }

    /// Removes a package's trees, of all runtimes. Instances that still run from them lose their files. Blocks.
    ///
    /// # Errors
    /// When a tree could not be removed; the next start removes what is left of it.
    pub fn remove(&self, sha256_hex: &str) -> io::Result<()> {
        let Some(prefix) = tree_name(sha256_hex, "") else { return Ok(()) };
        for entry in fs::read_dir(&self.0.folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                // Renamed first: a crash in the middle must not leave half a tree under a good name.
                let temporary = self.0.temporary()?;
                match fs::rename(entry.path(), temporary.path().join("tree")) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    renamed => renamed?,
                }
                temporary.close()?;
            }
        }
        Ok(())
    }

    fn lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        busy.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

impl Shared {
    /// Gives a finished tree its name.
    fn put(&self, tree: &Path, path: &Path) -> io::Result<()> {
        let folder = File::open(&self.folder)?;
        // One call for thousands of files; the rename must not reach the disk before them.
        rustix::fs::syncfs(&folder).map_err(io::Error::from)?;
        fs::rename(tree, path)?;
        folder.sync_all()
    }

    fn temporary(&self) -> io::Result<tempfile::TempDir> {
        // Nobody else may enter: what is in there may still be hostile.
        tempfile::Builder::new()
            .prefix(tree::TEMPORARY)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&self.folder)
    }
}

/// `SHA-TAG`; `None` unless the hash is one, since it becomes a path.
fn tree_name(sha256_hex: &str, cache_tag: &str) -> Option<String> {
    crate::environment::is_content_id(sha256_hex).then(|| format!("{sha256_hex}-{cache_tag}"))
}

/// One publish on a thread of its own. Holds the tree's lock and a permit until it is done, even when its caller left.
struct Work {
    shared: Arc<Shared>,
    sha256_hex: String,
    zip: PathBuf,
    interpreter: Interpreter,
    root: &'static str,
    path: PathBuf,
    _held: (OwnedMutexGuard<()>, OwnedSemaphorePermit),
}

impl Work {
    fn run(self) -> Result<PathBuf, Error> {
        let shared = &self.shared;
        let mut zip = File::open(&self.zip)?;
        let mut sha256 = Sha256::new();
        io::copy(&mut zip, &mut sha256)?;
        if hex::encode(sha256.finalize()) != self.sha256_hex {
            return Err(invalid("its SHA-256 is not the expected one"));
        }

        // Removed when it is dropped, on every way out of here.
        let temporary = shared.temporary()?;
        let tree = temporary.path().join("tree");
        fs::create_dir(&tree)?;
        let unpacked = unpack::unpack(zip, &tree, &shared.limits)?;
        let root = Path::new(self.root);
        let job = compile::Job { interpreter: &self.interpreter, tree: &tree, root, sources: &unpacked.sources };
        if self.interpreter.runtime.python_minor().is_none() {
            shared.put(&tree, &self.path)?;
            return Ok(self.path);
        }
        match compile::run(&*shared.compiler, &job, &mut shared.limits.code_unzipped_bytes.clone()) {
            Ok(compiled) => tracing::debug!(sources = unpacked.sources.len(), compiled, "byte-compiled"),
            // The package works, only slower.
            Err(error) => tracing::warn!(%error, sha256 = self.sha256_hex, "byte-compiling failed"),
        }

        shared.put(&tree, &self.path)?;
        Ok(self.path)
    }
}
