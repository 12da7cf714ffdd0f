//! From a function's configuration to the specification of its sandbox.

use crate::{
    Options, aws_sdk,
    code::{LAYERS_ROOT, compile::TASK_ROOT},
    interpreters::{Interpreter, Mount},
    pool::{Code, MEMORY_MB_PER_CPU, Recipe},
};
use dayfly_sandbox::{BindMount, Spec, seccomp};
use dayfly_types::{FunctionConfiguration, Runtime};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The runtime that runs inside; mounted at `/var/runtime`.
const BOOTSTRAP: &[u8] = include_bytes!("../../../runtimes/python/bootstrap.py");
const JOB: &[u8] = include_bytes!("../../../runtimes/python/job.py");
/// The loop of its zygotes: `runtimes/python/zygote.rs`, compiled.
const ZYGOTE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zygote.so"));
/// What runs beside a function of another language, and what runs its handler if that is Node's.
const API: &[u8] = include_bytes!("../../../runtimes/api/api.py");
const NODE: &[u8] = include_bytes!("../../../runtimes/api/node.mjs");
/// Loopback port inside that reaches this server.
const ENDPOINT_PORT: u16 = 4566;
/// First host id of the range that sandboxes map to as root: far above what systems hand out to people and containers.
const HOST_ID_BASE: u32 = 0x6000_0000;
/// Host ids of one sandbox; as many sandboxes have ranges of their own until the numbers are used again.
const HOST_IDS: u32 = 1 << 16;
const HOST_RANGES: u32 = 4096;
/// Processes and threads that a compiler may have: it needs one.
pub const COMPILER_PROCESSES: u64 = 4;

/// Where Lambda's interpreter looks for libraries and modules.
const PATHS: [(&str, &str); 2] = [
    (
        "LD_LIBRARY_PATH",
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    ),
    ("PYTHONPATH", "/var/runtime"),
];
/// What numerical libraries ask for the number of their threads; a job's get as many as its calls have CPUs, since more
/// would only wait for each other.
const THREADS: [&str; 6] = [
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "PYTHON_CPU_COUNT",
];

/// What every sandbox of this worker shares: folders, made once.
#[derive(Debug, Clone)]
pub struct Shared {
    runtime: PathBuf,
    mount_point: PathBuf,
    /// Folders that sandboxes of jobs have at `/var/task`; emptied, for nobody uses what an earlier server left.
    pub tasks: PathBuf,
}

impl Shared {
    /// Writes what all sandboxes mount below `folder`.
    pub fn prepare(folder: &Path) -> io::Result<Self> {
        let shared =
            Self { runtime: folder.join("runtime"), mount_point: folder.join("root"), tasks: folder.join("tasks") };
        match fs::remove_dir_all(&shared.tasks) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in [&shared.runtime, &shared.mount_point, &shared.tasks] {
            fs::create_dir_all(folder)?;
        }
        // Where boto3 is mounted, if it is.
        let packages = shared.runtime.join("packages");
        fs::create_dir_all(&packages)?;
        open_to_read(&packages, 0o755)?;
        open_to_read(&shared.runtime, 0o755)?;
        let filter = seccomp::to_bytes(&seccomp::call());
        let runtime = [
            ("bootstrap.py", BOOTSTRAP),
            ("job.py", JOB),
            ("zygote.so", ZYGOTE),
            ("api.py", API),
            ("node.mjs", NODE),
            ("call.bpf", filter.as_slice()),
        ];
        for (name, content) in runtime {
            let path = shared.runtime.join(name);
            fs::write(&path, content)?;
            open_to_read(&path, 0o644)?;
        }
        Ok(shared)
    }

