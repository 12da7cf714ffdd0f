//! The floor under a fresh instance per call: how often the machine can clone a zygote and reap the clone, with the
//! namespaces, mounts, cgroups and descriptors that calls have, and nothing else. For benchmarks only: no call comes here.

use crate::{Handle, pool::cpu_millis, spec};
use dayfly_sandbox::{
    Launcher, Order, Report,
    cgroup::{Cgroup, CgroupLimits},
};
use dayfly_types::FunctionConfiguration;
use std::{
    collections::HashMap,
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long boot and init may take, and one clone.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the loop did.
#[derive(Debug, Default)]
pub struct Floor {
    /// Clones that were prepared, killed and reaped.
    pub clones: u64,
    /// Wall time of the loop, without boot and init.
    pub wall: Duration,
    /// Per clone: from the order until the zygote had cloned.
    pub clone_us: Vec<u64>,
    /// Per clone: from then until ids, cgroup and mounts were in place.
    pub prepare_us: Vec<u64>,
    /// Per clone: from the order until its end was reported.
    pub life_us: Vec<u64>,
    /// Per clone: its own CPU time.
    pub cpu_us: Vec<u64>,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The function's interpreter or its unpacked code is not there.
    #[error("the function has not been published here")]
    NotPublished,
    /// The sandbox ended, or said something else than was asked.
    #[error("the sandbox failed: {0}")]
    Sandbox(String),
    /// No cgroup.
    #[error(transparent)]
    Cgroup(#[from] dayfly_sandbox::cgroup::Error),
    /// Anything else of the system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A clone in flight: its accounts, and the ends that a call would hold.
struct Flying {
    place: Place,
    ordered: Instant,
    _ends: (UnixStream, io::PipeReader),
}

/// A cgroup and the files that lead into it, used by one clone after another.
struct Place {
    cgroup: Cgroup,
}

/// Boots a zygote of `function` and clones it for `time`, with `in_flight` clones at a time. Blocks.
pub fn run(
    worker: &Handle,
    function: &FunctionConfiguration,
    in_flight: usize,
    time: Duration,
) -> Result<Floor, Error> {
    let shared = &worker.shared;
    let recipe = worker.recipe(&Arc::new(function.clone()), None).map_err(|_| Error::NotPublished)?;
    let number = shared.next_number();
    let mut spec = shared.sandbox.spec(&shared.options, &recipe, number);
    spec.environment.extend(spec::identity(&shared.options, function, "floor"));
    let limits = CgroupLimits {
        memory_bytes: u64::from(function.memory_mb) << 20,
        cpu_millis: Some(cpu_millis(function.memory_mb)),
        processes: shared.options.limits.processes,
        counted: false,
    };
    // As in the pool, a zygote has a whole CPU; clones run on its account until they are moved to their own.
    let init = CgroupLimits { cpu_millis: Some(cpu_millis(function.memory_mb).max(1000)), ..limits };
    let zygote = Place::new(worker, &format!("zygote-{number}"), &init)?;
    let places: Result<Vec<Place>, Error> =
        (0..in_flight).map(|_| Place::new(worker, &format!("instance-{}", shared.next_number()), &limits)).collect();
    let mut sandbox = Sandbox { launcher: Launcher::start(&shared.binary, &spec)? };
    let done = sandbox.boot(&zygote).and_then(|_log| sandbox.clone_and_reap(worker, places?, time));
    // The cgroups go with the worker's drain.
    sandbox.launcher.end()?;
    done
}

impl Place {
    fn new(worker: &Handle, name: &str, limits: &CgroupLimits) -> Result<Self, Error> {
        let cgroup = worker.shared.cgroups.create(name, limits)?;
        Ok(Self { cgroup })
    }
}

struct Sandbox {
    launcher: Launcher,
}

impl Sandbox {
    /// Boots the zygote and waits for the end of its init. What is returned keeps its log open.
    fn boot(&mut self, zygote: &Place) -> Result<io::PipeReader, Error> {
        let (log, writer) = io::pipe()?;
        let descriptors: Vec<_> = [writer.as_fd()].into_iter().chain(zygote.cgroup.entrances()).collect();
        self.launcher.control.order(&Order::BootZygote, &descriptors)?;
        loop {
            match self.hear()? {
                Report::Up => {}
                Report::ZygoteReady { unclonable: None } => return Ok(log),
                other => return Err(Error::Sandbox(format!("{other:?}"))),
            }
        }
    }

    fn clone_and_reap(&mut self, worker: &Handle, places: Vec<Place>, time: Duration) -> Result<Floor, Error> {
        let mut floor = Floor::default();
        let mut flying = HashMap::new();
        let started = Instant::now();
        for place in places {
            self.order(worker, place, &mut flying)?;
        }
        while !flying.is_empty() {
            match self.hear()? {
                Report::Prepared { instance, clone_us, prepare_us } => {
                    floor.clone_us.push(clone_us);
                    floor.prepare_us.push(prepare_us);
                    self.launcher.control.order(&Order::Kill { instance }, &[])?;
                }
                Report::Exited { instance, exit } => {
                    let Some(Flying { place, ordered, .. }) = flying.remove(&instance) else { continue };
                    floor.clones += 1;
                    floor.cpu_us.push(exit.cpu_us);
                    floor.life_us.push(ordered.elapsed().as_micros() as u64);
                    if started.elapsed() < time {
                        self.order(worker, place, &mut flying)?;
                    } else {
                        place.cgroup.remove();
                    }
                }
                other => return Err(Error::Sandbox(format!("{other:?}"))),
            }
        }
        floor.wall = started.elapsed();
        Ok(floor)
    }

    fn order(&self, worker: &Handle, place: Place, flying: &mut HashMap<u64, Flying>) -> Result<(), Error> {
        let instance = worker.shared.next_number();
        let (ours, theirs) = UnixStream::pair()?;
        let (log, writer) = io::pipe()?;
        let descriptors: Vec<_> =
            [theirs.as_fd(), writer.as_fd()].into_iter().chain(place.cgroup.entrances()).collect();
        let ordered = Instant::now();
        self.launcher.control.order(&Order::Clone { instance }, &descriptors)?;
        flying.insert(instance, Flying { place, ordered, _ends: (ours, log) });
        Ok(())
    }

    /// The next report.
    fn hear(&mut self) -> Result<Report, Error> {
        let report = self.launcher.control.report_before(Instant::now() + PATIENCE)?;
        report.ok_or_else(|| Error::Sandbox("the launcher ended".to_owned()))
    }
}
