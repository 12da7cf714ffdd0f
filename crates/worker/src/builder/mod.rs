//! Environments that this server builds: folders of Python packages under the hash of what they were made from, built once
//! with `uv`, shared file by file with each other, and mounted read-only by whoever needs one. Called by the scheduler;
//! never opens the store.
//!
//! `FOLDER/ID/site-packages` is an environment, `FOLDER/ID/environment.json` says what is in it, and both appear at once.
//! `FOLDER/uv-cache` holds wheels, `FOLDER/bytecode` compiled files; what is equal in two environments is one file with
//! several names. What is not in place yet lies in folders whose names begin with a dot.

mod build;
mod error;
mod trim;
mod uv;

pub use error::Error;

use crate::{code::compile::Compile, environment::is_content_id, interpreters::Interpreter, tree};
use bytes::Bytes;
use dayfly_types::{EnvironmentSource, Packages, Runtime};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};
use tokio::sync::{OnceCell, Semaphore};

const DESCRIPTION: &str = "environment.json";
const PACKAGES: &str = "site-packages";
/// Environments that are built at the same time; more wait.
const CONCURRENT_BUILDS: usize = 2;

/// What the operator decides about environments.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Whether packages without a wheel may be built from source. That runs their code as the server's user.
    pub allow_source: bool,
    /// Largest environment. Default 20 GiB.
    pub bytes_max: u64,
    /// Environments that nobody used for so long are removed. Default 30 days.
    pub unused_days: u32,
    /// Together with what uv keeps they are held below this; those that were used last stay. Default 100 GiB.
    pub total_bytes_max: u64,
    /// Longest time for a build, in seconds. Default 1,800.
    pub build_s: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { allow_source: false, bytes_max: 20 << 30, unused_days: 30, total_bytes_max: 100 << 30, build_s: 1800 }
    }
}

/// An environment that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Its id.
    pub id: String,
    /// The Python that it is for.
    pub runtime: Runtime,
    /// The platform that it is for.
    pub platform: String,
    /// SHA-256 of the zip with its modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<String>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that no environment shared when it was built: what it cost.
    pub own_bytes: u64,
    /// Files and links.
    pub files: u64,
    /// `name==version` of its packages, in order.
    pub packages: Vec<String>,
}

/// What a build says while it runs.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Another build of the same, or too many others, run: it waits for them.
    Wait,
    /// The packages' versions are looked for.
    Resolve,
    /// They are found.
    Resolved {
        /// How many packages.
        packages: usize,
    },
    /// Packages are fetched and unpacked.
    Download {
        /// Which, and how large, in uv's words; empty at first.
        what: String,
    },
    /// Sources are byte-compiled and the files put in place.
    Build {
        /// Files.
        files: u64,
        /// Bytes of them.
        bytes: u64,
    },
    /// It is there.
    Done {
        /// Milliseconds that it took.
        milliseconds: u64,
    },
}

/// Takes the steps of a build. Must not block.
pub type Progress = Arc<dyn Fn(Step) + Send + Sync>;

/// The environments of this server. Cheap to clone.
#[derive(Clone)]
pub struct Builder(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    policy: Policy,
    interpreters: Arc<Vec<Interpreter>>,
    compiler: Arc<dyn Compile>,
    uv: OnceCell<uv::Uv>,
    /// One lock per environment that is being built or removed.
    busy: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    permits: Arc<Semaphore>,
    /// Environments that somebody runs from.
    leases: Mutex<HashMap<String, Weak<Lease>>>,
}

/// An environment cannot be removed while this lives.
#[derive(Debug)]
pub struct Lease {
    folder: PathBuf,
}

impl Lease {
    /// Its `site-packages`.
    pub fn packages(&self) -> PathBuf {
        self.folder.join(PACKAGES)
    }
}

