//! Calls of jobs: function files, environments, and what of them is in memory.

use super::{Fixture, Log, call, function, until};
use dayfly_types::{Environment, FunctionConfiguration, JobFunction, Outcome, Runtime, UsageStatus};
use dayfly_worker::{
    FunctionFile, Handle,
    builder::{Built, platform},
    code, interpreters,
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Writes a function file: its callable is `make(data)` of the source given, with `data` a buffer of some zeros.
const WRITER: &str = r#"
import pickle, struct, sys
path, source, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
class Make:
    def __call__(self):
        pass
    def __reduce__(self):
        return eval, ("(lambda g: (exec(%r, g), g['make'])[1])({})" % source,)
class Function:
    def __reduce__(self):
        return Make(), (pickle.PickleBuffer(bytearray(size)),)
buffers = []
pickled = pickle.dumps(Function(), protocol=5, buffer_callback=buffers.append)
start = 20 + 16 + len(pickled)
offset = -(-start // 4096) * 4096
with open(path, "wb") as file:
    file.write(b"DAYFLYF1" + struct.pack("<IQQQ", 1, len(pickled), offset, size) + pickled)
    file.write(bytes(offset - start))
    file.write(buffers[0].raw())
"#;

/// A job's function, published.
struct Job {
    function: Arc<FunctionConfiguration>,
    worker: Handle,
    log: Arc<Log>,
    _file: FunctionFile,
}

impl Job {
    fn call(&self, arguments: &str) -> Outcome {
        let call = self.worker.call(call(&self.function, arguments, &self.log));
        let outcome = tokio::runtime::Handle::current().block_on(tokio::time::timeout(Duration::from_secs(60), call));
        outcome.unwrap().unwrap()
    }

    fn text(&self, arguments: &str) -> String {
        let outcome = self.call(arguments);
        let result = outcome.result.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log.text()));
        String::from_utf8(result.to_vec()).unwrap()
    }
}

fn write_file(fixture: &Fixture, source: &str, bytes: usize) -> PathBuf {
    let path = fixture.folder.join("function");
    let mut writer = Command::new(&fixture.interpreter.executable);
    let made = writer.args(["-c", WRITER]).arg(&path).args([source, &bytes.to_string()]).status().unwrap();
    assert!(made.success());
    path
}

fn publish(
    fixture: &Fixture,
    file: &Path,
    job: &JobFunction,
    runtime: Runtime,
) -> Result<(String, FunctionFile), code::Error> {
    let sha256 = hex::encode(Sha256::digest(fs::read(file).unwrap()));
    let published = fixture.worker.publish_function_file(&sha256, file.to_owned(), job, runtime);
    let lease = tokio::runtime::Handle::current().block_on(published)?;
    Ok((sha256, lease))
}

fn job_of(fixture: &Fixture, source: &str, bytes: usize, job: JobFunction) -> Job {
    let file = write_file(fixture, source, bytes);
    let (sha256, lease) = publish(fixture, &file, &job, fixture.interpreter.runtime).unwrap();
    // What was published does not need the caller's file any more.
    fs::remove_file(file).unwrap();
    let mut function = Arc::unwrap_or_clone(function(fixture, ""));
    function.revision_id = fixture.interpreter.version.clone();
    function.code.sha256 = sha256;
    function.job = Some(job);
    function.timeout_s = 10;
    function.memory_mb = 256;
    Job { function: Arc::new(function), worker: fixture.worker.clone(), log: Arc::default(), _file: lease }
}

fn bare(imports: &[&str]) -> JobFunction {
    let imports = imports.iter().map(|&name| name.to_owned()).collect();
    JobFunction { environment: Environment::Bare, imports }
}

pub fn a_jobs_calls_take_and_give_bytes(fixture: &Fixture) {
    let source = "
class Told(Exception):
    dayfly_payload = b'\\x00told\\xff'
def make(data):
    def call(arguments):
        import sys
        if arguments == b'raise':
            raise Told
        if arguments == b'fail':
            return {}['none']
        if arguments == b'exit':
            sys.exit(3)
        if arguments == b'write':
            data[:] = bytes([1]) * len(data)
        if arguments == b'text':
            return 'text'
        if arguments == b'large':
            return bytes((6 << 20) + 1000)
        if arguments == b'modules':
            main = sys.modules['__main__']
            return repr([sorted(vars(main)), 'colorsys' in sys.modules]).encode()
        print('called', flush=True)
        return arguments[::-1] + b'%d' % sum(data)
    return call
";
    let job = job_of(fixture, source, 10_000, bare(&["colorsys", "no_such_module"]));
    assert_eq!(job.text("abc"), "cba0");
    assert!(job.log.has("called"));
    assert_eq!(job.text("write"), "etirw10000", "a captured buffer can be written to");
    assert_eq!(job.text("abc"), "cba0", "and is as it was for the next call");
    let modules = job.text("modules");
    assert!(modules.ends_with(", True]") && !modules.contains("LambdaContext"), "{modules}");
    let raised = job.call("raise");
    assert_eq!(raised.usage.status, UsageStatus::Error);
    let error = raised.result.unwrap_err();
    assert_eq!((error.error_type.as_str(), &error.payload[..]), ("Function.Raised", &b"\x00told\xff"[..]));
    for (arguments, kind) in [
        ("fail", "KeyError"),
        ("exit", "Runtime.ExitError"),
        ("text", "TypeError"),
        ("large", "Function.ResponseSizeTooLarge"),
    ] {
        assert_eq!(job.call(arguments).result.unwrap_err().error_type, kind);
    }
    assert_eq!(job.call("abc").result.unwrap(), "cba0");
}

