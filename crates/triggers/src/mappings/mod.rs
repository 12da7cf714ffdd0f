//! Event source mappings: which queue's messages call which function. Called by the gateway; each enabled mapping has a
//! poller (`poller`), which sleeps until its queue has something visible.
//!
//! | table | key | value |
//! |---|---|---|
//! | `event_source_mappings` | UUID | [`Mapping`] |

mod event;
mod poller;

use crate::{
    patterns::{Invalid, Pattern},
    queues::{QueueName, Queues},
};
use dayfly_scheduler as scheduler;
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{Clock, FunctionArn, Timestamp};
use poller::Poller;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use thiserror::Error;
use uuid::Uuid;

const MAPPINGS: &str = "event_source_mappings";
/// Most mappings of the server.
const MAPPINGS_MAX: usize = 10_000;

/// Messages of a queue call a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its name.
    pub id: Uuid,
    /// The function, with a qualifier perhaps.
    pub function: FunctionArn,
    /// The queue.
    pub source: QueueName,
    /// Most messages of a call.
    pub batch_size: u32,
    /// How long to wait for a full batch, in seconds.
    pub window_s: u32,
    /// Event patterns; messages that match none are deleted. None at all takes everything.
    pub filters: Vec<String>,
    /// The function says which messages failed.
    pub reports_failures: bool,
    /// Most calls at a time.
    pub concurrency: Option<u32>,
    /// Whether it runs.
    pub enabled: bool,
    /// When it was changed.
    pub modified: Timestamp,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// The mappings. Cheap to clone.
#[derive(Clone)]
pub struct Mappings {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    parts: poller::Parts,
    mappings: Mutex<BTreeMap<Uuid, Entry>>,
    /// Held by who changes a mapping.
    changing: tokio::sync::Mutex<()>,
}

struct Entry {
    mapping: Mapping,
    poller: Option<Poller>,
}

/// Why it was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// `ResourceNotFoundException`.
    #[error("The resource you requested does not exist.")]
    NotFound,
    /// `ResourceConflictException`.
    #[error(
        "An event source mapping with SQS arn (\" {arn} \") and function (\" {function} \") already exists. Please update \
         or delete the existing mapping with UUID {id}"
    )]
    Exists {
        /// The queue.
        arn: QueueName,
        /// The function.
        function: String,
        /// The mapping that is there.
        id: Uuid,
    },
    /// A filter.
    #[error("Invalid filter pattern definition: {0}")]
    Pattern(#[from] Invalid),
    /// Too many.
    #[error("There are {MAPPINGS_MAX} event source mappings, which is as many as may be")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Mappings {
    /// Opens the mappings of `store`, and starts the pollers of those that are enabled.
    pub async fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        queues: Queues,
        scheduler: scheduler::Handle,
    ) -> Result<Self, Error> {
        let parts = poller::Parts { clock, queues, scheduler };
        let mut mappings = BTreeMap::new();
        let mut pages = store.tables.pages(MAPPINGS, [], [0xff; 17]);
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let mapping: Mapping = serde_json::from_slice(&row.value)
                    .map_err(|error| StoreError::Engine(format!("an event source mapping cannot be read: {error}")))?;
                let poller = Poller::of(&parts, &mapping)?;
                mappings.insert(mapping.id, Entry { mapping, poller });
            }
        }
        drop(pages);
        let inner = Inner { store, parts, mappings: Mutex::new(mappings), changing: Default::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keeps a new mapping and starts its poller. On disk when it returns.
    pub async fn create(&self, mapping: Mapping) -> Result<(), Error> {
        let _alone = self.inner.changing.lock().await;
        {
            let mappings = self.mappings();
            if mappings.len() >= MAPPINGS_MAX {
                return Err(Error::TooMany);
            }
            let same = |other: &Mapping| other.source == mapping.source && other.function == mapping.function;
            if let Some(other) = mappings.values().find(|entry| same(&entry.mapping)) {
                let function = mapping.function.name.to_string();
                return Err(Error::Exists { arn: mapping.source, function, id: other.mapping.id });
            }
        }
        self.keep(mapping).await
    }

    /// The mapping of this name.
    pub fn get(&self, id: Uuid) -> Result<Mapping, Error> {
        self.mappings().get(&id).map(|entry| entry.mapping.clone()).ok_or(Error::NotFound)
    }

    /// At most `limit` mappings that `wanted` takes, in order of name, after the name `after`.
    pub fn list(&self, after: Option<Uuid>, limit: usize, wanted: impl Fn(&Mapping) -> bool) -> Vec<Mapping> {
        let mappings = self.mappings();
        let follows = |id: &Uuid| after.is_none_or(|after| *id > after);
        let found = mappings.iter().filter(|(id, entry)| follows(id) && wanted(&entry.mapping));
        found.map(|(_, entry)| entry.mapping.clone()).take(limit).collect()
    }

    /// Changes a mapping; its poller goes on as it says then. On disk when it returns.
    pub async fn update(&self, id: Uuid, change: impl FnOnce(&mut Mapping) + Send) -> Result<Mapping, Error> {
        let _alone = self.inner.changing.lock().await;
        let mut mapping = self.get(id)?;
        change(&mut mapping);
        mapping.modified = self.inner.parts.clock.now();
        self.keep(mapping.clone()).await?;
        Ok(mapping)
    }

    /// Deletes a mapping. Calls under way end as they would.
    pub async fn delete(&self, id: Uuid) -> Result<Mapping, Error> {
        let _alone = self.inner.changing.lock().await;
        let mapping = self.get(id)?;
        self.inner.store.tables.commit(Batch::new().delete(MAPPINGS, id.as_bytes().to_vec())).await?;
        self.mappings().remove(&id);
        Ok(mapping)
    }

    /// Takes no more messages; waits for the calls under way, at most `deadline`, so that what they handled is deleted.
    pub async fn drain(&self, deadline: Duration) {
        let pollers: HashMap<Uuid, Poller> =
            self.mappings().iter_mut().filter_map(|(id, entry)| Some((*id, entry.poller.take()?))).collect();
        let ended = async {
            for poller in pollers.into_values() {
                poller.end().await;
            }
        };
        let _late = tokio::time::timeout(deadline, ended).await;
    }

    async fn keep(&self, mapping: Mapping) -> Result<(), Error> {
        for filter in &mapping.filters {
            Pattern::parse(filter)?;
        }
        let value = serde_json::to_vec(&mapping)
            .map_err(|error| StoreError::Engine(format!("an event source mapping cannot be written: {error}")))?;
        self.inner.store.tables.commit(Batch::new().put(MAPPINGS, mapping.id.as_bytes().to_vec(), value)).await?;
        // The poller that was there ends first.
        self.mappings().remove(&mapping.id);
        let poller = Poller::of(&self.inner.parts, &mapping)?;
        self.mappings().insert(mapping.id, Entry { mapping, poller });
        Ok(())
    }

    fn mappings(&self) -> MutexGuard<'_, BTreeMap<Uuid, Entry>> {
        self.inner.mappings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
