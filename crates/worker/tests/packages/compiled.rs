//! Byte-compiling with the interpreters of this machine.

use super::{
    names,
    plain::Plain,
    raw::{Archive, Entry},
    sha256,
};
use dayfly_types::Limits;
use dayfly_worker::{
    code::{
        Cache,
        compile::{self, Compile, Job, Take},
    },
    interpreters::{self, Interpreter},
};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

fn package() -> Vec<u8> {
    Archive::of([
        Entry::stored("main.py", b"import package.part\n"),
        Entry::stored("package/__init__.py", b""),
        Entry::stored("package/part.py", b"x = 1\n"),
        Entry::stored("package/__pycache__/part.cpython-311.pyc", b"stale"),
        Entry::stored("old.py", b"print 'Python 2'\n"),
        Entry::stored("nul.py", b"x = '\0'\n"),
        Entry::stored("blocked/a.py", b"x = 1\n"),
        Entry::stored("blocked/__pycache__", b"a file"),
        Entry::stored("linked/a.py", b"x = 1\n"),
        Entry::link("linked/__pycache__", "../blocked"),
        Entry::stored("taken/a.py", b"x = 1\n"),
        Entry::stored("taken/__pycache__/a.cpython-311.pyc/", b""),
    ])
    .bytes()
}

async fn publish(folder: &Path, interpreter: &Interpreter, compiler: Arc<dyn Compile>) -> PathBuf {
    let cache = Cache::open(&folder.join("cache"), &Limits::default(), compiler).unwrap();
    let zip = package();
    fs::write(folder.join("zip"), &zip).unwrap();
    cache.publish(&sha256(&zip), &folder.join("zip"), interpreter).await.unwrap()
}

fn python(interpreter: &Interpreter, script: &str, argument: &Path) -> String {
    let run = Command::new(&interpreter.executable).args(["-I", "-B", "-c", script]).arg(argument).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

/// Imports `main`, which imports another module.
fn import(interpreter: &Interpreter, tree: &Path) -> String {
    python(interpreter, "import sys; sys.path.insert(0, sys.argv[1]); import main; print(main.package.part.x)", tree)
}

#[tokio::test]
async fn each_interpreter_finds_its_own_bytecode() {
    let found = interpreters::find(&[]);
    assert!(!found.is_empty(), "no interpreter on this machine");
    for interpreter in found {
        let folder = tempfile::tempdir().unwrap();
        let tree = publish(folder.path(), &interpreter, Arc::new(Plain(Duration::from_secs(60)))).await;
        let tag = &interpreter.cache_tag;
        for name in ["__pycache__/main", "package/__pycache__/__init__", "package/__pycache__/part"] {
            let bytecode = tree.join(format!("{name}.{tag}.pyc"));
            let bytes = fs::read(&bytecode).unwrap();
            // PEP 552: hash-based, not checked against the source.
            assert_eq!(bytes[4..8], [1, 0, 0, 0], "{tag} {name}");
            assert_eq!(fs::metadata(&bytecode).unwrap().permissions().mode() & 0o7777, 0o644);
        }
        assert_eq!(names(&tree.join("__pycache__")), [format!("main.{tag}.pyc")], "what does not compile has none");
        assert_eq!(fs::read(tree.join("blocked/__pycache__")).unwrap(), b"a file");
        assert_eq!(names(&tree.join("blocked")).len(), 2, "nothing goes through a link");
        assert!(tree.join("taken/__pycache__/a.cpython-311.pyc").is_dir());
        fs::write(tree.join("main.py"), "not python").unwrap();
        assert_eq!(import(&interpreter, &tree), "1\n", "{tag}: imported from bytecode alone");
        let script = "import marshal, sys; print(marshal.loads(open(sys.argv[1], 'rb').read()[16:]).co_filename)";
        let bytecode = tree.join(format!("package/__pycache__/part.{tag}.pyc"));
        assert_eq!(python(&interpreter, script, &bytecode), "/var/task/package/part.py\n");
        assert_eq!(names(&folder.path().join("cache")).len(), 1);
    }
}

#[tokio::test]
async fn a_compiler_that_is_too_slow_is_ended_and_the_package_still_works() {
    let Some(interpreter) = interpreters::find(&[]).pop() else { panic!("no interpreter on this machine") };
    let folder = tempfile::tempdir().unwrap();
    let tree = publish(folder.path(), &interpreter, Arc::new(Plain(Duration::ZERO))).await;
    assert!(!tree.join("__pycache__").exists());
    assert_eq!(import(&interpreter, &tree), "1\n");
}

/// One that was taken over by the source that it compiled.
struct Hostile(Vec<(u32, u32, Vec<u8>)>);

impl Compile for Hostile {
    fn compile(&self, job: &Job<'_>, take: Take<'_>) -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair()?;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                theirs.read_to_end(&mut Vec::new()).unwrap();
                for (number, length, bytes) in &self.0 {
                    // It may be cut off at any time.
                    let _ = theirs.write_all(&[&number.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat());
                }
            });
            compile::converse(&ours, job.sources, Instant::now() + Duration::from_secs(60), take)
        })
    }
}

struct Broken;

impl Compile for Broken {
    fn compile(&self, _: &Job<'_>, _: Take<'_>) -> io::Result<()> {
        Err(io::Error::other("no sandbox"))
    }
}

#[tokio::test]
async fn nothing_of_a_hostile_compiler_is_taken() {
    let compilers: Vec<Arc<dyn Compile>> = vec![
        Arc::new(Broken),
        // No such source.
        Arc::new(Hostile(vec![(999, 3, b"pyc".into())])),
        // Longer than any bytecode, and shorter than it says.
        Arc::new(Hostile(vec![(0, u32::MAX, b"pyc".into())])),
        Arc::new(Hostile(vec![(0, 9, b"pyc".into())])),
        // Only a head, and not even that.
        Arc::new(Hostile(vec![(0, 3, Vec::new())])),
    ];
    for (index, compiler) in compilers.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let tree = publish(folder.path(), &super::interpreter(), compiler).await;
        assert!(!tree.join("__pycache__").exists(), "{index}");
        assert_eq!(names(&tree.join("package/__pycache__")), ["part.cpython-311.pyc"], "as it was uploaded");
        assert_eq!(names(&folder.path().join("cache")).len(), 1);
    }
}

#[tokio::test]
async fn a_source_has_one_bytecode_however_often_it_is_given_and_no_more_than_a_package_may_hold() {
    let twice = vec![(0, 3, b"one".into()), (0, 3, b"two".into())];
    let folder = tempfile::tempdir().unwrap();
    let tree = publish(folder.path(), &super::interpreter(), Arc::new(Hostile(twice))).await;
    assert_eq!(names(&tree.join("__pycache__")), ["main.cpython-311.pyc"]);
    assert_eq!(fs::read(tree.join("__pycache__/main.cpython-311.pyc")).unwrap(), b"two");

    let zip = package();
    let limits = Limits { code_unzipped_bytes: 1024, ..Limits::default() };
    let much = Hostile((0..2).map(|number| (number, 1000, vec![0; 1000])).collect());
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache"), &limits, Arc::new(much)).unwrap();
    fs::write(folder.path().join("zip"), &zip).unwrap();
    let tree = cache.publish(&sha256(&zip), &folder.path().join("zip"), &super::interpreter()).await.unwrap();
    assert!(tree.join("__pycache__/main.cpython-311.pyc").exists());
    assert!(!tree.join("package/__pycache__/__init__.cpython-311.pyc").exists());
}
