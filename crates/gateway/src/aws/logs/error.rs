//! Errors of the meter, as CloudWatch Logs'.

use crate::aws::Error;

/// A log group that is not there.
pub fn no_group() -> Error {
    Error::bad_request("ResourceNotFoundException", "The specified log group does not exist.")
}

/// A log stream that is not there.
pub fn no_stream() -> Error {
    Error::bad_request("ResourceNotFoundException", "The specified log stream does not exist.")
}

/// `InvalidParameterException`.
pub fn invalid_parameter(message: impl Into<String>) -> Error {
    Error::bad_request("InvalidParameterException", message)
}
