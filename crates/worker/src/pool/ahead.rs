//! Zygotes of environments, booted ahead of jobs: their imports are done, and they have seen no job. The next job of such an
//! environment takes one and makes it its own; no other job ever comes near it. One replaces it while the job's calls
//! leave the processors time.

use super::{
    Code, Recipe,
    sandbox::{Purpose, Sandbox},
};
use crate::{Shared, environment::Seen, slots::Room};
use dayfly_sandbox::Report;
use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Most environments that have some.
const ENVIRONMENTS_MAX: usize = 4;
/// Most of one environment. As many as that where jobs follow each other faster than a zygote boots.
const KEPT_MAX: usize = 2;
/// What counts as the memory of one: about what the imports of a numerical program take.
const MEMORY_MB: u32 = 128;
/// How long one may take to boot: somebody else's calls may be in its way.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// When one more is booted where there is one already.
const LATER: Duration = Duration::from_millis(500);
/// How often its log is looked at in one turn.
const READS_PER_TURN: usize = 16;

/// Those of this worker.
#[derive(Default)]
pub struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    stocks: Vec<Stock>,
    /// The worker drains: there will be no more jobs.
    closed: bool,
}

/// Zygotes of one environment.
struct Stock {
    key: Key,
    /// How many there should be.
    wanted: usize,
    /// When a job of this environment last had its zygote.
    used: Instant,
    /// The oldest first.
    kept: VecDeque<Kept>,
    /// Keeps the environment.
    _seen: Arc<Seen>,
}

struct Kept {
    sandbox: Sandbox,
    waits: bool,
    room: Room,
}

/// All that is settled when a zygote boots. Jobs that agree in it may have the same kind of zygote.
#[derive(PartialEq, Eq)]
struct Key(String);

impl Key {
    /// Of a job; none of a function that has a package.
    fn of(shared: &Shared, recipe: &Recipe) -> Option<(Self, Arc<Seen>)> {
        let (Code::Job(published), function) = (&recipe.code, &recipe.function) else { return None };
        let spec = shared.sandbox.spec(&shared.options, recipe, 0);
        // A folder that was made anew at the same path is another one.
        let folders: Option<Vec<_>> =
            spec.binds.iter().map(|bind| fs::metadata(&bind.source).ok().map(|it| (it.dev(), it.ino()))).collect();
        let description = published.description(function.job.as_ref()?);
        let parts = (&function.arn.account, function.memory_mb, description, &spec, folders?);
        Some((Self(serde_json::to_string(&parts).ok()?), published.seen.clone()))
    }
}

impl Ahead {
    /// A sandbox that a job may have, if one is kept for jobs like this one.
    pub fn take(&self, shared: &Arc<Shared>, recipe: &Recipe) -> Option<Sandbox> {
        if self.is_empty() {
            return None;
        }
        let (key, _) = Key::of(shared, recipe)?;
        let mut state = self.lock();
        let stock = state.stocks.iter_mut().find(|stock| stock.key == key)?;
        loop {
            let Some(mut kept) = stock.kept.pop_front() else {
                stock.wanted = KEPT_MAX;
                return None;
            };
            if kept.hear(shared).is_err() {
                kept.sandbox.end(shared);
                continue;
            }
            if !kept.waits {
                stock.wanted = KEPT_MAX;
            }
            if let Some((cgroup, _)) = &kept.sandbox.zygote {
                let _ = cgroup.set_patient(false);
            }
            return Some(kept.sandbox);
        }
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.lock().stocks.is_empty()
    }