pub fn a_function_file_that_is_none_fails_in_init(fixture: &Fixture) {
    for content in
        [&b""[..], b"DAYFLYF1", b"NOTAFILE\0\0\0\0\0\0\0\0\0\0\0\0", b"DAYFLYF1\xff\xff\xff\xff\0\0\0\0\0\0\0\0"]
    {
        let file = fixture.folder.join("function");
        fs::write(&file, content).unwrap();
        let (sha256, lease) = publish(fixture, &file, &bare(&[]), fixture.interpreter.runtime).unwrap();
        let mut function = Arc::unwrap_or_clone(function(fixture, ""));
        function.revision_id = sha256.clone();
        function.code.sha256 = sha256;
        function.job = Some(bare(&[]));
        let job =
            Job { function: Arc::new(function), worker: fixture.worker.clone(), log: Arc::default(), _file: lease };
        let outcome = job.call("x");
        assert_eq!(outcome.usage.status, UsageStatus::InitError);
        assert_eq!(outcome.result.unwrap_err().error_type, "Runtime.InvalidFunctionFile");
    }
}

pub fn a_function_file_is_kept_as_long_as_it_is_used(fixture: &Fixture) {
    let kept = || fs::read_dir(fixture.folder.join("cache/functions")).unwrap().count();
    let job = job_of(fixture, "def make(data):\n    return bytes.upper\n", 1, bare(&[]));
    let again = job_of(fixture, "def make(data):\n    return bytes.upper\n", 1, bare(&[]));
    assert_eq!(kept(), 1, "the same function is kept once");
    drop(again);
    assert_eq!(job.text("x"), "X");
    let function = job.function.clone();
    job.worker.retire(&function.revision_id);
    drop(job);
    tokio::runtime::Handle::current().block_on(until("it is gone", || kept() == 0));
    let log = Arc::default();
    let refused = fixture.worker.call(call(&function, "x", &log));
    let error = tokio::runtime::Handle::current().block_on(refused).unwrap_err();
    assert!(error.to_string().contains("function file is not here"), "{error}");
}

pub fn threads_follow_the_share_of_cpu(fixture: &Fixture) {
    let source = "
def make(data):
    import os
    names = 'OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'LOKY_MAX_CPU_COUNT', 'NUMEXPR_NUM_THREADS'
    return lambda arguments: ' '.join(os.environ[name] for name in names).encode()
";
    let mut job = job_of(fixture, source, 1, bare(&[]));
    assert_eq!(job.text(""), "1 1 1 1");
    let function = Arc::make_mut(&mut job.function);
    function.revision_id = "larger".to_owned();
    function.memory_mb = 1770;
    function.environment.insert("OMP_NUM_THREADS".to_owned(), "7".to_owned());
    assert_eq!(job.text(""), "7 2 2 2");
}

pub fn a_built_environment_is_seen(fixture: &Fixture) {
    let make = |id: &str, runtime| {
        let folder = fixture.folder.join("cache/environments").join(id);
        fs::create_dir_all(folder.join("site-packages")).unwrap();
        fs::write(folder.join("site-packages/built.py"), "x = 'built'\n").unwrap();
        let built = Built {
            id: id.to_owned(),
            runtime,
            platform: platform(),
            modules: None,
            bytes: 12,
            own_bytes: 12,
            files: 1,
            packages: Vec::new(),
        };
        fs::write(folder.join("environment.json"), serde_json::to_vec(&built).unwrap()).unwrap();
    };
    let (id, other) = ("0123456789abcdef".repeat(4), "f".repeat(64));
    make(&id, fixture.interpreter.runtime);
    let minor = if fixture.interpreter.runtime == (Runtime::Python { minor: 9 }) { 10 } else { 9 };
    make(&other, Runtime::Python { minor });
    let built = |id: &str| JobFunction { environment: Environment::Built { id: id.to_owned() }, imports: vec![] };
    let source = "def make(data):\n    import built\n    return lambda arguments: built.__file__.encode()\n";
    let job = job_of(fixture, source, 1, built(&id));
    let version = fixture.interpreter.runtime.to_string();
    assert_eq!(job.text(""), format!("/opt/python/lib/{version}/site-packages/built.py"));
    let file = write_file(fixture, source, 1);
    for wrong in ["", "../../..", &id.to_uppercase(), &"0".repeat(64), &other] {
        let refused = publish(fixture, &file, &built(wrong), fixture.interpreter.runtime);
        assert!(matches!(refused, Err(code::Error::Environment(_))), "{wrong}");
    }
}

