//! Function files of jobs: kept in the cache, under their hash, while a job uses them. Each with what its environment shows.
//!
//! Nothing of it outlives the worker: a job that a later server goes on with publishes its file again.

use crate::{
    code,
    environment::{self, Environments, Seen},
    interpreters::Interpreter,
};
use dayfly_types::{Environment, JobFunction, Runtime};
use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// The right to call functions of one function file. The worker forgets the file some time after the last one is dropped.
#[must_use = "the worker forgets the function file when this is dropped"]
#[derive(Clone)]
pub struct FunctionFile(#[expect(dead_code, reason = "held for its drop")] Arc<Published>);

/// A function file in an environment.
pub struct Published {
    /// The file.
    pub file: Arc<Kept>,
    /// What its calls see beside it.
    pub seen: Arc<Seen>,
}

impl Published {
    /// What the runtime is told: `job.json` inside.
    pub fn description(&self, job: &JobFunction) -> String {
        let own = self.seen.own.as_ref();
        serde_json::json!({
            "imports": job.imports,
            "path": own.map(|own| &own.path),
            "executable": own.map(|own| &own.executable),
            "prefix": own.map(|own| &own.prefix),
        })
        .to_string()
    }
}

/// A file in the cache; removed when it is dropped.
pub struct Kept(PathBuf);

impl Kept {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, file = %self.0.display(), "a function file could not be removed");
        }
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    sha256: String,
    environment: Environment,
    runtime: Runtime,
}

/// The function files of this worker.
pub struct FunctionFiles {
    folder: PathBuf,
    environments: Environments,
    numbers: AtomicU64,
    files: Mutex<HashMap<String, Weak<Kept>>>,
    published: Mutex<HashMap<Key, Weak<Published>>>,
}

impl FunctionFiles {
    /// In `folder`, which is emptied: nobody uses what an earlier server left.
    pub fn open(folder: PathBuf, environments: Environments) -> io::Result<Self> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&folder)?,
        }
        Ok(Self {
            folder,
            environments,
            numbers: AtomicU64::new(0),
            files: Mutex::default(),
            published: Mutex::default(),
        })
    }

    /// Keeps `file`, whose hash is `sha256`, for calls in the job's environment. Blocks.
    pub fn publish(
        &self,
        sha256: &str,
        file: &Path,
        job: &JobFunction,
        interpreter: Option<&Interpreter>,
        runtime: Runtime,
    ) -> Result<FunctionFile, code::Error> {
        if !environment::is_content_id(sha256) {
            return Err(code::Error::Invalid("the SHA-256 is not 64 hexadecimal digits".to_owned()));
        }
        let seen = Arc::new(self.environments.resolve(&job.environment, interpreter, runtime)?);
        let file = self.keep(sha256, file)?;
        let key = Key { sha256: sha256.to_owned(), environment: job.environment.clone(), runtime };
        let published = Arc::new(Published { file, seen });
        let mut known = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, published| published.strong_count() > 0);
        // One in use stays: its calls go on with what they have.
        if let Some(before) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(FunctionFile(before));
        }
        known.insert(key, Arc::downgrade(&published));
        Ok(FunctionFile(published))
    }

    /// What was published and is still in use.
    pub fn get(&self, sha256: &str, job: &JobFunction, runtime: Runtime) -> Option<Arc<Published>> {
        let key = Key { sha256: sha256.to_owned(), environment: job.environment.clone(), runtime };
        self.published.lock().unwrap_or_else(PoisonError::into_inner).get(&key)?.upgrade()
    }

    /// One file for all jobs with the same function, so that its buffers are in memory once.
    fn keep(&self, sha256: &str, file: &Path) -> io::Result<Arc<Kept>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, kept| kept.strong_count() > 0);
        if let Some(kept) = files.get(sha256).and_then(Weak::upgrade) {
            return Ok(kept);
        }
        // Numbered: the last user of one may be dropping it while the next one is made.
        let path = self.folder.join(format!("{sha256}-{}", self.numbers.fetch_add(1, Ordering::Relaxed)));
        link(file, &path)?;
        let kept = Kept(path);
        // The function runs as another user. A link is the caller's file too, so nothing is taken away.
        let mode = fs::metadata(kept.path())?.permissions().mode();
        if mode & 0o444 != 0o444 {
            fs::set_permissions(kept.path(), fs::Permissions::from_mode(mode | 0o444))?;
        }
        let kept = Arc::new(kept);
        files.insert(sha256.to_owned(), Arc::downgrade(&kept));
        Ok(kept)
    }
}

/// What a job's sandbox shows at `/var/task`: a folder of its own, to which the function file comes when it has its job.
/// Removed when it is dropped.
#[derive(Debug)]
pub struct TaskFolder(PathBuf);

impl TaskFolder {
    /// Below `folder`, under a number that nobody else has.
    pub fn new(folder: &Path, number: u64, description: &str) -> io::Result<Self> {
        let task = Self(folder.join(number.to_string()));
        fs::create_dir(&task.0)?;
        fs::set_permissions(&task.0, fs::Permissions::from_mode(0o755))?;
        let path = task.0.join("job.json");
        fs::write(&path, description)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(task)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Shows the function file.
    pub fn give(&self, file: &Kept) -> io::Result<()> {
        link(file.path(), &self.0.join("function"))
    }
}

impl Drop for TaskFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the folder of a job's sandbox could not be removed");
        }
    }
}

/// A link is the same file, and the same pages of the page cache; a copy where there are no links.
fn link(file: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(file, path).or_else(|_| fs::copy(file, path).map(|_| ()))
}
