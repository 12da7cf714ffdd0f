//! Message queues, in the manner of SQS. Called by the gateway's front-end, and by whatever else sends to queues or polls them.
//!
//! Everything that was acknowledged is on disk: messages, how often each was received, until when it is hidden. So a
//! receipt handle means the same after a restart. Standard queues are in `standard`; FIFO queues, which keep order within
//! groups, in `fifo`.
//!
//! | table | key | value |
//! |---|---|---|
//! | `queues` | `ACCOUNT/REGION/NAME` | [`Configuration`] |
//! | `queue_messages` | id, epoch, time from which it is visible, number | a message; in a FIFO queue the name of a group |
//! | `queue_moved` | id, epoch, number | the time in a message's key, when its first handle does not tell it |
//! | `queue_left` | id, epoch | nothing: what a purge or a delete left is to be removed |
//!
//! A receive reads the beginning of its queue's rows: those that are visible come first, in order, and those that are
//! hidden are never read. What a receive is taking is claimed in memory, so that another one takes what follows.

mod counts;
mod fifo;
mod message;
mod settings;
mod shown;
mod standard;
mod sweeper;
#[cfg(test)]
mod tests;

pub use counts::Counts;
pub use message::{Attribute, AttributeValue, Message, NewMessage, Received, Sent};
pub use settings::{Configuration, Fifo, QueueName, Redrive, Settings};
pub use shown::{attributes_md5, body_md5};

use counts::Tally;
use dayfly_store::{Batch, Error as StoreError, Precondition, Store};
use dayfly_types::{AccountId, Clock, Region, Timestamp};
use message::{Place, Range, from_json, range, to_json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

const QUEUES: &str = "queues";
const MESSAGES: &str = "queue_messages";
const MOVED: &str = "queue_moved";
const LEFT: &str = "queue_left";
/// Most queues of the server.
const QUEUES_MAX: usize = 100_000;
/// Most messages that may be received and neither deleted nor visible again; AWS's.
const IN_FLIGHT_MAX: u64 = 120_000;
/// Longest time that a message may be hidden after it was received; AWS's.
pub const VISIBILITY_S_MAX: u32 = 12 * 3600;
/// Rows read at a time.
const PAGE: usize = 500;

/// The queues of this server. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    queues: RwLock<BTreeMap<QueueName, Arc<Queue>>>,
    /// Held by who makes or deletes a queue.
    changing: tokio::sync::Mutex<()>,
    /// There is something to sweep.
    left: Notify,
    /// Nobody is to wait for messages any more.
    stopped: watch::Sender<bool>,
}

/// A queue.
pub struct Queue {
    name: QueueName,
    /// Read by who sends and receives, until that is on disk; written by who purges and deletes. `None` once deleted.
    life: tokio::sync::RwLock<Option<Configuration>>,
    /// Places that a receive is taking.
    claims: Mutex<BTreeSet<Place>>,
    /// Held by who changes a FIFO queue.
    alone: tokio::sync::Mutex<()>,
    /// Held while a receive looks for messages to claim.
    looking: tokio::sync::Mutex<()>,
    tally: Mutex<Tally>,
    sequence: AtomicU64,
    /// Rung for each message that comes.
    bell: Notify,
}

/// What is asked of a receive.
#[derive(Debug, Clone, Copy)]
pub struct Receive {
    /// Most messages.
    pub messages_max: usize,
    /// How long they are hidden; otherwise as the queue says.
    pub visibility_s: Option<u32>,
    /// How long to wait for the first; otherwise as the queue says.
    pub wait: Option<Duration>,
}

