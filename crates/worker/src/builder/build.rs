//! One build: resolve, download, compile, put in place. Called by `Builder::build`.

use super::{Built, Error, PACKAGES, Progress, Shared, Step, uv::Uv};
use crate::{
    code::{
        self,
        compile::{self, Job},
    },
    interpreters::Interpreter,
    tree,
};
use bytes::Bytes;
use dayfly_types::{
    EnvironmentSource, Limits, Packages,
    environment::{normal_name, requirement},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::time::Instant;

/// Where an environment is in a sandbox; its compiled files say so.
const ROOT: &str = "/opt/python/lib";
/// Sources that one compiler gets: each has its own time.
const SOURCES_PER_COMPILER: usize = 1000;
/// Largest file of pinned packages that is read.
const PINS_BYTES_MAX: u64 = 16 << 20;

/// What is to be built.
pub(super) struct Build {
    pub shared: Arc<Shared>,
    pub id: String,
    pub source: EnvironmentSource,
    pub modules: Option<Bytes>,
    pub interpreter: Interpreter,
    pub progress: Progress,
}

impl Build {
    pub(super) async fn run(self) -> Result<Built, Error> {
        let permits = Arc::clone(&self.shared.permits);
        let _permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                (self.progress)(Step::Wait);
                permits.acquire_owned().await.map_err(io::Error::other)?
            }
        };
        let started = Instant::now();
        let deadline = started + self.shared.build_time();
        let uv = self.shared.uv.get_or_try_init(|| Uv::find(&self.shared.folder)).await?;
        // Removed when it is dropped, on every way out of here.
        let temporary = self.shared.temporary()?;
        let folder = temporary.path();

        (self.progress)(Step::Resolve);
        self.pin(uv, folder, deadline).await?;
        let packages = check_pins(&folder.join("pins.txt"))?;
        (self.progress)(Step::Resolved { packages });

        let environment = folder.join("environment");
        fs::create_dir(&environment)?;
        if packages > 0 {
            (self.progress)(Step::Download { what: String::new() });
            self.install(uv, folder, deadline).await?;
        }
        let progress = self.progress.clone();
        let built = tokio::task::spawn_blocking(move || {
            let built = self.finish(&temporary.path().join("environment"));
            temporary.close().map_err(Error::from).and(built)
        });
        let built = built.await.map_err(io::Error::other)??;
        progress(Step::Done { milliseconds: started.elapsed().as_millis() as u64 });
        Ok(built)
    }

    /// Writes `pins.txt`: each package with its version and hashes.
    async fn pin(&self, uv: &Uv, folder: &Path, deadline: Instant) -> Result<(), Error> {
        let python = self.interpreter.executable.as_os_str();
        let ended = match &self.source.packages {
            Packages::Requirements(requirements) | Packages::Pinned(requirements) => {
                let lines: String = requirements.iter().map(|requirement| format!("{requirement}\n")).collect();
                fs::write(folder.join("requirements.in"), lines)?;
                let mut arguments =
                    words(&["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]);
                arguments.extend(words(&["--output-file", "pins.txt", "--python"]));
                arguments.push(python);
                arguments.extend(self.wheels_only());
                if matches!(self.source.packages, Packages::Pinned(_)) {
                    arguments.push(OsStr::new("--no-deps"));
                }
                arguments.push(OsStr::new("requirements.in"));
                uv.run(folder, &arguments, deadline, &mut |_| {}).await?
            }
            Packages::UvLock(lock) => {
                let Project { name, version, python: wanted } = Project::of(lock)?;
                if !satisfies(&self.interpreter.version, &wanted) {
                    let version = &self.interpreter.version;
                    return Err(Error::IncompatiblePython(format!(
                        "the lock is for Python {wanted}, not for {version}"
                    )));
                }
                fs::write(folder.join("uv.lock"), lock)?;
                // uv wants the project that a lock is of. Nothing but its name is known here, and nothing of it is built.
                let project =
                    format!("[project]\nname = {name:?}\nversion = {version:?}\nrequires-python = {wanted:?}\n");
                fs::write(folder.join("pyproject.toml"), project)?;
                let mut arguments = words(&["export", "--quiet", "--frozen", "--no-emit-local", "--no-default-groups"]);
                arguments.extend(words(&[
                    "--no-header",
                    "--no-annotate",
                    "--no-build",
                    "--output-file",
                    "pins.txt",
                    "--python",
                ]));
                arguments.push(python);
                uv.run(folder, &arguments, deadline, &mut |_| {}).await?
            }
        };
        if ended.success { Ok(()) } else { Err(Error::of_words(&ended.words)) }
    }

    /// Installs what `pins.txt` says into `environment/site-packages`.
    async fn install(&self, uv: &Uv, folder: &Path, deadline: Instant) -> Result<(), Error> {
        let mut arguments =
            words(&["pip", "install", "--no-deps", "--link-mode", "hardlink", "--requirements", "pins.txt"]);
        arguments.extend(words(&["--target", "environment/site-packages", "--python"]));
        arguments.push(self.interpreter.executable.as_os_str());
        arguments.extend(self.wheels_only());
        let progress = &self.progress;
        let mut hear = |line: &str| {
            if let Some(what) = line.strip_prefix("Downloading ").or(line.strip_prefix("Building ")) {
                progress(Step::Download { what: what.to_owned() });
            }
        };
        let ended = uv.run(folder, &arguments, deadline, &mut hear).await?;
        if ended.success { Ok(()) } else { Err(Error::of_words(&ended.words)) }
    }

    /// Building from source runs the package's own code, as this server's user.
    fn wheels_only(&self) -> Vec<&'static OsStr> {
        if self.shared.policy.allow_source { Vec::new() } else { words(&["--only-binary", ":all:"]) }
    }

    /// Adds modules, compiles, flushes to disk and gives the environment its name. Blocks.
    fn finish(&self, environment: &Path) -> Result<Built, Error> {
        let packages_folder = environment.join(PACKAGES);
        fs::create_dir_all(&packages_folder)?;
        match fs::remove_file(packages_folder.join(".lock")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let packages = installed(&packages_folder)?;
        if let Some(zip) = &self.modules {
            let unpacked = environment.join(".modules");
            fs::create_dir(&unpacked)?;
            let limits = Limits { code_unzipped_bytes: self.shared.policy.bytes_max, ..Limits::default() };
            code::unpack::unpack(io::Cursor::new(zip), &unpacked, &limits).map_err(|error| match error {
                code::Error::Io(error) => error.into(),
                other => Error::Invalid(format!("the modules: {other}")),
            })?;
            tree::lay_over(&unpacked, &packages_folder)?;
            fs::remove_dir_all(&unpacked)?;
        }
        let found = tree::survey(&packages_folder, 1)?;
        if found.bytes > self.shared.policy.bytes_max {
            return Err(Error::TooLarge { limit_bytes: self.shared.policy.bytes_max });
        }
        (self.progress)(Step::Build { files: found.files, bytes: found.bytes });
        self.compile(&packages_folder, &found)?;
        share_bytecode(&packages_folder, &self.shared.folder.join("bytecode"))?;
        // One name here and one in a cache: more means that another environment has it too.
        let contents = tree::survey(&packages_folder, 2)?;
        let built = Built {
            id: self.id.clone(),
            runtime: self.source.runtime,
            platform: self.source.platform.clone(),
            modules: self.source.modules.clone(),
            bytes: contents.bytes,
            own_bytes: contents.own_bytes,
            files: contents.files,
            packages,
        };
        self.shared.put(environment, &built)?;
        Ok(built)
    }

    fn compile(&self, tree: &Path, found: &tree::Contents) -> Result<(), Error> {
        let root = PathBuf::from(format!("{ROOT}/{}/{PACKAGES}", self.interpreter.runtime));
        let mut left = self.shared.policy.bytes_max.saturating_sub(found.bytes);
        for sources in found.sources.chunks(SOURCES_PER_COMPILER) {
            let job = Job { interpreter: &self.interpreter, tree, root: &root, sources };
            match compile::run(&*self.shared.compiler, &job, &mut left) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(Error::DiskFull),
                // The environment works, only slower.
                Err(error) => tracing::warn!(%error, id = self.id, "byte-compiling failed"),
            }
        }
        Ok(())
    }
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

/// Checks a file of pins, for a lock can name addresses. Gives the number of packages in it.
fn check_pins(path: &Path) -> Result<usize, Error> {
    let text = match File::open(path) {
        Ok(file) if file.metadata()?.len() <= PINS_BYTES_MAX => io::read_to_string(file)?,
        Ok(_) => return Err(Error::Invalid("the lock names too many packages".to_owned())),
        Err(error) => return Err(error.into()),
    };
    let mut packages = 0;
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split(" --hash=").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        requirement(line).map_err(|error| Error::Invalid(format!("the lock: {error}")))?;
        packages += 1;
    }
    Ok(packages)
}

