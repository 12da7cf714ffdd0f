//! Collects contents that no object and no part names any more: their uses of blobs go, and blobs without a use are
//! deleted. A content that is being read waits. A crash leaves rows that the next start takes up.

use crate::{
    Error, Inner, Objects,
    reader::content_lock,
    rows::{CONTENTS, Content, GARBAGE, id_at_end, id_key},
};
use dayfly_store::{Batch, shared};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};
use uuid::Uuid;

/// Longest time until contents that were being read are tried again.
const PAUSE: Duration = Duration::from_secs(20);
/// Contents collected at a time.
const PAGE: usize = 32;

/// Collects until the objects are closed.
pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(run(Arc::downgrade(inner), inner.wake.clone()));
}

async fn run(inner: Weak<Inner>, wake: Arc<tokio::sync::Notify>) {
    while let Some(inner) = inner.upgrade() {
        match (Objects { inner, origin: Arc::default() }).collect().await {
            Ok(()) => {}
            Err(Error::Store(dayfly_store::Error::Closed)) => return,
            Err(error) => tracing::warn!(%error, "collecting deleted objects"),
        }
        let _ = timeout(PAUSE, wake.notified()).await;
    }
}

impl Objects {
    /// One pass over everything that can be collected.
    pub(crate) async fn collect(&self) -> Result<(), Error> {
        let mut pages = self.inner.store.tables.pages(GARBAGE, [], [0xff; 17]).of(PAGE);
        while let Some(rows) = pages.next().await? {
            let mut collecting = JoinSet::new();
            for row in &rows {
                let (this, id) = (self.clone(), id_at_end(GARBAGE, &row.key)?);
                collecting.spawn(async move { this.collect_content(id).await });
            }
            while let Some(collected) = collecting.join_next().await {
                collected.unwrap_or(Ok(()))?;
            }
        }
        Ok(())
    }

    async fn collect_content(&self, id: Uuid) -> Result<(), Error> {
        let Some(_alone) = self.inner.locks.try_write(&content_lock(id)) else { return Ok(()) };
        let mut batch = Batch::new().delete(GARBAGE, id_key(id)).delete(CONTENTS, id_key(id));
        let mut blobs = BTreeSet::new();
        if let Some(row) = self.inner.store.tables.get(CONTENTS, &id_key(id)).await?
            && let Content::Manifest(manifest) = Content::decode(&row.value)?
        {
            for piece in manifest.pieces {
                batch = shared::unused(batch, &piece.sha256, &piece.id.to_string());
                blobs.insert(piece.sha256);
            }
        }
        self.inner.store.tables.commit(batch).await?;
        for sha256 in blobs {
            self.sweep(&sha256).await;
        }
        Ok(())
    }
}
