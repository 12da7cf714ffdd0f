//! The code cache: packages are checked, unpacked once under their SHA-256, and byte-compiled at publish time.

use thiserror::Error;

/// What is wrong with a package. The gateway answers `InvalidParameterValueException` or `InvalidZipFileException`.
#[derive(Debug, Error)]
pub enum Error {
    /// Not a zip that can be unpacked safely.
    #[error("{0}")]
    Invalid(String),
    /// Unpacked it is larger than the limit.
    #[error("Unzipped size must be smaller than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The disk failed: Dayfly's own fault.
    #[error("unpacking failed: {0}")]
    Io(#[from] std::io::Error),
}
