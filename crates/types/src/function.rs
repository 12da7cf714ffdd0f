//! A function's configuration, as it is kept. The Lambda front-end maps it to AWS's shapes.

use crate::{FunctionArn, JobFunction, Layer, Qualifier, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// One version of a function: everything that CreateFunction and UpdateFunctionConfiguration take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionConfiguration {
    /// The function's ARN; the qualifier is the version (`$LATEST` as none).
    pub arn: FunctionArn,
    /// Language and its version.
    pub runtime: Runtime,
    /// `module.function`.
    pub handler: String,
    /// ARN of the execution role.
    pub role: String,
    /// At most 256 characters.
    pub description: String,
    /// Seconds, 1 to 900.
    pub timeout_s: u32,
    /// MB (MiB), 128 to 10,240.
    pub memory_mb: u32,
    /// Size of `/tmp` in MB (MiB), 512 to 10,240.
    pub ephemeral_storage_mb: u32,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// `x86_64` or `arm64`; one.
    pub architecture: String,
    /// Tags of the function.
    pub tags: BTreeMap<String, String>,
    /// Where and how it logs.
    pub logging: LoggingConfig,
    /// The code package.
    pub code: CodeReference,
    /// What is at `/opt`, the last one over the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
    /// Changes with every update.
    pub revision_id: String,
    /// When code or configuration changed last.
    pub last_modified: Timestamp,
    /// Life-cycle state.
    pub state: State,
    /// Outcome of the last update.
    pub last_update: LastUpdate,
    /// Fields that are validated, kept and returned, and that a later part of Dayfly gives meaning to
    /// (`VpcConfig`, `TracingConfig`, `DeadLetterConfig`, `KMSKeyArn`, `Layers`, `FileSystemConfigs`, `SnapStart`, …),
    /// under AWS's names and in AWS's shape.
    pub other: BTreeMap<String, serde_json::Value>,
    /// Set for a job's calls, which no Lambda operation sees: `code` is then a function file, not a zip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFunction>,
}

impl FunctionConfiguration {
    /// `$LATEST`, or the number of a published version.
    pub fn version(&self) -> Qualifier {
        self.arn.qualifier.clone().unwrap_or(Qualifier::Latest)
    }

    /// Whether its instances serve more calls than one. Not a job's, nor where that is one call after all.
    pub fn reuse(&self) -> Option<Reuse> {
        let asked = self.tags.get(Reuse::TAG).filter(|_| self.job.is_none())?.parse().ok();
        asked.filter(|reuse| *reuse != Reuse::Calls(1))
    }

    /// The ARN with the version, as records and lists of versions have it.
    pub fn versioned_arn(&self) -> FunctionArn {
        self.arn.qualified(self.version())
    }
}

/// How long an instance goes on, where a function asks that it serves more calls than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// So many calls.
    Calls(u32),
    /// The calls of so many seconds from its first.
    Seconds(u32),
}

impl Reuse {
    /// The tag by which a function asks for it.
    pub const TAG: &str = "dayfly:reuse";
    /// Most calls.
    const CALLS_MAX: u32 = 1_000_000;
    /// Most seconds: the credentials of an instance do not last longer.
    const SECONDS_MAX: u32 = 6 * 3600;
}

impl FromStr for Reuse {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, most) = match text.strip_suffix('s') {
            Some(digits) => (digits, Self::SECONDS_MAX),
            None => (text, Self::CALLS_MAX),
        };
        let number = digits.parse().ok().filter(|number| (1..=most).contains(number) && !digits.starts_with('+'));
        match number {
            Some(number) if digits.len() < text.len() => Ok(Self::Seconds(number)),
            Some(number) => Ok(Self::Calls(number)),
            None => Err(format!(
                "{text:?} is neither a number of calls (1 to {}) nor of seconds (1s to {}s)",
                Self::CALLS_MAX,
                Self::SECONDS_MAX
            )),
        }
    }
}

