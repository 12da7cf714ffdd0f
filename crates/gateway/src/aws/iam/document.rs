//! Checks policy documents when they are given, so that whoever evaluates one later finds a policy.

use super::error::malformed;
use crate::aws::Error;
use dayfly_types::policy::Policy;

pub use dayfly_types::policy::Kind;

/// Whether `text` is a policy of this kind.
///
/// # Errors
/// `MalformedPolicyDocument`.
pub fn check(text: &str, kind: Kind) -> Result<(), Error> {
    Policy::parse(text, kind).map(drop).map_err(|error| malformed(error.to_string()))
}