impl Builder {
    /// Opens the environments in `folder`, which is made if it is missing, and removes what interrupted builds left there.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(
        folder: &Path,
        policy: Policy,
        interpreters: Arc<Vec<Interpreter>>,
        compiler: Arc<dyn Compile>,
    ) -> io::Result<Self> {
        let folder = tree::open_folder(folder)?;
        Ok(Self(Arc::new(Shared {
            folder,
            policy,
            interpreters,
            compiler,
            uv: OnceCell::new(),
            busy: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONCURRENT_BUILDS)),
            leases: Mutex::default(),
        })))
    }

    /// Whether there could be such an environment here: it is for a Python and a platform of this machine.
    ///
    /// # Errors
    /// `IncompatiblePython`.
    pub fn check(&self, source: &EnvironmentSource) -> Result<(), Error> {
        self.interpreter(source).map(|_| ())
    }

    /// Builds the environment, unless it is there. `modules` is a zip with the source's hash. Several calls for the same
    /// share the work; work that has begun goes on when the caller leaves.
    ///
    /// # Errors
    /// Nothing is left behind then, but what uv has in its cache.
    pub async fn build(
        &self,
        source: &EnvironmentSource,
        modules: Option<Bytes>,
        progress: Progress,
    ) -> Result<Built, Error> {
        let id = source.id();
        let interpreter = self.interpreter(source)?.clone();
        let lock = self.0.lock(&id);
        let guard = match Arc::clone(&lock).try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => {
                progress(Step::Wait);
                lock.lock_owned().await
            }
        };
        if let Some((built, _)) = self.get(&id) {
            return Ok(built);
        }
        let job =
            build::Build { shared: Arc::clone(&self.0), id, source: source.clone(), modules, interpreter, progress };
        let work = tokio::spawn(async move {
            let _held = guard;
            job.run().await
        });
        work.await.map_err(io::Error::other)?
    }

    fn interpreter(&self, source: &EnvironmentSource) -> Result<&Interpreter, Error> {
        let interpreters = &self.0.interpreters;
        if source.platform != platform() {
            let own = platform();
            let text = format!("the environment is for {}, and this server is {own}", source.platform);
            return Err(Error::IncompatiblePython(text));
        }
        interpreters.iter().find(|interpreter| interpreter.runtime == source.runtime).ok_or_else(|| {
            let found: Vec<String> = interpreters.iter().map(|interpreter| interpreter.runtime.to_string()).collect();
            let (wanted, found) = (source.runtime, found.join(", "));
            Error::IncompatiblePython(format!("the environment is for {wanted}, and this server has {found}"))
        })
    }

    /// What is in an environment and when it was used last, if it is there.
    pub fn get(&self, id: &str) -> Option<(Built, SystemTime)> {
        let path = self.0.folder_of(id)?.join(DESCRIPTION);
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        Some((serde_json::from_slice(&fs::read(path).ok()?).ok()?, used))
    }

    /// The environment of exactly the packages that `id` has, by name and version, and what it is made from. Made by links,
    /// unless it is there: it has the same files.
    ///
    /// # Errors
    /// `Invalid` when there is no such environment, or when it has modules, which have no name.
    pub async fn pin(&self, id: &str) -> Result<(EnvironmentSource, Built), Error> {
        let invalid = |text: &str| Error::Invalid(text.to_owned());
        let (built, _) = self.get(id).ok_or_else(|| invalid("there is no such environment on this server"))?;
        if built.modules.is_some() {
            return Err(invalid("the environment has modules of its own, which no list of packages can name"));
        }
        let packages = Packages::of_pins(built.packages.iter().map(String::as_str));
        let packages = packages.map_err(|error| Error::Invalid(error.to_string()))?;
        let source =
            EnvironmentSource { runtime: built.runtime, platform: built.platform.clone(), packages, modules: None };
        let pinned = source.id();
        let lease = self.lease(id).ok_or_else(|| invalid("the environment went away"))?;
        let shared = Arc::clone(&self.0);
        let _alone = shared.lock(&pinned).lock_owned().await;
        if let Some((built, _)) = self.get(&pinned) {
            return Ok((source, built));
        }
        let shared = Arc::clone(&self.0);
        let linked = tokio::task::spawn_blocking(move || {
            let temporary = shared.temporary()?;
            let environment = temporary.path().join("environment");
            fs::create_dir(&environment)?;
            tree::lay_over(&lease.packages(), &environment.join(PACKAGES))?;
            let built = Built { id: pinned, own_bytes: 0, ..built };
            shared.put(&environment, &built)?;
            Ok::<_, Error>(built)
        });
        Ok((source, linked.await.map_err(io::Error::other)??))
    }

    /// The environments that are there, with the time of their last use, in no order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<(Built, SystemTime)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0.folder)? {
            let name = entry?.file_name();
            found.extend(name.to_str().and_then(|id| self.get(id)));
        }
        Ok(found)
    }

    /// The right to run from an environment, if it is there.
    pub fn lease(&self, id: &str) -> Option<Arc<Lease>> {
        let folder = self.0.folder_of(id)?;
        let mut leases = self.0.leases();
        leases.retain(|_, lease| lease.strong_count() > 0);
        // Under the lock: who removes one looks for leases first.
        if !folder.join(PACKAGES).is_dir() {
            return None;
        }
        // The time of the description is the time of the last use. A read-only disk does not matter.
        let _ = fs::File::open(folder.join(DESCRIPTION)).and_then(|file| file.set_modified(SystemTime::now()));
        if let Some(lease) = leases.get(id).and_then(Weak::upgrade) {
            return Some(lease);
        }
        let lease = Arc::new(Lease { folder });
        leases.insert(id.to_owned(), Arc::downgrade(&lease));
        Some(lease)
    }

    /// Removes an environment; no error when there is none.
    ///
    /// # Errors
    /// `InUse` while somebody runs from it.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let shared = Arc::clone(&self.0);
        let _alone = shared.lock(id).lock_owned().await;
        let id = id.to_owned();
        let removed = tokio::task::spawn_blocking(move || shared.remove(&id)).await;
        removed.map_err(io::Error::other)?
    }

    /// Removes environments that nobody used for a long time, and those used longest ago when all together are too
    /// large; never one that somebody runs from, nor those for which `keep` is true. Gives the ids of those removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn trim(&self, keep: impl Fn(&str) -> bool + Send + 'static) -> Result<Vec<String>, Error> {
        let this = self.clone();
        let trimmed = tokio::task::spawn_blocking(move || trim::trim(&this, &keep)).await;
        trimmed.map_err(io::Error::other)?
    }
}

