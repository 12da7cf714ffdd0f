//! Errors of the layers below, as Lambda's. The only place that knows both.

use crate::aws::Error;
use dayfly_scheduler::{functions, layers};
use dayfly_triggers::mappings;
use dayfly_types::{FunctionArn, InvokeError};
use http::StatusCode;

/// `ResourceNotFoundException` of a function.
pub fn not_found(arn: &FunctionArn) -> Error {
    Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("Function not found: {arn}"))
}

/// `InvalidParameterValueException`.
pub fn invalid_parameter(message: impl Into<String>) -> Error {
    Error::bad_request("InvalidParameterValueException", message)
}

/// `InvalidRequestContentException`.
pub fn invalid_content(message: impl Into<String>) -> Error {
    Error::bad_request("InvalidRequestContentException", message)
}

/// A JSON body that cannot be read.
pub fn of_json(error: &serde_json::Error) -> Error {
    match error.classify() {
        serde_json::error::Category::Data => Error::bad_request("SerializationException", error.to_string()),
        _ => invalid_content(format!("Could not parse request body into json: {error}")),
    }
}

impl From<functions::Error> for Error {
    fn from(error: functions::Error) -> Self {
        use functions::Error as E;
        let text = error.to_string();
        // A package that cannot be unpacked is the caller's fault, unless the disk is to blame.
        let disk = std::error::Error::source(&error).is_some_and(|source| source.is::<std::io::Error>());
        let conflict = |text| Self::new(StatusCode::CONFLICT, "ResourceConflictException", text);
        match error {
            E::NotFound(arn) => not_found(&arn),
            E::NotProvisioned => {
                Self::new(StatusCode::NOT_FOUND, "ProvisionedConcurrencyConfigNotFoundException", text)
            }
            E::NoAlias(_) => Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", text),
            E::Exists(_) | E::UpdateInProgress(_) | E::Conflict(_) => conflict(text),
            E::Invalid(_) => invalid_parameter(text),
            E::RevisionMismatch => Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailedException", text),
            E::Limit(_) => Self::bad_request("CodeStorageExceededException", text),
            E::Store(_) => Self::internal(text),
            E::Code(_) if disk => Self::internal(text),
            E::Code(_) => invalid_parameter(text),
        }
    }
}

impl From<layers::Error> for Error {
    fn from(error: layers::Error) -> Self {
        use layers::Error as E;
        match error {
            E::Code(error) => functions::Error::Code(error).into(),
            E::Store(error) => Self::internal(error),
            other => invalid_parameter(other.to_string()),
        }
    }
}

impl From<mappings::Error> for Error {
    fn from(error: mappings::Error) -> Self {
        use mappings::Error as E;
        let text = error.to_string();
        match error {
            E::NotFound => Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", text),
            E::Exists { .. } => Self::new(StatusCode::CONFLICT, "ResourceConflictException", text),
            E::Pattern(_) | E::TooMany => invalid_parameter(text),
            E::Store(_) => Self::internal(text),
        }
    }
}

impl From<InvokeError> for Error {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::FunctionNotFound(arn) => not_found(&arn),
            InvokeError::Throttled { reason, retry_after } => Self {
                reason: Some(reason.to_string()),
                retry_after_s: Some(retry_after.as_millis().div_ceil(1000).clamp(1, 900) as u64),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", "Rate Exceeded.")
            },
            InvokeError::PayloadTooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", error.to_string())
            }
            InvokeError::PayloadNotJson(what) => {
                invalid_content(format!("Could not parse request body into json: {what}"))
            }
            InvokeError::NotReady(what) => Self::new(
                StatusCode::CONFLICT,
                "ResourceConflictException",
                format!("The operation cannot be performed at this time. {what}"),
            ),
            InvokeError::Internal(detail) => Self::internal(detail),
            // Nobody waits for the answer of a call that was taken back.
            InvokeError::Cancelled => Self::internal(error),
            InvokeError::ShuttingDown => Self {
                retry_after_s: Some(1),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                    "The server is shutting down.",
                )
            },
        }
    }
}
