//! Multipart uploads. A part's content becomes the object's without being copied: the object's manifest is the parts'
//! manifests, one after the other.

use crate::{
    About, Cause, Condition, Error, Object, Objects, PARTS_MAX, PartInfo, Received,
    buckets::bucket_lock,
    checksum::{self, Algorithm, Checksum, Kind},
    content::Kept,
    objects::add_content,
    rows::{
        CONTENTS, Content, GARBAGE, Manifest, PARTS, UPLOADS, after_all, from_json, id_at_end, id_key, object_key,
        part_key, to_json, upload_key,
    },
};
use bytes::Bytes;
use dayfly_store::{Batch, Row};
use dayfly_types::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Smallest part but the last, AWS's.
const PART_BYTES_MIN: u64 = 5 << 20;
/// Largest object, AWS's.
const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// An upload that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// When it was begun.
    pub begun: Timestamp,
    /// What the object will be.
    pub about: About,
    /// The object's checksum.
    pub algorithm: Algorithm,
    /// Over what.
    pub kind: Kind,
    /// Whether the client chose the checksum.
    pub chosen: bool,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub(crate) content: Uuid,
    /// Length in bytes.
    pub size: u64,
    /// MD5 in hexadecimal.
    pub etag: String,
    /// When it was put.
    pub modified: Timestamp,
    /// Checksums: first the upload's.
    pub checksums: Vec<Checksum>,
}

/// A part, as the end of an upload names it.
#[derive(Debug, Clone)]
pub struct PartReference {
    /// Its number.
    pub number: u16,
    /// Its entity tag.
    pub etag: String,
    /// What the client takes for its checksum.
    pub checksum: Option<Checksum>,
}

/// An upload in a list.
#[derive(Debug)]
pub struct ListedUpload {
    /// The object's key.
    pub key: String,
    /// The upload's id.
    pub id: String,
    /// The upload.
    pub upload: Upload,
}