/// Tells what the function sees: its path, its prefix, modules, and which of the folders given.
const LOOKER: &str = "
def make(data):
    def call(arguments):
        import importlib, json, os, sys
        asked = json.loads(arguments)
        files = {}
        for name in asked['modules']:
            try:
                files[name] = getattr(importlib.import_module(name), '__file__', 'none')
            except ImportError:
                files[name] = None
        def written(folder):
            try:
                open(os.path.join(folder, 'new'), 'w')
                return True
            except OSError:
                return False
        return json.dumps({
            'path': sys.path, 'prefix': sys.prefix, 'executable': sys.executable, 'files': files,
            'seen': [path for path in asked['paths'] if os.path.exists(path)],
            'written': [path for path in asked['paths'] if written(path)],
            'child': os.popen(sys.executable + ' -c \"import sys; print(sys.prefix)\"').read().strip(),
        }).encode()
    return call
";

pub fn the_callers_own_environment_is_seen_and_nothing_else(fixture: &Fixture) {
    for interpreter in interpreters::find(&[]) {
        let (worker, server_id, folder) = (fixture.worker.clone(), fixture.server_id.clone(), fixture.folder.clone());
        own_environment_is_seen(&Fixture { worker, server_id, folder, interpreter });
    }
}

fn own_environment_is_seen(fixture: &Fixture) {
    // Outside of the data folder, which the fixture's is.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let place = place.path().canonicalize().unwrap();
    let version = fixture.interpreter.runtime.to_string();
    let (venv, editable) = (place.join("venv"), place.join("editable"));
    let packages = venv.join("lib").join(&version).join("site-packages");
    for folder in ["script", "linked", "beside", "mapped/package", "zipped", "editable"] {
        fs::create_dir_all(place.join(folder)).unwrap();
    }
    fs::create_dir_all(&packages).unwrap();
    fs::create_dir_all(venv.join("bin")).unwrap();
    let python = venv.join("bin/python");
    symlink(&fixture.interpreter.executable, &python).unwrap();
    let home = fixture.interpreter.executable.parent().unwrap().display();
    fs::write(venv.join("pyvenv.cfg"), format!("home = {home}\n")).unwrap();
    fs::write(packages.join("installed.py"), "").unwrap();
    fs::write(packages.join("hook.pth"), "import sys; sys.modules['hooked'] = sys\n").unwrap();
    let finder = format!("MAPPING: dict[str, str] = {{'package': '{}/mapped/package'}}\n", place.display());
    fs::write(packages.join("__editable___package_finder.py"), finder).unwrap();
    fs::write(editable.join("edited.py"), "").unwrap();
    fs::write(place.join("script/local.py"), "").unwrap();
    fs::write(place.join("beside/secret.py"), "").unwrap();
    symlink(place.join("script"), place.join("linked/script")).unwrap();
    let zip = place.join("zipped/modules.zip");
    let mut archive = zip::ZipWriter::new(fs::File::create(&zip).unwrap());
    archive.start_file("zipped.py", zip::write::SimpleFileOptions::default()).unwrap();
    archive.finish().unwrap();

    let standard = Command::new(&fixture.interpreter.executable)
        .args(["-S", "-c", "import sys; print('\\n'.join(sys.path[1:]))"])
        .output()
        .unwrap();
    let standard = String::from_utf8(standard.stdout).unwrap();
    let path: Vec<PathBuf> = [place.join("linked/script"), zip.clone()]
        .into_iter()
        .chain(standard.lines().map(PathBuf::from))
        .chain([packages.clone(), editable.clone(), fixture.folder.join("cache"), "/proc".into(), "/no/such".into()])
        .collect();
    let environment = Environment::Local { executable: python.clone(), path: path.clone() };
    let job = job_of(fixture, LOOKER, 1, JobFunction { environment, imports: vec![] });
    let paths = [
        venv.clone(),
        packages.clone(),
        editable.clone(),
        place.join("mapped/package"),
        place.join("linked/script"),
        place.join("script"),
        place.join("beside"),
        place.join("mapped/other"),
        fixture.folder.join("cache"),
        "/home".into(),
        "/etc/shadow".into(),
        env!("CARGO_MANIFEST_DIR").into(),
    ];
    let asked = serde_json::json!({
        "modules": ["installed", "hooked", "edited", "local", "zipped", "secret", "json", "ctypes"],
        "paths": paths,
    });
    let seen: serde_json::Value = serde_json::from_str(&job.text(&asked.to_string())).unwrap();
    assert_eq!(seen["path"], serde_json::json!(path), "sys.path is exactly the caller's");
    assert_eq!(seen["prefix"], serde_json::json!(venv));
    assert_eq!(seen["executable"], serde_json::json!(python));
    assert_eq!(seen["child"], serde_json::json!(venv), "the interpreter can be started again");
    assert_eq!(seen["seen"], serde_json::json!(paths[..6]));
    assert_eq!(seen["written"], serde_json::json!([]));
    for (module, file) in [
        ("installed", packages.join("installed.py")),
        ("edited", editable.join("edited.py")),
        ("local", place.join("linked/script/local.py")),
        ("zipped", zip.join("zipped.py")),
    ] {
        assert_eq!(seen["files"][module], serde_json::json!(file), "{module}");
    }
    assert_eq!(seen["files"]["hooked"], "none", "what .pth files run is run");
    assert!(seen["files"]["secret"].is_null());
    assert!(seen["files"]["ctypes"].is_string());
}

