//! Blobs as files: `blobs/ab/cdef…`, written under a temporary name, synced, renamed, and the folder synced, so that a
//! name never stands for half a content.

use super::sync_directory;
use crate::{BlobReader, Blobs, Error, NewBlob};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

/// Room that blobs leave on their disk, so that the tables can still be written: a twentieth of it, and this at most.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

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
            if !is_there(&dir, &sha256, content.len() as u64) {
                let mut file = temporary(&dir)?;
                file.write_all(&content).map_err(failed("write", file.path()))?;
                keep(&dir, &sha256, file)?;
            }
            Ok(sha256)
        })
        .await
    }

    async fn begin(&self) -> Result<Box<dyn NewBlob>, Error> {
        let dir = self.dir.clone();
        let file = run({
            let dir = dir.clone();
            move || temporary(&dir)
        })
        .await?;
        Ok(Box::new(New { dir, bytes: 0, written: Some(Written { file, hash: Sha256::new() }) }))
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

    async fn open(&self, sha256: &str) -> Result<Option<Box<dyn BlobReader>>, Error> {
        let Some(place) = self.place(sha256) else { return Ok(None) };
        run(move || match fs::File::open(&place) {
            Ok(file) => Ok(Some(Box::new(Reader(Arc::new(file))) as Box<dyn BlobReader>)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &place)(error)),
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

/// A blob that is being written.
struct New {
    dir: PathBuf,
    bytes: u64,
    /// `None` while a piece is being written, and for good when that failed.
    written: Option<Written>,
}

struct Written {
    file: NamedTempFile,
    hash: Sha256,
}

#[async_trait]
impl NewBlob for New {
    async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        let mut written = self.written.take().ok_or_else(broken)?;
        self.bytes += piece.len() as u64;
        let dir = self.dir.clone();
        let written = run(move || {
            check_room(&dir)?;
            written.hash.update(&piece);
            written.file.write_all(&piece).map_err(failed("write", written.file.path()))?;
            Ok(written)
        });
        self.written = Some(written.await?);
        Ok(())
    }

    fn sha256(&self) -> String {
        self.written.as_ref().map(|written| hex::encode(written.hash.clone().finalize())).unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn path(&self) -> Result<PathBuf, Error> {
        self.written.as_ref().map(|written| written.file.path().to_owned()).ok_or_else(broken)
    }

    async fn keep(mut self: Box<Self>) -> Result<(), Error> {
        let Written { file, hash } = self.written.take().ok_or_else(broken)?;
        let (dir, bytes) = (self.dir.clone(), self.bytes);
        run(move || {
            let sha256 = hex::encode(hash.finalize());
            if is_there(&dir, &sha256, bytes) { Ok(()) } else { keep(&dir, &sha256, file) }
        })
        .await
    }
}

/// An open file: it stays readable when its name is removed.
struct Reader(Arc<fs::File>);

#[async_trait]
impl BlobReader for Reader {
    async fn read(&mut self, offset: u64, length: usize) -> Result<Bytes, Error> {
        let file = self.0.clone();
        run(move || {
            let mut piece = vec![0; length];
            let mut filled = 0;
            while filled < length {
                match file.read_at(&mut piece[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Error::Engine(format!("cannot read a blob: {error}"))),
                }
            }
            piece.truncate(filled);
            Ok(piece.into())
        })
        .await
    }
}

/// Refuses to write when the disk is nearly full.
fn check_room(dir: &Path) -> Result<(), Error> {
    let disk = rustix::fs::statvfs(dir).map_err(|error| failed("look at the disk of", dir)(error.into()))?;
    let (size, free) = (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
    if free < (size / 20).min(RESERVE_BYTES_MAX) {
        return Err(Error::Full(format!("{free} bytes are left on the disk of {}", dir.display())));
    }
    Ok(())
}

fn temporary(dir: &Path) -> Result<NamedTempFile, Error> {
    check_room(dir)?;
    NamedTempFile::new_in(dir.join("tmp")).map_err(failed("create a file in", dir))
}

fn is_there(dir: &Path, sha256: &str, bytes: u64) -> bool {
    let place = dir.join(&sha256[..2]).join(&sha256[2..]);
    fs::metadata(&place).is_ok_and(|found| found.len() == bytes)
}

/// Gives a file that is wholly written its name.
fn keep(dir: &Path, sha256: &str, file: NamedTempFile) -> Result<(), Error> {
    let folder = dir.join(&sha256[..2]);
    let place = folder.join(&sha256[2..]);
    match fs::create_dir(&folder) {
        Ok(()) => sync_directory(dir)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create", &folder)(error)),
    }
    file.as_file().sync_all().map_err(failed("write", &place))?;
    file.persist(&place).map_err(|error| failed("rename to", &place)(error.error))?;
    sync_directory(&folder)
}

/// Off the runtime's threads: hashing and syncing megabytes takes long.
async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Engine(format!("a blob task failed: {error}"))))
}

fn failed<'a>(verb: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |error| {
        let text = format!("cannot {verb} {}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(text),
            _ => Error::Engine(text),
        }
    }
}

fn broken() -> Error {
    Error::Engine("a blob cannot be written after an error".to_owned())
}
