//! Objects: put, look at, tag, delete.

use crate::{
    Cause, Error, Objects, Received,
    buckets::bucket_lock,
    checksum::Checksum,
    content::Kept,
    rows::{CONTENTS, Content, GARBAGE, OBJECTS, from_json, id_key, object_key, to_json},
};
use bytes::Bytes;
use dayfly_store::{Batch, Precondition, shared};
use dayfly_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use uuid::Uuid;

/// An object without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its content.
    pub(crate) content: Uuid,
    /// Whether the content is one row.
    pub(crate) small: bool,
    /// Length in bytes.
    pub size: u64,
    /// Entity tag without its quotes: MD5 in hexadecimal, or that of the parts' MD5s with `-` and their number.
    pub etag: String,
    /// When it was put, to the second.
    pub modified: Timestamp,
    /// Checksum.
    pub checksum: Option<Checksum>,
    /// Number of parts it was uploaded in; 0 when it was not.
    #[serde(default)]
    pub parts: u16,
    /// The rest.
    #[serde(flatten)]
    pub about: About,
}

/// What a client says about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `content-type`, `cache-control` and so on: the headers that are given back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// User metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A part of an object that was uploaded in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// Its number, from 1; numbers may be missing.
    pub number: u16,
    /// Length in bytes.
    pub size: u64,
    /// Its checksum.
    pub checksum: Option<Checksum>,
}

/// What must hold of the object under a key before it is replaced or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// There is none (`If-None-Match: *`).
    Absent,
    /// It has this entity tag, `*` for any (`If-Match`).
    Tag(String),
}

impl Condition {
    fn check(&self, found: Option<&Object>) -> Result<(), Error> {
        match (self, found) {
            (Self::None, _) | (Self::Absent, None) => Ok(()),
            (Self::Absent, Some(_)) => Err(Error::ConditionFailed),
            (Self::Tag(_), None) => Err(Error::NoSuchKey),
            (Self::Tag(tag), Some(object)) if tag == "*" || *tag == object.etag => Ok(()),
            (Self::Tag(_), Some(_)) => Err(Error::ConditionFailed),
        }
    }
}

/// An object and the version of its row.
pub(crate) struct Found {
    pub object: Object,
    pub version: u64,
}

