//! API Gateway's errors.

use crate::aws::Error;
use http::StatusCode;

pub fn bad_request(message: impl Into<String>) -> Error {
    Error::bad_request("BadRequestException", message)
}

pub fn not_found(what: &str) -> Error {
    Error::new(StatusCode::NOT_FOUND, "NotFoundException", format!("Invalid {what} identifier specified"))
}

pub fn no_api(id: &str) -> Error {
    let id: String = id.chars().take(64).collect();
    not_found(&format!("API (rest API id {id})"))
}

pub fn conflict(message: impl Into<String>) -> Error {
    Error::new(StatusCode::CONFLICT, "ConflictException", message)
}

/// A part of a document or request that AWS takes and that is not there yet.
pub fn unsupported(place: &str, what: &str) -> Error {
    bad_request(format!("{place}: Dayfly does not support {what} yet"))
}
