//! What comes from the client of a job: frames out of a request's body, within bounds of size and time.

use super::frames::{self, Bounds, Part, Reader};
use crate::{Patience, body};
use bytes::{Bytes, BytesMut};
use dayfly_scheduler::jobs;
use dayfly_store::Error as StoreError;
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;
use thiserror::Error;
use tokio::time::{Instant, timeout};

/// Why a job ends before its calls have.
#[derive(Debug, Error)]
pub enum Failure {
    /// What came is not the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The body broke off, or came too slowly.
    #[error(transparent)]
    Body(#[from] body::Error),
    /// The job could not begin.
    #[error(transparent)]
    Job(#[from] jobs::Error),
    /// The store failed.
    #[error("the server cannot keep or read what belongs to the job")]
    Store(#[from] StoreError),
    /// Another client fetches the outcomes now.
    #[error("another client fetches the outcomes now")]
    Superseded,
    /// The client takes nothing, or is not there.
    #[error("the client is gone")]
    Gone,
}

impl Failure {
    /// `type` of an `E` frame.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Protocol(_) | Self::Body(_) => "InvalidFrame",
            Self::Job(error) => job_error(error).0,
            Self::Store(StoreError::Full(_)) => "DiskFull",
            Self::Store(_) => "ServiceException",
            Self::Superseded => "Superseded",
            Self::Gone => "ClientGone",
        }
    }

    /// What the client is told.
    pub fn frame(&self) -> Bytes {
        if let Self::Store(error) | Self::Job(jobs::Error::Store(error)) = self {
            tracing::error!(%error, "a job's request failed");
        }
        let message = match self.kind() {
            "DiskFull" => "the server's disk has no room for what belongs to the job".to_owned(),
            _ => self.to_string(),
        };
        frames::head(b'E', &json!({"type": self.kind(), "message": message}), 0)
    }
}

impl From<frames::Error> for Failure {
    fn from(error: frames::Error) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// Code and status of a job that does not begin.
pub fn job_error(error: &jobs::Error) -> (&'static str, http::StatusCode) {
    use http::StatusCode;
    match error {
        jobs::Error::Invalid(_) => ("ValidationException", StatusCode::BAD_REQUEST),
        jobs::Error::Environment(_) => ("InvalidEnvironment", StatusCode::BAD_REQUEST),
        jobs::Error::TooMany => ("TooManyRequestsException", StatusCode::TOO_MANY_REQUESTS),
        jobs::Error::Store(StoreError::Full(_)) => ("DiskFull", StatusCode::INSUFFICIENT_STORAGE),
        jobs::Error::Store(_) => ("ServiceException", StatusCode::INTERNAL_SERVER_ERROR),
        jobs::Error::ShuttingDown => ("ServiceUnavailableException", StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// A request's body as frames.
pub struct Source {
    body: Incoming,
    patience: Arc<Patience>,
    reader: Reader,
    /// What is still to come of the body of the frame that began last, and until when it must have come.
    body_bytes: u64,
    deadline: Instant,
}

impl Source {
    /// Frames of `body`.
    pub fn new(body: Incoming, bounds: Bounds, patience: Arc<Patience>) -> Self {
        Self { body, patience, reader: Reader::new(bounds), body_bytes: 0, deadline: Instant::now() }
    }

    /// The first frame, which is waited for only so long.
    pub async fn first(&mut self) -> Result<Part, Failure> {
        let first = timeout(self.patience.grace, self.next()).await.map_err(|_| body::Error::TooSlow)??;
        first.ok_or_else(|| Failure::Protocol("the body is empty".to_owned()))
    }

    /// The next frame; `None` at the end of the body. What is left of the body of the frame before is in the way.
    pub async fn next(&mut self) -> Result<Option<Part>, Failure> {
        loop {
            if let Some(part) = self.reader.part()? {
                if let Part::Head { body_bytes, .. } = &part {
                    self.body_bytes = *body_bytes;
                    self.deadline = body::deadline(*body_bytes, &self.patience);
                }
                return Ok(Some(part));
            }
            let more = if self.reader.is_between_frames() {
                // A client may think as long as it likes.
                body::next(&mut self.body).await?
            } else {
                body::frame(&mut self.body, self.deadline.max(Instant::now() + self.patience.silence), &self.patience)
                    .await?
            };
            match more {
                Some(bytes) => self.reader.push(bytes),
                None if self.reader.is_between_frames() => return Ok(None),
                None => return Err(Failure::Protocol("the body ends within a frame".to_owned())),
            }
        }
    }

    /// The next piece of the body of the frame that began last; `None` at its end.
    pub async fn body_piece(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.body_bytes > 0 {
            match self.reader.part()? {
                Some(Part::Body(piece)) => {
                    self.body_bytes -= piece.len() as u64;
                    return Ok(Some(piece));
                }
                Some(Part::Head { .. }) => return Err(Failure::Protocol("a frame within a frame".to_owned())),
                None => match body::frame(&mut self.body, self.deadline, &self.patience).await? {
                    Some(bytes) => self.reader.push(bytes),
                    None => return Err(Failure::Protocol("the body ends within a frame".to_owned())),
                },
            }
        }
        Ok(None)
    }

    /// All of the body of the frame that began last.
    pub async fn whole_body(&mut self) -> Result<Bytes, Failure> {
        let bytes = self.body_bytes;
        let first = self.body_piece().await?.unwrap_or_default();
        if first.len() as u64 == bytes {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or_default());
        whole.extend_from_slice(&first);
        while let Some(piece) = self.body_piece().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Reads over the body of the frame that began last.
    pub async fn skip_body(&mut self) -> Result<(), Failure> {
        while self.body_piece().await?.is_some() {}
        Ok(())
    }

    /// Throws away whatever comes, to the end of the body.
    pub async fn discard(&mut self) {
        while let Ok(Some(_)) = body::next(&mut self.body).await {}
    }
}
