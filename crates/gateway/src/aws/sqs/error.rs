//! SQS's errors. Its clients know them by the codes of its older protocol, which come in a header of the newer one.

use dayfly_store::Error as StoreError;
use dayfly_triggers::queues;
use http::StatusCode;

/// An error of SQS.
#[derive(Debug)]
pub struct Error {
    /// HTTP status.
    pub status: StatusCode,
    /// The name in the JSON protocol.
    pub name: &'static str,
    /// The code in the query protocol.
    pub code: &'static str,
    /// The text.
    pub message: String,
}

/// Errors whose code is not their name: name, code.
const CODES: [(&str, &str); 12] = [
    ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
    ("QueueNameExists", "QueueAlreadyExists"),
    ("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"),
    ("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
    ("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
    ("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong"),
    ("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId"),
    ("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"),
    ("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation"),
    ("InvalidParameterValueException", "InvalidParameterValue"),
    ("MissingRequiredParameterException", "MissingParameter"),
    ("InternalServerError", "InternalFailure"),
];

impl Error {
    /// Status 400.
    pub fn new(name: &'static str, message: impl Into<String>) -> Self {
        let code = CODES.iter().find(|(known, _)| *known == name).map_or(name, |(_, code)| code);
        Self { status: StatusCode::BAD_REQUEST, name, code, message: message.into() }
    }
}

/// `InvalidParameterValue`.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new("InvalidParameterValueException", message)
}

/// `Value X for parameter Y is invalid. Reason: Z`.
pub fn invalid_value(value: impl std::fmt::Display, parameter: &str, reason: &str) -> Error {
    let value: String = value.to_string().chars().take(200).collect();
    invalid(format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"))
}

/// `MissingParameter`.
pub fn missing(parameter: &str) -> Error {
    let message = format!("The request must contain the parameter {parameter}.");
    Error::new("MissingRequiredParameterException", message)
}

/// What an operation ends with.
pub type Failure = crate::aws::error::Failure<Error>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl From<queues::Error> for Failure {
    fn from(error: queues::Error) -> Self {
        Self::Own(error.into())
    }
}

impl From<queues::Error> for Error {
    fn from(error: queues::Error) -> Self {
        use queues::Error as E;
        let text = error.to_string();
        match error {
            E::NoSuchQueue => Self::new("QueueDoesNotExist", text),
            E::Exists(_) => Self::new("QueueNameExists", text),
            E::TooManyInFlight => Self { status: StatusCode::FORBIDDEN, ..Self::new("OverLimit", text) },
            E::TooManyQueues => Self { status: StatusCode::FORBIDDEN, ..Self::new("OverLimit", text) },
            E::InvalidHandle => Self { status: StatusCode::NOT_FOUND, ..Self::new("ReceiptHandleIsInvalid", text) },
            E::HandleExpired => invalid(text),
            E::NotInFlight => Self::new("MessageNotInflight", text),
            E::HiddenTooLong => invalid(text),
            E::Store(StoreError::Full(_) | StoreError::Closed) => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..Self::new("ServiceUnavailable", "The server cannot keep messages at the moment.")
            },
            E::Store(error) => {
                tracing::error!(%error, "a queue failed");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self {
                    status,
                    ..Self::new("InternalServerError", "We encountered an internal error. Please try again.")
                }
            }
        }
    }
}
