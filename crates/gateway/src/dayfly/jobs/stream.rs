//! `POST /jobs`: one request that is a job. Frames come and go at the same time; the connection is the job's life.
//!
//! A client that goes away takes its job with it; one that takes nothing of its answer for a while is as good as gone. While
//! a job is silent, an empty `W` is written now and then, so that an end is noticed also while nothing is read.

use super::{
    frames::{self, Part},
    function_file, refuse,
    source::{Failure, Source},
};
use crate::{
    Gateway,
    aws::{Error, Response, lambda, response},
    sender::Sender,
};
use bytes::{Bytes, BytesMut};
use dayfly_scheduler::jobs::{self, Event, Held, Job, Refusal, Specification};
use dayfly_types::{Environment, RequestId};
use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// Pieces of an answer on their way to the connection.
pub(super) const PIECES: usize = 4;
/// Frames are put together into pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;
/// How long an answer is silent at most.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(300);
/// How long a client may go on sending after the last frame that it gets.
const LINGER: Duration = Duration::from_secs(2);
/// Media type of both bodies.
pub(super) const FRAMES: &str = "application/x-dayfly-job";

/// Answers a request whose sender is known.
pub async fn answer(gateway: &Gateway, sender: &Sender, id: RequestId, mut source: Source) -> Response {
    let specification = match described(gateway, sender, &mut source).await {
        Ok(specification) => specification,
        Err(error) => return refuse(error, id, source).await,
    };
    let (pieces, answer) = mpsc::channel(PIECES);
    let conversation = Conversation { gateway: gateway.clone(), source, pieces };
    tokio::spawn(conversation.run(sender.clone(), specification));
    response::pieces(FRAMES, answer)
}

/// Reads the head of the `S` frame.
async fn described(gateway: &Gateway, sender: &Sender, source: &mut Source) -> Result<Specification, Error> {
    let malformed = |message: String| Error::bad_request("ValidationException", message);
    let part = source.first().await.map_err(|failure| malformed(failure.to_string()))?;
    let Part::Head { kind: b'S', header, .. } = part else {
        return Err(malformed("a job begins with a frame of kind 'S'".to_owned()));
    };
    let job: Specification =
        serde_json::from_slice(&header).map_err(|error| malformed(format!("the job cannot be read: {error}")))?;
    if matches!(job.environment, Environment::Local { .. }) && !sender.is_owner() {
        let message = "A local environment is for jobs that come through the server's own socket.";
        return Err(Error::new(StatusCode::FORBIDDEN, "AccessDeniedException", message));
    }
    lambda::check_environment(&job.environment_variables, &gateway.options.limits)?;
    lambda::check_tags(&job.tags, job.tags.len(), &gateway.options.limits)?;
    gateway.options.scheduler.jobs().check(&job).map_err(Error::from)?;
    Ok(job)
}

