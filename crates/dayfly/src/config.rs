//! The configuration file: limits, prices, region. Read once by `serve`; a key that does not exist is refused with its place.

use dayfly_meter::prices::Prices;
use dayfly_types::{Limits, Region};
use dayfly_worker::builder::Policy;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What `config.toml` may set. Everything has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Region that `dayfly env` and the client verbs use.
    pub region: Region,
    /// Seconds after which a zygote that is not called ends; its next call waits for init again.
    pub zygote_idle_s: u32,
    /// Memory for calls, in MB (MiB), by their configured sizes; without it, seven eighths of the machine's.
    pub memory_mb: Option<u32>,
    /// Environments: what may be built, how large they may be, how long they are kept.
    pub environments: Policy,
    /// Limits; the defaults are AWS's.
    pub limits: Limits,
    /// Prices; the defaults are AWS's.
    pub prices: Prices,
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something that does not exist or has the wrong form.
    #[error("{path}:{line}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        let Ok(region) = "us-east-1".parse() else { unreachable!("us-east-1 is a region") };
        Self {
            region,
            zygote_idle_s: 600,
            memory_mb: None,
            environments: Policy::default(),
            limits: Limits::default(),
            prices: Prices::default(),
        }
    }
}

impl Config {
    /// Reads `given`, which must exist, or else `config.toml` in the data folder, which need not.
    pub fn load(given: Option<&Path>, folder: &Path) -> Result<Self, Error> {
        let path = given.map_or_else(|| folder.join("config.toml"), Path::to_owned);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
            Error::Invalid { path: path.to_owned(), line, message: error.message().to_owned() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sets_what_it_names_and_nothing_else() {
        let text = "region = \"eu-west-1\"\n[limits]\nconcurrency = 7\n[prices]\nper_million_requests = 0.5\n";
        let config = Config::parse(text, Path::new("c.toml")).unwrap();
        assert_eq!(config.region.as_str(), "eu-west-1");
        assert_eq!(config.limits.concurrency, 7);
        assert_eq!(config.limits.memory_mb_max, Limits::default().memory_mb_max);
        assert!((config.prices.per_million_requests - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused_with_their_line() {
        for (text, line) in [
            ("regoin = \"x\"", 1),
            ("\n\n[limits]\nconcurency = 7\n", 4),
            ("[limits]\nconcurrency = \"many\"\n", 2),
            ("[prices\n", 1),
            ("region = \"EU\"\n", 1),
        ] {
            let error = Config::parse(text, Path::new("c.toml")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("c.toml:{line}: ")), "{text:?} gave {error}");
        }
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_it_was_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Config::load(None, folder.path()).is_ok());
        assert!(Config::load(Some(&folder.path().join("none.toml")), folder.path()).is_err());
    }
}