/// `name==version` of each package in a folder, in order.
fn installed(folder: &Path) -> io::Result<Vec<String>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let package = name.to_str().and_then(|name| name.strip_suffix(".dist-info")?.rsplit_once('-'));
        packages.extend(package.map(|(name, version)| format!("{}=={version}", normal_name(name))));
    }
    packages.sort();
    Ok(packages)
}

/// The project that a lock is of.
struct Project {
    name: String,
    version: String,
    python: String,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(rename = "requires-python")]
    requires_python: String,
    #[serde(default)]
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: Option<String>,
    source: Option<toml::Table>,
}

impl Project {
    fn of(lock: &str) -> Result<Self, Error> {
        let lock: Lock =
            toml::from_str(lock).map_err(|error| Error::Invalid(format!("uv.lock: {}", error.message())))?;
        let is_root = |package: &&LockedPackage| {
            package.source.as_ref().is_some_and(|source| {
                ["virtual", "editable"].iter().any(|kind| source.get(*kind).and_then(|at| at.as_str()) == Some("."))
            })
        };
        let root = lock.package.iter().find(is_root);
        let root = root.ok_or_else(|| Error::Invalid("uv.lock: it is not of a project of its own".to_owned()))?;
        let version = root.version.clone().unwrap_or_else(|| "0".to_owned());
        let plain = |text: &str| {
            text.len() <= 200 && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
        };
        if ![&root.name, &version, &lock.requires_python].iter().all(|text| plain(text)) {
            return Err(Error::Invalid("uv.lock: the project's name, version or Python is not one".to_owned()));
        }
        Ok(Self { name: root.name.clone(), version, python: lock.requires_python })
    }
}