    /// The sandbox of a function version. `number` picks the range of host ids. What tells a job from the next one of its
    /// environment is not in it: its folder at `/var/task`, and its `identity`.
    pub fn spec(&self, options: &Options, recipe: &Recipe, number: u64) -> Spec {
        let Recipe { function, interpreter, code, layers, sdk, kept: _ } = recipe;
        let mut spec = match code {
            Code::Package(folder) => self.compiler(interpreter, folder, number),
            Code::Job(published) => self.base(interpreter, published.seen.packages.clone(), number),
        };
        spec.binds.push(bind(&self.runtime, Path::new("/var/runtime"), &[]));
        // A job sees what its caller has.
        if let (Some(sdk), Code::Package(_)) = (sdk, code) {
            spec.binds.push(bind(sdk, Path::new(aws_sdk::ROOT), &[]));
        }
        if let Some(layers) = layers {
            spec.binds.push(bind(layers, Path::new(LAYERS_ROOT), &[]));
        }
        spec.files = files();
        let arguments = match function.runtime {
            Runtime::Python { .. } => ["-S", "-B", "/var/runtime/bootstrap.py"].as_slice(),
            // Isolated: variables of Python's that the function sets are not for this one.
            Runtime::Node { .. } => &["-I", "-S", "-B", "/var/runtime/api.py", "node"],
            Runtime::Provided { .. } => &["-I", "-S", "-B", "/var/runtime/api.py", "provided"],
        };
        spec.program.extend(arguments.iter().map(|&argument| argument.to_owned()));
        spec.environment = environment(options, recipe);
        if matches!(code, Code::Job(_)) {
            spec.program.push("job".to_owned());
        }
        spec.tmp_bytes = u64::from(function.ephemeral_storage_mb) << 20;
        spec.open_files = options.limits.open_files;
        spec.processes = options.limits.processes;
        spec
    }

    /// A sandbox in which `interpreter` sees the tree at `code` and nothing else. Its arguments are still to be added.
    pub fn compiler(&self, interpreter: &Interpreter, code: &Path, number: u64) -> Spec {
        self.base(interpreter, Some(bind(code, Path::new(TASK_ROOT), &[])), number)
    }

    fn base(&self, interpreter: &Interpreter, code: Option<BindMount>, number: u64) -> Spec {
        let mut binds = Vec::new();
        let mut links = Vec::new();
        for mount in &interpreter.mounts {
            match mount {
                Mount::Folder { path, hide } => binds.push(bind(path, path, hide)),
                Mount::File { path } => binds.push(bind(path, path, &[])),
                Mount::Link { path, target } => links.push((path.clone(), target.clone())),
            }
        }
        binds.extend(code);
        Spec {
            mount_point: self.mount_point.clone(),
            binds,
            links,
            files: Vec::new(),
            host_id_base: HOST_ID_BASE + (number % u64::from(HOST_RANGES)) as u32 * HOST_IDS,
            program: vec![interpreter.executable.to_string_lossy().into_owned()],
            environment: Vec::new(),
            hostname: "dayfly".to_owned(),
            tmp_bytes: 1 << 20,
            open_files: 256,
            processes: COMPILER_PROCESSES,
            endpoint_port: ENDPOINT_PORT,
        }
    }
}

pub fn bind(source: &Path, target: &Path, hide: &[PathBuf]) -> BindMount {
    BindMount { source: source.to_owned(), target: target.to_owned(), hide: hide.to_vec() }
}

