//! A function file on its way in: hashed and written as it comes, never whole in memory.

use bytes::Bytes;
use dayfly_scheduler::jobs::FunctionFile;
use dayfly_types::CodeReference;
use sha2::{Digest, Sha256};
use std::{
    io::{self, Write},
    path::Path,
};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

/// Bytes that are hashed and written together.
const WRITE_BYTES: usize = 1 << 20;

/// A file that comes. Removed when it is dropped.
pub struct Incoming {
    /// There but while something is written.
    written: Option<Written>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    size_bytes: u64,
}

struct Written {
    file: NamedTempFile,
    hash: Sha256,
}

/// A file that has come. Removed when it is dropped.
pub struct Arrived {
    file: NamedTempFile,
    code: CodeReference,
}

impl Incoming {
    /// A file in `folder`.
    pub async fn begin(folder: &Path) -> io::Result<Self> {
        let folder = folder.to_owned();
        let file = spawn_blocking(move || NamedTempFile::new_in(folder)).await.map_err(io::Error::other)??;
        let written = Some(Written { file, hash: Sha256::new() });
        Ok(Self { written, waiting: Vec::new(), waiting_bytes: 0, size_bytes: 0 })
    }

    /// Takes the next piece.
    pub async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        self.waiting_bytes += piece.len();
        self.size_bytes += piece.len() as u64;
        self.waiting.push(piece);
        if self.waiting_bytes >= WRITE_BYTES { self.write_out().await } else { Ok(()) }
    }

    /// All has come.
    pub async fn finish(mut self) -> io::Result<Arrived> {
        self.write_out().await?;
        let Written { file, hash } = self.written.take().ok_or_else(broken)?;
        Ok(Arrived { file, code: CodeReference { sha256: hex::encode(hash.finalize()), size_bytes: self.size_bytes } })
    }

    async fn write_out(&mut self) -> io::Result<()> {
        let mut written = self.written.take().ok_or_else(broken)?;
        let pieces = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let write = move || {
            for piece in pieces {
                written.hash.update(&piece);
                written.file.write_all(&piece)?;
            }
            Ok::<_, io::Error>(written)
        };
        self.written = Some(spawn_blocking(write).await.map_err(io::Error::other)??);
        Ok(())
    }
}

impl Arrived {
    /// For the scheduler.
    pub fn function_file(&self) -> FunctionFile {
        FunctionFile { path: self.file.path().to_owned(), code: self.code.clone() }
    }
}

fn broken() -> io::Error {
    io::Error::other("an earlier write failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_hashed_as_it_comes_and_removed_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut incoming = Incoming::begin(folder.path()).await.unwrap();
        for _ in 0..5 {
            incoming.write(Bytes::from(vec![7; 700_000])).await.unwrap();
        }
        let arrived = incoming.finish().await.unwrap();
        let file = arrived.function_file();
        let content = std::fs::read(&file.path).unwrap();
        assert_eq!((content.len(), file.code.size_bytes), (3_500_000, 3_500_000));
        assert_eq!(file.code.sha256, hex::encode(Sha256::digest(&content)));
        drop(arrived);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
