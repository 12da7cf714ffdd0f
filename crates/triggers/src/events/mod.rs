//! EventBridge's rules: events that match a pattern, and times that a schedule names, go to functions and queues. Called by
//! the gateway.
//!
//! An event is accepted in one commit with what it means for each target, a firing of a schedule with the time up to which
//! its rule has fired. From there [`Deliveries`] take it, until it has arrived or is a day old. A crash in between delivers
//! again, never not at all. What a schedule missed while the server was down is made up for by one firing at the next start;
//! what it missed while the rule was disabled is not. A time that has fired does not fire again when the clock is set back.
//!
//! | table | key | value |
//! |---|---|---|
//! | `event_rules` | `ACCOUNT/REGION/NAME` | [`Rule`] |

mod input;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use input::{is_path, is_template};

use crate::{
    deliveries::{Deliveries, Delivery, Sender},
    patterns::{self, Pattern},
};
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{AccountId, Clock, Region, Timestamp};
use schedule::Schedule;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use thiserror::Error;
use tokio::sync::Notify;
use uuid::Uuid;

/// EventBridge, in policies.
const SERVICE: &str = "events.amazonaws.com";
const RULES: &str = "event_rules";
/// Most rules of the server.
const RULES_MAX: usize = 10_000;
/// Most targets of a rule; AWS's.
pub const TARGETS_MAX: usize = 5;
/// Longest sleep of the timer, so that a clock that is set is seen.
const NAP: Duration = Duration::from_secs(30);

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Whose it is.
    pub account: AccountId,
    /// Where it is.
    pub region: Region,
    /// Its name.
    pub name: String,
    /// Which events it takes.
    pub pattern: Option<String>,
    /// When it fires.
    pub schedule: Option<String>,
    /// Whether it does.
    pub enabled: bool,
    /// What its owner says about it.
    pub description: Option<String>,
    /// Kept and returned.
    pub role: Option<String>,
    /// Where its events go.
    pub targets: Vec<Target>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// From when on its schedule counts.
    pub since: Timestamp,
    /// Up to when its schedule has fired.
    pub fired: Timestamp,
}

/// Where events of a rule go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Target {
    /// Its name within the rule.
    pub id: String,
    /// A function or a queue.
    pub arn: String,
    /// Kept and returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// What it gets in place of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Which part of the event it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_path: Option<String>,
    /// How its text is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_transformer: Option<InputTransformer>,
    /// For a FIFO queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqs_parameters: Option<SqsParameters>,
    /// Where goes what cannot be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_config: Option<DeadLetterConfig>,
}

/// A text with parts of the event in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InputTransformer {
    /// Paths of the parts, by name.
    pub input_paths_map: BTreeMap<String, String>,
    /// The text, with `<name>` where a part goes.
    pub input_template: String,
}

/// For a FIFO queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SqsParameters {
    /// The group of the messages.
    pub message_group_id: String,
}

/// Where goes what cannot be delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeadLetterConfig {
    /// A queue.
    pub arn: String,
}

/// Rules and what they lead to. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    deliveries: Deliveries,
    rules: Mutex<BTreeMap<String, Known>>,
    /// Held by who changes a rule, and by the timer while one fires.
    changing: tokio::sync::Mutex<()>,
    /// Rules have changed.
    changed: Notify,
}

/// A rule with what was read out of it.
#[derive(Clone)]
struct Known {
    rule: Rule,
    pattern: Option<Pattern>,
    next: Option<Timestamp>,
}