/// Both directions of a job's connection.
struct Conversation {
    gateway: Gateway,
    source: Source,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

/// Takes a job back when its connection ends, in whatever way, unless it is one that goes on.
struct Attached(Arc<Job>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Conversation {
    async fn run(mut self, sender: Sender, specification: Specification) {
        let ended = self.begin_and_attend(&sender, specification).await;
        if let Err(failure) = ended {
            tracing::debug!(%failure, "a job failed as a whole");
            let _ = self.send(failure.frame()).await;
        }
        // To close while the client still writes would cost it the last frames.
        let _ = timeout(LINGER, async {
            tokio::select! {
                () = self.source.discard() => {}
                () = self.pieces.closed() => {}
            }
        })
        .await;
    }

    async fn begin_and_attend(&mut self, sender: &Sender, specification: Specification) -> Result<(), Failure> {
        let file = function_file::receive(&mut self.source, self.gateway.options.store.blobs.as_ref()).await?;
        let place = (sender.principal.account(), &sender.region);
        let jobs = self.gateway.options.scheduler.jobs();
        let (job, events) = jobs.begin(specification, place, file).await?;
        let attached = Attached(job);
        let job = &attached.0;
        let begun = json!({"job": job.id, "function": job.function.arn.name, "max_in_flight": job.in_flight});
        self.send(frames::head(b'J', &begun, 0)).await?;
        let Self { source, pieces, gateway } = self;
        let reading = async {
            match read_calls(source, job).await {
                Ok(()) => std::future::pending().await,
                Err(failure) => failure,
            }
        };
        tokio::select! {
            failure = reading => Err(failure),
            told = tell(events, pieces, gateway.patience.answer) => told,
        }
    }

    async fn send(&self, piece: Bytes) -> Result<(), Failure> {
        send(&self.pieces, piece, self.gateway.patience.answer).await
    }
}

pub(super) async fn send(
    pieces: &mpsc::Sender<io::Result<Bytes>>,
    piece: Bytes,
    patience: Duration,
) -> Result<(), Failure> {
    match timeout(patience, pieces.send(Ok(piece))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Failure::Gone),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallHeader {
    n: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelHeader {
    calls: Option<Vec<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmHeader {
    pub n: Vec<u64>,
}

/// Takes calls and cancels until the client has said all it will.
async fn read_calls(source: &mut Source, job: &Arc<Job>) -> Result<(), Failure> {
    let mut closed = false;
    while let Some(part) = source.next().await? {
        let Part::Head { kind, header, body_bytes } = part else {
            return Err(Failure::Protocol("a body without a frame".to_owned()));
        };
        match kind {
            b'C' if !closed => {
                let CallHeader { n } = read(&header)?;
                if !job.takes_calls() {
                    source.skip_body().await?;
                    continue;
                }
                // The rest waits in the connection until there is room.
                let room = job.room(usize::try_from(body_bytes).unwrap_or(usize::MAX)).await;
                let arguments = source.whole_body().await?;
                match job.submit(n, arguments, room) {
                    // It was cancelled in the meantime.
                    Ok(()) | Err(Refusal::Closed) => {}
                    Err(refusal) => return Err(Failure::Protocol(refusal.to_string())),
                }
            }
            b'X' => match read::<CancelHeader>(&header)?.calls {
                Some(calls) => job.cancel_calls(&calls),
                None => job.cancel(),
            },
            b'Z' if !closed => {
                closed = true;
                job.close();
            }
            b'A' => job.confirm(read::<ConfirmHeader>(&header)?.n),
            kind => return Err(Failure::Protocol(format!("a frame {:?} at the wrong time", char::from(kind)))),
        }
    }
    if closed || !job.takes_calls() { Ok(()) } else { Err(Failure::Protocol("the calls end without a 'Z'".to_owned())) }
}

pub(super) fn read<T: DeserializeOwned>(header: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(header).map_err(|error| Failure::Protocol(format!("a frame's header: {error}")))
}

/// Writes what becomes of the job until all of it has ended.
async fn tell(
    mut events: mpsc::UnboundedReceiver<Event>,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
    patience: Duration,
) -> Result<(), Failure> {
    let mut piece = Piece::default();
    loop {
        let first = tokio::select! {
            biased;
            () = pieces.closed() => return Err(Failure::Gone),
            event = events.recv() => event,
            () = sleep(HEARTBEAT) => {
                send(pieces, frames::head(b'W', &json!({"n": []}), 0), patience).await?;
                continue;
            }
        };
        let mut next = first;
        let mut done = false;
        while let Some(event) = next {
            match event {
                Event::Done(counts) => {
                    piece.frame(b'D', &counts, &[]);
                    done = true;
                }
                Event::Suspended => return Err(Failure::Job(jobs::Error::ShuttingDown)),
                Event::Kept(calls) => piece.frame(b'Z', &json!({"calls": calls}), &[]),
                Event::Started(n) => piece.started.push(n),
                Event::NotCloned(why) => piece.frame(b'N', &json!({"type": "NotCloned", "message": why}), &[]),
                Event::Line { n, text, held } => {
                    piece.frame(b'L', &json!({"n": n}), text.as_bytes());
                    piece.held.push(held);
                }
                Event::Outcome { outcome, body, held } if body.len() < PIECE_BYTES => {
                    piece.frame(b'R', &outcome, &body);
                    piece.held.push(held);
                }
                // Not copied.
                Event::Outcome { outcome, body, held } => {
                    piece.head(b'R', &outcome, body.len());
                    send(pieces, piece.take(), patience).await?;
                    send(pieces, Bytes::from_owner(Large { body, _held: held }), patience).await?;
                }
            }
            if piece.is_large() {
                break;
            }
            next = events.try_recv().ok();
        }
        if !piece.is_empty() {
            send(pieces, piece.take(), patience).await?;
        }
        if done {
            return Ok(());
        }
    }
}

/// Small frames on their way out, together. What they hold of the job's bounds is given back when they are written.
#[derive(Default)]
struct Piece {
    /// Calls to tell of in one `W`.
    started: Vec<u64>,
    bytes: BytesMut,
    held: Vec<Held>,
}

impl Piece {
    fn frame(&mut self, kind: u8, header: &impl Serialize, body: &[u8]) {
        self.head(kind, header, body.len());
        self.bytes.extend_from_slice(body);
    }

    fn head(&mut self, kind: u8, header: &impl Serialize, body_bytes: usize) {
        self.flush_started();
        self.bytes.extend_from_slice(&frames::head(kind, header, body_bytes as u64));
    }

    fn flush_started(&mut self) {
        if !self.started.is_empty() {
            let started = std::mem::take(&mut self.started);
            self.bytes.extend_from_slice(&frames::head(b'W', &json!({"n": started}), 0));
        }
    }

    fn is_large(&self) -> bool {
        self.bytes.len() >= PIECE_BYTES
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.started.is_empty()
    }

    fn take(&mut self) -> Bytes {
        self.flush_started();
        let Self { bytes, held, .. } = std::mem::take(self);
        Bytes::from_owner(Small { bytes, _held: held })
    }
}

struct Small {
    bytes: BytesMut,
    _held: Vec<Held>,
}

impl AsRef<[u8]> for Small {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Large {
    body: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
