//! A request's way in and out: which service and operation, its body, its signature, then the service's own code.
//! Called by `server` once per request; the span made here is the outermost of a call.

use crate::{
    Gateway,
    authorise::Caller,
    aws::{
        Error, Protocol, Request, Response, apigateway, apigatewayv2, dynamodb, events, iam, lambda, logs, s3,
        scheduler, sns, sqs, sts,
    },
    body, dayfly, http_in,
    sender::Sender,
    server::Peer,
    signer::Signer,
    sigv4::{self, Claim, Hashed},
    unsigned,
};
use bytes::Bytes;
use dayfly_types::{Limits, RequestId};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, EXPECT},
    request::Parts,
};
use hyper::body::{Body, Incoming};
use sha2::{Digest, Sha256};
use tracing::{Instrument, info_span};

/// Largest body of services whose requests are small.
const SMALL_BODY_BYTES: u64 = 1 << 20;
/// A larger body is hashed and parsed beside the threads that serve everyone.
const OFFLOAD_BYTES: usize = 1 << 20;

/// The largest body that any operation takes.
pub fn largest_body(limits: &Limits) -> u64 {
    lambda::upload_bytes(limits)
        .max(limits.sync_payload_bytes as u64)
        .max(sqs::BODY_BYTES_MAX)
        .max(dynamodb::BODY_BYTES_MAX)
}

/// Answers one request. Never fails: every failure is an answer.
pub async fn answer(
    gateway: &Gateway,
    peer: Peer,
    memory: &body::Memory,
    request: http::Request<Incoming>,
) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(address) = http_in::address(gateway, &parts).await {
        return http_in::answer(gateway, peer, memory, address, parts, body).await;
    }
    if let Some(address) = s3::site::address(&parts) {
        return s3::site::answer(gateway, peer, memory, address, parts, body).await;
    }
    if let Some(response) = unsigned::answer(gateway, peer, &parts).await {
        return response;
    }
    let id = RequestId::random();
    let invoke =
        lambda::route(&parts).is_some_and(|operation| matches!(operation.name, "Invoke" | "InvokeWithResponseStream"));
    let span = if invoke {
        info_span!("gateway.invoke", request_id = %id)
    } else {
        info_span!("gateway.request", request_id = %id)
    };
    let waits_in_vain = parts.headers.contains_key(EXPECT) && body.is_end_stream();
    let mut response = known(gateway, peer, memory, id, parts, body).instrument(span).await;
    if waits_in_vain {
        // There is no `100 Continue` for a body without bytes, and botocore takes the next answer on a connection on which
        // it saw none for the end of this one.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), value);
    }
    response
}

async fn known(
    gateway: &Gateway,
    peer: Peer,
    memory: &body::Memory,
    id: RequestId,
    parts: Parts,
    body: Incoming,
) -> Response {
    let claim = Claim::read(&parts);
    let scope = match &claim {
        Ok(claim) => claim.service.as_str(),
        Err(_) if peer == Peer::Owner => service_on_socket(&parts),
        Err(_) => "",
    };
    let service = Service::of(scope, &parts);
    let protocol = service.protocol();
    let owner = (peer == Peer::Owner && matches!(claim, Err(sigv4::Error::Missing))).then(|| owner(gateway));
    let proof = match (owner, claim) {
        (owner, claim) if matches!(service, Service::S3) => {
            let result = s3::answer(gateway, memory, owner, claim, (id, peer), parts, body).await;
            return result.unwrap_or_else(|error| refused(error, protocol, id));
        }
        (Some(owner), _) => Ok(Proof::Socket(owner)),
        (None, Err(error)) => Err(Error::of_signer(&error.into(), protocol)),
        (None, Ok(claim)) => match Signer::of(gateway, claim, &parts, peer).await {
            Ok(signer) => Ok(Proof::Signature(Box::new(signer))),
            Err(error) => Err(Error::of_signer(&error, protocol)),
        },
    };
    if matches!(service, Service::Dayfly) && dayfly::jobs::is_stream(&parts) {
        let sender = proof.and_then(|proof| proof.of_head(&parts, peer, protocol));
        return dayfly::jobs::stream(gateway, sender, id, parts, body).await;
    }
    let result = match proof {
        Ok(proof) => served(gateway, memory, &service, proof, id, parts, body).await,
        Err(error) => {
            body::discard(body, &gateway.patience).await;
            Err(error)
        }
    };
    result.unwrap_or_else(|error| refused(error, protocol, id))
}

