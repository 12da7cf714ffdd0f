//! The one tool that environments are built with: finds `uv`, or installs it once, and runs it as a child that has a
//! deadline, a bounded voice and a process group of its own. Called by the builder.

use super::Error;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};
use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::Command,
    time::{Instant, sleep, timeout},
};

/// What is installed when the machine has none.
const VERSION: &str = "0.13.9";
/// Longest time for its installation.
const INSTALL_TIME: Duration = Duration::from_secs(180);
/// Longest time for a question to pip.
const ASK_TIME: Duration = Duration::from_secs(20);
/// What is read of a child, and what is kept of it for an error.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;
const LINE_BYTES_MAX: usize = 4 << 10;
const LINES_KEPT: usize = 60;
/// How often it is seen whether the disk fills up.
const LOOK: Duration = Duration::from_millis(500);
/// The store and the logs need room too.
const DISK_BYTES_KEPT: u64 = 256 << 20;
/// Variables of the server that its children see: how to reach the network, and uv's own settings.
const PASSED: [&str; 14] = [
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "NETRC",
    "XDG_CONFIG_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];
const PASSED_PREFIXES: [&str; 4] = ["UV_", "PIP_", "SSL_CERT_", "PYENV_"];

/// A `uv` that runs.
#[derive(Debug, Clone)]
pub struct Uv {
    program: PathBuf,
    cache: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

/// How a run ended, and its last lines on the error stream.
#[derive(Debug)]
pub struct Ended {
    /// Whether it did what it was asked to.
    pub success: bool,
    /// The last lines.
    pub words: String,
}

impl Uv {
    /// The one on `PATH`, else the one in `folder`, where it is installed when it is missing. Its cache is in `folder` too,
    /// on the same file system as the environments, so that it can link.
    ///
    /// # Errors
    /// When there is none and it cannot be installed.
    pub async fn find(folder: &Path) -> Result<Self, Error> {
        let own = folder.join(format!("uv-{VERSION}"));
        let installed = own.join("bin/uv");
        let program = match on_path().filter(|_| !installed.is_file()) {
            Some(program) => program,
            None if installed.is_file() => installed,
            None => install(&own).await.map(|()| installed)?,
        };
        let cache = folder.join("uv-cache");
        let mut variables = passed();
        variables.extend(pip_settings(&variables).await);
        Ok(Self { program, cache, variables })
    }

    /// Runs it in `folder` until `deadline`. Each line that it says goes to `hear`.
    ///
    /// # Errors
    /// `DiskFull` when the disk fills up meanwhile, `BuildFailed` at the deadline, `Io` when it cannot be run.
    pub async fn run(
        &self,
        folder: &Path,
        arguments: &[&OsStr],
        deadline: Instant,
        hear: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Ended, Error> {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--color", "never", "--no-progress", "--cache-dir"]).arg(&self.cache);
        command.envs(self.variables.iter().cloned());
        run(command, folder, deadline, hear).await
    }
}

/// Runs a child that is nobody's friend: its own process group, no input, no variables but those that were set.
async fn run(
    mut command: Command,
    folder: &Path,
    deadline: Instant,
    hear: &mut (dyn FnMut(&str) + Send),
) -> Result<Ended, Error> {
    command.env_clear_but_set();
    command.current_dir(folder).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let mut lines = Lines::default();
    let stderr = child.stderr.take().ok_or_else(|| io::Error::other("a child without an error stream"))?;
    let ended = tokio::select! {
        ended = async { lines.read(stderr, hear).await?; child.wait().await } => Ok(ended?),
        error = watch_disk(folder) => Err(error),
        () = tokio::time::sleep_until(deadline) => {
            Err(Error::BuildFailed(format!("it took longer than it may\n{}", lines.kept.join("\n"))))
        }
    };
    // What it started ends with it, however it ended.
    drop(group);
    let _ = child.wait().await;
    let status = ended?;
    Ok(Ended { success: status.success(), words: lines.kept.join("\n") })
}

/// Returns when the disk is about to be full.
async fn watch_disk(folder: &Path) -> Error {
    loop {
        if let Ok(state) = rustix::fs::statvfs(folder)
            && state.f_bavail.saturating_mul(state.f_frsize) < DISK_BYTES_KEPT
        {
            return Error::DiskFull;
        }
        sleep(LOOK).await;
    }
}

/// A process group that is killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            match kill_process_group(group, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => tracing::warn!(%error, "a builder's processes could not be ended"),
            }
        }
    }
}

/// The last lines of an untrusted stream.
#[derive(Default)]
struct Lines {
    kept: Vec<String>,
}

impl Lines {
    async fn read(&mut self, stream: impl AsyncRead + Unpin, hear: &mut (dyn FnMut(&str) + Send)) -> io::Result<()> {
        let mut stream = BufReader::new(stream.take(OUTPUT_BYTES_MAX));
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut stream).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
            if read == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            hear(text.trim_start());
            if self.kept.len() == LINES_KEPT {
                self.kept.remove(0);
            }
            self.kept.push(text.to_owned());
        }
        // One that says more than anybody wants to read is not stopped by a full pipe.
        tokio::io::copy(stream.get_mut().get_mut(), &mut tokio::io::sink()).await?;
        Ok(())
    }
}

fn on_path() -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join("uv")).find(|path| path.is_file())
}

fn passed() -> Vec<(OsString, OsString)> {
    let passes = |name: &str| PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passes)).collect()
}