    /// Sees to it that there are some for the next jobs like this one: the first `now`, or when there is none; others later,
    /// so that they are not in the way of a job that comes at once. Fails when there is no memory for them now.
    pub fn want(&self, shared: &Arc<Shared>, recipe: &Arc<Recipe>, now: bool) -> bool {
        let Some((key, seen)) = Key::of(shared, recipe) else { return true };
        let mut state = self.lock();
        if state.closed || crate::short_of_memory() {
            return state.closed;
        }
        let used = Instant::now();
        let place = state.stocks.iter().position(|stock| stock.key == key).unwrap_or_else(|| {
            if state.stocks.len() >= ENVIRONMENTS_MAX
                && let Some((oldest, _)) = state.stocks.iter().enumerate().min_by_key(|(_, stock)| stock.used)
            {
                state.stocks.swap_remove(oldest).end(shared);
            }
            state.stocks.push(Stock { key, wanted: 1, used, kept: VecDeque::new(), _seen: seen });
            state.stocks.len() - 1
        });
        let stock = &mut state.stocks[place];
        stock.used = used;
        if !now && (1..stock.wanted).contains(&stock.kept.len()) {
            let (shared, recipe) = (shared.clone(), recipe.clone());
            tokio::spawn(async move {
                tokio::time::sleep(LATER).await;
                shared.ahead.want(&shared, &recipe, true);
            });
            return true;
        }
        while stock.kept.len() < stock.wanted {
            // Calls come first.
            let Some(room) = shared.slots.room(MEMORY_MB) else { return !stock.kept.is_empty() };
            match Sandbox::boot(shared, recipe, Purpose::Ahead) {
                Ok(sandbox) => stock.kept.push_back(Kept { sandbox, waits: false, room }),
                Err(error) => {
                    tracing::warn!(%error, "no zygote could be booted ahead of jobs");
                    break;
                }
            }
        }
        true
    }

    /// Hears what they have to say, and lets those go that are broken or have waited too long. To be called now and then.
    pub fn look_after(&self, shared: &Arc<Shared>) {
        let mut state = self.lock();
        for stock in &mut state.stocks {
            for _ in 0..stock.kept.len() {
                let Some(mut kept) = stock.kept.pop_front() else { break };
                let late = !kept.waits && kept.sandbox.started.elapsed() > BOOT_MAX;
                if late || kept.hear(shared).is_err() {
                    kept.sandbox.end(shared);
                } else {
                    stock.kept.push_back(kept);
                }
            }
        }
        let idle = shared.options.zygote_idle;
        state.stocks.extract_if(.., |stock| stock.used.elapsed() >= idle).for_each(|stock| stock.end(shared));
    }

    /// Lets one go whose memory a call may have, of those that have not been used for longest. Whether there was one.
    pub fn evict_oldest(&self, shared: &Arc<Shared>) -> bool {
        let mut state = self.lock();
        let candidates = state.stocks.iter_mut().filter(|stock| stock.kept.iter().any(|kept| kept.room.of_slots));
        let Some(stock) = candidates.min_by_key(|stock| stock.used) else { return false };
        let Some(place) = stock.kept.iter().position(|kept| kept.room.of_slots) else { return false };
        if let Some(kept) = stock.kept.remove(place) {
            kept.sandbox.end(shared);
        }
        true
    }

    /// Lets all go: memory is short.
    pub fn evict(&self, shared: &Arc<Shared>) {
        self.lock().stocks.drain(..).for_each(|stock| stock.end(shared));
    }

    /// Lets all go, and keeps no others.
    pub fn close(&self, shared: &Arc<Shared>) {
        self.lock().closed = true;
        self.evict(shared);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    fn end(self, shared: &Arc<Shared>) {
        self.kept.into_iter().for_each(|kept| kept.sandbox.end(shared));
    }
}

impl Kept {
    /// Takes in what launcher and zygote have said. Fails when it will serve no job.
    fn hear(&mut self, shared: &Shared) -> io::Result<()> {
        loop {
            match self.sandbox.control.get_mut().report() {
                Ok(Some((Report::Up, descriptors))) => {
                    let listener = descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
                    self.sandbox.endpoint = Some((shared.options.endpoint)(listener.into()));
                }
                Ok(Some((Report::ZygoteWaits, _))) => self.waits = true,
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let Some((_, log)) = &mut self.sandbox.zygote else { return Ok(()) };
        for _ in 0..READS_PER_TURN {
            match log.take() {
                Some(lines) if !log.ended => self.sandbox.lines.extend(lines),
                _ => break,
            }
        }
        Ok(())
    }
}
