//! The data folder: who may use it, the root credentials in it, and which server holds it. Used by `serve`, `env` and
//! every client verb. It does not know what the store and the worker keep in their subfolders.

use dayfly_types::{AccountId, credentials::Credentials};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{File, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// A data folder that this process holds: no other server can use it until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    // Held for its lock. The file stays: to delete it would let two servers lock two different files.
    _lock: File,
}

/// `credentials.json`: the account and its secrets, made at the first start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keys {
    /// The account.
    pub account: AccountId,
    /// Root user's access key.
    #[serde(flatten)]
    pub root: Credentials,
    /// Seals session credentials and code locations: 32 bytes in hexadecimal.
    pub server_secret: String,
    /// Names this server's cgroups and networks among others on the machine.
    pub server_id: String,
}

/// `server.json`: present while a server runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// Its process id.
    pub pid: u32,
    /// Where it listens, `http://ADDR:PORT`.
    pub endpoint: String,
    /// Region of its configuration.
    pub region: String,
}

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not have the form it should.
    #[error("{path} is damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Another server runs on the folder.
    #[error("another server uses {path}{holder}: stop it first, or choose another folder with --data")]
    Held {
        /// The folder.
        path: PathBuf,
        /// ` (process P, http://ADDR:PORT)`, when known.
        holder: String,
    },
    /// No server has ever run on the folder.
    #[error("no server has run on {0} yet: start one with `dayfly serve`, or name its folder with --data")]
    Unused(PathBuf),
    /// There is no place for the default folder.
    #[error("neither XDG_DATA_HOME nor HOME is set: name a folder with --data")]
    NoHome,
    /// The system gives no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(String),
}

/// The folder to use: `given`, or `dayfly/` in the XDG data home.
pub fn locate(given: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = given {
        return std::path::absolute(path).map_err(at(path));
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("dayfly"))
        .ok_or(Error::NoHome)
}

/// The keys in a folder that a server has used.
pub fn keys(path: &Path) -> Result<Keys, Error> {
    read(&path.join(KEYS))?.ok_or_else(|| Error::Unused(path.to_owned()))
}

/// The server that runs on a folder, as far as its file tells. A server that was killed leaves its file behind.
pub fn server(path: &Path) -> Result<Option<Server>, Error> {
    read(&path.join(SERVER))
}

impl Folder {
    /// Makes the folder if need be (owner only) and takes hold of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let holder = server(path).ok().flatten();
                let holder = holder.map(|s| format!(" (process {}, {})", s.pid, s.endpoint)).unwrap_or_default();
                Err(Error::Held { path: path.to_owned(), holder })
            }
            Err(TryLockError::Error(source)) => Err(Error::File { path: lock_path, source }),
        }
    }

    /// The keys; makes them at the first start.
    pub fn keys(&self) -> Result<Keys, Error> {
        match keys(&self.path) {
            Err(Error::Unused(_)) => {
                let keys = Keys::random()?;
                write(&self.path.join(KEYS), &keys)?;
                Ok(keys)
            }
            found => found,
        }
    }

    /// Says where the server listens, until `Folder` is dropped.
    pub fn announce(&self, endpoint: &str, region: &str) -> Result<(), Error> {
        let server = Server { pid: std::process::id(), endpoint: endpoint.to_owned(), region: region.to_owned() };
        write(&self.path.join(SERVER), &server)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The lock is still held here, so the file is ours or a dead server's.
        let _ = std::fs::remove_file(self.path.join(SERVER));
    }
}

impl Keys {
    fn random() -> Result<Self, Error> {
        Ok(Self {
            account: AccountId::default(),
            root: Credentials {
                access_key_id: format!("AKIA{}", characters::<16>(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")?),
                secret_access_key: characters::<40>(
                    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                )?,
                session_token: None,
            },
            server_secret: characters::<64>(b"0123456789abcdef")?,
            server_id: characters::<12>(b"0123456789abcdef")?,
        })
    }
}

const KEYS: &str = "credentials.json";
const SERVER: &str = "server.json";

/// `N` random characters of `alphabet`, whose length is a power of two, so that each is equally likely.
fn characters<const N: usize>(alphabet: &[u8]) -> Result<String, Error> {
    debug_assert!(alphabet.len().is_power_of_two());
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Damaged { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// Whole or not at all, on disk, and readable by the owner only.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = || -> io::Result<()> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    written().map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_keeps_its_keys_and_has_one_server() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        assert!(matches!(keys(&path), Err(Error::Unused(_))));
        let first = Folder::open(&path).unwrap();
        let made = first.keys().unwrap();
        assert_eq!(made.account.as_str(), "000000000000");
        assert_eq!((made.root.access_key_id.len(), made.root.secret_access_key.len()), (20, 40));
        assert_eq!(hex::decode(&made.server_secret).unwrap().len(), 32);
        first.announce("http://127.0.0.1:1", "us-east-1").unwrap();
        let refused = Folder::open(&path).unwrap_err().to_string();
        assert!(refused.contains("http://127.0.0.1:1") && refused.contains(&std::process::id().to_string()));
        for (name, mode) in [("", 0o700), (KEYS, 0o600), (SERVER, 0o600), ("lock", 0o600)] {
            let found = std::fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{name}");
        }
        drop(first);
        assert!(server(&path).unwrap().is_none());
        let again = Folder::open(&path).unwrap().keys().unwrap();
        assert_eq!(again.root.secret_access_key, made.root.secret_access_key);
        assert_eq!(again.server_secret, made.server_secret);
    }

    #[test]
    fn damaged_keys_are_named_and_not_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        std::fs::write(parent.path().join(KEYS), "{\"account\"").unwrap();
        let error = folder.keys().unwrap_err().to_string();
        assert!(error.contains(KEYS) && error.contains("damaged"), "{error}");
    }

    #[test]
    fn two_folders_get_different_secrets() {
        let (one, other) = (Keys::random().unwrap(), Keys::random().unwrap());
        assert_ne!(one.root.secret_access_key, other.root.secret_access_key);
        assert_ne!(one.server_secret, other.server_secret);
        assert_ne!(one.server_id, other.server_id);
    }
}
