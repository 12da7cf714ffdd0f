//! boto3, which Lambda's Python runtimes have beside the function. It is built like any environment, once for each Python,
//! when the first function that names it is published; functions see it after everything of their own. A machine that
//! cannot build it runs them without.

use crate::builder::{self, Builder, Lease};
use dayfly_types::{EnvironmentSource, Packages, Runtime};
use std::{
    collections::{HashMap, VecDeque},
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Where a function sees the packages.
pub const ROOT: &str = "/var/runtime/packages";
/// The newest boto3 that the runtime's Python takes; whichever was newest when it was built.
const REQUIREMENT: &str = "boto3>=1.40,<2";
/// Longest that a new function waits for it, and one that was there before: its callers wait too.
const PATIENCE_NEW: Duration = Duration::from_secs(120);
const PATIENCE_KNOWN: Duration = Duration::from_secs(2);
/// Time after a failure before it is tried again.
const PAUSE: Duration = Duration::from_secs(600);
/// Most bytes of source that are looked at.
const SOURCE_BYTES_MAX: u64 = 32 << 20;

/// The packages, by runtime. Cheap to clone.
#[derive(Clone)]
pub struct AwsSdk {
    builder: Builder,
    made: Arc<Mutex<HashMap<Runtime, State>>>,
}

enum State {
    There(Arc<Lease>),
    /// It could not be built at that time.
    Failed(Instant),
}

impl AwsSdk {
    /// Nothing is built yet.
    pub fn new(builder: Builder) -> Self {
        Self { builder, made: Arc::default() }
    }

    /// Where the packages for `runtime` are, once they are.
    pub fn packages(&self, runtime: Runtime) -> Option<PathBuf> {
        match self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&runtime) {
            Some(State::There(lease)) => Some(lease.packages()),
            _ => None,
        }
    }

    /// Sees to it that they are there, if the code in `folder` needs them and does not bring them. `known` says that
    /// the code was here before.
    pub async fn prepare(&self, runtime: Runtime, folder: PathBuf, known: bool) {
        let settled = match self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&runtime) {
            Some(State::There(_)) => true,
            Some(State::Failed(at)) => at.elapsed() < PAUSE,
            None => false,
        };
        if settled || !tokio::task::spawn_blocking(move || needs(&folder)).await.unwrap_or_default() {
            return;
        }
        let patience = if known { PATIENCE_KNOWN } else { PATIENCE_NEW };
        let state = match timeout(patience, self.build(runtime)).await {
            Ok(Ok(lease)) => State::There(lease),
            failed => {
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "it takes too long".to_owned(),
                };
                tracing::warn!(%runtime, reason, "functions run without boto3, which could not be built");
                State::Failed(Instant::now())
            }
        };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(runtime, state);
    }

    async fn build(&self, runtime: Runtime) -> Result<Arc<Lease>, builder::Error> {
        let packages = Packages::of_requirements([REQUIREMENT]).map_err(std::io::Error::other)?;
        let source = EnvironmentSource { runtime, platform: builder::platform(), packages, modules: None };
        let built = self.builder.build(&source, None, Arc::new(|_| {})).await?;
        let lease = self.builder.lease(&built.id);
        lease.ok_or_else(|| std::io::Error::other("the environment went away").into())
    }
}

/// Whether the sources below `folder` name boto3 or botocore, and neither lies there itself. What only comes by
/// `importlib` from made-up names is not found.
fn needs(folder: &Path) -> bool {
    if folder.join("boto3").is_dir() || folder.join("botocore").is_dir() {
        return false;
    }
    // The function's own files lie above those of its packages.
    let (mut folders, mut left) = (VecDeque::from([folder.to_owned()]), SOURCE_BYTES_MAX);
    while let Some(folder) = folders.pop_front() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                folders.push_back(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "py") {
                let mut text = Vec::new();
                let read = fs::File::open(&path).and_then(|file| file.take(left).read_to_end(&mut text));
                left = left.saturating_sub(read.unwrap_or_default() as u64);
                if text.windows(5).any(|word| word == b"boto3") || text.windows(8).any(|word| word == b"botocore") {
                    return true;
                }
            }
            if left == 0 {
                return false;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_says_whether_it_needs_boto3() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("library")).unwrap();
        fs::write(at("app.py"), "import json").unwrap();
        fs::write(at("notes.txt"), "boto3").unwrap();
        assert!(!needs(folder.path()));
        fs::write(at("library/deep.py"), "from botocore.config import Config").unwrap();
        assert!(needs(folder.path()));
        fs::create_dir(at("boto3")).unwrap();
        assert!(!needs(folder.path()), "it brings its own");
        assert!(!needs(&at("missing")));
    }
}
