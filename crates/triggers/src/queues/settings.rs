//! A queue's name, and how it behaves.

use dayfly_types::{AccountId, Region, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};
use uuid::Uuid;

/// Which queue: `arn:aws:sqs:REGION:ACCOUNT:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueName {
    /// Whose it is.
    pub account: AccountId,
    /// Where it is.
    pub region: Region,
    /// 1 to 80 of `[a-zA-Z0-9-_]`; a FIFO queue's ends with `.fifo`.
    pub name: String,
}

/// How a queue behaves. Times are in seconds, the defaults are AWS's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long a message that was received is hidden.
    pub visibility_s: u32,
    /// How long a new message is hidden.
    pub delay_s: u32,
    /// After how long a message is forgotten.
    pub retention_s: u32,
    /// How long a receive waits for a message.
    pub wait_s: u32,
    /// Longest message: body and attributes.
    pub message_bytes_max: u32,
    /// Where messages go that nobody can handle.
    pub redrive: Option<Redrive>,
    /// Order and deduplication; `None` for a standard queue.
    pub fifo: Option<Fifo>,
    /// What is kept and returned, without an effect.
    pub other: BTreeMap<String, String>,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The dead-letter queue.
    pub target: QueueName,
    /// After how many receives.
    pub receives_max: u32,
}

/// What a FIFO queue has more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fifo {
    /// A message without an id for deduplication has the hash of its body.
    pub content_based: bool,
    /// `DeduplicationScope`: duplicates are told apart by group.
    pub by_group: bool,
    /// `FifoThroughputLimit`, without an effect.
    pub throughput_limit: String,
}

/// A queue as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Configuration {
    /// What its messages are kept under.
    pub id: Uuid,
    /// Changes with each purge, so that nothing of before is found after it.
    pub epoch: u32,
    /// How it behaves.
    pub settings: Settings,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// When its settings changed.
    pub modified: Timestamp,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            visibility_s: 30,
            delay_s: 0,
            retention_s: 4 * 24 * 3600,
            wait_s: 0,
            message_bytes_max: 1 << 20,
            redrive: None,
            fifo: None,
            other: BTreeMap::new(),
        }
    }
}

impl QueueName {
    /// The key of its row: what belongs to one account and region is together, in order of name.
    pub(super) fn key(&self) -> String {
        format!("{}/{}/{}", self.account, self.region, self.name)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:sqs:{}:{}:{}", self.region, self.account, self.name)
    }
}

impl FromStr for QueueName {
    type Err = ();

    fn from_str(arn: &str) -> Result<Self, ()> {
        match arn.split(':').collect::<Vec<_>>().as_slice() {
            ["arn", _, "sqs", region, account, name] if !name.is_empty() && name.len() <= 80 => Ok(Self {
                account: account.parse().map_err(drop)?,
                region: region.parse().map_err(drop)?,
                name: (*name).to_owned(),
            }),
            _ => Err(()),
        }
    }
}
