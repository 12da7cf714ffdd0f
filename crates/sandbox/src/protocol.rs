//! What server and launcher say to each other: JSON in datagrams of a `SOCK_SEQPACKET` pair, file descriptors beside them.
//!
//! The first datagram from the server is a `Spec`; then `Order`s go one way and `Report`s the other. The launcher ends
//! when the server's end closes, and everything below it ends with it.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longest datagram in bytes.
pub const DATAGRAM_BYTES_MAX: usize = 128 << 10;
/// Most descriptors beside one datagram.
pub const DESCRIPTORS_MAX: usize = 8;

/// Descriptor of the call socket in a process that was booted for one call.
pub const CALL_FD: i32 = 4;

/// What a launcher builds: the sandbox of one function version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// An empty folder that becomes the mount point of the sandbox's root, in the launcher's own mount namespace.
    pub mount_point: PathBuf,
    /// What is visible inside, read-only.
    pub binds: Vec<BindMount>,
    /// Symbolic links inside: (path, target).
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Small files inside: (path, content).
    pub files: Vec<(PathBuf, String)>,
    /// First host uid and gid of the range that the sandbox maps to, when the server is root; ignored otherwise.
    pub host_id_base: u32,
    /// Program and arguments that boot a zygote or a one-use instance.
    pub program: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Host name inside.
    pub hostname: String,
    /// Size of each `/tmp` in bytes.
    pub tmp_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Processes and threads of one instance.
    pub processes: u64,
    /// Loopback port inside that reaches the server; the launcher hands its listener over with `Report::Up`.
    pub endpoint_port: u16,
}

/// A host path made visible inside, read-only, without set-user-id and device nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: PathBuf,
    /// Folders inside that are covered by an empty one.
    pub hide: Vec<PathBuf>,
}

/// From the server to the launcher.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Boot a zygote. Descriptors: write end of its log pipe, then `cgroup.procs` files to enter.
    BootZygote,
    /// What a zygote that waits for a job is to serve from here on: it gets these environment variables. Its function file is
    /// where the job's runtime looks for it. May come before the zygote waits.
    Become {
        /// Names and values.
        environment: Vec<(String, String)>,
    },
    /// Clone the zygote. Descriptors: the instance's call socket, write end of its log pipe, then `cgroup.procs` files.
    Clone {
        /// The server's number for the instance.
        instance: u64,
    },
    /// Boot an instance that serves one call without being a clone. Descriptors as for `Clone`. The program finds the call
    /// socket as descriptor `CALL_FD`, and may as well be another that runs once and ends.
    BootInstance {
        /// The server's number for the instance.
        instance: u64,
    },
    /// Kill an instance and everything it started.
    Kill {
        /// The server's number for the instance.
        instance: u64,
    },
}

/// From the launcher to the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// The sandbox stands. Descriptor: the listener of `Spec::endpoint_port`, already in the sandbox's network.
    Up,
    /// The sandbox cannot be built.
    Broken {
        /// Which step, and what the system said.
        reason: String,
    },
    /// The zygote of an environment has imported what jobs use, and waits for its job.
    ZygoteWaits,
    /// Init is done.
    ZygoteReady {
        /// Why the zygote may not be cloned; `None` when it may.
        unclonable: Option<String>,
    },
    /// Init failed: error JSON as Lambda's, made by the zygote (untrusted).
    ZygoteFailed {
        /// JSON text.
        error: String,
    },
    /// The zygote ended.
    ZygoteExited(Exit),
    /// An instance waits for its call: its mounts, limits and cgroup are in place.
    Prepared {
        /// The server's number for the instance.
        instance: u64,
        /// Microseconds from the order until the zygote had cloned.
        clone_us: u64,
        /// Microseconds from then until it was prepared.
        prepare_us: u64,
    },
    /// There will be no such instance.
    NotPrepared {
        /// The server's number for the instance.
        instance: u64,
        /// What went wrong.
        reason: String,
    },
    /// An instance ended, and everything in its pid namespace with it.
    Exited {
        /// The server's number for the instance.
        instance: u64,
        /// How.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, unless it was ended by a signal.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// User and system CPU time in microseconds, of everything that the process waited for.
    pub cpu_us: u64,
}
