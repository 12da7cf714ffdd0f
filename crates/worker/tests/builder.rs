//! Environments built with the real uv from the ordinary index: shared, built once, cleaned up after a crash, refused with
//! a type. The compiler runs without a sandbox here; the whole is tested in `tests/it/test_environments.py`.

#![allow(clippy::unwrap_used)]

#[path = "common/plain.rs"]
mod plain;

use dayfly_types::{EnvironmentSource, Packages};
use dayfly_worker::{
    builder::{Builder, Built, Error, Policy, Step, platform},
    interpreters::{self, Interpreter},
};
use plain::Plain;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    environments: Builder,
    interpreter: Interpreter,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl World {
    fn new() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let interpreters = interpreters::find(&[]);
        let interpreter = interpreters.last().expect("a Python on this machine").clone();
        let environments =
            Builder::open(folder.path(), policy, Arc::new(interpreters), Arc::new(Plain(PATIENCE))).unwrap();
        Self { folder, environments, interpreter, steps: Arc::default() }
    }

    fn source(&self, requirements: &[&str]) -> EnvironmentSource {
        EnvironmentSource {
            runtime: self.interpreter.runtime,
            platform: platform(),
            packages: Packages::of_requirements(requirements.iter().copied()).unwrap(),
            modules: None,
        }
    }

    async fn build(&self, requirements: &[&str]) -> Result<Built, Error> {
        self.build_source(&self.source(requirements), None).await
    }

    async fn build_source(&self, source: &EnvironmentSource, modules: Option<Vec<u8>>) -> Result<Built, Error> {
        let steps = self.steps.clone();
        let progress = Arc::new(move |step| steps.lock().unwrap().push(step));
        self.environments.build(source, modules.map(Into::into), progress).await
    }

    fn python(&self, built: &Built, script: &str) -> String {
        let packages = self.folder.path().join(&built.id).join("site-packages");
        let script = format!("import sys; sys.path.insert(0, {:?}); {script}", packages.display().to_string());
        let run = Command::new(&self.interpreter.executable).args(["-I", "-B", "-c", &script]).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    }

    fn file(&self, built: &Built, name: &str) -> fs::Metadata {
        fs::metadata(self.folder.path().join(&built.id).join("site-packages").join(name)).unwrap()
    }

    fn unfinished(&self) -> usize {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(".part-")).count()
    }
}

#[tokio::test]
async fn environments_share_files_and_are_built_once() {
    let world = World::new();
    let source = world.source(&["six==1.17.0", "tomli==2.0.1"]);
    let (one, again) = tokio::join!(world.build_source(&source, None), world.build_source(&source, None));
    let (one, again) = (one.unwrap(), again.unwrap());
    assert_eq!(one, again);
    assert_eq!(one.packages, ["six==1.17.0", "tomli==2.0.1"]);
    let resolved = |steps: &[Step]| steps.iter().filter(|step| matches!(step, Step::Resolved { .. })).count();
    assert_eq!(resolved(&world.steps.lock().unwrap()), 1, "it was built twice");
    assert!(world.steps.lock().unwrap().iter().any(|step| matches!(step, Step::Wait)));
    assert_eq!(world.python(&one, "import six, tomli; print(six.__version__)"), "1.17.0");
    // Compiled, for the place where calls see it.
    let bytecode = |built: &Built| {
        let name = format!("site-packages/__pycache__/six.{}.pyc", world.interpreter.cache_tag);
        fs::read(world.folder.path().join(&built.id).join(name)).unwrap()
    };
    assert!(String::from_utf8_lossy(&bytecode(&one)).contains("/opt/python/lib/python3."));

    let two = world.build(&["six==1.17.0", "cloudpickle==3.1.2"]).await.unwrap();
    assert_ne!(one.id, two.id);
    assert_eq!(world.file(&one, "six.py").ino(), world.file(&two, "six.py").ino());
    let compiled = format!("__pycache__/six.{}.pyc", world.interpreter.cache_tag);
    assert_eq!(world.file(&one, &compiled).ino(), world.file(&two, &compiled).ino());
    assert!(two.own_bytes < two.bytes, "{two:?}");
    assert_eq!((world.unfinished(), world.file(&two, "six.py").mode() & 0o777), (0, 0o644));
    assert_eq!(world.environments.list().unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_built_says_why_and_leaves_nothing() {
    let world = World::new();
    let error = world.build(&["dayfly-has-no-such-package"]).await.unwrap_err();
    assert!(
        matches!(&error, Error::PackageNotFound { package, .. } if package == "dayfly-has-no-such-package"),
        "{error}"
    );
    let error = world.build(&["six==99.1"]).await.unwrap_err();
    assert!(matches!(&error, Error::PackageNotFound { package, .. } if package == "six==99.1"), "{error}");
    let error = world.build(&["six==1.17.0", "six==1.16.0"]).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict(_)), "{error}");
    // Its only release is a source.
    let error = world.build(&["sgmllib3k==1.0.0"]).await.unwrap_err();
    assert!(matches!(&error, Error::NoWheel { package } if package == "sgmllib3k"), "{error}");
    assert_eq!((world.unfinished(), world.environments.list().unwrap().len()), (0, 0));

    let source = EnvironmentSource { platform: "riscv64-linux-gnu".to_owned(), ..world.source(&["six"]) };
    assert!(matches!(world.build_source(&source, None).await, Err(Error::IncompatiblePython(_))));

    let world = World::with(Policy { bytes_max: 1000, ..Policy::default() });
    let error = world.build(&["six==1.17.0"]).await.unwrap_err();
    assert!(matches!(&error, Error::TooLarge { limit_bytes: 1000 }), "{error}");
    assert_eq!(world.unfinished(), 0);
}

