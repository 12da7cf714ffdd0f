//! One job while it lives: its calls that wait and run, what its client is told, and how it ends. Only `run` starts
//! calls; everything here is bookkeeping under one lock.

use super::{
    fetch::Unfetched,
    keeper::Keep,
    outcome::{Account, CallOutcome, CallView, Counts, JobState, JobView, Status},
    rows::{CallRow, JobRow},
    specification::Specification,
};
use crate::call::Uncommitted;
use bytes::Bytes;
use dayfly_store::Batch;
use dayfly_types::{Clock, FunctionConfiguration, JobId, LogLine, LogSink, LogSource, RequestId, Timestamp};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Arguments of one job that may be in memory, in KiB.
const ARGUMENTS_KIB: usize = 64 << 10;
/// While so many bytes of results wait for the client to take them, no call begins.
const UNDELIVERED_BYTES: usize = 64 << 20;
/// Bytes of lines that wait for the client; what comes on top is in the log only.
const LINES_BYTES: usize = 4 << 20;
/// Calls of a job whose outcome is remembered for lists; the first ones are forgotten first.
pub(super) const REMEMBERED_MAX: usize = 10_000;
/// Most calls of a detached job: something of each is in memory.
const CALLS_MAX: u64 = 1_000_000;

/// What a job's client is told.
pub enum Event {
    /// This call has an instance.
    Started(u64),
    /// This call wrote this line.
    Line {
        /// Number of the call.
        n: u64,
        /// The line.
        text: String,
        /// Given back when the event is dropped.
        held: Held,
    },
    /// The job's instances are not cloned, and why: each is booted.
    NotCloned(String),
    /// This call ended.
    Outcome {
        /// How.
        outcome: CallOutcome,
        /// Pickled result or exception, or the error of a call that died.
        body: Bytes,
        /// Given back when the event is dropped.
        held: Held,
    },
    /// All calls of a detached job are on disk, so many: it goes on by itself.
    Kept(u64),
    /// All calls have ended; nothing follows.
    Done(Counts),
    /// The server ends, and the next one goes on with the job; nothing follows.
    Suspended,
}

/// A part of the bounds of a job, given back when it is dropped.
pub struct Held {
    job: Arc<Job>,
    result_bytes: usize,
    line_bytes: usize,
    _room: Option<Room>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.job.lock();
        state.undelivered_bytes -= self.result_bytes;
        state.line_bytes -= self.line_bytes;
        drop(state);
        self.job.changed.notify_waiters();
    }
}

/// Room for one more call: in the job, and in the memory for arguments.
pub struct Room {
    _place: OwnedSemaphorePermit,
    _arguments: [OwnedSemaphorePermit; 2],
}

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its number is not above that of the call before.
    #[error("numbers of calls must ascend")]
    Order,
    /// The job has ended, or takes no more calls.
    #[error("the job takes no more calls")]
    Closed,
    /// A detached job has no more than so many calls.
    #[error("a detached job has at most {CALLS_MAX} calls")]
    TooMany,
}

/// A call that waits for its turn.
pub(super) struct Pending {
    pub n: u64,
    pub request_id: RequestId,
    /// On disk only, when there are none here.
    pub arguments: Option<Bytes>,
    pub queued_at: Timestamp,
    pub room: Option<Room>,
}

/// A call that has its turn.
struct Running {
    request_id: RequestId,
    cancelled: bool,
    cancel: Option<oneshot::Sender<()>>,
}

/// A job.
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What its client asked for.
    pub specification: Specification,
    /// The configuration of its calls.
    pub function: Arc<FunctionConfiguration>,
    /// Most calls at once.
    pub in_flight: u32,
    /// When it began.
    pub created_at: Timestamp,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    arguments: Arc<Semaphore>,
    /// Arguments of all jobs, in KiB.
    all_arguments: Arc<Semaphore>,
    state: Mutex<State>,
    /// Somebody may have something to do: the dispatcher, or who fetches outcomes.
    pub(super) changed: Notify,
    /// Of a detached job: puts changes on disk.
    keeper: Option<mpsc::UnboundedSender<Keep>>,
}

/// What a job is made of.
pub(super) struct Parts {
    pub id: JobId,
    pub specification: Specification,
    pub function: Arc<FunctionConfiguration>,
    pub in_flight: u32,
    pub created_at: Timestamp,
    pub all_arguments: Arc<Semaphore>,
    pub clock: Arc<dyn Clock>,
    pub events: Option<mpsc::UnboundedSender<Event>>,
    pub keeper: Option<mpsc::UnboundedSender<Keep>>,
}

