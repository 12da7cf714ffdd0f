//! The caller's own environment: their interpreter, and the folders and zip files of their `sys.path`, each shown read-only
//! at its own path. Nothing is copied, and nothing beside them is shown: no home folder, no data of this server.

use super::{Error, Own};
use crate::interpreters::{self, Interpreter, Mount, Probes};
use dayfly_types::Runtime;
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Most entries of `sys.path`, and most bytes of them all: they have to fit into a datagram, twice.
const ENTRIES_MAX: usize = 256;
const PATH_BYTES_MAX: usize = 24 << 10;
/// Most that is read of a finder of an editable package.
const FINDER_BYTES_MAX: u64 = 1 << 20;
/// Not shown, nor what lies below or contains them.
const NEVER: [&str; 9] = ["/proc", "/sys", "/dev", "/run", "/etc", "/boot", "/var/run", "/var/task", "/var/runtime"];
/// Not shown as a whole; what lies below may be.
const NEVER_WHOLE: [&str; 5] = ["/tmp", "/var/tmp", "/opt", "/usr/local", "/var/lang"];

/// What is to be shown, and what the interpreter is to be told.
pub(super) fn resolve(
    probes: &Probes,
    executable: &Path,
    path: &[PathBuf],
    runtime: Runtime,
    data_folder: &Path,
) -> Result<(Interpreter, Own), Error> {
    let refuse = |reason: String| Error::Executable { executable: executable.to_owned(), reason };
    if !executable.is_absolute() {
        return Err(refuse("it is not an absolute path".to_owned()));
    }
    let mut interpreter = interpreters::at(probes, executable).map_err(refuse)?;
    if interpreter.runtime != runtime {
        return Err(refuse(format!("it is Python {}, and the job is for {runtime}", interpreter.version)));
    }
    let rules = Rules { home: env::home_dir(), data_folder };
    check(path)?;
    let mut shown = Shown { mounts: std::mem::take(&mut interpreter.mounts), rules };
    for entry in path {
        shown.entry(entry)?;
    }
    for folder in path.iter().filter(|folder| is_site_folder(folder)) {
        for source in editable_sources(folder) {
            shown.entry(&source)?;
        }
    }
    let environment = executable.ancestors().nth(2).filter(|folder| folder.join("pyvenv.cfg").is_file());
    if let Some(environment) = environment {
        shown.file(&environment.join("pyvenv.cfg"));
    }
    shown.link(executable, &interpreter.executable);
    interpreter.mounts = shown.in_order();
    let prefix = environment.unwrap_or(&interpreter.prefix).to_owned();
    Ok((interpreter, Own { path: path.to_vec(), executable: executable.to_owned(), prefix }))
}

fn check(path: &[PathBuf]) -> Result<(), Error> {
    let refuse = |path: &Path, reason| Err(Error::Path { path: path.to_owned(), reason });
    if let Some(relative) = path.iter().find(|entry| !entry.is_absolute()) {
        return refuse(relative, "it is not an absolute path");
    }
    let bytes: usize = path.iter().map(|entry| entry.as_os_str().len()).sum();
    match path.last() {
        Some(last) if path.len() > ENTRIES_MAX || bytes > PATH_BYTES_MAX => refuse(last, "there are too many entries"),
        _ => Ok(()),
    }
}

struct Rules<'a> {
    home: Option<PathBuf>,
    data_folder: &'a Path,
}

impl Rules<'_> {
    /// Whether what is at `real` may be shown. What may not stays in `sys.path`, where nothing will be found.
    fn allow(&self, real: &Path) -> bool {
        let never = NEVER.map(Path::new);
        let whole = NEVER_WHOLE.iter().map(Path::new).chain(self.home.as_deref());
        !never.iter().any(|never| real.starts_with(never) || never.starts_with(real))
            && !whole.into_iter().any(|whole| whole.starts_with(real))
            && !real.starts_with(self.data_folder)
    }
}

struct Shown<'a> {
    mounts: Vec<Mount>,
    rules: Rules<'a>,
}

impl Shown<'_> {
    /// Shows a folder, or a file, of `sys.path`. It is shown where it really is, with a link from where it is said to be.
    fn entry(&mut self, entry: &Path) -> Result<(), Error> {
        // An entry that is not there is none for the interpreter either.
        let Ok(real) = entry.canonicalize() else { return Ok(()) };
        let Ok(metadata) = real.metadata() else { return Ok(()) };
        if !self.rules.allow(&real) {
            tracing::debug!(entry = %entry.display(), "an entry of sys.path is not shown");
            return Ok(());
        }
        // The functions of a server that is root run as somebody else.
        let needed = if metadata.is_dir() { 0o005 } else { 0o004 };
        if rustix::process::getuid().is_root() && metadata.permissions().mode() & needed != needed {
            let reason = "a server run by root runs functions as another user, who may not read it";
            return Err(Error::Path { path: entry.to_owned(), reason });
        }
        if metadata.is_dir() {
            self.folder(&real);
        } else if metadata.is_file() {
            self.file(&real);
        }
        if real != entry {
            self.link(entry, &real);
        }
        Ok(())
    }

    fn folder(&mut self, real: &Path) {
        let around = self.mounts.iter_mut().find_map(|mount| match mount {
            Mount::Folder { path, hide } if real.starts_with(&*path) => Some(hide),
            _ => None,
        });
        if let Some(hide) = around {
            return hide.retain(|hidden| !real.starts_with(hidden));
        }
        let mut hide: Vec<PathBuf> =
            Some(self.rules.data_folder.to_owned()).filter(|data| data.starts_with(real)).into_iter().collect();
        // What was shown below is shown with it, and what was hidden below stays hidden.
        for mount in self.mounts.extract_if(.., |mount| mount.path().starts_with(real)) {
            if let Mount::Folder { hide: below, .. } = mount {
                hide.extend(below);
            }
        }
        self.mounts.push(Mount::Folder { path: real.to_owned(), hide });
    }

    fn file(&mut self, real: &Path) {
        if !self.covers(real) {
            self.mounts.push(Mount::File { path: real.to_owned() });
        }
    }

    /// Makes a link, unless something is there, or on the way there, already.
    fn link(&mut self, path: &Path, target: &Path) {
        let taken = |mount: &Mount| {
            let way = matches!(mount, Mount::Link { path: link, .. } if path.starts_with(link));
            way || mount.path().starts_with(path)
        };
        if !self.covers(path) && !self.mounts.iter().any(taken) {
            self.mounts.push(Mount::Link { path: path.to_owned(), target: target.to_owned() });
        }
    }

    fn covers(&self, path: &Path) -> bool {
        self.mounts.iter().any(|mount| match mount {
            Mount::Folder { path: folder, .. } => path.starts_with(folder),
            other => path == other.path(),
        })
    }

    /// A folder before what lies in it.
    fn in_order(mut self) -> Vec<Mount> {
        self.mounts.sort_by(|one, other| one.path().cmp(other.path()));
        self.mounts
    }
}

