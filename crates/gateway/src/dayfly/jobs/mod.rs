//! Jobs: the stream that is one (`docs/jobs.md`), and the operations on those that there are.

mod fetch;
pub mod frames;
mod function_file;
mod operations;
mod source;
mod stream;

pub use operations::{cancel_job, get_job, list_job_calls, list_jobs};

use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Protocol, Response, response::Body},
    roles,
    sender::Sender,
};
use dayfly_scheduler::jobs;
use dayfly_types::RequestId;
use frames::Bounds;
use http::{Method, StatusCode, header::CONTENT_LENGTH, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use source::Source;
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};

/// How long the client of a refused job may go on sending.
const LINGER: Duration = Duration::from_secs(2);

/// Whether a request is a job, or fetches one: its body is a stream of frames.
pub fn is_stream(parts: &Parts) -> bool {
    parts.method == Method::POST && (parts.uri.path() == "/jobs" || parts.uri.path().starts_with("/jobs/"))
}

/// Answers a request for which `is_stream` holds. `sender` is proven.
pub async fn stream(
    gateway: &Gateway,
    sender: Result<Sender, Error>,
    id: RequestId,
    parts: Parts,
    body: Incoming,
) -> Response {
    let limits = &gateway.options.limits;
    let bounds =
        Bounds { function_file_bytes: limits.function_file_bytes, arguments_bytes: limits.sync_payload_bytes as u64 };
    let source = Source::new(body, bounds, gateway.patience.clone());
    if let Err(error) = outside_sandbox(gateway) {
        return refuse(error, id, source).await;
    }
    let sender = match sender {
        Ok(sender) => may_stream(gateway, sender, &parts).await,
        refused => refused,
    };
    match sender {
        Err(error) => refuse(error, id, source).await,
        Ok(sender) if parts.uri.path() == "/jobs" => stream::answer(gateway, &sender, id, source).await,
        Ok(sender) => fetch::answer(gateway, &sender, id, parts.uri.path(), source).await,
    }
}

/// The sender, when its policies allow it. A job's code has the rights of the role `dayfly-job`: the account's, as long as
/// nobody made that role. Whoever has not all rights starts jobs only once it is there.
async fn may_stream(gateway: &Gateway, sender: Sender, parts: &Parts) -> Result<Sender, Error> {
    let starts = parts.uri.path() == "/jobs";
    let account = sender.principal.account();
    authorise(&sender.principal, if starts { "dayfly:RunJob" } else { "dayfly:FetchJob" }, "*", account)?;
    let role = format!("arn:aws:iam::{account}:role/dayfly-job");
    if starts
        && !sender.principal.is_unbounded()
        && roles::find(&gateway.options.store, account, &role).await?.is_none()
    {
        let message = format!("Jobs of callers who may not do everything need the role {role}, and it does not exist.");
        return Err(Error::new(StatusCode::FORBIDDEN, "AccessDeniedException", message));
    }
    Ok(sender)
}

/// Function code starts no jobs, and ends none.
fn outside_sandbox(gateway: &Gateway) -> Result<(), Error> {
    if gateway.in_sandbox {
        let message = "Jobs are not for function code.";
        return Err(Error::new(StatusCode::FORBIDDEN, "AccessDeniedException", message));
    }
    Ok(())
}

/// Answers at once, and goes on reading for a while: to close while the client still writes would cost it the answer.
async fn refuse(error: Error, id: RequestId, mut source: Source) -> Response {
    tracing::debug!(code = %error.code, status = error.status.as_u16(), message = error.message, "refused a job");
    let (mut head, body) = error.into_response(Protocol::Json, id).into_parts();
    let Ok(body) = body.collect().await else { unreachable!("an error's body is in memory") };
    let body = body.to_bytes();
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let (pieces, answer) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = pieces.send(Ok(body)).await;
        let _ = timeout(LINGER, async {
            tokio::select! {
                () = source.discard() => {}
                () = pieces.closed() => {}
            }
        })
        .await;
    });
    Response::from_parts(head, Body::Pieces(answer))
}

impl From<jobs::Error> for Error {
    fn from(error: jobs::Error) -> Self {
        let (code, status) = source::job_error(&error);
        Self::new(status, code, error.to_string())
    }
}
