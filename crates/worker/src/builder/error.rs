//! Why there is no environment, and what uv's words mean. Called by the builder.

use std::io;
use thiserror::Error;

/// Why an environment was not built. The text is for whoever asked for it.
#[derive(Debug, Error)]
pub enum Error {
    /// The input is not one.
    #[error("{0}")]
    Invalid(String),
    /// No index has it.
    #[error("there is no package {package:?}: {detail}")]
    PackageNotFound {
        /// What was asked for, perhaps with its version.
        package: String,
        /// uv's words.
        detail: String,
    },
    /// It would have to be built from source.
    #[error(
        "{package:?} has no wheel for this Python and platform, and would have to be built from source, which runs its \
         code on the server: the operator has not allowed that (`[environments] allow_source = true`)"
    )]
    NoWheel {
        /// The package.
        package: String,
    },
    /// The Python is another one.
    #[error("{0}")]
    IncompatiblePython(String),
    /// The packages do not go together.
    #[error("the packages do not go together: {0}")]
    Conflict(String),
    /// Larger than the configuration allows.
    #[error("the environment would be larger than {limit_bytes} bytes, which the server's configuration allows")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// No room.
    #[error("the server's disk is full")]
    DiskFull,
    /// The tool failed.
    #[error("the environment could not be built: {0}")]
    BuildFailed(String),
    /// It may not go now.
    #[error("the environment is in use")]
    InUse,
    /// The disk failed: Dayfly's own fault.
    #[error("building failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl Error {
    /// The error's name for clients.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "InvalidEnvironment",
            Self::PackageNotFound { .. } => "PackageNotFound",
            Self::NoWheel { .. } => "NoWheel",
            Self::IncompatiblePython(_) => "IncompatiblePython",
            Self::Conflict(_) => "PackageConflict",
            Self::TooLarge { .. } => "EnvironmentTooLarge",
            Self::DiskFull => "DiskFull",
            Self::BuildFailed(_) => "BuildFailed",
            Self::InUse => "EnvironmentInUse",
            Self::Io(_) => "InternalError",
        }
    }

    /// What uv's last words mean.
    pub fn of_words(words: &str) -> Self {
        let flat = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if flat.contains("No space left on device") || flat.contains("os error 28") {
            return Self::DiskFull;
        }
        if flat.contains("No solution found") {
            let cause = flat.split_once("cause: ").map_or(flat.as_str(), |(_, cause)| cause);
            let (cause, hints) = cause.split_once(" hint: ").unwrap_or((cause, ""));
            return Self::of_cause(cause, hints);
        }
        // Said by the installation, of a lock that names such a package.
        if let Some(package) = quoted_after(&flat, "is marked as `--no-build` but has no binary distribution") {
            return Self::NoWheel { package };
        }
        if flat.contains("has no binary distribution") || flat.contains("building from source is disabled") {
            let package = between(&flat, "Distribution `", "`").unwrap_or("a package").to_owned();
            return Self::NoWheel { package };
        }
        if flat.contains("doesn't have a source distribution or wheel for the current platform") {
            return Self::IncompatiblePython(flat);
        }
        Self::BuildFailed(words.trim().to_owned())
    }

    fn of_cause(cause: &str, hints: &str) -> Self {
        let detail = || cause.trim_end_matches('.').to_owned();
        // A wheel for another Python or platform is there, and perhaps a source.
        if cause.contains("has no usable wheels") || hints.contains("Wheels are required for") {
            let package = between(hints, "Wheels are required for `", "`")
                .or_else(|| word_before(cause, " has no usable wheels"));
            let package = package.unwrap_or("a package").to_owned();
            return if hints.contains("building from source is disabled") || cause.contains("building from source") {
                Self::NoWheel { package }
            } else {
                Self::IncompatiblePython(detail())
            };
        }
        if let Some(package) = word_before(cause, " was not found in the package registry") {
            return Self::PackageNotFound { package: package.to_owned(), detail: detail() };
        }
        let is_of_python =
            ["does not satisfy Python", "depends on Python", "matching Python", "wheels with a matching"];
        if is_of_python.iter().any(|words| cause.contains(words)) {
            return Self::IncompatiblePython(detail());
        }
        if let Some((_, rest)) = cause.split_once("there is no version of ") {
            let package = rest.split(' ').next().unwrap_or_default().trim_end_matches(',').to_owned();
            return Self::PackageNotFound { package, detail: detail() };
        }
        if let Some((_, rest)) = cause.split_once(" is available and you require ") {
            let package = rest.split([',', ' ']).next().unwrap_or_default().to_owned();
            return Self::PackageNotFound { package, detail: detail() };
        }
        Self::Conflict(detail())
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn quoted_after(text: &str, after: &str) -> Option<String> {
    let (before, _) = text.split_once(after)?;
    before.trim_end().trim_end_matches('`').rsplit('`').next().map(str::to_owned)
}

fn word_before<'a>(text: &'a str, after: &str) -> Option<&'a str> {
    let (before, _) = text.split_once(after)?;
    before.rsplit(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solution(cause: &str) -> Error {
        Error::of_words(&format!("error: No solution found when resolving dependencies\n  cause: {cause}"))
    }

    #[test]
    fn what_uv_says_gets_its_type() {
        let error = solution(
            "Because nosuch was not found in the package registry and you require nosuch, we can conclude that your\n\
             requirements are unsatisfiable.",
        );
        assert!(matches!(&error, Error::PackageNotFound { package, .. } if package == "nosuch"), "{error:?}");
        let error = solution("Because there is no version of six==99.0 and you require six==99.0, we can conclude …");
        assert!(matches!(&error, Error::PackageNotFound { package, .. } if package == "six==99.0"), "{error:?}");
        let error = solution("Because only numpy<=2.5.5 is available and you require numpy>=99, we can conclude …");
        assert!(matches!(&error, Error::PackageNotFound { package, .. } if package == "numpy>=99"), "{error:?}");
        let error = solution(
            "Because sgmllib3k==1.0.0 has no usable wheels and you require sgmllib3k==1.0.0, we can conclude that your \
             requirements are unsatisfiable.\n\nhint: Wheels are required for `sgmllib3k` because building from source is \
             disabled for all packages (i.e., with `--no-build`)",
        );
        assert!(matches!(&error, Error::NoWheel { package } if package == "sgmllib3k"), "{error:?}");
        assert!(error.to_string().contains("allow_source"));
        let error = solution(
            "Because the current Python version (3.11.7) does not satisfy Python>=3.12 and a==1 depends on Python>=3.12, …",
        );
        assert!(matches!(error, Error::IncompatiblePython(_)), "{error:?}");
        let error = solution("Because you require numpy==2.1.0 and numpy==2.2.0, we can conclude that …");
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        assert!(matches!(Error::of_words("error: x\n  cause: No space left on device (os error 28)"), Error::DiskFull));
        assert!(
            matches!(Error::of_words("error: Failed to fetch"), Error::BuildFailed(text) if text == "error: Failed to fetch")
        );
        assert!(matches!(Error::from(io::Error::from(io::ErrorKind::StorageFull)), Error::DiskFull));
    }
}