fn is_site_folder(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages")
}

/// Where packages are that setuptools has installed as editable by a finder rather than by a line of a `.pth` file.
fn editable_sources(folder: &Path) -> Vec<PathBuf> {
    use std::io::Read;
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut sources = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with("__editable__") && name.ends_with("_finder.py")) {
            continue;
        }
        let mut text = String::new();
        let read = fs::File::open(entry.path()).and_then(|file| file.take(FINDER_BYTES_MAX).read_to_string(&mut text));
        if read.is_ok() {
            let tables = text.lines().filter(|line| line.starts_with("MAPPING") || line.starts_with("NAMESPACES"));
            // Literals of Python: every second piece between quotes is a string.
            sources.extend(tables.flat_map(|line| line.split('\'').skip(1).step_by(2)).map(PathBuf::from));
        }
    }
    sources.retain(|source| source.is_absolute());
    sources.truncate(ENTRIES_MAX);
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(data_folder: &Path) -> Shown<'_> {
        let lib = Mount::Folder { path: "/usr/lib".into(), hide: vec!["/usr/lib/python3/dist-packages".into()] };
        Shown { mounts: vec![lib], rules: Rules { home: Some("/home/me".into()), data_folder } }
    }

    #[test]
    fn what_is_everybodys_or_the_servers_is_never_shown() {
        let rules = Rules { home: Some("/home/me".into()), data_folder: Path::new("/home/me/project/.dayfly") };
        for never in
            ["/", "/home", "/home/me", "/proc/1", "/sys", "/dev/shm/x", "/run/user", "/var", "/etc/x", "/tmp", "/opt"]
        {
            assert!(!rules.allow(Path::new(never)), "{never}");
        }
        for never in ["/home/me/project/.dayfly", "/home/me/project/.dayfly/cache/x"] {
            assert!(!rules.allow(Path::new(never)), "{never}");
        }
        for fine in
            ["/home/me/project", "/home/me/.local/lib/python3.11/site-packages", "/tmp/x", "/opt/conda/lib", "/srv"]
        {
            assert!(rules.allow(Path::new(fine)), "{fine}");
        }
    }

    #[test]
    fn a_folder_is_shown_once_without_the_servers_data() {
        let mut shown = shown(Path::new("/home/me/project/data"));
        shown.folder(Path::new("/usr/lib/python3/dist-packages"));
        assert_eq!(shown.mounts, [Mount::Folder { path: "/usr/lib".into(), hide: vec![] }], "it is hidden no more");
        shown.folder(Path::new("/home/me/project/src"));
        shown.folder(Path::new("/home/me/project"));
        shown.folder(Path::new("/home/me/project/src"));
        let work = Mount::Folder { path: "/home/me/project".into(), hide: vec!["/home/me/project/data".into()] };
        assert_eq!(shown.mounts[1..], [work]);
    }

    #[test]
    fn a_link_never_leads_through_another() {
        let mut shown = shown(Path::new("/data"));
        shown.link(Path::new("/a/link"), Path::new("/b"));
        shown.link(Path::new("/a/link/below"), Path::new("/c"));
        shown.link(Path::new("/a"), Path::new("/c"));
        shown.link(Path::new("/usr/lib/x"), Path::new("/c"));
        assert_eq!(shown.mounts[1..], [Mount::Link { path: "/a/link".into(), target: "/b".into() }]);
    }

    #[test]
    fn the_sources_of_editable_packages_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let finder = "import sys\nMAPPING: dict[str, str] = {'one': '/src/one', 'two': '/src/two.py'}\n\
                      NAMESPACES: dict[str, list[str]] = {'ns': ['/src/ns']}\nPATH = '/not/this'\n";
        fs::write(folder.path().join("__editable___one_1_0_finder.py"), finder).unwrap();
        fs::write(folder.path().join("other.py"), finder).unwrap();
        assert_eq!(editable_sources(folder.path()), ["/src/one", "/src/two.py", "/src/ns"].map(PathBuf::from));
    }

    #[test]
    fn entries_that_are_relative_or_too_many_are_refused() {
        assert!(check(&["/a".into(), "b".into()]).is_err());
        assert!(check(&vec![PathBuf::from("/a"); ENTRIES_MAX + 1]).is_err());
        assert!(check(&["/a".repeat(PATH_BYTES_MAX).into()]).is_err());
        assert!(check(&["/a".into()]).is_ok());
    }
}