impl fmt::Display for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(calls) => write!(f, "{calls}"),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// `python3.9` to `python3.14`, whose instances are clones; the others speak the Runtime API, and are booted for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Runtime {
    /// CPython 3.`minor`.
    Python {
        /// 9 to 14.
        minor: u8,
    },
    /// `nodejs18.x` to `nodejs24.x`.
    Node {
        /// An even number.
        major: u8,
    },
    /// `provided.al2` and `provided.al2023`: a program named `bootstrap`.
    Provided {
        /// Of Amazon Linux: 2 or 2023. Here both are this machine.
        release: u16,
    },
}

impl Runtime {
    /// The `minor` of CPython 3.`minor`; `None` for what is no Python.
    pub fn python_minor(self) -> Option<u8> {
        match self {
            Self::Python { minor } => Some(minor),
            Self::Node { .. } | Self::Provided { .. } => None,
        }
    }

    /// What marks code that was unpacked for it: Python's is compiled for a version, other code is left as it is.
    pub fn code_tag(self) -> String {
        self.python_minor().map_or_else(|| "plain".to_owned(), |minor| format!("cpython-3{minor}"))
    }
}

impl FromStr for Runtime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|_| !text.starts_with(['0', '+']));
        let python = || text.strip_prefix("python3.").and_then(number).filter(|minor| (9..=14).contains(minor));
        let node = || text.strip_prefix("nodejs").and_then(|text| text.strip_suffix(".x")).and_then(number);
        let even = |major: &u8| (18..=24).contains(major) && major.is_multiple_of(2);
        match text {
            "provided.al2" => Some(Self::Provided { release: 2 }),
            "provided.al2023" => Some(Self::Provided { release: 2023 }),
            _ => python()
                .map(|minor| Self::Python { minor })
                .or_else(|| node().filter(even).map(|major| Self::Node { major })),
        }
        .ok_or_else(|| format!("unknown runtime {text:?}"))
    }
}

impl TryFrom<String> for Runtime {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> String {
        runtime.to_string()
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python { minor } => write!(f, "python3.{minor}"),
            Self::Node { major } => write!(f, "nodejs{major}.x"),
            Self::Provided { release } => write!(f, "provided.al{release}"),
        }
    }
}

/// `LoggingConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggingConfig {
    /// `Text` or `JSON`.
    pub format: String,
    /// `ApplicationLogLevel`, only with JSON.
    pub application_level: Option<String>,
    /// `SystemLogLevel`, only with JSON.
    pub system_level: Option<String>,
    /// Log group; `/aws/lambda/NAME` unless set.
    pub group: String,
}

/// A code package in the blob store: the zip as it was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CodeReference {
    /// SHA-256 of the zip, lower-case hexadecimal. Its name in the blob store and in the code cache.
    pub sha256: String,
    /// Bytes of the zip.
    pub size_bytes: u64,
}

/// `State` of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Being made: its code is unpacked and compiled.
    Pending,
    /// Can be called.
    Active,
    /// Could not be made.
    Failed {
        /// What went wrong.
        reason: String,
        /// AWS's reason code, for example `InternalError`.
        code: String,
    },
}

/// `LastUpdateStatus` of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastUpdate {
    /// Done.
    Successful,
    /// New code is being unpacked; calls still run the old one.
    InProgress,
    /// The update failed; the old code stays.
    Failed {
        /// What went wrong.
        reason: String,
        /// AWS's reason code.
        code: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuse_is_calls_or_seconds_within_bounds() {
        for (text, reuse) in [("1", Reuse::Calls(1)), ("100", Reuse::Calls(100)), ("30s", Reuse::Seconds(30))] {
            assert_eq!(text.parse(), Ok(reuse));
            assert_eq!(reuse.to_string(), text);
        }
        for text in ["", "0", "0s", "s", "-1", "+1", "1.5", "30m", "1000001", "21601s", "99999999999"] {
            assert!(text.parse::<Reuse>().is_err(), "{text}");
        }
    }
}
