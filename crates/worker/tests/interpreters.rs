//! The interpreters of this machine, and whether a sandbox that shows just their mounts can run them.

#![allow(clippy::unwrap_used, missing_docs)]

use dayfly_types::Runtime;
use dayfly_worker::interpreters::{self, Interpreter, Mount};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn each_runtime_has_one_real_interpreter() {
    let found = interpreters::find(&[]);
    assert!(!found.is_empty(), "no interpreter on this machine");
    let runtimes: BTreeSet<Runtime> = found.iter().map(|interpreter| interpreter.runtime).collect();
    assert_eq!(runtimes.len(), found.len());
    for interpreter in found {
        assert_eq!(interpreter.executable, interpreter.executable.canonicalize().unwrap());
        assert_eq!(fs::read(&interpreter.executable).unwrap()[..4], *b"\x7fELF");
        let minor = interpreter.runtime.python_minor().unwrap();
        assert_eq!(interpreter.cache_tag, format!("cpython-3{minor}"));
        let printed = Command::new(&interpreter.executable).arg("--version").output().unwrap().stdout;
        assert_eq!(String::from_utf8(printed).unwrap().trim(), format!("Python {}", interpreter.version));
    }
}

#[test]
fn a_virtual_environment_leads_to_its_base_and_what_is_no_interpreter_is_left_out() {
    let base = interpreters::find(&[]).pop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("python3");
    fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    let explicit = [script, folder.path().join("missing"), PathBuf::from("/bin/sh"), PathBuf::from("/")];
    assert_eq!(interpreters::find(&explicit).pop().unwrap().executable, base.executable);
    for kind in ["--symlinks", "--copies"] {
        let environment = folder.path().join(kind);
        let made = Command::new(&base.executable)
            .args(["-m", "venv", "--without-pip", kind])
            .arg(&environment)
            .status()
            .unwrap();
        if !made.success() {
            eprintln!("skipped: this interpreter cannot make virtual environments");
            return;
        }
        let found = interpreters::find(&[environment.join("bin/python3")]).pop().unwrap();
        assert_eq!((found.executable, found.version), (base.executable.clone(), base.version.clone()), "{kind}");
    }
}

#[test]
fn an_explicit_interpreter_wins() {
    let system = Path::new("/usr/bin/python3");
    let Ok(real) = system.canonicalize() else {
        eprintln!("skipped: no {}", system.display());
        return;
    };
    assert!(interpreters::find(&[system.into()]).iter().any(|interpreter| interpreter.executable == real));
}

#[test]
fn mounts_show_nothing_private() {
    for interpreter in interpreters::find(&[]) {
        for (index, mount) in interpreter.mounts.iter().enumerate() {
            let path = mount.path();
            let forbidden = ["/", "/etc", "/root", "/home", "/var", "/opt", "/usr", "/usr/local", "/usr/local/lib"];
            assert!(!forbidden.iter().any(|forbidden| path == Path::new(forbidden)), "{path:?}");
            assert!(std::env::home_dir().is_none_or(|home| !home.starts_with(path)), "{path:?}");
            assert!(!["/etc/shadow", "/etc/ssl/private"].iter().any(|secret| Path::new(secret).starts_with(path)));
            let above = interpreter.mounts[..index].iter().any(|other| path.starts_with(other.path()));
            assert!(!above, "{path:?} is shown twice");
            if let Mount::Folder { hide, .. } = mount {
                assert!(hide.iter().all(|hidden| hidden.starts_with(path) && hidden.is_dir()));
            }
        }
    }
}

/// Run in the root that consists of the mounts alone: the standard library works, programs start, and nothing of
/// the host's packages and secrets is there.
const INSIDE: &str = r#"
import asyncio, bz2, concurrent.futures, decimal, hashlib, json, lzma, os, random, socket, sqlite3, ssl, subprocess
import sys, uuid, zlib, zoneinfo
assert ssl.create_default_context().get_ca_certs() or not os.path.exists("/etc/ssl/certs/ca-certificates.crt")
zoneinfo.ZoneInfo("Europe/Berlin")
assert subprocess.check_output(["sh", "-c", "echo yes | cat"]) == b"yes\n"
for name in ["python3", "python", sys.executable]:
    script = "import sys; print(sys.version)"
    assert subprocess.check_output([name, "-c", script], text=True).strip() == sys.version, name
if sys.argv[1] == "true":
    import ctypes
    ctypes.CDLL(None).getpid()
for module in ["pip", "numpy", "boto3", "setuptools"]:
    try:
        __import__(module)
    except ImportError:
        continue
    sys.exit(module + " of the host can be imported")
for path in ["/etc/shadow", "/etc/passwd", "/etc/ssl/private", "/home", "/var/lib", "/tmp", "/opt"]:
    assert not os.path.exists(path), path
print(sys.executable)
"#;

/// Builds the root as a sandbox would, in a mount namespace that ends with the shell.
fn in_root(interpreter: &Interpreter, root: &Path) -> std::process::Output {
    let mut script = String::from("set -e\n");
    let quoted = |path: &Path| format!("'{}'", path.display());
    let below = |path: &Path| quoted(&root.join(path.strip_prefix("/").unwrap()));
    for mount in &interpreter.mounts {
        let (path, inside) = (quoted(mount.path()), below(mount.path()));
        script += &format!("mkdir -p \"$(dirname {inside})\"\n");
        script += &match mount {
            Mount::Folder { hide, .. } => {
                let hidden: String =
                    hide.iter().map(|folder| format!("mount -t tmpfs none {}\n", below(folder))).collect();
                format!("mkdir {inside}\nmount --rbind {path} {inside}\n{hidden}")
            }
            Mount::File { .. } => format!("touch {inside}\nmount --bind {path} {inside}\n"),
            Mount::Link { target, .. } => format!("ln -s {} {inside}\n", quoted(target)),
        };
    }
    script += &format!("mkdir {0}/dev\ntouch {0}/dev/null\nmount --bind /dev/null {0}/dev/null\n", quoted(root));
    script += &format!(
        "exec chroot {} /usr/bin/env -i PATH=/var/lang/bin:/usr/bin {} -I -c \"$1\" \"$2\"",
        quoted(root),
        quoted(&interpreter.executable)
    );
    // A tmpfs over the root's folder, so that nothing is left of it on the disk.
    let script = format!("mount -t tmpfs none {0} && cd {0}\n{script}", quoted(root));
    let has_ctypes = interpreter.has_ctypes.to_string();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh", INSIDE, &has_ctypes]);
    command.output().unwrap()
}

#[test]
fn the_mounts_are_enough_to_run_and_show_no_packages() {
    let possible = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine does not let this user make mount namespaces");
        return;
    }
    for interpreter in interpreters::find(&[]).into_iter().chain(interpreters::find(&["/usr/bin/python3".into()])) {
        let root = tempfile::tempdir().unwrap();
        let run = in_root(&interpreter, root.path());
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{}: {errors}", interpreter.executable.display());
        assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), interpreter.executable.to_str().unwrap());
    }
}
