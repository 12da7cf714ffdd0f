//! What a client says about a job in its first frame, and the function configuration that its calls get.

use dayfly_types::{
    AccountId, CodeReference, Environment, FunctionArn, FunctionConfiguration, FunctionName, JobFunction, JobId,
    Limits, Region, Runtime, Timestamp,
    function::{LastUpdate, LoggingConfig, State},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Most calls of one job that may be asked to run at once.
const IN_FLIGHT_MAX: u32 = 1024;
/// Most times that a call which died is tried again.
const RETRIES_MAX: u32 = 100;
/// Most modules to import ahead.
const IMPORTS_MAX: usize = 256;
/// Longest name of a job, of a module to import.
const NAME_BYTES_MAX: usize = 256;
/// Most characters of a job's name that are in its function's: that one has 64, and `job-`, `-` and 8 digits beside it.
const NAME_IN_FUNCTION: usize = 51;

/// A job, as its client describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specification {
    /// Name of the function, for people.
    pub name: String,
    /// The Python that pickled it.
    pub runtime: Runtime,
    /// What its calls see.
    #[serde(default = "bare")]
    pub environment: Environment,
    /// Modules to import ahead.
    #[serde(default)]
    pub imports: Vec<String>,
    /// Memory of a call in MB.
    #[serde(default = "memory_mb")]
    pub memory_mb: u32,
    /// Longest time of a call, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
    /// `/tmp` of a call in MB.
    #[serde(default = "ephemeral_storage_mb")]
    pub ephemeral_storage_mb: u32,
    /// Environment variables of a call.
    #[serde(default)]
    pub environment_variables: BTreeMap<String, String>,
    /// Most calls at once; `None` leaves it to the server.
    #[serde(default)]
    pub max_in_flight: Option<u32>,
    /// How often a call that died is tried again.
    #[serde(default)]
    pub retries: u32,
    /// Whether the client wants what the calls write.
    #[serde(default)]
    pub logs: bool,
    /// Whether the job goes on without its client.
    #[serde(default)]
    pub detach: bool,
    /// Tags, for the bill.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

fn bare() -> Environment {
    Environment::Bare
}

fn memory_mb() -> u32 {
    512
}

fn timeout_s() -> u32 {
    900
}

fn ephemeral_storage_mb() -> u32 {
    512
}

impl Specification {
    /// What is wrong with it, if something is. Environment variables and tags have AWS's rules: the front-end's to check.
    pub fn check(&self, limits: &Limits) -> Result<(), String> {
        let bounded = |field: &str, value: u32, range: RangeInclusive<u32>| {
            let (least, most) = (range.start(), range.end());
            let message = || format!("{field} is {value}, but must be between {least} and {most}");
            range.contains(&value).then_some(()).ok_or_else(message)
        };
        bounded("memory_mb", self.memory_mb, limits.memory_mb_min..=limits.memory_mb_max)?;
        bounded("timeout_s", self.timeout_s, 1..=limits.timeout_s_max)?;
        let storage = limits.ephemeral_storage_mb_min..=limits.ephemeral_storage_mb_max;
        bounded("ephemeral_storage_mb", self.ephemeral_storage_mb, storage)?;
        bounded("max_in_flight", self.max_in_flight.unwrap_or(1), 1..=IN_FLIGHT_MAX)?;
        bounded("retries", self.retries, 0..=RETRIES_MAX)?;
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || self.name.contains(char::is_control) {
            return Err(format!("name must have 1 to {NAME_BYTES_MAX} bytes and no control characters"));
        }
        let is_module = |name: &String| {
            !name.is_empty()
                && name.len() <= NAME_BYTES_MAX
                && name.chars().all(|c| c.is_alphanumeric() || "._".contains(c))
        };
        if self.imports.len() > IMPORTS_MAX || !self.imports.iter().all(is_module) {
            return Err(format!("imports must be at most {IMPORTS_MAX} names of modules"));
        }
        Ok(())
    }

    /// Most calls at once on a machine with so much memory for calls and so many processors. By default as many as keep
    /// the processors busy while others start, end, or wait for something.
    pub(super) fn in_flight(&self, capacity_mb: u32, processors: u32) -> u32 {
        let fits = (capacity_mb / self.memory_mb.max(1)).max(1);
        self.max_in_flight.unwrap_or_else(|| processors.saturating_mul(8)).clamp(1, IN_FLIGHT_MAX).min(fits)
    }

    /// The configuration of the job's calls.
    pub(super) fn function(
        &self,
        job: JobId,
        (account, region): (&AccountId, &Region),
        code: CodeReference,
        now: Timestamp,
    ) -> FunctionConfiguration {
        let name = self.function_name(job);
        FunctionConfiguration {
            arn: FunctionArn { region: region.clone(), account: account.clone(), name: name.clone(), qualifier: None },
            runtime: self.runtime,
            handler: String::new(),
            role: format!("arn:aws:iam::{account}:role/dayfly-job"),
            description: String::new(),
            timeout_s: self.timeout_s,
            memory_mb: self.memory_mb,
            ephemeral_storage_mb: self.ephemeral_storage_mb,
            environment: self.environment_variables.clone(),
            architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }.to_owned(),
            tags: self.tags.clone(),
            logging: LoggingConfig {
                format: "Text".to_owned(),
                application_level: None,
                system_level: None,
                group: format!("/aws/lambda/{name}"),
            },
            code,
            revision_id: job.to_string(),
            last_modified: now,
            state: State::Active,
            last_update: LastUpdate::Successful,
            other: BTreeMap::new(),
            layers: Vec::new(),
            job: Some(JobFunction { environment: self.environment.clone(), imports: self.imports.clone() }),
        }
    }

    /// `job-<name>-<the id's first 8 digits>`, in the characters that a function's name may have.
    pub(super) fn function_name(&self, job: JobId) -> FunctionName {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
        let name: String = self.name.chars().take(NAME_IN_FUNCTION).map(plain).collect();
        let id = job.0.simple().to_string();
        match format!("job-{name}-{}", &id[..8]).parse() {
            Ok(name) => name,
            Err(_) => unreachable!("{name:?} has only characters of function names, and few enough"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Specification, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn everything_but_name_and_runtime_has_a_default_and_nothing_else_is_taken() {
        let job = read(r#"{"name": "square", "runtime": "python3.11"}"#).unwrap();
        assert_eq!((job.memory_mb, job.timeout_s, job.retries, job.detach), (512, 900, 0, false));
        assert_eq!(job.environment, Environment::Bare);
        job.check(&Limits::default()).unwrap();
        for bad in [
            "{}",
            r#"{"name": "f"}"#,
            r#"{"name": "f", "runtime": "python2.7"}"#,
            r#"{"name": "f", "runtime": "python3.11", "colour": 1}"#,
            r#"{"name": "f", "runtime": "python3.11", "retries": -1}"#,
            r#"{"name": "f", "runtime": "python3.11", "environment": {"kind": "other"}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let job = read(r#"{"name": "f", "runtime": "python3.11"}"#).unwrap();
        let limits = Limits::default();
        let check = |change: fn(&mut Specification)| {
            let mut job = job.clone();
            change(&mut job);
            job.check(&limits).unwrap_err()
        };
        assert!(check(|job| job.memory_mb = 64).contains("memory_mb is 64"));
        assert!(check(|job| job.timeout_s = 0).contains("timeout_s"));
        assert!(check(|job| job.max_in_flight = Some(0)).contains("max_in_flight"));
        assert!(check(|job| job.retries = 101).contains("retries"));
        assert!(check(|job| job.name = "a\nb".into()).contains("name"));
        assert!(check(|job| job.name.clear()).contains("name"));
        assert!(check(|job| job.imports = vec!["os; import sys".into()]).contains("imports"));
        assert!(check(|job| job.imports = vec!["x".into(); 257]).contains("imports"));
    }

    #[test]
    fn a_function_name_is_made_of_any_name() {
        let id = JobId("01234567-89ab-4def-8123-456789abcdef".parse().unwrap());
        let name = |text: &str| {
            Specification { name: text.into(), ..read(r#"{"name": "f", "runtime": "python3.11"}"#).unwrap() }
                .function_name(id)
                .to_string()
        };
        assert_eq!(name("square"), "job-square-01234567");
        assert_eq!(name("<lambda>"), "job-_lambda_-01234567");
        assert_eq!(name("größe.f"), "job-gr__e_f-01234567");
        assert_eq!(name(&"x".repeat(256)).len(), 64);
    }

    #[test]
    fn no_more_run_at_once_than_memory_has_room_for() {
        let mut job = read(r#"{"name": "f", "runtime": "python3.11"}"#).unwrap();
        assert_eq!(job.in_flight(100_000, 2), 16);
        assert_eq!(job.in_flight(4_096, 2), 8);
        assert_eq!(job.in_flight(100, 2), 1);
        job.max_in_flight = Some(3);
        assert_eq!(job.in_flight(100_000, 2), 3);
    }
}