pub fn an_executable_that_cannot_run_the_job_is_refused(fixture: &Fixture) {
    let file = write_file(fixture, "def make(data):\n    return bytes\n", 1);
    let local = |executable: &Path| JobFunction {
        environment: Environment::Local { executable: executable.to_owned(), path: vec![] },
        imports: vec![],
    };
    let python = &fixture.interpreter.executable;
    let text = fixture.folder.join("text");
    fs::write(&text, "#!/bin/sh\n").unwrap();
    let own = fixture.interpreter.runtime;
    let other = Runtime::Python { minor: 9 };
    for (executable, runtime, reason) in [
        (Path::new("python3"), own, "not an absolute path"),
        (Path::new("/no/such/python"), own, "no such file"),
        (&text, own, "no program"),
        (Path::new("/bin/ls"), own, "no CPython"),
        (python, other, "and the job is for python3.9"),
    ] {
        let refused = publish(fixture, &file, &local(executable), runtime);
        let Err(code::Error::Environment(error)) = refused else { panic!("{} was taken", executable.display()) };
        assert!(error.to_string().contains(reason), "{error}");
    }
}

pub fn a_captured_array_is_in_memory_once(fixture: &Fixture) {
    const BYTES: usize = 200 << 20;
    // A byte of each page, and a few pages that are written to, as calls do.
    let source = "
def make(data):
    def call(arguments):
        data[:8192] = bytes([7]) * 8192
        return b'%d' % sum(data[::4096].tolist())
    return call
";
    let job = job_of(fixture, source, BYTES, bare(&[]));
    let done = Arc::new(AtomicBool::new(false));
    let sampler = std::thread::spawn({
        let (done, server_id) = (done.clone(), fixture.server_id.clone());
        move || {
            let (mut files, mut anonymous) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                files = files.max(proportional_bytes(&server_id, "Pss_File:"));
                anonymous = anonymous.max(proportional_bytes(&server_id, "Pss_Anon:"));
                std::thread::sleep(Duration::from_millis(20));
            }
            (files, anonymous)
        }
    });
    tokio::runtime::Handle::current().block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        let mut finished = 0;
        for begun in 0..200 {
            if begun - finished >= 8 {
                assert_eq!(calls.join_next().await.unwrap().unwrap(), "14");
                finished += 1;
            }
            let (worker, call) = (job.worker.clone(), call(&job.function, "x", &job.log));
            calls.spawn(async move { worker.call(call).await.unwrap().result.unwrap() });
        }
        while let Some(result) = calls.join_next().await {
            assert_eq!(result.unwrap(), "14");
        }
    });
    done.store(true, Ordering::Relaxed);
    let (files, anonymous) = sampler.join().unwrap();
    // One copy is the file's, in the page cache, for all of them. What a process has of its own is anonymous memory.
    assert!(files > BYTES / 2, "it was not measured: {} MB", files >> 20);
    assert!(anonymous < BYTES, "{} MB", anonymous >> 20);
}

/// Memory of all processes of a worker's zygotes and instances, what they share counted once.
fn proportional_bytes(server_id: &str, kind: &str) -> usize {
    let places = super::cgroup_folders(server_id);
    let processes = places.iter().filter_map(|place| fs::read_to_string(place.join("cgroup.procs")).ok());
    let pids: Vec<String> = processes.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let kilobytes = |pid: &String| -> Option<usize> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix(kind)?.split_whitespace().next()?.parse().ok())
    };
    pids.iter().filter_map(kilobytes).sum::<usize>() << 10
}