/// Why it was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// `QueueDoesNotExist`.
    #[error("The specified queue does not exist.")]
    NoSuchQueue,
    /// `QueueNameExists`.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    Exists(&'static str),
    /// `OverLimit`: too many messages in flight.
    #[error("Too many messages in flight")]
    TooManyInFlight,
    /// Too many queues.
    #[error("There are {QUEUES_MAX} queues, which is as many as may be")]
    TooManyQueues,
    /// `ReceiptHandleIsInvalid`.
    #[error("The input receipt handle is invalid.")]
    InvalidHandle,
    /// The handle is of an earlier receive, and this queue cares.
    #[error("The receipt handle has expired")]
    HandleExpired,
    /// `MessageNotInflight`.
    #[error("The message referred to is not in flight.")]
    NotInFlight,
    /// The message would be hidden for longer than may be.
    #[error("Total VisibilityTimeout for the message is beyond the limit [{VISIBILITY_S_MAX} seconds]")]
    HiddenTooLong,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Queues {
    /// Opens the queues of `store` and counts what is in them.
    pub async fn start(store: Store, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mut queues = BTreeMap::new();
        let mut pages = store.tables.pages(QUEUES, [], [0xff]);
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let (name, configuration): (QueueName, Configuration) = from_json(QUEUES, &row.value)?;
                let queue = Queue::new(name.clone(), configuration);
                queue.count(&store, clock.now()).await?;
                queues.insert(name, Arc::new(queue));
            }
        }
        drop(pages);
        let inner = Inner {
            store,
            clock,
            queues: RwLock::new(queues),
            changing: Default::default(),
            left: Notify::new(),
            stopped: watch::Sender::new(false),
        };
        let queues = Self { inner: Arc::new(inner) };
        sweeper::start(&queues.inner);
        Ok(queues)
    }

    /// Ends the waiting of receives: from now on, they return what there is.
    pub fn stop(&self) {
        self.inner.stopped.send_replace(true);
    }

    /// The queue of this name.
    pub fn get(&self, name: &QueueName) -> Result<Arc<Queue>, Error> {
        let queues = self.inner.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(name).cloned().ok_or(Error::NoSuchQueue)
    }

    /// At most `limit` queues whose names begin with `prefix`, in order of name, after the name `after`.
    pub fn list(
        &self,
        account: &AccountId,
        region: &Region,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Vec<QueueName> {
        let queues = self.inner.queues.read().unwrap_or_else(PoisonError::into_inner);
        let name = |name: &str| QueueName { account: account.clone(), region: region.clone(), name: name.to_owned() };
        let from = name(prefix.max(after));
        queues
            .range(from..)
            .map(|(name, _)| name)
            .take_while(|name| name.account == *account && name.region == *region && name.name.starts_with(prefix))
            .filter(|name| name.name != after)
            .take(limit)
            .cloned()
            .collect()
    }

    /// Queues whose dead letters come to `target`, in order of name, after the name `after`.
    pub async fn sources_of(&self, target: &QueueName, after: &str, limit: usize) -> Vec<QueueName> {
        let mut found = Vec::new();
        for name in self.list(&target.account, &target.region, "", after, usize::MAX) {
            let Ok(queue) = self.get(&name) else { continue };
            let Ok(configuration) = queue.configuration().await else { continue };
            if configuration.settings.redrive.is_some_and(|redrive| redrive.target == *target) {
                found.push(name);
                if found.len() == limit {
                    break;
                }
            }
        }
        found
    }

    /// Makes a queue. One that is there already is left as it is: `same` tells whether it will do, or what differs.
    pub async fn create(
        &self,
        name: &QueueName,
        settings: Settings,
        tags: BTreeMap<String, String>,
        same: impl FnOnce(&Settings) -> Result<(), &'static str> + Send,
    ) -> Result<(), Error> {
        let _alone = self.inner.changing.lock().await;
        if let Ok(queue) = self.get(name) {
            return same(&queue.configuration().await?.settings).map_err(Error::Exists);
        }
        if self.inner.queues.read().unwrap_or_else(PoisonError::into_inner).len() >= QUEUES_MAX {
            return Err(Error::TooManyQueues);
        }
        let now = self.inner.clock.now();
        let configuration = Configuration { id: Uuid::new_v4(), epoch: 0, settings, tags, created: now, modified: now };
        let batch = Batch::new().write(QUEUES, name.key(), Some(row(name, &configuration)?), Precondition::Absent);
        self.inner.store.tables.commit(batch).await?;
        let queue = Arc::new(Queue::new(name.clone(), configuration));
        self.inner.queues.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), queue);
        Ok(())
    }

    /// Changes settings or tags.
    pub async fn change(&self, queue: &Queue, change: impl FnOnce(&mut Configuration) + Send) -> Result<(), Error> {
        let mut life = queue.life.write().await;
        let mut configuration = life.clone().ok_or(Error::NoSuchQueue)?;
        change(&mut configuration);
        configuration.modified = self.inner.clock.now();
        let batch = Batch::new().put(QUEUES, queue.name.key(), row(&queue.name, &configuration)?);
        self.inner.store.tables.commit(batch).await?;
        *life = Some(configuration);
        drop(life);
        // A shorter delay or another dead-letter queue concerns who waits.
        queue.bell.notify_waiters();
        Ok(())
    }

    /// Forgets all messages.
    pub async fn purge(&self, queue: &Queue) -> Result<(), Error> {
        let mut life = queue.life.write().await;
        let mut configuration = life.clone().ok_or(Error::NoSuchQueue)?;
        let left = range(configuration.id, configuration.epoch);
        configuration.epoch = configuration.epoch.wrapping_add(1);
        let batch = Batch::new().put(QUEUES, queue.name.key(), row(&queue.name, &configuration)?).put(
            LEFT,
            left.to_vec(),
            Vec::new(),
        );
        self.inner.store.tables.commit(batch).await?;
        *life = Some(configuration);
        *queue.tally() = Tally::default();
        drop(life);
        self.inner.left.notify_one();
        Ok(())
    }

    /// Deletes the queue and all its messages.
    pub async fn delete(&self, name: &QueueName) -> Result<(), Error> {
        let _alone = self.inner.changing.lock().await;
        let queue = self.get(name)?;
        let mut life = queue.life.write().await;
        let configuration = life.as_ref().ok_or(Error::NoSuchQueue)?;
        let left = range(configuration.id, configuration.epoch);
        let batch = Batch::new().delete(QUEUES, name.key()).put(LEFT, left.to_vec(), Vec::new());
        self.inner.store.tables.commit(batch).await?;
        *life = None;
        drop(life);
        self.inner.queues.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        queue.bell.notify_waiters();
        self.inner.left.notify_one();
        Ok(())
    }

    /// How many messages there are.
    pub fn counts(&self, queue: &Queue) -> Counts {
        queue.tally().counts(self.inner.clock.now().as_microsecond())
    }
}