/// Why it was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// `ResourceNotFoundException`.
    #[error("Rule {0} does not exist on EventBus default.")]
    NoSuchRule(String),
    /// `InvalidEventPatternException`.
    #[error("Event pattern is not valid. Reason: {0}")]
    Pattern(#[from] patterns::Invalid),
    /// `ValidationException`.
    #[error("Parameter ScheduleExpression is not valid. Reason: {0}")]
    Schedule(#[from] schedule::Invalid),
    /// `ValidationException`.
    #[error("Rule can't be deleted since it has targets.")]
    HasTargets,
    /// `LimitExceededException`.
    #[error("The requested resource exceeds the maximum number allowed.")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Events {
    /// Opens the rules of `store`, and starts the timer.
    pub async fn start(store: Store, clock: Arc<dyn Clock>, deliveries: Deliveries) -> Result<Self, Error> {
        let mut rules = BTreeMap::new();
        let mut pages = store.tables.pages(RULES, [], [0xff]);
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let rule: Rule = serde_json::from_slice(&row.value)
                    .map_err(|error| StoreError::Engine(format!("a rule cannot be read: {error}")))?;
                rules.insert(rule.key(), Known::of(rule)?);
            }
        }
        drop(pages);
        let inner = Arc::new(Inner {
            store,
            clock,
            deliveries,
            rules: Mutex::new(rules),
            changing: Default::default(),
            changed: Notify::new(),
        });
        tokio::spawn(timer(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// The rule of this name.
    pub fn get(&self, account: &AccountId, region: &Region, name: &str) -> Result<Rule, Error> {
        let known = self.inner.rules().get(&key(account, region, name)).map(|known| known.rule.clone());
        known.ok_or_else(|| Error::NoSuchRule(name.to_owned()))
    }

    /// At most `limit` rules whose names begin with `prefix`, in order of name, after the name `after`.
    pub fn list(&self, account: &AccountId, region: &Region, prefix: &str, after: &str, limit: usize) -> Vec<Rule> {
        let rules = self.inner.rules();
        let start = key(account, region, prefix);
        let wanted = rules.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start));
        let found = wanted.map(|(_, known)| &known.rule).filter(|rule| rule.name.as_str() > after);
        found.take(limit).cloned().collect()
    }

    /// Makes a rule, or changes the one that is there. On disk when it returns.
    pub async fn put(
        &self,
        name: (&AccountId, &Region, &str),
        change: impl FnOnce(&mut Rule) + Send,
    ) -> Result<Rule, Error> {
        let inner = &self.inner;
        let _alone = inner.changing.lock().await;
        let (account, region, name) = name;
        let now = inner.clock.now();
        let before = self.get(account, region, name).ok();
        if before.is_none() && inner.rules().len() >= RULES_MAX {
            return Err(Error::TooMany);
        }
        let mut rule = before.clone().unwrap_or_else(|| Rule {
            account: account.clone(),
            region: region.clone(),
            name: name.to_owned(),
            pattern: None,
            schedule: None,
            enabled: true,
            description: None,
            role: None,
            targets: Vec::new(),
            tags: BTreeMap::new(),
            since: now,
            fired: now,
        });
        change(&mut rule);
        if rule.targets.len() > TARGETS_MAX {
            return Err(Error::TooMany);
        }
        match before {
            Some(before) if before.schedule == rule.schedule && before.enabled == rule.enabled => {}
            // Another schedule begins now; what was missed while it was disabled is not made up for.
            Some(before) if before.schedule == rule.schedule => rule.fired = now,
            _ => (rule.since, rule.fired) = (now, now),
        }
        let known = Known::of(rule.clone())?;
        inner.store.tables.commit(Batch::new().put(RULES, rule.key(), rule.row()?)).await?;
        inner.rules().insert(rule.key(), known);
        inner.changed.notify_one();
        Ok(rule)
    }

    /// Changes a rule that is there.
    pub async fn update(
        &self,
        name: (&AccountId, &Region, &str),
        change: impl FnOnce(&mut Rule) + Send,
    ) -> Result<Rule, Error> {
        self.get(name.0, name.1, name.2)?;
        self.put(name, change).await
    }

    /// Deletes a rule, which must have no targets.
    pub async fn delete(&self, account: &AccountId, region: &Region, name: &str) -> Result<(), Error> {
        let _alone = self.inner.changing.lock().await;
        let Ok(rule) = self.get(account, region, name) else { return Ok(()) };
        if !rule.targets.is_empty() {
            return Err(Error::HasTargets);
        }
        self.inner.store.tables.commit(Batch::new().delete(RULES, rule.key())).await?;
        self.inner.rules().remove(&rule.key());
        Ok(())
    }

    /// Takes events, each with all its fields. What they mean for the targets of rules is on disk when it returns.
    pub async fn accept(&self, account: &AccountId, region: &Region, events: &[Value]) -> Result<(), Error> {
        let batch = self.add(Batch::new(), account, region, events);
        if !batch.writes.is_empty() {
            self.inner.store.tables.commit(batch).await?;
            self.inner.deliveries.posted();
        }
        Ok(())
    }

    /// Adds to a batch what events mean for the targets of rules. Whoever commits it says so to the deliveries.
    #[must_use]
    pub fn add(&self, mut batch: Batch, account: &AccountId, region: &Region, events: &[Value]) -> Batch {
        let start = key(account, region, "");
        let rules = self.inner.rules();
        let own = rules.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start));
        for known in own.map(|(_, known)| known).filter(|known| known.rule.enabled) {
            for event in events.iter().filter(|event| known.pattern.as_ref().is_some_and(|p| p.matches(event))) {
                batch = self.inner.post(batch, &known.rule, event);
            }
        }
        batch
    }
}

