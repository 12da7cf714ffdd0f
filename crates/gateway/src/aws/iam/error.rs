//! IAM's errors.

use crate::{authorise::Denied, aws::Error};
use http::StatusCode;

pub fn validation(message: impl Into<String>) -> Error {
    Error::bad_request("ValidationError", message)
}

pub fn no_identity(kind: &str, name: &str) -> Error {
    no_such(format!("The {kind} with name {name} cannot be found."))
}

pub fn no_such(message: String) -> Error {
    Error::new(StatusCode::NOT_FOUND, "NoSuchEntity", message)
}

pub fn exists(kind: &str, name: &str) -> Error {
    Error::new(StatusCode::CONFLICT, "EntityAlreadyExists", format!("{kind} with name {name} already exists."))
}

pub fn in_use(message: &'static str) -> Error {
    Error::new(StatusCode::CONFLICT, "DeleteConflict", message)
}

pub fn limit(message: String) -> Error {
    Error::new(StatusCode::CONFLICT, "LimitExceeded", message)
}

pub fn malformed(message: impl Into<String>) -> Error {
    Error::bad_request("MalformedPolicyDocument", message)
}

pub fn denied(denied: Denied) -> Error {
    Error::new(StatusCode::FORBIDDEN, "AccessDenied", denied.0)
}
