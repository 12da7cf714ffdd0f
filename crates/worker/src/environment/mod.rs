//! What a job's calls see of the machine: the server's bare interpreter, a built environment, or the caller's own.

mod local;

use crate::{
    builder::{Builder, Lease},
    interpreters::{Interpreter, Probes},
};
use dayfly_sandbox::BindMount;
use dayfly_types::{Environment, Runtime};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use thiserror::Error;

/// Why a job's environment cannot be shown. The text is for the caller.
#[derive(Debug, Error)]
pub enum Error {
    /// This machine has no such interpreter.
    #[error("there is no interpreter for {0} on this machine")]
    NoInterpreter(Runtime),
    /// No such environment was built here.
    #[error("there is no environment {0:?} on this server")]
    NotBuilt(String),
    /// It was built for another Python.
    #[error("the environment is for {built}, and the job is for {wanted}")]
    OtherPython {
        /// The environment's.
        built: Runtime,
        /// The job's.
        wanted: Runtime,
    },
    /// The executable cannot run the function.
    #[error("{executable} cannot run this job: {reason}")]
    Executable {
        /// As the caller named it.
        executable: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry of `sys.path` cannot be shown.
    #[error("{path} of sys.path cannot be shown: {reason}")]
    Path {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What a sandbox shows, and what the interpreter in it is told.
pub struct Seen {
    /// The interpreter, with its mounts.
    pub interpreter: Interpreter,
    /// Packages, beside what is in the interpreter's mounts.
    pub packages: Option<BindMount>,
    /// Keeps the packages.
    pub lease: Option<Arc<Lease>>,
    /// Set for the caller's own environment.
    pub own: Option<Own>,
}

/// What the interpreter is told of the caller's own environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// `sys.path`, as the caller has it.
    pub path: Vec<PathBuf>,
    /// `sys.executable`, as the caller has it.
    pub executable: PathBuf,
    /// `sys.prefix`.
    pub prefix: PathBuf,
}

/// Finds out what environments are.
pub struct Environments {
    /// Has built ones.
    builder: Builder,
    /// Never shown: the server's own data.
    data_folder: PathBuf,
    /// What callers' executables are; asked once each.
    probes: Probes,
}

impl Environments {
    /// With interpreters remembered in the worker's folder, which lies in the data folder.
    pub fn new(folder: &Path, interpreters: &Path, builder: Builder) -> Self {
        let data_folder = folder.parent().unwrap_or(folder);
        Self {
            builder,
            data_folder: data_folder.canonicalize().unwrap_or_else(|_| data_folder.to_owned()),
            probes: Probes::remembered(interpreters),
        }
    }

    /// What is to be shown. `interpreter` is the server's for the runtime. Blocks.
    pub fn resolve(
        &self,
        environment: &Environment,
        interpreter: Option<&Interpreter>,
        runtime: Runtime,
    ) -> Result<Seen, Error> {
        let servers = || interpreter.cloned().ok_or(Error::NoInterpreter(runtime));
        match environment {
            Environment::Bare => Ok(Seen { interpreter: servers()?, packages: None, lease: None, own: None }),
            Environment::Built { id } => {
                let found = self.builder.lease(id).zip(self.builder.get(id));
                let (lease, (built, _)) = found.ok_or_else(|| Error::NotBuilt(id.chars().take(100).collect()))?;
                if built.runtime != runtime {
                    return Err(Error::OtherPython { built: built.runtime, wanted: runtime });
                }
                let target = PathBuf::from(format!("/opt/python/lib/{runtime}/site-packages"));
                let packages = Some(BindMount { source: lease.packages(), target, hide: Vec::new() });
                Ok(Seen { interpreter: servers()?, packages, lease: Some(lease), own: None })
            }
            Environment::Local { executable, path } => {
                let (interpreter, own) = local::resolve(&self.probes, executable, path, runtime, &self.data_folder)?;
                Ok(Seen { interpreter, packages: None, lease: None, own: Some(own) })
            }
        }
    }
}

/// Whether this is a SHA-256 in lower-case hexadecimal: it becomes part of a path.
pub fn is_content_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