fn refused(error: Error, protocol: Protocol, id: RequestId) -> Response {
    tracing::debug!(code = %error.code, status = error.status.as_u16(), message = error.message, "refused");
    error.into_response(protocol, id)
}

/// Reads and verifies a request whose key is known, and has its service answer it.
async fn served(
    gateway: &Gateway,
    memory: &body::Memory,
    service: &Service,
    proof: Proof,
    id: RequestId,
    parts: Parts,
    body: Incoming,
) -> Result<Response, Error> {
    let protocol = service.protocol();
    let (limit, too_large) = service.body_limit(&parts, &gateway.options.limits);
    let read = body::read(body, limit, memory, &gateway.patience).await;
    let held = read.map_err(|error| Error::of_body(error, too_large))?;
    let (principal, region, parts, body) = match proof {
        Proof::Socket(Sender { principal, region, .. }) => (principal, region, parts, held.bytes.clone()),
        Proof::Signature(signer) => {
            let Signer { claim, secret, principal, region } = *signer;
            let verified = verify(claim, secret, parts, held.bytes.clone()).await;
            let (parts, body) = verified.map_err(|error| Error::of_signer(&error.into(), protocol))?;
            (principal, region, parts, body)
        }
    };
    let request = Request { id, parts, body, region, principal };
    match service {
        Service::Lambda => lambda::answer(gateway, request).await,
        Service::Sts => sts::answer(gateway, &request).await,
        Service::ApiGateway if apigatewayv2::is_meant(&request.parts) => apigatewayv2::answer(gateway, &request).await,
        Service::ApiGateway => apigateway::answer(gateway, &request).await,
        Service::Iam => iam::answer(gateway, &request).await,
        Service::Logs => logs::answer(gateway, &request).await,
        Service::Events => events::answer(gateway, &request).await,
        Service::Scheduler => scheduler::answer(gateway, &request).await,
        Service::Sns => sns::answer(gateway, &request).await,
        Service::Sqs(_) => sqs::answer(gateway, &request).await,
        Service::DynamoDb => dynamodb::answer(gateway, &request).await,
        Service::Dayfly => dayfly::answer(gateway, &request).await,
        Service::S3 => Err(Error::internal("S3 has its own way")),
        Service::Other { name, .. } => Err(Error::unsupported(&format!("the service {name}"))),
    }
}

/// What tells who sent a request.
enum Proof {
    /// It came through the server's own socket.
    Socket(Sender),
    /// A signature, to be verified.
    Signature(Box<Signer>),
}

impl Proof {
    /// The sender of a request whose body is not signed.
    fn of_head(self, parts: &Parts, peer: Peer, protocol: Protocol) -> Result<Sender, Error> {
        match self {
            Self::Socket(sender) => Ok(sender),
            Self::Signature(signer) => {
                let Signer { claim, secret, principal, region } = *signer;
                let verified = claim.verify(&secret, parts, Hashed::Unsigned);
                verified.map_err(|error| Error::of_signer(&error.into(), protocol))?;
                Ok(Sender { principal, region, through_socket: peer == Peer::Owner })
            }
        }
    }
}

/// Who sends without a signature through the server's own socket.
fn owner(gateway: &Gateway) -> Sender {
    let principal = Caller::root(gateway.options.account.clone());
    Sender { principal, region: gateway.options.region.clone(), through_socket: true }
}

