//! Asks executables what they are, and remembers what they said: asking takes a tenth of a second of CPU each, and an
//! executable that has not changed says the same again.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// Tells what the interpreter is.
const SCRIPT: &str = include_str!("probe.py");
/// An interpreter that takes longer to say what it is, is none.
const TIMEOUT: Duration = Duration::from_secs(10);
const BYTES_MAX: u64 = 64 << 10;

/// What the script prints.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub(crate) struct Probe {
    pub implementation: String,
    pub version: (u8, u8, u32, String, u32),
    pub cache_tag: Option<String>,
    pub free_threaded: bool,
    pub base_executable: PathBuf,
    pub prefix: PathBuf,
    pub library_folders: Vec<PathBuf>,
    pub library: Option<PathBuf>,
    pub library_folder: Option<PathBuf>,
    pub packages: Vec<PathBuf>,
    pub has_ctypes: bool,
    pub glibc: bool,
}

/// Answers of an earlier start, and of this one.
#[derive(Default)]
pub(crate) struct Probes {
    before: Answers,
    now: Mutex<BTreeMap<PathBuf, Answer>>,
}

/// The file that answers are remembered in.
#[derive(Default, Deserialize, Serialize)]
struct Answers {
    /// What was asked: another version of Dayfly may ask something else.
    script: String,
    answers: BTreeMap<PathBuf, Answer>,
}

#[derive(Clone, PartialEq, Deserialize, Serialize)]
struct Answer {
    file: Identity,
    /// `None` when it is no interpreter.
    probe: Option<Probe>,
}

/// Changes when the file is written to, or replaced, even by one of the same size and time of modification.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
        })
    }
}

impl Probes {
    /// With what is remembered in `file`; nothing, if that cannot be read.
    pub fn remembered(file: &Path) -> Self {
        let before: Option<Answers> = fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { before: before.filter(|before| before.script == SCRIPT).unwrap_or_default(), now: Mutex::default() }
    }

    /// What the executable is. `None` when it is no interpreter, or could not be asked.
    pub fn of(&self, executable: &Path) -> Option<Probe> {
        let file = Identity::of(executable).ok()?;
        let now = || self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = now().get(executable).cloned();
        let known = asked.as_ref().or(self.before.answers.get(executable)).filter(|known| known.file == file);
        let probe = match known {
            Some(known) => known.probe.clone(),
            // An executable that did not get to answer, say on a busy machine, is asked again by the next start.
            None => ask(executable)?,
        };
        if probe.is_none() {
            tracing::debug!(executable = %executable.display(), "not a usable interpreter");
        }
        now().insert(executable.to_owned(), Answer { file, probe: probe.clone() });
        probe
    }

    /// Remembers this start's answers in `file`, in place of those of the last.
    pub fn remember(self, file: &Path) -> io::Result<()> {
        let answers = self.now.into_inner().unwrap_or_else(PoisonError::into_inner);
        if answers == self.before.answers {
            return Ok(());
        }
        let text = serde_json::to_vec(&Answers { script: SCRIPT.to_owned(), answers })?;
        let mut temporary = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
        temporary.write_all(&text)?;
        temporary.persist(file)?;
        Ok(())
    }
}

/// Runs the script: `Some(None)` when the answer is not one of an interpreter, `None` when there is no answer.
fn ask(executable: &Path) -> Option<Option<Probe>> {
    let mut child = Command::new(executable)
        .args(["-I", "-S", "-B", "-c", SCRIPT])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // Not joined: it ends with the pipe, and its result may come too late to matter.
        thread::spawn(move || {
            let mut text = Vec::new();
            let read = stdout.take(BYTES_MAX).read_to_end(&mut text);
            let _ = sender.send(read.map(|_| text));
        });
    }
    let text = receiver.recv_timeout(TIMEOUT);
    // Fails only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
    Some(serde_json::from_slice(&text.ok()?.ok()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_asked_again_when_it_has_changed_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let (program, asked, memory) =
            (folder.path().join("program"), folder.path().join("asked"), folder.path().join("memory"));
        let make = || {
            let text = format!("#!/bin/sh\necho x >> {}\necho '{{}}'\n", asked.display());
            fs::write(folder.path().join("new"), text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(folder.path().join("new"), mode).unwrap();
            fs::rename(folder.path().join("new"), &program).unwrap();
        };
        let times = || fs::read_to_string(&asked).unwrap_or_default().lines().count();
        let start = || {
            let probes = Probes::remembered(&memory);
            assert_eq!(probes.of(&program), None);
            probes.remember(&memory).unwrap();
        };
        make();
        start();
        start();
        assert_eq!(times(), 1);
        make();
        start();
        assert_eq!(times(), 2, "the file is another one");
        fs::write(&memory, "not JSON").unwrap();
        start();
        assert_eq!(times(), 3, "a memory that cannot be read is none");
        let text = fs::read_to_string(&memory).unwrap().replace("Prints, as JSON", "Prints");
        fs::write(&memory, text).unwrap();
        start();
        assert_eq!(times(), 4, "another question was asked");
    }
}
