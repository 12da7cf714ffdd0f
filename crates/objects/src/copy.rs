//! Copies: of an object, and of a part of one into an upload. Content in blobs is named again, not written again.

use crate::{
    About, Cause, Condition, Error, Object, Objects, Part, Reader,
    checksum::{Algorithm, Digests},
    content::Kept,
    rows::{Content, Manifest},
};
use dayfly_store::Batch;
use std::collections::BTreeSet;
use tokio::task::spawn_blocking;
use uuid::Uuid;

impl Objects {
    /// Puts the content that `reader` reads from its beginning, of the object `source`, under another key. With another
    /// `algorithm` than the source's checksum the content is read once to compute it.
    pub async fn copy(
        &self,
        source: &Object,
        mut reader: Reader,
        (bucket, key): (&str, &str),
        about: About,
        algorithm: Option<Algorithm>,
        condition: Condition,
    ) -> Result<Object, Error> {
        let mut object = Object { content: Uuid::new_v4(), modified: self.now(), about, ..source.clone() };
        let same = |algorithm| source.checksum.as_ref().is_some_and(|checksum| checksum.algorithm == algorithm);
        if let Some(algorithm) = algorithm.filter(|algorithm| !same(*algorithm)) {
            object.checksum = digest(&mut reader, &[algorithm]).await?.1.pop();
            reader.seek(0, source.size);
        }
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.detached(|this| async move {
            let size = object.size;
            let kept = this.name_again(&mut reader, 0, size).await?;
            this.name((&bucket, &key, Cause::Copy), object, kept, &condition, Batch::new()).await
        })
        .await
    }

    /// Makes a part of an object the part `number` of an upload. It is read once, for its tag and checksum.
    pub async fn copy_part(
        &self,
        mut reader: Reader,
        (offset, length): (u64, u64),
        (bucket, key, id): (&str, &str, &str),
        number: u16,
    ) -> Result<Part, Error> {
        let upload = self.upload(bucket, key, id).await?;
        if let Some(small) = reader.small() {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(small.len());
            let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(small.len());
            let mut content = self.receive_part(&[upload.algorithm], length);
            content.write(small.slice(from..to)).await?;
            return self.put_part(bucket, key, id, number, content.finish().await?).await;
        }
        reader.seek(offset, length);
        let (md5, checksums) = digest(&mut reader, &[upload.algorithm]).await?;
        let part =
            Part { content: Uuid::new_v4(), size: length, etag: hex::encode(md5), modified: self.now(), checksums };
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.detached(|this| async move {
            let kept = this.name_again(&mut reader, offset, length).await?;
            this.name_part(&bucket, &key, &id, number, part, kept).await
        })
        .await
    }

    /// The content, or a part of it, once more: the same blobs under new names. `reader` keeps them from being collected
    /// until they are held.
    async fn name_again(&self, reader: &mut Reader, offset: u64, length: u64) -> Result<Kept, Error> {
        if let Some(small) = reader.small() {
            return Ok(Kept { content: Content::Small(small.clone()), held: Vec::new() });
        }
        let mut pieces = reader.slice(offset, length);
        // Each blob once: who holds it twice could wait for a sweep that waits for them.
        let blobs: BTreeSet<String> = pieces.iter().map(|piece| piece.sha256.clone()).collect();
        let mut held = Vec::with_capacity(blobs.len());
        for sha256 in blobs {
            held.push(self.inner.store.shared.hold(&sha256).await);
        }
        for piece in &mut pieces {
            piece.id = Uuid::new_v4();
        }
        let parts = if length == reader.size() { reader.parts().to_vec() } else { Vec::new() };
        Ok(Kept { content: Content::Manifest(Manifest { pieces, parts }), held })
    }
}

/// MD5 and checksums of what is left to be read.
async fn digest(
    reader: &mut Reader,
    algorithms: &[Algorithm],
) -> Result<([u8; 16], Vec<crate::checksum::Checksum>), Error> {
    let mut digests = Digests::new(algorithms);
    while let Some(piece) = reader.next().await? {
        let hashing = spawn_blocking(move || {
            digests.update(&piece);
            digests
        });
        digests = hashing.await.map_err(|_| dayfly_store::Error::Engine("hashing a content ended early".to_owned()))?;
    }
    Ok(digests.finish())
}