impl Queue {
    fn new(name: QueueName, configuration: Configuration) -> Self {
        Self {
            name,
            life: tokio::sync::RwLock::new(Some(configuration)),
            claims: Mutex::default(),
            alone: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            tally: Mutex::default(),
            sequence: AtomicU64::new(0),
            bell: Notify::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// How it behaves now.
    pub async fn configuration(&self) -> Result<Configuration, Error> {
        self.life.read().await.clone().ok_or(Error::NoSuchQueue)
    }

    /// Reads the queue once, to know how much there is and which number was the last.
    async fn count(&self, store: &Store, now: Timestamp) -> Result<(), Error> {
        let configuration = self.configuration().await?;
        let range = range(configuration.id, configuration.epoch);
        let table = if configuration.settings.fifo.is_some() { fifo::FIFO } else { MESSAGES };
        let mut pages = store.tables.pages(table, range, after(&range));
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let (place, message) = if table == MESSAGES {
                    (Place::of_key(&row.key)?, from_json(table, &row.value)?)
                } else {
                    let fifo::Row { visible_us, message } = from_json(table, &row.value)?;
                    (Place { visible_us, sequence: fifo::number(&row.key)? }, message)
                };
                let message: Message = message;
                self.tally().enter(place.visible_us, message.received > 0, now.as_microsecond());
                self.sequence.fetch_max(place.sequence, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// A number for a new message: the time, made larger where that is needed to be above all before.
    fn next_sequence(&self, now_us: i64) -> u64 {
        let time = u64::try_from(now_us).unwrap_or_default();
        let next = |last: u64| Some(time.max(last + 1));
        match self.sequence.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(last) | Err(last) => time.max(last + 1),
        }
    }

    /// Wakes as many receives as there may be work for.
    fn ring(&self, messages: usize) {
        for _ in 0..messages.min(16) {
            self.bell.notify_one();
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The row of a queue.
fn row(name: &QueueName, configuration: &Configuration) -> Result<bytes::Bytes, Error> {
    to_json(&(name, configuration))
}

/// The first key after all that begin with `range`.
fn after(range: &Range) -> Vec<u8> {
    [&range[..], &[0xff; 17]].concat()
}