impl Inner {
    /// Fires what is due; the time of the next firing.
    async fn fire(&self) -> Result<Option<Timestamp>, Error> {
        let _alone = self.changing.lock().await;
        let now = self.clock.now();
        let due: Vec<Known> = {
            let rules = self.rules();
            rules.values().filter(|known| known.next.is_some_and(|next| next <= now)).cloned().collect()
        };
        for known in due {
            let Known { mut rule, next, .. } = known;
            let at = next.unwrap_or(now);
            rule.fired = now;
            let event = event(
                &rule.account,
                &rule.region,
                at,
                Fields {
                    source: "aws.events",
                    detail_type: "Scheduled Event",
                    resources: json!([rule.arn()]),
                    detail: json!({}),
                },
            );
            let batch = self.post(Batch::new().put(RULES, rule.key(), rule.row()?), &rule, &event);
            self.store.tables.commit(batch).await?;
            self.deliveries.posted();
            let known = Known::of(rule.clone())?;
            self.rules().insert(rule.key(), known);
        }
        Ok(self.rules().values().filter_map(|known| known.next).min())
    }

    fn rules(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to `batch` what `event` means for the targets of `rule`.
    fn post(&self, mut batch: Batch, rule: &Rule, event: &Value) -> Batch {
        for target in &rule.targets {
            let sender =
                Sender { service: SERVICE.to_owned(), arn: rule.arn(), account: rule.account.clone(), by_role: false };
            let text = input::text(target, event, &rule.name, &rule.arn());
            let mut delivery = Delivery::new(sender, target.arn.clone(), text);
            delivery.group = target.sqs_parameters.as_ref().map(|parameters| parameters.message_group_id.clone());
            delivery.dead_letters = target.dead_letter_config.as_ref().map(|dead| dead.arn.clone());
            batch = self.deliveries.post(batch, delivery);
        }
        batch
    }
}

impl Known {
    fn of(rule: Rule) -> Result<Self, Error> {
        let pattern = rule.pattern.as_deref().map(Pattern::parse).transpose()?;
        let schedule = rule.schedule.as_deref().map(Schedule::parse).transpose()?;
        let next =
            schedule.as_ref().filter(|_| rule.enabled).and_then(|schedule| schedule.next(rule.since, rule.fired));
        Ok(Self { rule, pattern, next })
    }
}

impl Rule {
    /// `arn:aws:events:REGION:ACCOUNT:rule/NAME`.
    pub fn arn(&self) -> String {
        format!("arn:aws:events:{}:{}:rule/{}", self.region, self.account, self.name)
    }

    fn key(&self) -> String {
        key(&self.account, &self.region, &self.name)
    }

    fn row(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self)
            .map_err(|error| StoreError::Engine(format!("a rule cannot be written: {error}")).into())
    }
}

/// What differs between events.
pub struct Fields<'a> {
    /// `source`.
    pub source: &'a str,
    /// `detail-type`.
    pub detail_type: &'a str,
    /// `resources`.
    pub resources: Value,
    /// `detail`.
    pub detail: Value,
}

/// An event with all its fields, and a new id.
pub fn event(account: &AccountId, region: &Region, at: Timestamp, fields: Fields<'_>) -> Value {
    json!({
        "version": "0",
        "id": Uuid::new_v4(),
        "detail-type": fields.detail_type,
        "source": fields.source,
        "account": account,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": region,
        "resources": fields.resources,
        "detail": fields.detail,
    })
}

fn key(account: &AccountId, region: &Region, name: &str) -> String {
    format!("{account}/{region}/{name}")
}

/// Fires schedules, for as long as the events are there.
async fn timer(events: Weak<Inner>) {
    loop {
        let Some(inner) = events.upgrade() else { return };
        let now = inner.clock.now();
        let next = match inner.fire().await {
            Ok(next) => next,
            Err(Error::Store(StoreError::Closed)) => return,
            Err(error) => {
                tracing::warn!(%error, "schedules wait for the store");
                inner.clock.sleep_until(now + Duration::from_secs(1)).await;
                continue;
            }
        };
        match next {
            None => inner.changed.notified().await,
            Some(next) => tokio::select! {
                () = inner.clock.sleep_until(next.min(now + NAP)) => {}
                () = inner.changed.notified() => {}
            },
        }
    }
}
