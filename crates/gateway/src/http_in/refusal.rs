//! What clients of APIs and function URLs get when there is no answer of a function.

use crate::{
    aws::{Response, response},
    body,
};
use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};

/// A refusal, as AWS words it.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    /// The name of the message's member differs, and so does its case.
    member: &'static str,
    message: Value,
    /// `WWW-Authenticate`.
    challenge: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: &str) -> Self {
        Self { status, kind, member: "message", message: json!(message), challenge: None }
    }

    /// No such API or stage, or one that is closed.
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "ForbiddenException", "Forbidden")
    }

    /// No such path or method; or a signature is needed and there is none.
    pub fn missing_token() -> Self {
        Self::new(StatusCode::FORBIDDEN, "MissingAuthenticationTokenException", "Missing Authentication Token")
    }

    /// The signature does not hold.
    pub fn signature(kind: &'static str, message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, message)
    }

    /// The authorizer has nothing to go by, or does not know who it is.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UnauthorizedException", "Unauthorized")
    }

    /// The authorizer says no.
    pub fn denied(explicit: bool) -> Self {
        let how = if explicit { " with an explicit deny" } else { "" };
        let message = format!("User is not authorized to access this resource{how}");
        Self { member: "Message", ..Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", &message) }
    }

    /// The authorizer does not work.
    pub fn authorizer() -> Self {
        let kind = "AuthorizerConfigurationException";
        Self { message: Value::Null, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, kind, "") }
    }

    /// The function may not be called, or cannot be.
    pub fn configuration() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerErrorException", "Internal server error")
    }

    /// The function failed, or its answer is none.
    pub fn bad_answer() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "InternalServerErrorException", "Internal server error")
    }

    /// The function takes too long.
    pub fn timed_out() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "InternalServerErrorException", "Endpoint request timed out")
    }

    /// The request is too large.
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", "Request Too Long")
    }

    /// The head of the request is too large.
    pub fn head_too_large() -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "RequestTooLargeException", "Request Header Fields Too Large")
    }

    /// There is more than can be done at the time.
    pub fn busy() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", "Too Many Requests")
    }

    /// A mock that does not take this media type.
    pub fn media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BadRequestException", "Unsupported Media Type")
    }

    /// The request cannot be read.
    pub fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    /// An HTTP API has no such route or stage.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFoundException", "Not Found")
    }

    /// Whoever asks of an HTTP API may not.
    pub fn closed() -> Self {
        Self::forbidden()
    }

    /// A token that is not taken: one that is not good, or one that cannot be verified.
    pub fn token(is_bad: bool) -> Self {
        let challenge = match is_bad {
            true => "Bearer error=\"invalid_token\"",
            false => "Bearer error=\"temporarily_unavailable\"",
        };
        Self { challenge: Some(challenge), ..Self::unauthorized() }
    }

    /// The function behind an HTTP API failed, may not be called, or its answer is none.
    pub fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerErrorException", "Internal Server Error")
    }

    /// The same refusal by an HTTP API, which says some things in other words.
    pub fn of_http_api(self) -> Self {
        match self.status {
            StatusCode::GATEWAY_TIMEOUT => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", "Service Unavailable")
            }
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => Self::failed(),
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", "Request Entity Too Large")
            }
            _ => self,
        }
    }

    /// The same refusal by a function URL, whose errors have a `Message`.
    pub fn of_url(self) -> Self {
        Self { member: "Message", ..self }
    }

    /// A function URL that must be signed, or may not be used. Its errors have names of their own.
    pub fn url(status: StatusCode, kind: &'static str, message: &str) -> Self {
        Self { member: "Message", ..Self::new(status, kind, message) }
    }

    /// The answer.
    pub fn into_response(self) -> Response {
        let body = Map::from_iter([(self.member.to_owned(), self.message)]);
        let mut response = response::json(self.status, &body);
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(self.kind));
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl From<body::Error> for Refusal {
    fn from(error: body::Error) -> Self {
        match error {
            body::Error::TooLarge { .. } => Self::too_large(),
            body::Error::TooSlow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", "The request came too slowly")
            }
            body::Error::Busy => Self::busy(),
            body::Error::Broken(_) => Self::bad_request("The request broke off"),
        }
    }
}

impl From<crate::aws::Error> for Refusal {
    /// A failure of the store, which has been logged.
    fn from(_: crate::aws::Error) -> Self {
        Self::configuration()
    }
}