fn open_to_read(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The few files of `/etc` that libraries ask for.
fn files() -> Vec<(PathBuf, String)> {
    [
        (
            "/etc/passwd",
            "root:x:0:0:root:/:/bin/sh\nsbx_user:x:993:993::/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        ),
        ("/etc/group", "root:x:0:\nsbx_user:x:993:\nnogroup:x:65534:\n"),
        ("/etc/hosts", "127.0.0.1 localhost dayfly\n::1 localhost\n"),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("/etc/resolv.conf", ""),
    ]
    .map(|(path, content)| (PathBuf::from(path), content.to_owned()))
    .to_vec()
}

/// CPUs that a call may use by its memory size, rounded up.
fn cpus(memory_mb: u32) -> u32 {
    memory_mb.div_ceil(MEMORY_MB_PER_CPU)
}

/// The part of the environment that is this function's and zygote's alone. A job's zygote gets it with the job.
pub fn identity(options: &Options, function: &FunctionConfiguration, log_stream: &str) -> Vec<(String, String)> {
    let credentials = (options.credentials)(function);
    let mut identity = vec![
        ("AWS_LAMBDA_FUNCTION_NAME", function.arn.name.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", function.logging.group.clone()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream.to_owned()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key),
    ];
    identity.extend(credentials.session_token.map(|token| ("AWS_SESSION_TOKEN", token)));
    identity.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What init and handler find in `os.environ` beside their `identity`: the function's own variables, and Lambda's, which win.
fn environment(options: &Options, recipe: &Recipe) -> Vec<(String, String)> {
    let Recipe { function, interpreter, code, .. } = recipe;
    let region = function.arn.region.as_str();
    let memory = function.memory_mb.to_string();
    let endpoint = format!("http://127.0.0.1:{ENDPOINT_PORT}");
    let own = function.environment.iter().map(|(name, value)| (name.clone(), value.clone()));
    let threads = cpus(function.memory_mb).to_string();
    let is_job = matches!(code, Code::Job(_));
    // The caller's own interpreter finds libraries and modules where it does outside: nothing comes before that.
    let is_own = matches!(code, Code::Job(published) if published.seen.own.is_some());
    let node_path = match function.runtime {
        Runtime::Node { major } => {
            Some(format!("/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules"))
        }
        _ => None,
    };
    // These a function may set for itself.
    let mut environment: std::collections::BTreeMap<String, String> = [
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("HOME", "/tmp"),
        // OpenBLAS starts its threads when it is imported, and what has threads cannot be cloned. (A job's runtime keeps
        // them for the clone.)
        ("OPENBLAS_NUM_THREADS", "1"),
        // So does the allocator that pyarrow brings, which pandas and scikit-learn import where it is installed. It only
        // gives memory back a little later without it.
        ("JE_ARROW_MALLOC_CONF", "background_thread:false"),
    ]
    .into_iter()
    .chain(PATHS.into_iter().filter(|_| !is_own))
    .chain(node_path.iter().map(|path| ("NODE_PATH", path.as_str())))
    .chain(THREADS.into_iter().filter(|_| is_job).map(|name| (name, threads.as_str())))
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .chain(own)
    .collect();
    let mut set = |name: &str, value: &str| {
        environment.insert(name.to_owned(), value.to_owned());
    };
    set("_HANDLER", &function.handler);
    set("LAMBDA_TASK_ROOT", "/var/task");
    set("LAMBDA_RUNTIME_DIR", "/var/runtime");
    set("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", function.runtime));
    set("AWS_LAMBDA_FUNCTION_VERSION", &function.version().to_string());
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory);
    let initialization = if recipe.kept.is_some() { "provisioned-concurrency" } else { "on-demand" };
    set("AWS_LAMBDA_INITIALIZATION_TYPE", initialization);
    set("AWS_REGION", region);
    set("AWS_DEFAULT_REGION", region);
    set("AWS_ENDPOINT_URL", &endpoint);
    if function.reuse().is_some() {
        set("_DAYFLY_REUSE", "1");
    }
    if function.runtime.python_minor().is_none() {
        set("_DAYFLY_RESULT_BYTES_MAX", &(options.limits.sync_payload_bytes + 100).to_string());
        return environment.into_iter().collect();
    }
    // The dynamic linker finds functions at start: else each clone would, anew. The runtime takes this variable, and the next
    // two, away again before the function's code runs.
    set("LD_BIND_NOW", "1");
    // So that the arenas of the interpreter's allocator lie in huge pages too (`zygote/arenas.rs`).
    environment.entry("LD_PRELOAD".to_owned()).or_insert_with(|| "/var/runtime/zygote.so".to_owned());
    let mut set = |name: &str, value: &str| {
        environment.insert(name.to_owned(), value.to_owned());
    };
    // Large areas of the C heap in huge pages: a clone copies page table entries, and a huge page has one instead of 512.
    // The interpreter's own allocator stays: it keeps small objects together, so that a call writes to fewer pages.
    if interpreter.has_glibc {
        set("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.top_pad=2097152");
    }
    environment.into_iter().collect()
}
