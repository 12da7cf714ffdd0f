//! Errors of the meter, as CloudWatch Logs'.

use crate::aws::Error;
use dayfly_meter as meter;

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

impl From<meter::Error> for Error {
    fn from(error: meter::Error) -> Self {
        match error {
            meter::Error::Pattern(_) => invalid_parameter(error.to_string()),
            meter::Error::Token => invalid_parameter("The specified nextToken is invalid."),
            meter::Error::Store(_) => Self::internal(error),
        }
    }
}