impl Shared {
    fn lock(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        busy.insert(id.to_owned(), Arc::downgrade(&lock));
        lock
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Lease>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where an environment is, or would be. `None` when this is no id, since it becomes a path.
    fn folder_of(&self, id: &str) -> Option<PathBuf> {
        is_content_id(id).then(|| self.folder.join(id))
    }

    /// Describes a finished environment and gives it its name.
    fn put(&self, environment: &Path, built: &Built) -> Result<(), Error> {
        let description = serde_json::to_vec_pretty(built).map_err(io::Error::other)?;
        fs::write(environment.join(DESCRIPTION), description)?;
        for folder in [environment, &environment.join(PACKAGES)] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        let folder = fs::File::open(&self.folder)?;
        // One call for thousands of files; the rename must not reach the disk before them.
        rustix::fs::syncfs(&folder).map_err(io::Error::from)?;
        fs::rename(environment, self.folder.join(&built.id))?;
        Ok(folder.sync_all()?)
    }

    fn temporary(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(tree::TEMPORARY).tempdir_in(&self.folder)
    }

    /// Renamed first: a crash in the middle must not leave half an environment under a good name.
    fn remove(&self, id: &str) -> Result<(), Error> {
        let Some(folder) = self.folder_of(id) else { return Ok(()) };
        let temporary = self.temporary()?;
        {
            let leases = self.leases();
            if leases.get(id).is_some_and(|lease| lease.strong_count() > 0) {
                return Err(Error::InUse);
            }
            match fs::rename(&folder, temporary.path().join("environment")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
        }
        Ok(temporary.close()?)
    }

    fn build_time(&self) -> Duration {
        Duration::from_secs(self.policy.build_s.into())
    }
}

/// What environments of this machine are for, for example `x86_64-linux-gnu`.
pub fn platform() -> String {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{}-linux-{libc}", std::env::consts::ARCH)
}
