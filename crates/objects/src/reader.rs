//! Content on its way out, piece by piece.

use crate::{
    Error, Object, Objects, PartInfo,
    rows::{CONTENTS, Content, Manifest, Piece, id_key},
};
use bytes::Bytes;
use dayfly_store::{BlobReader, Error as StoreError, Store};
use std::collections::VecDeque;
use tokio::sync::OwnedRwLockReadGuard;
use uuid::Uuid;

/// Most bytes in memory of one reader.
const READ_BYTES: usize = 256 << 10;
/// Times an object is looked up anew when it was replaced meanwhile.
const TRIES: usize = 16;

/// Reads the content of an object as it was when it was opened. The content stays while this lives.
pub struct Reader {
    store: Store,
    /// The content when it is one row, and what is still to be read of it.
    small: Bytes,
    small_left: Bytes,
    manifest: Manifest,
    /// What is still to be read, and the blob of the first of it.
    left: VecDeque<Piece>,
    open: Option<(String, Box<dyn BlobReader>)>,
    _held: Option<OwnedRwLockReadGuard<()>>,
}

impl Objects {
    /// The object under `key`, and its content.
    pub async fn open(&self, bucket: &str, key: &str) -> Result<(Object, Reader), Error> {
        for _ in 0..TRIES {
            let object = self.object(bucket, key).await?;
            if let Some(reader) = self.reader(object.content).await? {
                return Ok((object, reader));
            }
        }
        Err(StoreError::Engine(format!("the content of {bucket}/{key} is not in the store")).into())
    }

    /// A reader of a content; `None` when it is gone.
    async fn reader(&self, content: Uuid) -> Result<Option<Reader>, Error> {
        let held = self.inner.locks.read(&content_lock(content)).await;
        let Some(row) = self.inner.store.tables.get(CONTENTS, &id_key(content)).await? else { return Ok(None) };
        let (small, manifest, held) = match Content::decode(&row.value)? {
            Content::Small(bytes) => (bytes, Manifest::default(), None),
            Content::Manifest(manifest) => (Bytes::new(), manifest, Some(held)),
        };
        let left = manifest.pieces.iter().cloned().collect();
        let store = self.inner.store.clone();
        Ok(Some(Reader { store, small_left: small.clone(), small, manifest, left, open: None, _held: held }))
    }
}

impl Reader {
    /// The parts of an object that was uploaded in parts.
    pub fn parts(&self) -> &[PartInfo] {
        &self.manifest.parts
    }

    /// Length of the whole content.
    pub(crate) fn size(&self) -> u64 {
        self.manifest.pieces.iter().map(|piece| piece.bytes).sum()
    }

    /// From now on reads `length` bytes from `offset`, both within the content.
    pub fn seek(&mut self, offset: u64, length: u64) {
        let end = usize::try_from(offset + length).unwrap_or(usize::MAX).min(self.small.len());
        self.small_left = self.small.slice(usize::try_from(offset).unwrap_or(usize::MAX).min(end)..end);
        self.left = self.slice(offset, length).into();
    }

    /// The pieces of a part of the content, with the ids they have.
    pub(crate) fn slice(&self, offset: u64, length: u64) -> Vec<Piece> {
        let (mut start, end) = (0, offset + length);
        let mut pieces = Vec::new();
        for piece in &self.manifest.pieces {
            let (from, to) = (offset.max(start), end.min(start + piece.bytes));
            if from < to {
                pieces.push(Piece { offset: piece.offset + from - start, bytes: to - from, ..piece.clone() });
            }
            start += piece.bytes;
        }
        pieces
    }

    /// The content itself, when it is one row.
    pub(crate) fn small(&self) -> Option<&Bytes> {
        self.manifest.pieces.is_empty().then_some(&self.small)
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.small_left.is_empty() {
            return Ok(Some(std::mem::take(&mut self.small_left)));
        }
        let Some(piece) = self.left.front_mut() else { return Ok(None) };
        let gone = || StoreError::Engine(format!("blob {} is damaged or gone", piece.sha256));
        let reader = match &mut self.open {
            Some((sha256, reader)) if *sha256 == piece.sha256 => reader,
            _ => {
                let reader = self.store.blobs.open(&piece.sha256).await?.ok_or_else(gone)?;
                &mut self.open.insert((piece.sha256.clone(), reader)).1
            }
        };
        let length = usize::try_from(piece.bytes).unwrap_or(usize::MAX).min(READ_BYTES);
        let read = reader.read(piece.offset, length).await?;
        if read.len() < length {
            return Err(gone().into());
        }
        piece.offset += length as u64;
        piece.bytes -= length as u64;
        if piece.bytes == 0 {
            self.left.pop_front();
        }
        Ok(Some(read))
    }

    /// All of it. The caller has looked at its length.
    pub async fn whole(mut self) -> Result<Bytes, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if self.left.is_empty() && whole.is_empty() {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}

/// Who reads a content shares this lock; who collects it has it alone.
pub(crate) fn content_lock(content: Uuid) -> String {
    format!("content/{content}")
}
