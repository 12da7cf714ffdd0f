//! Zygotes of environments, booted ahead of jobs: their imports are done, and they have seen no job. The next job of such an
//! environment takes one and makes it its own; no other job ever comes near it. One replaces it while the job's calls
//! leave the processors time.

use super::{
    Code, Recipe,
    sandbox::{Purpose, Sandbox},
};
use crate::{Shared, environment::Seen};
use dayfly_sandbox::Report;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Most zygotes that wait for jobs.
const KEPT_MAX: usize = 4;
/// How long one may take to boot: somebody else's calls may be in its way.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// How often its log is looked at in one turn.
const READS_PER_TURN: usize = 16;

/// Those of this worker.
#[derive(Default)]
pub struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    kept: Vec<Kept>,
    /// The worker drains: there will be no more jobs.
    closed: bool,
}

struct Kept {
    key: Key,
    sandbox: Sandbox,
    waits: bool,
    /// When a job of this environment began, or ended.
    used: Instant,
    /// Keeps the environment.
    _seen: Arc<Seen>,
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
    pub fn take(&self, shared: &Shared, recipe: &Recipe) -> Option<Sandbox> {
        if self.is_empty() {
            return None;
        }
        let (key, _) = Key::of(shared, recipe)?;
        let mut state = self.lock();
        let place = state.kept.iter().position(|kept| kept.key == key)?;
        let sandbox = state.kept.swap_remove(place).sandbox;
        if let Some((cgroup, _)) = &sandbox.zygote {
            let _ = cgroup.set_patient(false);
        }
        Some(sandbox)
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.lock().kept.is_empty()
    }

    /// Sees to it that there is one for the next job like this one.
    pub fn want(&self, shared: &Arc<Shared>, recipe: &Recipe) {
        let Some((key, seen)) = Key::of(shared, recipe) else { return };
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let used = Instant::now();
        if let Some(kept) = state.kept.iter_mut().find(|kept| kept.key == key) {
            kept.used = used;
            return;
        }
        if state.kept.len() >= KEPT_MAX
            && let Some((place, _)) = state.kept.iter().enumerate().min_by_key(|(_, kept)| kept.used)
        {
            state.kept.swap_remove(place).sandbox.end(shared);
        }
        match Sandbox::boot(shared, recipe, Purpose::Ahead) {
            Ok(sandbox) => state.kept.push(Kept { key, sandbox, waits: false, used, _seen: seen }),
            Err(error) => tracing::warn!(%error, "no zygote could be booted ahead of jobs"),
        }
    }

    /// Hears what they have to say, and lets those go that are broken or have waited too long. To be called now and then.
    pub fn look_after(&self, shared: &Arc<Shared>) {
        let idle = shared.options.zygote_idle;
        self.end_those(shared, |kept| {
            kept.hear(shared).is_err()
                || kept.used.elapsed() >= idle
                || (!kept.waits && kept.sandbox.started.elapsed() > BOOT_MAX)
        });
    }

    /// Lets all go: memory is short.
    pub fn evict(&self, shared: &Arc<Shared>) {
        self.end_those(shared, |_| true);
    }

    /// Lets all go, and keeps no others.
    pub fn close(&self, shared: &Arc<Shared>) {
        self.lock().closed = true;
        self.evict(shared);
    }

    fn end_those(&self, shared: &Arc<Shared>, which: impl FnMut(&mut Kept) -> bool) {
        let ended: Vec<Kept> = self.lock().kept.extract_if(.., which).collect();
        ended.into_iter().for_each(|kept| kept.sandbox.end(shared));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
