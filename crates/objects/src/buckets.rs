//! Buckets.

use crate::{
    Error, Objects,
    rows::{BUCKETS, OBJECTS, UPLOADS, after_all, from_json, object_key, to_json},
};
use bytes::Bytes;
use dayfly_store::{Batch, Error as StoreError, Precondition};
use dayfly_types::{AccountId, Region, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Most buckets of the server; AWS's default for an account.
const BUCKETS_MAX: usize = 10_000;
/// Beginnings and ends of names that AWS keeps for itself.
const KEPT_BEGINNINGS: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const KEPT_ENDS: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name; one in all accounts.
    pub name: String,
    /// Who owns it.
    pub account: AccountId,
    /// Where it was made.
    pub region: Region,
    /// When it was made.
    pub created: Timestamp,
    /// What was set of it, by name, as whoever set it wrote it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// Whether S3 would take `name` for a bucket.
pub fn valid_bucket_name(name: &str) -> bool {
    let outer = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        && outer(bytes.first())
        && outer(bytes.last())
        && !name.contains("..")
        && name.parse::<Ipv4Addr>().is_err()
        && !KEPT_BEGINNINGS.iter().any(|kept| name.starts_with(kept))
        && !KEPT_ENDS.iter().any(|kept| name.ends_with(kept))
}

impl Objects {
    /// Makes a bucket, whose name must be valid.
    pub async fn create_bucket(&self, name: &str, account: &AccountId, region: &Region) -> Result<Bucket, Error> {
        let bucket = Bucket {
            name: name.to_owned(),
            account: account.clone(),
            region: region.clone(),
            created: self.inner.clock.now(),
            settings: BTreeMap::new(),
        };
        let tables = &self.inner.store.tables;
        if tables.scan(BUCKETS, &[], &[0xff], BUCKETS_MAX, false).await?.len() == BUCKETS_MAX {
            return Err(Error::TooManyBuckets);
        }
        let batch = Batch::new().write(BUCKETS, name.to_owned(), Some(to_json(&bucket)), Precondition::Absent);
        match tables.commit(batch).await {
            Ok(()) => Ok(bucket),
            Err(StoreError::Conflict { .. }) => Err(Error::BucketExists(self.bucket(name).await?)),
            Err(error) => Err(error.into()),
        }
    }

    /// The bucket of this name.
    pub async fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        let row = self.inner.store.tables.get(BUCKETS, name.as_bytes()).await?.ok_or(Error::NoSuchBucket)?;
        Ok(from_json(BUCKETS, &row.value)?)
    }

    /// At most `limit` buckets that begin with `prefix`, in order of name, after the name `after`.
    pub async fn buckets(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Bucket>, Error> {
        let from = if after.is_empty() { prefix.as_bytes().to_vec() } else { dayfly_store::after(after.as_bytes()) };
        let from = from.max(prefix.as_bytes().to_vec());
        let to = after_all(prefix.as_bytes());
        let rows = self.inner.store.tables.scan(BUCKETS, &from, &to, limit, false).await?;
        Ok(rows.iter().map(|row| from_json(BUCKETS, &row.value)).collect::<Result<_, _>>()?)
    }

    /// Sets something of a bucket, or takes it away.
    pub async fn set(&self, name: &str, setting: &str, value: Option<String>) -> Result<(), Error> {
        let _alone = self.inner.locks.write(&bucket_lock(name)).await;
        let mut bucket = self.bucket(name).await?;
        match value {
            Some(value) => bucket.settings.insert(setting.to_owned(), value),
            None => bucket.settings.remove(setting),
        };
        let batch = Batch::new().put(BUCKETS, name.to_owned(), to_json(&bucket));
        Ok(self.inner.store.tables.commit(batch).await?)
    }

    /// Removes an empty bucket; its unfinished uploads are aborted.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.detached(|this| async move {
            // Whoever writes an object shares this lock from looking at the bucket to its commit.
            let _alone = this.inner.locks.write(&bucket_lock(&name)).await;
            this.bucket(&name).await?;
            let tables = &this.inner.store.tables;
            let (from, to) = (object_key(&name, ""), after_all(&object_key(&name, "")));
            if !tables.scan(OBJECTS, &from, &to, 1, false).await?.is_empty() {
                return Err(Error::BucketNotEmpty);
            }
            loop {
                let uploads = tables.scan(UPLOADS, &from, &to, 1, false).await?;
                let Some(upload) = uploads.first() else { break };
                match this.abort_row(upload).await {
                    Ok(()) | Err(Error::NoSuchUpload) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(tables.commit(Batch::new().delete(BUCKETS, Bytes::from(name))).await?)
        })
        .await
    }
}

pub(crate) fn bucket_lock(name: &str) -> String {
    format!("bucket/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_s3_takes() {
        for good in ["abc", "a-b.c", "0.b-1", &"a".repeat(63), "1.2.3.4.5", "my-bucket-2026"] {
            assert!(valid_bucket_name(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "ab",
            &long,
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "192.168.5.4",
            "xn--abc",
            "abc-s3alias",
            "abc--ol-s3",
            "a/b",
            "a b",
            "ä-b",
            "abc\0",
        ] {
            assert!(!valid_bucket_name(bad), "{bad}");
        }
    }
}
