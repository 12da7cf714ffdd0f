//! `POST /jobs/<id>/outcomes`: outcomes of a detached job, those that there are and those that come, each until the client
//! has said that it has it.

use super::{
    frames::{self, Part},
    refuse,
    source::{Failure, Source},
    stream::{ConfirmHeader, FRAMES, HEARTBEAT, PIECES, read, send},
};
use crate::{
    Gateway,
    aws::{Error, Response, response},
    sender::Sender,
};
use bytes::Bytes;
use dayfly_scheduler::jobs::{self, Fetched, Fetcher};
use dayfly_types::{JobId, RequestId};
use http::StatusCode;
use serde_json::json;
use std::{io, time::Duration};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// Answers a request whose sender is known.
pub async fn answer(gateway: &Gateway, sender: &Sender, id: RequestId, path: &str, source: Source) -> Response {
    let job = path.strip_prefix("/jobs/").and_then(|rest| rest.strip_suffix("/outcomes"));
    let Some(job) = job.and_then(|job| job.parse().ok()).map(JobId) else {
        return refuse(Error::unknown_operation(path), id, source).await;
    };
    let Some(fetcher) = gateway.options.scheduler.jobs().fetch(sender.principal.account(), job) else {
        let message = format!("there is no detached job {job}, or all of it has been fetched");
        let error = Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message);
        return refuse(error, id, source).await;
    };
    let (pieces, answer) = mpsc::channel(PIECES);
    tokio::spawn(converse(fetcher, source, pieces, gateway.patience.answer));
    response::pieces(FRAMES, answer)
}

/// Gives outcomes and takes confirmations, until all is given and the client has ended its body, or is gone.
async fn converse(
    mut fetcher: Fetcher,
    mut source: Source,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    patience: Duration,
) {
    let (mut told_end, mut heard_end) = (false, false);
    while !(told_end && heard_end) {
        let step = tokio::select! {
            biased;
            () = pieces.closed() => return,
            () = fetcher.server_ends(), if told_end => return,
            part = source.next(), if !heard_end => confirmed(&fetcher, part).map(|more| heard_end = !more),
            fetched = fetcher.next(), if !told_end => match fetched {
                Ok(fetched) => give(fetched, &pieces, patience, &mut told_end).await,
                Err(error) => Err(Failure::Store(error)),
            },
            // The client may take its time with the last outcomes.
            () = sleep(HEARTBEAT) => {
                let heartbeat = frames::head(b'W', &json!({"n": []}), 0);
                send(&pieces, heartbeat, patience).await
            }
        };
        if let Err(failure) = step {
            let _ = send(&pieces, failure.frame(), patience).await;
            // To close while the client still writes would cost it the last frames.
            let _ = timeout(super::LINGER, source.discard()).await;
            return;
        }
    }
}

/// Takes a frame of the client; whether there may be more.
fn confirmed(fetcher: &Fetcher, part: Result<Option<Part>, Failure>) -> Result<bool, Failure> {
    match part? {
        Some(Part::Head { kind: b'A', header, .. }) => {
            fetcher.confirm(read::<ConfirmHeader>(&header)?.n);
            Ok(true)
        }
        Some(_) => Err(Failure::Protocol("who fetches outcomes sends frames of kind 'A'".to_owned())),
        None => Ok(false),
    }
}

async fn give(
    fetched: Fetched,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
    patience: Duration,
    told_end: &mut bool,
) -> Result<(), Failure> {
    match fetched {
        Fetched::Outcome(outcome, body) => {
            send(pieces, frames::head(b'R', &outcome, body.len() as u64), patience).await?;
            if !body.is_empty() {
                send(pieces, body, patience).await?;
            }
        }
        Fetched::Ended(counts) => {
            *told_end = true;
            send(pieces, frames::head(b'D', &counts, 0), patience).await?;
        }
        Fetched::Superseded => return Err(Failure::Superseded),
        Fetched::Suspended => return Err(Failure::Job(jobs::Error::ShuttingDown)),
    }
    Ok(())
}
