//! The engine's errors, as DynamoDB's.

use dayfly_store::Error as StoreError;
use dayfly_tables::Error;
use http::StatusCode;
use serde_json::{Value, json};

/// What an operation ends with.
pub type Failure = crate::aws::error::Failure<Error>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// `ValidationException`.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::Validation(message.into())
}

/// The text with which AWS refuses a member of a request.
pub fn constraint(value: Option<&str>, member: &str, constraint: &str) -> Error {
    let value = value.map_or_else(|| "null".to_owned(), |value| format!("'{}'", short(value)));
    invalid(format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {constraint}"
    ))
}

/// As much of a client's text as an error repeats.
pub fn short(text: &str) -> String {
    text.chars().take(255).collect()
}

/// Status and body of an error.
pub fn body(error: &Error) -> (StatusCode, Value) {
    let (status, name) = name(error);
    let space = match name {
        "ValidationException" => "com.amazon.coral.validate",
        "SerializationException" | "InternalServerError" => "com.amazon.coral.service",
        _ => "com.amazonaws.dynamodb.v20120810",
    };
    let mut body = json!({"__type": format!("{space}#{name}"), "message": message(error)});
    match error {
        Error::Condition(Some(item)) => body["Item"] = json!(item),
        Error::Cancelled(reasons) => body["CancellationReasons"] = reasons.iter().map(reason).collect(),
        _ => {}
    }
    (status, body)
}

fn name(error: &Error) -> (StatusCode, &'static str) {
    let name = match error {
        Error::Validation(_) => "ValidationException",
        Error::Serialization(_) => "SerializationException",
        Error::NotFound(_) => "ResourceNotFoundException",
        Error::InUse(_) => "ResourceInUseException",
        Error::Limit(_) => "LimitExceededException",
        Error::Condition(_) => "ConditionalCheckFailedException",
        Error::Cancelled(_) => "TransactionCanceledException",
        Error::OtherTransaction => "IdempotentParameterMismatchException",
        Error::Conflict => "TransactionConflictException",
        Error::Store(StoreError::Full(_) | StoreError::Closed) => {
            return (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        Error::Store(error) => {
            tracing::error!(%error, "a table failed");
            return (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError");
        }
    };
    (StatusCode::BAD_REQUEST, name)
}

fn message(error: &Error) -> String {
    match error {
        Error::Store(StoreError::Full(_) | StoreError::Closed) => {
            "The server cannot keep items at the moment.".to_owned()
        }
        Error::Store(_) => "Internal server error".to_owned(),
        Error::Cancelled(reasons) => {
            let codes: Vec<&str> = reasons.iter().map(|reason| code(reason.as_ref())).collect();
            format!("{error} [{}]", codes.join(", "))
        }
        other => other.to_string(),
    }
}

fn reason(error: &Option<Error>) -> Value {
    let mut reason = json!({"Code": code(error.as_ref())});
    if let Some(error) = error {
        reason["Message"] = json!(message(error));
    }
    if let Some(Error::Condition(Some(item))) = error {
        reason["Item"] = json!(item);
    }
    reason
}

fn code(error: Option<&Error>) -> &'static str {
    match error {
        None => "None",
        Some(Error::Condition(_)) => "ConditionalCheckFailed",
        Some(Error::Conflict) => "TransactionConflict",
        Some(_) => "ValidationError",
    }
}