/// The service that an unsigned request is for: its own word, or else what its head looks like.
fn service_on_socket(parts: &Parts) -> &str {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let path = parts.uri.path();
    match (header("x-dayfly-service"), header("x-amz-target")) {
        (Some(service), _) => service,
        (None, Some(target)) if target.starts_with("Dayfly_") => "dayfly",
        (None, Some(target)) if target.starts_with("AmazonSQS.") => "sqs",
        (None, Some(target)) if target.starts_with("AWSEvents.") => "events",
        (None, Some(target)) if target.starts_with("DynamoDB_") => "dynamodb",
        (None, Some(_)) => "logs",
        _ if path == "/jobs" || path.starts_with("/jobs/") || path == "/environments" => "dayfly",
        _ if path == "/" => "sts",
        _ => "lambda",
    }
}

async fn verify(claim: Claim, secret: String, parts: Parts, body: Bytes) -> Result<(Parts, Bytes), sigv4::Error> {
    offload(body.len(), move || {
        let sha256: [u8; 32] = Sha256::digest(&body).into();
        claim.verify(&secret, &parts, Hashed::Body(&sha256)).map(|()| (parts, body))
    })
    .await
}

/// Does `work` on `bytes` here when they are few, and on a blocking thread when they are many.
pub async fn offload<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= OFFLOAD_BYTES {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

enum Service {
    Lambda,
    S3,
    Sts,
    Iam,
    ApiGateway,
    Logs,
    Scheduler,
    Sns,
    Sqs(Protocol),
    Events,
    DynamoDb,
    Dayfly,
    Other { name: String, protocol: Protocol },
}

impl Service {
    /// By the credential scope; an unsigned request is guessed, so that its error has the right form.
    fn of(scope: &str, parts: &Parts) -> Self {
        match scope {
            "lambda" => Self::Lambda,
            "s3" => Self::S3,
            "sts" => Self::Sts,
            "iam" => Self::Iam,
            "apigateway" => Self::ApiGateway,
            "logs" => Self::Logs,
            "events" => Self::Events,
            "scheduler" => Self::Scheduler,
            "sns" => Self::Sns,
            "sqs" => Self::Sqs(sqs::protocol(parts)),
            "dynamodb" => Self::DynamoDb,
            "dayfly" => Self::Dayfly,
            "" if parts.headers.contains_key("x-amz-target") => Self::Logs,
            "" if s3::is_meant(parts) => Self::S3,
            "" if parts.uri.path() == "/" => Self::Sts,
            "" => Self::Lambda,
            other => Self::Other { name: other.chars().take(64).collect(), protocol: guessed(parts) },
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Lambda | Self::Scheduler | Self::ApiGateway => Protocol::RestJson,
            Self::S3 => Protocol::RestXml,
            Self::Logs | Self::Events | Self::DynamoDb | Self::Dayfly => Protocol::Json,
            Self::Sts | Self::Iam | Self::Sns => Protocol::Query,
            Self::Sqs(protocol) | Self::Other { protocol, .. } => *protocol,
        }
    }

    /// Most bytes of the body, and the error for one byte more.
    fn body_limit(&self, parts: &Parts, limits: &Limits) -> (u64, Box<dyn FnOnce(u64, u64) -> Error + Send>) {
        match self {
            Self::Lambda => lambda::body_limit(parts, limits),
            _ => (
                match self {
                    Self::Dayfly => dayfly::body_limit(parts, limits).unwrap_or(SMALL_BODY_BYTES),
                    // Events come in JSON within JSON.
                    Self::Sqs(_) | Self::Sns | Self::Events => sqs::BODY_BYTES_MAX,
                    Self::ApiGateway => apigateway::BODY_BYTES_MAX,
                    Self::DynamoDb => dynamodb::BODY_BYTES_MAX,
                    _ => SMALL_BODY_BYTES,
                },
                Box::new(|_, limit| {
                    let message = format!("The request is larger than {limit} bytes.");
                    Error::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message)
                }),
            ),
        }
    }
}

/// The protocol of a service that is not served: its error should be readable all the same.
fn guessed(parts: &Parts) -> Protocol {
    if parts.headers.contains_key("x-amz-target") {
        Protocol::Json
    } else if parts.uri.path() == "/" {
        Protocol::Query
    } else {
        Protocol::RestJson
    }
}
