//! Rows of JSON in a table of the store, for the services whose state is the gateway's own: IAM and the APIs.

use crate::aws::Error;
use bytes::Bytes;
use dayfly_store::{Batch, Error as StoreError, Precondition, Store};
use serde::{Serialize, de::DeserializeOwned};

/// Times that a change is tried anew when another got in between.
const TRIES: usize = 16;

/// A table whose values are JSON.
#[derive(Debug, Clone, Copy)]
pub struct Table(pub &'static str);

/// A value and the version of its row.
pub struct Read<T> {
    pub value: T,
    pub version: u64,
}

/// What there is under a key, for somebody who knows a version of it.
pub enum Newer<T> {
    /// Nothing.
    None,
    /// What is known.
    Same,
    /// Another version.
    Changed(Read<T>),
}

impl Table {
    /// The value under `key`.
    pub async fn get<T: DeserializeOwned>(self, store: &Store, key: &str) -> Result<Option<Read<T>>, Error> {
        let Some(row) = store.tables.get(self.0, key.as_bytes()).await? else { return Ok(None) };
        Ok(Some(Read { value: self.parse(&row.value)?, version: row.version }))
    }

    /// The value under `key`, unless its version is the one that is known already: then it is not read as JSON again.
    pub async fn get_newer<T: DeserializeOwned>(
        self,
        store: &Store,
        key: &str,
        known: Option<u64>,
    ) -> Result<Newer<T>, Error> {
        Ok(match store.tables.get(self.0, key.as_bytes()).await? {
            None => Newer::None,
            Some(row) if known == Some(row.version) => Newer::Same,
            Some(row) => Newer::Changed(Read { value: self.parse(&row.value)?, version: row.version }),
        })
    }

    /// All values whose keys begin with `prefix`, in the order of their keys.
    pub async fn all<T: DeserializeOwned>(self, store: &Store, prefix: &str) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut pages = store.tables.pages(self.0, prefix, [prefix.as_bytes(), &[0xff]].concat());
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                found.push(self.parse(&row.value)?);
            }
        }
        Ok(found)
    }

    /// Keeps a new value; `false` when there is one under the key.
    pub async fn create(self, store: &Store, key: &str, value: &impl Serialize) -> Result<bool, Error> {
        let batch = Batch::new().write(self.0, key.to_owned(), Some(to_json(value)), Precondition::Absent);
        match store.tables.commit(batch).await {
            Err(StoreError::Conflict { .. }) => Ok(false),
            result => result.map(|()| true).map_err(Error::from),
        }
    }

    /// Changes the value under `key`, which `change` may refuse, and returns it with what `change` gave; `None` when there is no such row.
    pub async fn change<T: DeserializeOwned + Serialize, R>(
        self,
        store: &Store,
        key: &str,
        mut change: impl FnMut(&mut T) -> Result<R, Error>,
    ) -> Result<Option<(T, R)>, Error> {
        for _ in 0..TRIES {
            let Some(mut read) = self.get::<T>(store, key).await? else { return Ok(None) };
            let result = change(&mut read.value)?;
            let precondition = Precondition::Version(read.version);
            let batch = Batch::new().write(self.0, key.to_owned(), Some(to_json(&read.value)), precondition);
            match store.tables.commit(batch).await {
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(Some((read.value, result))),
            }
        }
        Err(Error::internal(format!("{} {key} changes all the time", self.0)))
    }

    /// Deletes the row under `key` if `check` lets it; `false` when there is none.
    pub async fn delete<T: DeserializeOwned>(
        self,
        store: &Store,
        key: &str,
        check: impl Fn(&T) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let Some(read) = self.get::<T>(store, key).await? else { return Ok(false) };
            check(&read.value)?;
            let batch = Batch::new().write(self.0, key.to_owned(), None, Precondition::Version(read.version));
            match store.tables.commit(batch).await {
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(true),
            }
        }
        Err(Error::internal(format!("{} {key} changes all the time", self.0)))
    }

    fn parse<T: DeserializeOwned>(self, value: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(value).map_err(|error| Error::internal(format!("unreadable row of {}: {error}", self.0)))
    }
}

/// A value as it is kept.
pub fn to_json(value: &impl Serialize) -> Bytes {
    // Plain structs with text keys: there is nothing in them that JSON cannot hold.
    serde_json::to_vec(value).expect("a row is JSON").into()
}