/// Whether a version of Python is one that a lock is for. What cannot be read is left to uv.
fn satisfies(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Option<Vec<u32>> {
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
        text.trim().trim_end_matches(".*").split('.').map(digits).collect()
    };
    let Some(version) = numbers(version) else { return true };
    wanted.split(',').all(|specifier| {
        let specifier = specifier.trim();
        let (operator, text) = specifier.split_at(specifier.find(|c: char| c.is_ascii_digit()).unwrap_or(0));
        let Some(mut other) = numbers(text) else { return true };
        let is_prefix = version.starts_with(&other);
        let order = |other: &mut Vec<u32>| {
            other.resize(version.len().max(other.len()), 0);
            version.cmp(other)
        };
        match operator.trim() {
            ">=" => order(&mut other).is_ge(),
            "<=" => order(&mut other).is_le(),
            ">" => order(&mut other).is_gt(),
            "<" => order(&mut other).is_lt(),
            "==" => {
                if text.ends_with(".*") {
                    is_prefix
                } else {
                    order(&mut other).is_eq()
                }
            }
            "!=" => {
                if text.ends_with(".*") {
                    !is_prefix
                } else {
                    order(&mut other).is_ne()
                }
            }
            "~=" => version.starts_with(&other[..other.len() - 1]) && order(&mut other).is_ge(),
            _ => true,
        }
    })
}