#[tokio::test]
async fn modules_lie_over_packages_and_locks_are_read() {
    let world = World::new();
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, text) in [("mine/__init__.py", "x = 7"), ("six.py", "x = 'mine'")] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    let zip = zip.finish().unwrap().into_inner();
    let plain = world.build(&["six==1.17.0"]).await.unwrap();
    let source = EnvironmentSource { modules: Some("0".repeat(64)), ..world.source(&["six==1.17.0"]) };
    let built = world.build_source(&source, Some(zip)).await.unwrap();
    assert_eq!(world.python(&built, "import mine, six; print(mine.x, six.x)"), "7 mine");
    assert_eq!(world.python(&plain, "import six; print(six.__version__)"), "1.17.0", "shared files were written to");

    let lock = "version = 1\nrevision = 3\nrequires-python = \">=3.9\"\n\n[[package]]\nname = \"mine\"\nversion = \"0.1\"\n\
                source = { virtual = \".\" }\ndependencies = [{ name = \"six\" }]\n\n[[package]]\nname = \"six\"\n\
                version = \"1.16.0\"\nsource = { registry = \"https://index.example/simple\" }\n\
                wheels = [{ url = \"https://index.example/six-1.16.0-py2.py3-none-any.whl\", hash = \
                \"sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254\" }]\n";
    let source = EnvironmentSource { packages: Packages::UvLock(lock.to_owned()), ..world.source(&[]) };
    let built = world.build_source(&source, None).await.unwrap();
    assert_eq!(built.packages, ["six==1.16.0"]);
    let lock = lock.replace(">=3.9", ">=3.99");
    let source = EnvironmentSource { packages: Packages::UvLock(lock), ..world.source(&[]) };
    let error = world.build_source(&source, None).await.unwrap_err();
    assert!(matches!(&error, Error::IncompatiblePython(_)), "{error}");
}

#[tokio::test]
async fn what_is_not_needed_goes_and_what_is_in_use_stays() {
    let world = World::new();
    let (one, two) = (world.build(&["six==1.17.0"]).await.unwrap(), world.build(&["tomli==2.0.1"]).await.unwrap());
    let lease = world.environments.lease(&one.id).unwrap();
    assert!(lease.packages().join("six.py").is_file());
    assert!(matches!(world.environments.remove(&one.id).await, Err(Error::InUse)));
    for built in [&one, &two] {
        let file = fs::File::open(world.folder.path().join(&built.id).join("environment.json")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(40 * 24 * 3600)).unwrap();
    }
    assert_eq!(world.environments.trim(|_| true).await.unwrap(), [""; 0]);
    assert_eq!(world.environments.trim(|_| false).await.unwrap(), [two.id.as_str()]);
    assert!(world.environments.lease(&two.id).is_none() && world.environments.lease(&one.id).is_some());
    let wheels = |name: &str| {
        let archives = fs::read_dir(world.folder.path().join("uv-cache/archive-v0")).unwrap();
        archives.filter(|wheel| wheel.as_ref().unwrap().path().join(name).exists()).count()
    };
    assert_eq!((wheels("six.py"), wheels("tomli")), (1, 0));
    // What was swept is fetched anew.
    assert_eq!(world.build(&["tomli==2.0.1"]).await.unwrap(), two);
    drop(lease);
    world.environments.remove(&one.id).await.unwrap();
    assert!(world.environments.get(&one.id).is_none());

    // A crash in the middle leaves nothing.
    fs::create_dir_all(world.folder.path().join(".part-x/environment/site-packages")).unwrap();
    let again =
        Builder::open(world.folder.path(), Policy::default(), Arc::default(), Arc::new(Plain(PATIENCE))).unwrap();
    assert_eq!((world.unfinished(), again.list().unwrap().len()), (0, 1));
}
