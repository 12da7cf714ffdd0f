//! Errors of API Gateway's interface for HTTP APIs.

use crate::aws::Error;
use http::StatusCode;

pub use crate::aws::apigateway::error::{bad_request, conflict};

pub fn not_found(what: &str) -> Error {
    let message = format!("Invalid {what} identifier specified");
    Error::new(StatusCode::NOT_FOUND, "NotFoundException", message)
}

/// A member that AWS takes and that is not there yet.
pub fn unsupported(operation: &str, what: &str) -> Error {
    let what: String = what.chars().take(64).collect();
    bad_request(format!("{operation}: Dayfly does not support {what} yet"))
}

pub fn too_many(what: &str, most: usize) -> Error {
    let message = format!("There are {most} {what}, which is the limit");
    Error::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", message)
}