/// Makes compiled files that are equal one file. uv's cache does the same for what wheels hold.
fn share_bytecode(tree: &Path, store: &Path) -> io::Result<()> {
    fs::create_dir_all(store)?;
    let mut files = Vec::new();
    tree::each(tree, &mut |relative, metadata| {
        if metadata.is_file() && relative.extension().is_some_and(|extension| extension == "pyc") {
            files.push(tree.join(relative));
        }
        Ok(())
    })?;
    for file in files {
        let shared = store.join(hex::encode(Sha256::digest(fs::read(&file)?)));
        match fs::hard_link(&file, &shared) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let new = file.with_extension("new");
                // Gone meanwhile, or with as many names as a file can have: then it stays as it is.
                if fs::hard_link(&shared, &new).is_ok() {
                    fs::rename(&new, &file)?;
                    // Renaming a name onto another of the same file does nothing.
                    let _ = fs::remove_file(&new);
                }
            }
            linked => linked?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_cannot_bring_in_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.txt");
        fs::write(
            &path,
            "six==1.17.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nb==2 ; python_version < '3.12'\n",
        )
        .unwrap();
        assert_eq!(check_pins(&path).unwrap(), 2);
        for bad in ["x @ file:///etc/passwd", "./here", "-e .", "https://x/y.whl"] {
            fs::write(&path, format!("{bad}\n")).unwrap();
            assert!(matches!(check_pins(&path), Err(Error::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn the_project_of_a_lock_is_found_and_harmless() {
        let lock = |name: &str, source: &str| {
            format!(
                "version = 1\nrequires-python = \">=3.10\"\n[[package]]\nname = \"six\"\nversion = \"1\"\nsource = {{ registry = \"x\" }}\n[[package]]\nname = {name}\nversion = \"1\"\nsource = {{ {source} }}\n"
            )
        };
        let project = Project::of(&lock("\"mine\"", "virtual = \".\"")).unwrap();
        assert_eq!((project.name.as_str(), project.python.as_str()), ("mine", ">=3.10"));
        assert!(Project::of(&lock("\"a\\\"\\n[tool.uv]\"", "editable = \".\"")).is_err());
        assert!(Project::of(&lock("\"mine\"", "directory = \"/etc\"")).is_err());
        assert!(Project::of("not = [toml").is_err());
    }

    #[test]
    fn a_lock_is_for_some_pythons() {
        for (wanted, fits) in [
            (">=3.10", true),
            (">=3.11.8", false),
            (">=3.9, <3.12", true),
            ("<3.11", false),
            ("==3.11.*", true),
            ("==3.12.*", false),
            ("!=3.11.*", false),
            ("~=3.9", true),
            ("~=3.10.2", false),
            (">3.99", false),
            ("<4", true),
            ("", true),
            ("what", true),
        ] {
            assert_eq!(satisfies("3.11.7", wanted), fits, "{wanted}");
        }
        assert!(!satisfies("3.14.0rc2", "<3.14"));
    }

    #[test]
    fn equal_bytecode_is_one_file() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        for name in ["a", "b"] {
            let tree = folder.path().join(name);
            fs::create_dir_all(tree.join("__pycache__")).unwrap();
            fs::write(tree.join("__pycache__/x.pyc"), "same").unwrap();
            fs::write(tree.join(format!("__pycache__/{name}.pyc")), name).unwrap();
            share_bytecode(&tree, &store).unwrap();
            share_bytecode(&tree, &store).unwrap();
            assert_eq!(fs::read_dir(tree.join("__pycache__")).unwrap().count(), 2);
        }
        let file = |name: &str| fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(file("a/__pycache__/x.pyc").ino(), file("b/__pycache__/x.pyc").ino());
        assert_eq!([file("a/__pycache__/x.pyc").nlink(), file("b/__pycache__/b.pyc").nlink()], [3, 2]);
    }
}
