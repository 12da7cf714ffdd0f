//! Content on its way in: hashed and written as it comes, so that memory does not grow with it.

use crate::{
    Error, Objects,
    checksum::{Algorithm, Checksum, Digests, sha256_hex},
    rows::{Content, Manifest, Piece},
};
use bytes::{Bytes, BytesMut};
use dayfly_store::{NewBlob, shared::Held};
use uuid::Uuid;

/// A content up to this size is a row, committed together with its object: one fsync rather than four.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// Pieces are gathered to this size before they are hashed and written.
const GATHERED_BYTES: usize = 512 << 10;

/// A content that is being received. Dropping it removes what was written.
pub struct NewContent {
    objects: Objects,
    bytes_max: u64,
    small_max: usize,
    bytes: u64,
    gathered: BytesMut,
    /// `None` while a piece is being hashed, and for good when that failed.
    digests: Option<Digests>,
    blob: Option<Box<dyn NewBlob>>,
}

/// A content that has come to its end, and is not yet anybody's.
pub struct Received {
    /// Its length.
    pub bytes: u64,
    /// MD5.
    pub md5: [u8; 16],
    /// The checksums that were asked for, in that order.
    pub checksums: Vec<Checksum>,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Small(Bytes),
    Blob(Box<dyn NewBlob>),
}

/// A content that is in the store, and held until an object or a part names it.
pub(crate) struct Kept {
    pub content: Content,
    pub held: Vec<Held>,
}

impl Objects {
    /// Begins the content of an object of at most `bytes_max` bytes, with these checksums.
    pub fn receive(&self, algorithms: &[Algorithm], bytes_max: u64) -> NewContent {
        self.begin(algorithms, bytes_max, SMALL_BYTES_MAX)
    }

    /// Begins the content of a part. However small, it becomes a blob, which the whole can name.
    pub fn receive_part(&self, algorithms: &[Algorithm], bytes_max: u64) -> NewContent {
        self.begin(algorithms, bytes_max, 0)
    }

    fn begin(&self, algorithms: &[Algorithm], bytes_max: u64, small_max: usize) -> NewContent {
        NewContent {
            objects: self.clone(),
            bytes_max,
            small_max,
            bytes: 0,
            gathered: BytesMut::new(),
            digests: Some(Digests::new(algorithms)),
            blob: None,
        }
    }

    /// Stores what was received.
    pub(crate) async fn keep(&self, received: Received) -> Result<Kept, Error> {
        match received.body {
            Body::Small(bytes) => Ok(Kept { content: Content::Small(bytes), held: Vec::new() }),
            Body::Blob(blob) => {
                let bytes = blob.bytes();
                let held = self.inner.store.shared.keep(blob).await?;
                let piece = Piece { id: Uuid::new_v4(), sha256: held.sha256.clone(), offset: 0, bytes };
                let manifest = Manifest { pieces: vec![piece], parts: Vec::new() };
                Ok(Kept { content: Content::Manifest(manifest), held: vec![held] })
            }
        }
    }
}

impl NewContent {
    /// Adds `piece` at the end.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(Error::TooLarge);
        }
        if self.gathered.is_empty() && piece.len() >= GATHERED_BYTES {
            return self.flush(piece).await;
        }
        self.gathered.extend_from_slice(&piece);
        if self.gathered.len() >= GATHERED_BYTES {
            let gathered = self.gathered.split().freeze();
            self.flush(gathered).await?;
        }
        Ok(())
    }

    /// The end: everything is written, but nobody's yet.
    pub async fn finish(mut self) -> Result<Received, Error> {
        let rest = self.gathered.split().freeze();
        if self.blob.is_none() && rest.len() <= self.small_max {
            let mut digests = self.digests.take().ok_or_else(broken)?;
            digests.update(&rest);
            let (md5, checksums) = digests.finish();
            let sha256 = sha256_hex(&rest);
            return Ok(Received { bytes: self.bytes, md5, checksums, sha256, body: Body::Small(rest) });
        }
        self.flush(rest).await?;
        let (md5, checksums) = self.digests.take().ok_or_else(broken)?.finish();
        let blob = self.blob.take().ok_or_else(broken)?;
        Ok(Received { bytes: self.bytes, md5, checksums, sha256: blob.sha256(), body: Body::Blob(blob) })
    }

    /// Hashes and writes `piece`, each beside the other.
    async fn flush(&mut self, piece: Bytes) -> Result<(), Error> {
        if self.blob.is_none() {
            self.blob = Some(self.objects.inner.store.blobs.begin().await?);
        }
        let (Some(mut digests), Some(blob)) = (self.digests.take(), &mut self.blob) else { return Err(broken()) };
        let hashed = piece.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            digests.update(&hashed);
            digests
        });
        blob.write(piece).await?;
        self.digests = Some(hashing.await.map_err(|_| broken())?);
        Ok(())
    }
}

fn broken() -> Error {
    dayfly_store::Error::Engine("a content cannot be written after an error".to_owned()).into()
}