impl Objects {
    /// Begins an upload; returns its id. `checksum` is what the client chose.
    pub async fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        about: About,
        checksum: Option<(Algorithm, Kind)>,
    ) -> Result<String, Error> {
        let _there = self.inner.locks.read(&bucket_lock(bucket)).await;
        self.bucket(bucket).await?;
        let id = Uuid::new_v4();
        // AWS's choice for those who make none.
        let (algorithm, kind) = checksum.unwrap_or((Algorithm::Crc64nvme, Kind::FullObject));
        let upload = Upload { begun: self.now(), about, algorithm, kind, chosen: checksum.is_some() };
        self.inner
            .store
            .tables
            .commit(Batch::new().put(UPLOADS, upload_key(bucket, key, id), to_json(&upload)))
            .await?;
        Ok(id.simple().to_string())
    }

    /// The upload with this id.
    pub async fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, Error> {
        let row = self.inner.store.tables.get(UPLOADS, &upload_key(bucket, key, parse_id(id)?)).await?;
        Ok(from_json(UPLOADS, &row.ok_or(Error::NoSuchUpload)?.value)?)
    }

    /// Makes what was received the part `number`, in place of one that has the number already.
    pub async fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u16,
        received: Received,
    ) -> Result<Part, Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.detached(|this| async move {
            let part = Part {
                content: Uuid::new_v4(),
                size: received.bytes,
                etag: hex::encode(received.md5),
                modified: this.now(),
                checksums: received.checksums.clone(),
            };
            let kept = this.keep(received).await?;
            this.name_part(&bucket, &key, &id, number, part, kept).await
        })
        .await
    }

    /// At most `limit` parts after the number `after`.
    pub async fn parts(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        after: u16,
        limit: usize,
    ) -> Result<Vec<(u16, Part)>, Error> {
        self.upload(bucket, key, id).await?;
        self.parts_of(parse_id(id)?, after, limit).await
    }

    /// Makes the parts, in this order, the object. `whole` is what the client takes for its checksum.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        wanted: Vec<PartReference>,
        whole: Option<Checksum>,
        condition: Condition,
    ) -> Result<Object, Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.detached(|this| async move {
            let _alone = this.inner.locks.write(&upload_lock(parse_id(&id)?)).await;
            let upload = this.upload(&bucket, &key, &id).await?;
            let id = parse_id(&id)?;
            let there = this.parts_of(id, 0, PARTS_MAX.into()).await?;
            let chosen = choose(&wanted, &there)?;
            let object = whole_of(&upload, &chosen, this.now())?;
            if whole.is_some_and(|whole| Some(whole) != object.checksum) {
                return Err(Error::BadDigest(upload.algorithm.name()));
            }
            let mut manifest = Manifest::default();
            let mut batch = Batch::new().delete(UPLOADS, upload_key(&bucket, &key, id));
            for (number, part) in &there {
                batch = batch.delete(PARTS, part_key(id, *number));
                if chosen.binary_search_by_key(number, |(chosen, _)| *chosen).is_err() {
                    batch = batch.put(GARBAGE, id_key(part.content), Bytes::new());
                }
            }
            for (number, part) in &chosen {
                let row = this.inner.store.tables.get(CONTENTS, &id_key(part.content)).await?;
                let content = row.map(|row| Content::decode(&row.value)).transpose()?;
                let Some(Content::Manifest(part_manifest)) = content else { return Err(Error::InvalidPart) };
                manifest.pieces.extend(part_manifest.pieces);
                let checksum = part.checksums.first().cloned();
                manifest.parts.push(PartInfo { number: *number, size: part.size, checksum });
                batch = batch.delete(CONTENTS, id_key(part.content));
            }
            // The pieces keep their ids, under which they use their blobs already, so nothing can be swept meanwhile.
            let kept = Kept { content: Content::Manifest(manifest), held: Vec::new() };
            let object = this.name((&bucket, &key, Cause::Upload), object, kept, &condition, batch).await?;
            this.inner.wake.notify_one();
            Ok(object)
        })
        .await
    }

    /// Drops an upload and its parts.
    pub async fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), Error> {
        let row_key = upload_key(bucket, key, parse_id(id)?);
        self.detached(|this| async move {
            let row = this.inner.store.tables.get(UPLOADS, &row_key).await?.ok_or(Error::NoSuchUpload)?;
            this.abort_row(&row).await
        })
        .await
    }

    /// At most `limit` uploads of keys that begin with `prefix`, in order of key, after this key and id.
    pub async fn uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<ListedUpload>, Error> {
        self.bucket(bucket).await?;
        let start = object_key(bucket, "");
        let mut from = object_key(bucket, prefix);
        if let Some((key, id)) = after {
            let last = match parse_id(id) {
                Ok(id) => dayfly_store::after(&upload_key(bucket, key, id)),
                // Without an id: after all uploads of the key.
                Err(_) => [&object_key(bucket, key)[..], &[1]].concat(),
            };
            from = from.max(last);
        }
        let to = after_all(&object_key(bucket, prefix));
        let rows = self.inner.store.tables.scan(UPLOADS, &from, &to, limit, false).await?;
        let mut uploads = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = id_at_end(UPLOADS, &row.key)?;
            let key = &row.key[start.len()..row.key.len() - 17];
            uploads.push(ListedUpload {
                key: String::from_utf8_lossy(key).into_owned(),
                id: id.simple().to_string(),
                upload: from_json(UPLOADS, &row.value)?,
            });
        }
        Ok(uploads)
    }

    /// Names a part whose content is kept.
    pub(crate) async fn name_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u16,
        part: Part,
        kept: Kept,
    ) -> Result<Part, Error> {
        let Kept { content, held } = kept;
        let result = self.name_part_now(bucket, key, id, number, &part, &content).await;
        let blobs: Vec<String> = held.iter().map(|held| held.sha256.clone()).collect();
        drop(held);
        if result.is_err() {
            for sha256 in blobs {
                self.sweep(&sha256).await;
            }
        }
        result.map(|()| part)
    }

    async fn name_part_now(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u16,
        part: &Part,
        content: &Content,
    ) -> Result<(), Error> {
        // Parts come beside each other; the end of the upload waits for those under way. Two of one number take turns.
        let _open = self.inner.locks.read(&upload_lock(parse_id(id)?)).await;
        let _alone = self.inner.locks.write(&format!("part/{id}/{number}")).await;
        self.upload(bucket, key, id).await?;
        let row_key = part_key(parse_id(id)?, number);
        let mut batch = Batch::new().put(PARTS, row_key.clone(), to_json(part));
        batch = add_content(batch, part.content, content);
        let replaced = self.inner.store.tables.get(PARTS, &row_key).await?;
        if let Some(row) = &replaced {
            let old: Part = from_json(PARTS, &row.value)?;
            batch = batch.put(GARBAGE, id_key(old.content), Bytes::new());
        }
        self.inner.store.tables.commit(batch).await?;
        if replaced.is_some() {
            self.inner.wake.notify_one();
        }
        Ok(())
    }

    /// Drops the upload of this row and its parts.
    pub(crate) async fn abort_row(&self, row: &Row) -> Result<(), Error> {
        let id = id_at_end(UPLOADS, &row.key)?;
        let _alone = self.inner.locks.write(&upload_lock(id)).await;
        if self.inner.store.tables.get(UPLOADS, &row.key).await?.is_none() {
            return Err(Error::NoSuchUpload);
        }
        let mut batch = Batch::new().delete(UPLOADS, row.key.clone());
        for (number, part) in self.parts_of(id, 0, PARTS_MAX.into()).await? {
            batch = batch.delete(PARTS, part_key(id, number)).put(GARBAGE, id_key(part.content), Bytes::new());
        }
        self.inner.store.tables.commit(batch).await?;
        self.inner.wake.notify_one();
        Ok(())
    }

    async fn parts_of(&self, id: Uuid, after: u16, limit: usize) -> Result<Vec<(u16, Part)>, Error> {
        let (from, to) = (part_key(id, after.saturating_add(1)), part_key(id, u16::MAX));
        let rows = self.inner.store.tables.scan(PARTS, &from, &to, limit, false).await?;
        let mut parts = Vec::with_capacity(rows.len());
        for row in &rows {
            let number = row.key.last_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes));
            parts.push((number, from_json(PARTS, &row.value)?));
        }
        Ok(parts)
    }
}

