//! A job: many calls of one Python function, which the client sends pickled. Each call runs in a fresh instance, like a
//! call of a deployed function; the job's zygote unpickles the function once.

use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};
use uuid::Uuid;

/// Names a job: a version 4 UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// A fresh random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What makes a function configuration a job's: its code is a function file, and its events and answers are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFunction {
    /// The interpreter and packages that its calls see.
    pub environment: Environment,
    /// Modules to import before the function file is read; those that are not there are left out.
    pub imports: Vec<String>,
}

/// The interpreter and packages of a job's calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Environment {
    /// The runtime's interpreter of this server and its standard library.
    Bare,
    /// The caller's own, on this machine, through read-only mounts. Only for the user who runs the server.
    Local {
        /// The interpreter (`sys.executable`, links resolved by the server).
        executable: PathBuf,
        /// `sys.path` of the caller: folders and zip files that exist.
        path: Vec<PathBuf>,
    },
    /// One that this server has built.
    Built {
        /// Its content id, lower-case hexadecimal SHA-256.
        id: String,
    },
}