pub(super) struct State {
    waiting: VecDeque<Pending>,
    running: BTreeMap<u64, Running>,
    ended: BTreeMap<u64, CallOutcome>,
    last: Option<u64>,
    /// Whether the client has said its last call.
    closed: bool,
    /// Whether the last call is among those that wait, run or have ended.
    complete: bool,
    /// The server ends: what has not run stays on disk.
    pub(super) suspended: bool,
    state: JobState,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) counts: Counts,
    pub(super) unfetched: Unfetched,
    cost_usd: f64,
    undelivered_bytes: usize,
    line_bytes: usize,
    /// There while somebody listens. Bounded by rooms and by the bytes of lines.
    events: Option<mpsc::UnboundedSender<Event>>,
}

impl Job {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { id, specification, function, in_flight, created_at, all_arguments, clock, events, keeper } = parts;
        let state = State {
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
            last: None,
            closed: false,
            complete: false,
            suspended: false,
            state: JobState::Running,
            ended_at: None,
            counts: Counts::default(),
            unfetched: Unfetched::default(),
            cost_usd: 0.0,
            undelivered_bytes: 0,
            line_bytes: 0,
            events,
        };
        Self {
            id,
            specification,
            function,
            in_flight,
            created_at,
            clock,
            places: Arc::new(Semaphore::new(in_flight as usize * 2)),
            arguments: Arc::new(Semaphore::new(ARGUMENTS_KIB)),
            all_arguments,
            state: Mutex::new(state),
            changed: Notify::new(),
            keeper,
        }
    }

    /// The detached job that an earlier server had.
    pub(super) fn restored(parts: Parts, row: &JobRow, calls: Vec<CallRow>, outcomes: Vec<CallOutcome>) -> Self {
        let job = Self::new(parts);
        let mut state = job.lock();
        (state.closed, state.complete) = (true, true);
        (state.state, state.ended_at) = (row.state, row.ended_at);
        (state.counts, state.cost_usd) = (row.counts, row.cost_usd);
        state.waiting = calls.into_iter().map(Pending::from).collect();
        for outcome in outcomes {
            state.unfetched.add(outcome.n);
            state.remember(outcome);
        }
        drop(state);
        job
    }

    /// Waits for room for one more call with so many bytes of arguments.
    pub async fn room(&self, argument_bytes: usize) -> Room {
        let kib = u32::try_from(argument_bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(ARGUMENTS_KIB as u32);
        let take = |semaphore: &Arc<Semaphore>, count| {
            let semaphore = Arc::clone(semaphore);
            async move {
                let Ok(permit) = semaphore.acquire_many_owned(count).await else {
                    unreachable!("the semaphore is never closed")
                };
                permit
            }
        };
        let place = take(&self.places, 1).await;
        let own = take(&self.arguments, kib).await;
        Room { _place: place, _arguments: [own, take(&self.all_arguments, kib).await] }
    }

    /// Takes one more call.
    pub fn submit(&self, n: u64, arguments: Bytes, room: Room) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        if state.last.is_some_and(|last| n <= last) {
            return Err(Refusal::Order);
        }
        if self.keeper.is_some() && state.counts.calls >= CALLS_MAX {
            return Err(Refusal::TooMany);
        }
        state.last = Some(n);
        state.counts.calls += 1;
        let call = CallRow { n, request_id: RequestId::random(), queued_at: self.clock.now() };
        if self.keeper.is_some() {
            self.keep(Keep::Call { call, arguments, room });
        } else {
            let pending = Pending { arguments: Some(arguments), room: Some(room), ..Pending::from(call) };
            state.waiting.push_back(pending);
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Whether it takes calls still.
    pub fn takes_calls(&self) -> bool {
        !self.lock().closed
    }

    /// No more calls come.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.complete |= self.keeper.is_none();
        self.keep(Keep::Closed);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Its client is gone: the job goes with it, unless it is detached and complete.
    pub fn leave(self: &Arc<Self>) {
        if self.keeper.is_none() || !self.lock().closed {
            self.cancel();
        }
    }

    /// Takes these calls back; those that have ended stay as they are.
    pub fn cancel_calls(self: &Arc<Self>, calls: &[u64]) {
        let mut state = self.lock();
        for n in calls {
            if let Some(running) = state.running.get_mut(n) {
                running.stop();
            } else if let Some(at) = state.waiting.iter().position(|pending| pending.n == *n)
                && let Some(pending) = state.waiting.remove(at)
            {
                self.never_ran(&mut state, pending, Status::Cancelled, Bytes::new());
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes all calls back, and takes no more.
    pub fn cancel(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.ended_at.is_some() || state.suspended {
            return;
        }
        state.state = JobState::Cancelled;
        state.closed = true;
        state.complete |= self.keeper.is_none();
        self.keep(Keep::Cancelled);
        state.running.values_mut().for_each(Running::stop);
        self.end_waiting(&mut state, Status::Cancelled, &Bytes::new());
        drop(state);
        self.changed.notify_waiters();
    }

    /// The server ends: runs no call that does not run yet, and takes no more. What of a detached job has not run stays on
    /// disk, for the next server.
    pub(super) fn stop(self: &Arc<Self>, body: &Bytes) {
        let mut state = self.lock();
        (state.closed, state.complete) = (true, true);
        if self.keeper.is_some() {
            state.suspended = true;
            state.waiting.clear();
        } else {
            self.end_waiting(&mut state, Status::Refused, body);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// None of the calls can run.
    pub(super) fn lose_rest(self: &Arc<Self>, body: &Bytes) {
        self.end_waiting(&mut self.lock(), Status::Lost, body);
    }

    fn end_waiting(self: &Arc<Self>, state: &mut State, status: Status, body: &Bytes) {
        while let Some(pending) = state.waiting.pop_front() {
            self.never_ran(state, pending, status, body.clone());
        }
    }

    fn never_ran(self: &Arc<Self>, state: &mut State, pending: Pending, status: Status, body: Bytes) {
        let account = Account::new(pending.n, pending.request_id, pending.queued_at, self.specification.memory_mb);
        self.conclude(state, account.ended(status), body, pending.room, None);
    }

    /// Whether a call waits for its turn (and may have it); `false` when none will any more.
    pub(super) async fn has_work(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.suspended || (state.complete && state.waiting.is_empty()) {
                    return false;
                }
                if !state.waiting.is_empty() && state.undelivered_bytes < UNDELIVERED_BYTES {
                    return true;
                }
            }
            changed.await;
        }
    }

    /// Gives the next call its turn; it may have been taken back since `has_work` saw it.
    pub(super) fn begin(&self) -> Option<Pending> {
        let mut state = self.lock();
        let pending = state.waiting.pop_front()?;
        let running = Running { request_id: pending.request_id, cancelled: false, cancel: None };
        state.running.insert(pending.n, running);
        Some(pending)
    }

    /// What takes the next attempt of a running call back; `None` when it is taken back already.
    pub(super) fn arm(&self, n: u64) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        let running = state.running.get_mut(&n).filter(|running| !running.cancelled)?;
        let (cancel, cancelled) = oneshot::channel();
        running.cancel = Some(cancel);
        Some(cancelled)
    }

    pub(super) fn has_started(&self, n: u64) {
        self.lock().tell(Event::Started(n));
    }

    /// A running call has ended for good. A detached job takes its account, for the commit that has the outcome.
    pub(super) fn ended(
        self: &Arc<Self>,
        outcome: CallOutcome,
        body: Bytes,
        room: Option<Room>,
        account: Option<(Batch, Uncommitted)>,
    ) {
        let mut state = self.lock();
        state.running.remove(&outcome.n);
        self.conclude(&mut state, outcome, body, room, account);
    }

    /// A running call stays on disk, for the next server.
    pub(super) fn left(&self, n: u64) {
        self.lock().running.remove(&n);
    }

    fn conclude(
        self: &Arc<Self>,
        state: &mut State,
        outcome: CallOutcome,
        body: Bytes,
        room: Option<Room>,
        account: Option<(Batch, Uncommitted)>,
    ) {
        if self.keeper.is_none() {
            return self.show(state, outcome, body, room);
        }
        let (batch, uncommitted) = account.map_or((Batch::new(), None), |(batch, held)| (batch, Some(held)));
        self.keep(Keep::Outcome { outcome, body, batch, uncommitted });
    }

    /// The outcome can be seen.
    fn show(self: &Arc<Self>, state: &mut State, outcome: CallOutcome, body: Bytes, room: Option<Room>) {
        state.counts.add(outcome.status);
        state.cost_usd += outcome.cost_usd;
        state.remember(outcome.clone());
        if state.events.is_some() {
            state.undelivered_bytes += body.len();
            let held = Held { job: Arc::clone(self), result_bytes: body.len(), line_bytes: 0, _room: room };
            state.tell(Event::Outcome { outcome, body, held });
        }
    }

    /// All calls have ended and no more come.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        let now = self.clock.now();
        if state.suspended {
            state.tell(Event::Suspended);
            state.events = None;
        } else if self.keeper.is_some() {
            self.keep(Keep::Ended(now));
        } else {
            state.end(now);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn keep(&self, change: Keep) {
        if let Some(keeper) = &self.keeper {
            // It is there as long as the store is.
            let _ = keeper.send(change);
        }
    }

    /// The change is on disk.
    pub(super) fn kept(self: &Arc<Self>, change: Keep) {
        let mut state = self.lock();
        match change {
            Keep::Call { .. } if state.suspended => {}
            Keep::Call { call, .. } if state.state == JobState::Cancelled => {
                self.never_ran(&mut state, Pending::from(call), Status::Cancelled, Bytes::new());
            }
            Keep::Call { call, .. } => state.waiting.push_back(Pending::from(call)),
            Keep::Closed => {
                state.complete = true;
                let calls = state.counts.calls;
                state.tell(Event::Kept(calls));
            }
            Keep::Cancelled => state.complete = true,
            Keep::Outcome { outcome, body, .. } => {
                state.unfetched.add(outcome.n);
                self.show(&mut state, outcome, body, None);
            }
            Keep::Confirm(calls) => calls.iter().for_each(|n| state.unfetched.remove(*n)),
            Keep::Ended(at) => state.end(at),
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The client has these outcomes: they are kept no longer.
    pub fn confirm(&self, calls: Vec<u64>) {
        self.keep(Keep::Confirm(calls));
    }

    /// Whether nothing is kept for its client.
    pub(super) fn is_fetched(&self) -> bool {
        self.lock().unfetched.is_empty()
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.lock().suspended
    }

    /// When all of it had ended.
    pub(super) fn ended_at(&self) -> Option<Timestamp> {
        self.lock().ended_at
    }

    /// Whether everything of it has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().ended_at.is_some()
    }

    pub(super) fn remembered(&self) -> usize {
        self.lock().ended.len()
    }

    /// For lists.
    pub fn view(&self) -> JobView {
        let state = self.lock();
        JobView {
            job: self.id,
            name: self.specification.name.clone(),
            function: self.function.arn.name.to_string(),
            state: state.state,
            detached: self.specification.detach,
            counts: state.counts,
            running: state.running.len() as u64,
            max_in_flight: self.in_flight,
            memory_mb: self.specification.memory_mb,
            runtime: self.specification.runtime.to_string(),
            cost_usd: state.cost_usd,
            created_at: self.created_at,
            ended_at: state.ended_at,
            unfetched: state.unfetched.len(),
            tags: self.specification.tags.clone(),
        }
    }

    /// At most `limit` calls in order of their numbers, those above `after`.
    pub fn calls(&self, after: Option<u64>, limit: usize) -> Vec<CallView> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        let state = self.lock();
        let ended = state.ended.range(from..).take(limit).map(|(_, outcome)| CallView::Ended(outcome.clone()));
        let running = state.running.range(from..).take(limit);
        let running = running.map(|(n, running)| CallView::Running { n: *n, request_id: running.request_id });
        let waiting = state.waiting.iter().map(|pending| pending.n).filter(|n| *n >= from);
        let waiting = waiting.take(limit).map(|n| CallView::Waiting { n });
        let mut calls: Vec<CallView> = ended.chain(running).chain(waiting).collect();
        calls.sort_by_key(CallView::n);
        calls.truncate(limit);
        calls
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<CallRow> for Pending {
    fn from(CallRow { n, request_id, queued_at }: CallRow) -> Self {
        Self { n, request_id, arguments: None, queued_at, room: None }
    }
}

impl State {
    fn remember(&mut self, outcome: CallOutcome) {
        self.ended.insert(outcome.n, outcome);
        if self.ended.len() > REMEMBERED_MAX {
            self.ended.pop_first();
        }
    }

    fn end(&mut self, at: Timestamp) {
        self.ended_at = Some(at);
        if self.state == JobState::Running {
            self.state = JobState::Ended;
        }
        let counts = self.counts;
        self.tell(Event::Done(counts));
        self.events = None;
    }

    fn tell(&mut self, event: Event) {
        if let Some(events) = &self.events
            && let Err(refused) = events.send(event)
        {
            // Nobody listens any more. What the event holds gives itself back under this lock: not from here.
            let _later = tokio::spawn(async move { drop(refused) });
            self.events = None;
        }
    }
}

impl Running {
    fn stop(&mut self) {
        self.cancelled = true;
        if let Some(cancel) = self.cancel.take() {
            // Its attempt may just have ended.
            let _ = cancel.send(());
        }
    }
}

/// Hands the lines of a call to the job's client, if it wants them, and notices in any case.
pub(super) struct Lines {
    pub job: Arc<Job>,
    pub n: u64,
}

impl LogSink for Lines {
    fn wants_lines(&self) -> bool {
        self.job.specification.logs
    }

    fn not_cloned(&self, why: &str) {
        self.job.lock().tell(Event::NotCloned(why.to_owned()));
    }

    fn lines(&self, _: &str, lines: Vec<LogLine>) {
        let mut state = self.job.lock();
        for line in lines.into_iter().filter(|line| line.source == LogSource::Function) {
            let line_bytes = line.text.len() + size_of::<Event>();
            if state.line_bytes + line_bytes > LINES_BYTES {
                continue;
            }
            state.line_bytes += line_bytes;
            let held = Held { job: Arc::clone(&self.job), result_bytes: 0, line_bytes, _room: None };
            state.tell(Event::Line { n: self.n, text: line.text, held });
        }
    }
}