/// Installs uv with pip into `folder`, which appears at once or not at all.
async fn install(folder: &Path) -> Result<(), Error> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let temporary = tempfile::Builder::new().prefix(crate::tree::TEMPORARY).tempdir_in(parent)?;
    let target = temporary.path().join("uv");
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    command.args(["--no-deps", "--only-binary", ":all:", "--target"]).arg(&target).arg(format!("uv=={VERSION}"));
    command.envs(passed());
    let ended = run(command, temporary.path(), Instant::now() + INSTALL_TIME, &mut |_| {}).await?;
    if !ended.success {
        let words = ended.words;
        return Err(Error::BuildFailed(format!(
            "`uv` is not on the PATH and could not be installed with pip\n{words}"
        )));
    }
    rustix::fs::syncfs(&std::fs::File::open(&target)?).map_err(io::Error::from)?;
    match std::fs::rename(&target, folder) {
        // Another build was quicker.
        Err(_) if folder.join("bin/uv").is_file() => Ok(()),
        renamed => Ok(renamed?),
    }
}

/// What pip is configured with and uv does not read: index, further indexes, links, certificates.
async fn pip_settings(passed: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "config", "list", "--disable-pip-version-check"]).env_clear();
    command.envs(passed.iter().cloned()).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    // A machine without pip has no settings of it.
    let text = match timeout(ASK_TIME, command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    };
    let known = |name: &str| passed.iter().any(|(given, _)| given == name);
    translated(&text)
        .into_iter()
        .filter(|(name, _)| !known(name))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The lines of `pip config list` as uv's variables.
fn translated(list: &str) -> Vec<(&'static str, String)> {
    let setting = |name: &str| {
        // The environment wins over files, and what is said of `install` over what is said of all.
        let value = |section: &str| {
            list.lines()
                .find_map(|line| line.strip_prefix(section)?.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('='))
        };
        let value = [":env:", "install", "global"].into_iter().find_map(value)?;
        let value = value.trim().trim_matches(['\'', '"']).replace("\\n", " ");
        (!value.trim().is_empty()).then(|| value.trim().to_owned())
    };
    let mut settings = Vec::new();
    for (theirs, ours) in [
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("find-links", "UV_FIND_LINKS"),
        ("trusted-host", "UV_INSECURE_HOST"),
        ("cert", "SSL_CERT_FILE"),
    ] {
        if let Some(value) = setting(theirs) {
            settings.push((ours, if theirs == "find-links" { existing(&value) } else { value }));
        }
    }
    settings.retain(|(_, value)| !value.is_empty());
    settings
}

/// pip passes over folders that are not there; uv fails.
fn existing(links: &str) -> String {
    let there = |link: &&str| link.contains("://") || Path::new(link).is_dir();
    links.split_whitespace().filter(there).collect::<Vec<_>>().join(",")
}

/// `env_clear` forgets what was set before it, so it is done by hand.
trait OnlyWhatWasSet {
    fn env_clear_but_set(&mut self);
}

impl OnlyWhatWasSet for Command {
    fn env_clear_but_set(&mut self) {
        let set: Vec<(OsString, OsString)> =
            self.as_std().get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        self.env_clear().envs(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]).env("SET", "yes");
        command
    }

    async fn run_shell(text: &str, time: Duration) -> (Result<Ended, Error>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mut heard = Vec::new();
        let ended =
            run(shell(text), folder.path(), Instant::now() + time, &mut |line| heard.push(line.to_owned())).await;
        (ended, heard)
    }

    #[tokio::test]
    async fn a_child_has_nothing_of_the_servers_environment() {
        let (ended, _) =
            run_shell("echo \"$SET ${HOME-none} ${CARGO_MANIFEST_DIR-none}\" >&2; exit 3", Duration::from_secs(20))
                .await;
        let ended = ended.unwrap();
        assert_eq!((ended.success, ended.words.as_str()), (false, "yes none none"));
    }

    #[tokio::test]
    async fn at_the_deadline_it_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let text = format!("sleep 600 & echo $! > {}; echo waiting >&2; wait", file.display());
        let (ended, heard) = run_shell(&text, Duration::from_secs(1)).await;
        assert!(matches!(ended, Err(Error::BuildFailed(words)) if words.contains("waiting")));
        assert_eq!(heard, ["waiting"]);
        let pid = std::fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        for _ in 0..100 {
            if gone() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("what it started still runs");
    }

    #[tokio::test]
    async fn one_that_talks_without_end_is_heard_in_part() {
        let (ended, heard) =
            run_shell("yes 12345678901234567890 | head -c 40000000 >&2", Duration::from_secs(60)).await;
        let ended = ended.unwrap();
        assert!(ended.success);
        assert_eq!(ended.words.lines().count(), LINES_KEPT);
        assert!(heard.len() as u64 * 21 <= OUTPUT_BYTES_MAX + 21);
    }

    #[test]
    fn pips_settings_are_uvs() {
        let list = "global.index-url='https://mirror.example/simple'\nglobal.timeout='60'\n:env:.cert='/c.pem'\n\
                    install.extra-index-url='https://one.example\\nhttps://two.example'\nglobal.find-links='/does/not/exist'\n";
        assert_eq!(
            translated(list),
            [
                ("UV_DEFAULT_INDEX", "https://mirror.example/simple".to_owned()),
                ("UV_INDEX", "https://one.example https://two.example".to_owned()),
                ("SSL_CERT_FILE", "/c.pem".to_owned()),
            ]
        );
        let list = "global.index-url='https://a.example'\n:env:.index-url='https://b.example'\n";
        assert_eq!(translated(list), [("UV_DEFAULT_INDEX", "https://b.example".to_owned())]);
    }
}
