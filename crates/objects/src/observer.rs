//! Who is told of changes. What the observer makes of a change is on disk with it, or neither is.

use crate::{Bucket, Object, Objects};
use dayfly_store::Batch;
use dayfly_types::Timestamp;
use std::sync::Arc;

/// Is told of each object that comes or goes.
pub trait Observer: Send + Sync + 'static {
    /// Adds to the commit of the change.
    fn changed(&self, batch: Batch, change: &Change<'_>) -> Batch;
    /// The change is on disk.
    fn committed(&self);
}

/// An object came or went.
#[derive(Debug)]
pub struct Change<'a> {
    /// Where.
    pub bucket: &'a Bucket,
    /// Which.
    pub key: &'a str,
    /// How.
    pub cause: Cause,
    /// The object that came or went.
    pub object: &'a Object,
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub origin: &'a Origin,
}

/// How an object came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was put.
    Put,
    /// It was copied.
    Copy,
    /// Its upload in parts was completed.
    Upload,
    /// It was deleted.
    Delete,
}

/// Who asks for a change, as far as observers care.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// ARN of who asks.
    pub requester: String,
    /// Where the request came from.
    pub address: String,
    /// Id of the request.
    pub request_id: String,
    /// Its trace header.
    pub trace: Option<String>,
}

impl Objects {
    /// From now on `observer` is told. There is one at most.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let _first = self.inner.observer.set(observer);
    }

    /// The same objects, for changes that `origin` asks for.
    #[must_use]
    pub fn asked_by(&self, origin: Origin) -> Self {
        Self { origin: Arc::new(origin), ..self.clone() }
    }

    /// Commits a change of an object, and what the observer makes of it.
    pub(crate) async fn commit(
        &self,
        batch: Batch,
        (bucket, key): (&Bucket, &str),
        cause: Cause,
        object: &Object,
    ) -> Result<(), dayfly_store::Error> {
        let observer = self.inner.observer.get();
        let at = self.inner.clock.now();
        let change = Change { bucket, key, cause, object, at, origin: &self.origin };
        let batch = match observer {
            Some(observer) => observer.changed(batch, &change),
            None => batch,
        };
        self.inner.store.tables.commit(batch).await?;
        if let Some(observer) = observer {
            observer.committed();
        }
        Ok(())
    }
}
