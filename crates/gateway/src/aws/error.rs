//! An AWS error, and how each protocol writes it.

use super::{Response, response};
use crate::{authorise::Denied, body, signer::Refused, sigv4};
use dayfly_types::RequestId;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use std::borrow::Cow;

/// How a service writes requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Paths and JSON (Lambda).
    RestJson,
    /// `X-Amz-Target` and JSON 1.1 (CloudWatch Logs, Dayfly's own).
    Json,
    /// `Action` and XML (STS).
    Query,
    /// Paths and XML (S3).
    RestXml,
}

/// What an operation ends with: an error of its service, or one that all services have.
#[derive(Debug)]
pub enum Failure<E> {
    /// The service's own.
    Own(E),
    /// Common.
    Common(Error),
}

impl<E> From<Error> for Failure<E> {
    fn from(error: Error) -> Self {
        Self::Common(error)
    }
}

/// What the client gets to read. What the log says is logged where the error is made.
#[derive(Debug)]
pub struct Error {
    /// HTTP status.
    pub status: StatusCode,
    /// AWS's name of the error.
    pub code: Cow<'static, str>,
    /// The text.
    pub message: String,
    /// `Reason`, of throttling.
    pub reason: Option<String>,
    /// `Retry-After` in seconds, of throttling.
    pub retry_after_s: Option<u64>,
}

impl Error {
    /// An error with a status.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), reason: None, retry_after_s: None }
    }

    /// Status 400.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Dayfly's own fault; `detail` goes to the log only.
    pub fn internal(detail: impl std::fmt::Display) -> Self {
        tracing::error!(%detail, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", "Service encountered an internal error.")
    }

    /// An operation that AWS has and Dayfly has not.
    pub fn unsupported(operation: &str) -> Self {
        let message = format!("Dayfly does not support {operation} yet");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplementedException", message)
    }

    /// An operation that nobody has.
    pub fn unknown_operation(what: &str) -> Self {
        let what: String = what.chars().take(200).collect();
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", format!("Unknown operation: {what}"))
    }

    /// A body that could not be read, of an operation whose own error for size is `too_large`.
    pub fn of_body(error: body::Error, too_large: impl FnOnce(u64, u64) -> Self) -> Self {
        match error {
            body::Error::TooLarge { actual, limit } => too_large(actual, limit),
            body::Error::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeoutException",
                "Your socket connection to the server was not read from or written to within the timeout period.",
            ),
            body::Error::Busy => Self {
                retry_after_s: Some(1),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                    "Too many large requests at once.",
                )
            },
            body::Error::Broken(error) => {
                Self::bad_request("InvalidRequestContentException", format!("The request body broke off: {error}"))
            }
        }
    }

    /// A signature that is not accepted.
    pub fn of_signer(refused: &Refused, protocol: Protocol) -> Self {
        let (query, json, xml) = match refused {
            Refused::Internal => return Self::internal("the rights of a key could not be read"),
            Refused::UnknownKey => ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"),
            Refused::Signature(sigv4::Error::Missing) => {
                ("MissingAuthenticationToken", "MissingAuthenticationTokenException", "AccessDenied")
            }
            Refused::Signature(sigv4::Error::Incomplete(_)) => {
                ("IncompleteSignature", "IncompleteSignatureException", "AuthorizationHeaderMalformed")
            }
            Refused::Signature(sigv4::Error::Expired(_) | sigv4::Error::NotYetCurrent(_)) => {
                ("SignatureDoesNotMatch", "InvalidSignatureException", "RequestTimeTooSkewed")
            }
            Refused::Signature(sigv4::Error::Scope(_) | sigv4::Error::Mismatch) => {
                ("SignatureDoesNotMatch", "InvalidSignatureException", "SignatureDoesNotMatch")
            }
        };
        let message = refused.to_string();
        match protocol {
            Protocol::Query if query == "IncompleteSignature" => Self::bad_request(query, message),
            Protocol::RestXml if xml == "AuthorizationHeaderMalformed" => Self::bad_request(xml, message),
            Protocol::RestXml if xml == "AccessDenied" => Self::new(StatusCode::FORBIDDEN, xml, "Access Denied"),
            Protocol::Query => Self::new(StatusCode::FORBIDDEN, query, message),
            Protocol::RestXml => Self::new(StatusCode::FORBIDDEN, xml, message),
            Protocol::RestJson => Self::new(StatusCode::FORBIDDEN, json, message),
            Protocol::Json => Self::bad_request(json, message),
        }
    }

    /// The answer.
    pub fn into_response(self, protocol: Protocol, id: RequestId) -> Response {
        let fault = if self.status.is_server_error() { "Service" } else { "User" };
        let mut response = match protocol {
            Protocol::RestJson => {
                // Lambda's errors differ in the case of their member's name; clients take either.
                let mut body = json!({"Type": fault, "Message": self.message, "message": self.message});
                if let Some(reason) = &self.reason {
                    body["Reason"] = json!(reason);
                }
                response::json(self.status, &body)
            }
            Protocol::Json => response::json(self.status, &json!({"__type": self.code, "message": self.message})),
            Protocol::RestXml => response::xml(
                self.status,
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>\
                     <RequestId>{id}</RequestId></Error>",
                    response::xml_text(&self.code),
                    response::xml_text(&self.message)
                ),
            ),
            Protocol::Query => {
                let side = if fault == "User" { "Sender" } else { "Receiver" };
                response::xml(
                    self.status,
                    format!(
                        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>{side}</Type>\
                         <Code>{}</Code><Message>{}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
                        response::xml_text(&self.code),
                        response::xml_text(&self.message)
                    ),
                )
            }
        };
        let headers = response.headers_mut();
        if !matches!(protocol, Protocol::Query | Protocol::RestXml)
            && let Ok(code) = HeaderValue::from_str(&self.code)
        {
            headers.insert(HeaderName::from_static("x-amzn-errortype"), code);
        }
        if protocol == Protocol::RestXml
            && let Ok(id) = HeaderValue::from_str(&id.to_string())
        {
            headers.insert(HeaderName::from_static("x-amz-request-id"), id);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", denied.0)
    }
}

impl From<dayfly_store::Error> for Error {
    fn from(error: dayfly_store::Error) -> Self {
        Self::internal(error)
    }
}