/// The parts that the client names, when they are there and fit.
fn choose<'a>(wanted: &[PartReference], there: &'a [(u16, Part)]) -> Result<Vec<(u16, &'a Part)>, Error> {
    if wanted.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(Error::InvalidPartOrder);
    }
    let mut chosen: Vec<(u16, &Part)> = Vec::with_capacity(wanted.len());
    for reference in wanted {
        let at =
            there.binary_search_by_key(&reference.number, |(number, _)| *number).map_err(|_| Error::InvalidPart)?;
        let part = &there[at].1;
        let same_checksum = reference.checksum.as_ref().is_none_or(|checksum| part.checksums.contains(checksum));
        if part.etag != reference.etag || !same_checksum {
            return Err(Error::InvalidPart);
        }
        chosen.push((reference.number, part));
    }
    match chosen.split_last() {
        None => Err(Error::InvalidPart),
        Some((_, before)) if before.iter().any(|(_, part)| part.size < PART_BYTES_MIN) => Err(Error::PartTooSmall),
        Some(_) if chosen.iter().map(|(_, part)| part.size).sum::<u64>() > OBJECT_BYTES_MAX => Err(Error::TooLarge),
        Some(_) => Ok(chosen),
    }
}

/// The object that an upload becomes.
fn whole_of(upload: &Upload, parts: &[(u16, &Part)], now: Timestamp) -> Result<Object, Error> {
    let mut md5s = Vec::with_capacity(16 * parts.len());
    let mut checksums = Vec::with_capacity(parts.len());
    for (_, part) in parts {
        md5s.extend(hex::decode(&part.etag).map_err(|_| Error::InvalidPart)?);
        checksums.extend(part.checksums.first().map(|checksum| (checksum, part.size)));
    }
    Ok(Object {
        content: Uuid::new_v4(),
        small: false,
        size: parts.iter().map(|(_, part)| part.size).sum(),
        etag: format!("{}-{}", hex::encode(checksum::md5(&md5s)), parts.len()),
        modified: now,
        checksum: Checksum::combine(upload.algorithm, upload.kind, &checksums),
        parts: u16::try_from(parts.len()).unwrap_or(PARTS_MAX),
        about: upload.about.clone(),
    })
}

fn parse_id(id: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(id).map_err(|_| Error::NoSuchUpload)
}

fn upload_lock(id: Uuid) -> String {
    format!("upload/{id}")
}
