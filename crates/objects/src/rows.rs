//! How buckets and objects lie in the store.
//!
//! | table | key | value |
//! |---|---|---|
//! | `s3_buckets` | name | [`Bucket`](crate::Bucket), JSON |
//! | `s3_objects` | bucket `\0` key | [`Object`](crate::Object), JSON |
//! | `s3_contents` | content id (16) | `s` and the bytes of a small content; or [`Manifest`], JSON |
//! | `s3_uploads` | bucket `\0` key `\0` upload id (16) | [`Upload`](crate::Upload), JSON |
//! | `s3_parts` | upload id (16) part number (2) | [`Part`](crate::Part), JSON |
//! | `s3_garbage` | content id (16) | empty: nobody names this content any more |
//!
//! A manifest is a list of pieces of blobs. Each piece has an id, under which it uses its blob (see
//! [`dayfly_store::shared`]); the id stays the same when the piece moves from a part to an object.

use bytes::Bytes;
use dayfly_store::Error;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub(crate) const BUCKETS: &str = "s3_buckets";
pub(crate) const OBJECTS: &str = "s3_objects";
pub(crate) const CONTENTS: &str = "s3_contents";
pub(crate) const UPLOADS: &str = "s3_uploads";
pub(crate) const PARTS: &str = "s3_parts";
pub(crate) const GARBAGE: &str = "s3_garbage";

/// First byte of a small content's row; a manifest's is a brace.
const SMALL: u8 = b's';

/// A content as it is kept.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Small(Bytes),
    Manifest(Manifest),
}

/// A content in blobs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// In order.
    pub pieces: Vec<Piece>,
    /// Of an object that was uploaded in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<crate::PartInfo>,
}

/// A part of a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// The user of the blob.
    pub id: Uuid,
    pub sha256: String,
    pub offset: u64,
    pub bytes: u64,
}

impl Content {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Small(bytes) => [&[SMALL], &bytes[..]].concat().into(),
            Self::Manifest(manifest) => to_json(manifest),
        }
    }

    pub fn decode(value: &Bytes) -> Result<Self, Error> {
        if value.first() == Some(&SMALL) {
            return Ok(Self::Small(value.slice(1..)));
        }
        from_json(CONTENTS, value).map(Self::Manifest)
    }
}

/// Key of an object, and of the range of keys that begin with `prefix`: a key is UTF-8, which has no byte 0xff.
pub(crate) fn object_key(bucket: &str, key: &str) -> Vec<u8> {
    [bucket.as_bytes(), &[0], key.as_bytes()].concat()
}

/// What follows every key that begins with `prefix`.
pub(crate) fn after_all(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[0xff]].concat()
}

pub(crate) fn upload_key(bucket: &str, key: &str, id: Uuid) -> Vec<u8> {
    [bucket.as_bytes(), &[0], key.as_bytes(), &[0], id.as_bytes()].concat()
}

pub(crate) fn part_key(upload: Uuid, number: u16) -> Vec<u8> {
    [&upload.as_bytes()[..], &number.to_be_bytes()].concat()
}

/// The id at the end of a row's key.
pub(crate) fn id_at_end(table: &str, key: &[u8]) -> Result<Uuid, Error> {
    let bytes = key.last_chunk::<16>().ok_or_else(|| Error::Engine(format!("odd key in {table}")))?;
    Ok(Uuid::from_bytes(*bytes))
}

pub(crate) fn id_key(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

pub(crate) fn from_json<T: DeserializeOwned>(table: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| Error::Engine(format!("unreadable row of {table}: {error}")))
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Bytes {
    // Plain structs with text keys: there is nothing in them that JSON cannot hold.
    serde_json::to_vec(value).expect("a row is JSON").into()
}
