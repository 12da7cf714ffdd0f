//! S3's errors: AWS's codes and statuses in one place.

use crate::aws::Error;
use dayfly_objects::Error as ObjectsError;
use http::StatusCode;

impl From<ObjectsError> for Error {
    fn from(error: ObjectsError) -> Self {
        let (status, code) = match &error {
            ObjectsError::BucketExists(_) => (StatusCode::CONFLICT, "BucketAlreadyExists"),
            ObjectsError::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            ObjectsError::BucketNotEmpty => (StatusCode::CONFLICT, "BucketNotEmpty"),
            ObjectsError::TooManyBuckets => (StatusCode::BAD_REQUEST, "TooManyBuckets"),
            ObjectsError::NoSuchKey => (StatusCode::NOT_FOUND, "NoSuchKey"),
            ObjectsError::NoSuchUpload => (StatusCode::NOT_FOUND, "NoSuchUpload"),
            ObjectsError::ConditionFailed => (StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            ObjectsError::InvalidPart => (StatusCode::BAD_REQUEST, "InvalidPart"),
            ObjectsError::InvalidPartOrder => (StatusCode::BAD_REQUEST, "InvalidPartOrder"),
            ObjectsError::PartTooSmall => (StatusCode::BAD_REQUEST, "EntityTooSmall"),
            ObjectsError::TooLarge => (StatusCode::BAD_REQUEST, "EntityTooLarge"),
            ObjectsError::BadDigest(_) => (StatusCode::BAD_REQUEST, "BadDigest"),
            ObjectsError::Store(dayfly_store::Error::Conflict { .. }) => (StatusCode::CONFLICT, "OperationAborted"),
            ObjectsError::Store(dayfly_store::Error::Full(_)) => {
                tracing::error!(%error, "the disk is full");
                let message = "There is no space left for this object.";
                return Self::new(StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage", message);
            }
            ObjectsError::Store(_) => return internal(error),
        };
        Self::new(status, code, error.to_string())
    }
}

pub fn internal(detail: impl std::fmt::Display) -> Error {
    tracing::error!(%detail, "internal error");
    Error::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "We encountered an internal error. Please try again.",
    )
}

pub fn not_implemented(what: &str) -> Error {
    let message = format!("Dayfly does not support {what} yet");
    Error::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
}

pub fn invalid_argument(message: impl Into<String>) -> Error {
    Error::bad_request("InvalidArgument", message)
}

pub fn invalid_request(message: impl Into<String>) -> Error {
    Error::bad_request("InvalidRequest", message)
}

pub fn malformed_xml() -> Error {
    Error::bad_request(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

pub fn bad_digest(what: &str) -> Error {
    Error::bad_request("BadDigest", format!("The {what} you specified did not match the calculated checksum."))
}

pub fn access_denied(message: &str) -> Error {
    Error::new(StatusCode::FORBIDDEN, "AccessDenied", message.to_owned())
}

pub fn malformed_trailer() -> Error {
    Error::bad_request("MalformedTrailerError", "The request contained trailing data that was not well-formed.")
}
