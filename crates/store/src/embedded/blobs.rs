//! Blobs as files: `blobs/ab/cdef…`, written under a temporary name, synced, renamed, and the folder synced, so that a
//! name never stands for half a content.

use super::sync_directory;
use crate::{Blobs, Error};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tokio::task::spawn_blocking;

/// A folder of blobs.
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    /// Opens the folder and removes what a crash left half written.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let temporary = dir.join("tmp");
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("clean", &temporary)(error)),
            _ => {}
        }
        fs::create_dir_all(&temporary).map_err(failed("create", &temporary))?;
        sync_directory(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where the content with this hash is; `None` for what is no hash, so that no caller can reach another file.
    fn place(&self, sha256: &str) -> Option<PathBuf> {
        let valid = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then(|| self.dir.join(&sha256[..2]).join(&sha256[2..]))
    }
}

#[async_trait]
impl Blobs for Files {
    async fn put(&self, content: Bytes) -> Result<String, Error> {
        let dir = self.dir.clone();
        run(move || {
            let sha256 = hex::encode(Sha256::digest(&content));
            write(&dir, &sha256, &content)?;
            Ok(sha256)
        })
        .await
    }

    async fn path(&self, sha256: &str) -> Result<Option<PathBuf>, Error> {
        let Some(place) = self.place(sha256) else { return Ok(None) };
        run(move || match fs::metadata(&place) {
            Ok(_) => Ok(Some(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("find", &place)(error)),
        })
        .await
    }

    async fn get(&self, sha256: &str) -> Result<Option<Bytes>, Error> {
        let Some(place) = self.place(sha256) else { return Ok(None) };
        let expected = sha256.to_owned();
        run(move || {
            let content = match fs::read(&place) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed("read", &place)(error)),
            };
            let actual = hex::encode(Sha256::digest(&content));
            if actual == expected { Ok(Some(content.into())) } else { Err(Error::WrongHash { actual }) }
        })
        .await
    }

    async fn delete(&self, sha256: &str) -> Result<(), Error> {
        let Some(place) = self.place(sha256) else { return Ok(()) };
        run(move || match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &place)(error)),
            _ => Ok(()),
        })
        .await
    }
}

fn write(dir: &Path, sha256: &str, content: &[u8]) -> Result<(), Error> {
    let folder = dir.join(&sha256[..2]);
    let place = folder.join(&sha256[2..]);
    if fs::metadata(&place).is_ok_and(|found| found.len() == content.len() as u64) {
        return Ok(());
    }
    match fs::create_dir(&folder) {
        Ok(()) => sync_directory(dir)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create", &folder)(error)),
    }
    let mut file = tempfile::NamedTempFile::new_in(dir.join("tmp")).map_err(failed("create a file in", dir))?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(failed("write", &place))?;
    file.persist(&place).map_err(|error| failed("rename to", &place)(error.error))?;
    sync_directory(&folder)
}

/// Off the runtime's threads: hashing and syncing megabytes takes long.
async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Engine(format!("a blob task failed: {error}"))))
}

fn failed<'a>(verb: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |error| Error::Engine(format!("cannot {verb} {}: {error}", path.display()))
}