impl Objects {
    /// Makes what was received the object under `key`, with its first checksum.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        received: Received,
        about: About,
        condition: Condition,
    ) -> Result<Object, Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.detached(|this| async move {
            let object = Object {
                content: Uuid::new_v4(),
                small: false,
                size: received.bytes,
                etag: hex::encode(received.md5),
                modified: this.now(),
                checksum: received.checksums.first().cloned(),
                parts: 0,
                about,
            };
            let kept = this.keep(received).await?;
            this.name((&bucket, &key, Cause::Put), object, kept, &condition, Batch::new()).await
        })
        .await
    }

    /// The object under `key`.
    pub async fn object(&self, bucket: &str, key: &str) -> Result<Object, Error> {
        match self.find(bucket, key).await? {
            Some(found) => Ok(found.object),
            None => {
                self.bucket(bucket).await?;
                Err(Error::NoSuchKey)
            }
        }
    }

    /// Removes the object under `key`, if there is one.
    pub async fn delete(&self, bucket: &str, key: &str, condition: Condition) -> Result<(), Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.detached(|this| async move {
            let row = this.bucket(&bucket).await?;
            let _alone = this.inner.locks.write(&key_lock(&bucket, &key)).await;
            let found = this.find(&bucket, &key).await?;
            condition.check(found.as_ref().map(|found| &found.object))?;
            let Some(found) = found else { return Ok(()) };
            let batch = Batch::new().delete(OBJECTS, object_key(&bucket, &key));
            let batch = abandon(batch, &found.object);
            this.commit(batch, (&row, &key), Cause::Delete, &found.object).await?;
            this.inner.wake.notify_one();
            Ok(())
        })
        .await
    }

    /// Removes many at a time; an outcome for each key.
    pub async fn delete_many(&self, bucket: &str, keys: Vec<String>) -> Vec<(String, Result<(), Error>)> {
        let mut deleting = JoinSet::new();
        for key in keys {
            let (this, bucket) = (self.clone(), bucket.to_owned());
            deleting.spawn(async move {
                let result = this.delete(&bucket, &key, Condition::None).await;
                (key, result)
            });
        }
        deleting.join_all().await
    }

    /// Gives the object other tags.
    pub async fn set_tags(&self, bucket: &str, key: &str, tags: BTreeMap<String, String>) -> Result<(), Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.detached(|this| async move {
            let _alone = this.inner.locks.write(&key_lock(&bucket, &key)).await;
            let Some(mut found) = this.find(&bucket, &key).await? else {
                this.bucket(&bucket).await?;
                return Err(Error::NoSuchKey);
            };
            found.object.about.tags = tags;
            let batch = Batch::new().put(OBJECTS, object_key(&bucket, &key), to_json(&found.object));
            Ok(this.inner.store.tables.commit(batch).await?)
        })
        .await
    }

    pub(crate) async fn find(&self, bucket: &str, key: &str) -> Result<Option<Found>, Error> {
        let Some(row) = self.inner.store.tables.get(OBJECTS, &object_key(bucket, key)).await? else { return Ok(None) };
        Ok(Some(Found { object: from_json(OBJECTS, &row.value)?, version: row.version }))
    }

    /// Puts `object` in the place of what `key` names now, with its content and with what `batch` has already. What
    /// nobody names then is collected.
    pub(crate) async fn name(
        &self,
        place: (&str, &str, Cause),
        mut object: Object,
        kept: Kept,
        condition: &Condition,
        batch: Batch,
    ) -> Result<Object, Error> {
        let Kept { content, held } = kept;
        object.small = matches!(content, Content::Small(_));
        let result = self.name_now(place, &object, &content, condition, batch).await;
        let blobs: Vec<String> = held.iter().map(|held| held.sha256.clone()).collect();
        drop(held);
        if result.is_err() {
            for sha256 in blobs {
                self.sweep(&sha256).await;
            }
        }
        result.map(|()| object)
    }

    async fn name_now(
        &self,
        (bucket, key, cause): (&str, &str, Cause),
        object: &Object,
        content: &Content,
        condition: &Condition,
        mut batch: Batch,
    ) -> Result<(), Error> {
        let _there = self.inner.locks.read(&bucket_lock(bucket)).await;
        let _alone = self.inner.locks.write(&key_lock(bucket, key)).await;
        let row = self.bucket(bucket).await?;
        let found = self.find(bucket, key).await?;
        condition.check(found.as_ref().map(|found| &found.object))?;
        let precondition = found.as_ref().map_or(Precondition::Absent, |found| Precondition::Version(found.version));
        batch = batch.write(OBJECTS, object_key(bucket, key), Some(to_json(object)), precondition);
        batch = add_content(batch, object.content, content);
        if let Some(found) = &found {
            batch = abandon(batch, &found.object);
        }
        self.commit(batch, (&row, key), cause, object).await?;
        if found.is_some_and(|found| !found.object.small) {
            self.inner.wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Timestamp {
        let now = self.inner.clock.now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// Sweeps a blob that may have lost its last user. A failure leaves its mark for the next start.
    pub(crate) async fn sweep(&self, sha256: &str) {
        if let Err(error) = self.inner.store.shared.sweep(sha256).await {
            tracing::warn!(sha256, %error, "a blob stays until the next start");
        }
    }
}

/// Adds a content and its uses of blobs.
pub(crate) fn add_content(batch: Batch, id: Uuid, content: &Content) -> Batch {
    let batch = batch.put(CONTENTS, id_key(id), content.encode());
    match content {
        Content::Small(_) => batch,
        Content::Manifest(manifest) => {
            manifest.pieces.iter().fold(batch, |batch, piece| shared::used(batch, &piece.sha256, &piece.id.to_string()))
        }
    }
}

/// Adds that nobody names the object's content any more.
fn abandon(batch: Batch, object: &Object) -> Batch {
    if object.small {
        batch.delete(CONTENTS, id_key(object.content))
    } else {
        batch.put(GARBAGE, id_key(object.content), Bytes::new())
    }
}

fn key_lock(bucket: &str, key: &str) -> String {
    format!("key/{bucket}/{key}")
}
