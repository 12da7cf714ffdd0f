//! What an environment is made from: a list of packages, or a lock of them, for one runtime, with modules on top.

use crate::Runtime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use thiserror::Error;

/// Changes when the same input would give another environment.
const FORMAT: &str = "dayfly environment 1\n";
/// Most packages that are asked for by name.
const REQUIREMENTS_MAX: usize = 5_000;
/// Longest requirement.
const REQUIREMENT_BYTES_MAX: usize = 1_000;

/// What an environment is made from. Two of them with the same [`id`](Self::id) are the same environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSource {
    /// The Python that will use it.
    pub runtime: Runtime,
    /// For example `x86_64-linux-gnu`.
    pub platform: String,
    /// The packages.
    pub packages: Packages,
    /// SHA-256 of a zip with modules that lie beside the packages, lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<String>,
}

/// The packages of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packages {
    /// Requirements by name (PEP 508 without addresses), in order, each once.
    Requirements(BTreeSet<String>),
    /// Exactly these, by name and version, and nothing that they ask for: what is installed somewhere.
    Pinned(BTreeSet<String>),
    /// The text of a `uv.lock`.
    UvLock(String),
}

/// A requirement that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{requirement:?} {reason}")]
pub struct RequirementError {
    requirement: String,
    reason: &'static str,
}

impl EnvironmentSource {
    /// SHA-256 of all of it, lower-case hexadecimal.
    pub fn id(&self) -> String {
        let mut sha256 = Sha256::new();
        sha256.update(FORMAT);
        // Plain text and sets of it: there is nothing in them that JSON cannot hold.
        sha256.update(serde_json::to_vec(self).unwrap_or_default());
        hex::encode(sha256.finalize())
    }
}

impl Packages {
    /// Requirements as people write them: comments and empty lines go, names and spaces are made alike.
    ///
    /// # Errors
    /// For anything but a name with extras, versions and a marker. Addresses, paths and options would let a request read
    /// files of the server or reach machines that it should not.
    pub fn of_requirements<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, RequirementError> {
        requirements(lines).map(Self::Requirements)
    }

    /// The same for `name==version`.
    ///
    /// # Errors
    /// As `of_requirements`; a requirement without exactly one version.
    pub fn of_pins<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, RequirementError> {
        let pins = requirements(lines)?;
        let is_pin = |pin: &str| {
            let (name, version) = pin.split_once("==").unwrap_or_default();
            let is_plain = |text: &str| !text.is_empty() && !text.contains(|c| "<>=~!,*;[ ".contains(c));
            is_plain(name) && is_plain(version)
        };
        match pins.iter().find(|pin| !is_pin(pin)) {
            Some(bad) => Err(RequirementError { requirement: bad.clone(), reason: "is not name==version" }),
            None => Ok(Self::Pinned(pins)),
        }
    }
}

fn requirements<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>, RequirementError> {
    let mut requirements = BTreeSet::new();
    for line in lines {
        let text = line.split(" #").next().unwrap_or_default().trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        requirements.insert(requirement(text)?);
        if requirements.len() > REQUIREMENTS_MAX {
            return Err(RequirementError { requirement: "…".to_owned(), reason: "is one requirement too many" });
        }
    }
    Ok(requirements)
}

/// One requirement in its normal form.
///
/// # Errors
/// As [`Packages::of_requirements`].
pub fn requirement(text: &str) -> Result<String, RequirementError> {
    let refuse = |reason| Err(RequirementError { requirement: text.chars().take(200).collect::<String>(), reason });
    if text.len() > REQUIREMENT_BYTES_MAX {
        return refuse("is too long");
    }
    if text.starts_with('-') {
        return refuse("is an option; only names of packages with versions are taken");
    }
    if text.contains('@') || text.contains('/') || text.contains('\\') {
        return refuse("is an address or a path; only names of packages with versions are taken");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-[],<>=!~;()'\"*+".contains(c);
    if let Some(other) = text.chars().find(|c| !allowed(*c)) {
        return refuse(if other.is_control() { "has a control character" } else { "is not a requirement" });
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let (name, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("does not begin with the name of a package");
    }
    // A marker's spaces mean something, a version's do not.
    let (versions, marker) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
    let versions: String = versions.chars().filter(|c| *c != ' ').collect();
    Ok(format!("{}{versions}{}", normal_name(name), marker.trim_end()))
}

/// A package's name as PEP 503 compares them.
pub fn normal_name(name: &str) -> String {
    let parts: Vec<&str> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(lines: &[&str]) -> EnvironmentSource {
        EnvironmentSource {
            runtime: Runtime::Python { minor: 11 },
            platform: "x86_64-linux-gnu".to_owned(),
            packages: Packages::of_requirements(lines.iter().copied()).unwrap(),
            modules: None,
        }
    }

    #[test]
    fn what_means_the_same_has_the_same_id() {
        let one = source(&["Scikit_Learn == 1.5", "six", "# note", "", "six  # again"]);
        let two = source(&["six", "scikit-learn==1.5"]);
        assert_eq!(one.id(), two.id());
        assert_eq!(one.id().len(), 64);
        assert_ne!(one.id(), source(&["six"]).id());
        assert_ne!(one.packages, Packages::of_pins(["six==1", "a==1.0+cu118"]).unwrap());
        for bad in ["six", "six>=1", "six==1.*", "six==1,<2", "six[x]==1", "six==1;python_version>'3'"] {
            assert!(Packages::of_pins([bad]).is_err(), "{bad} was taken");
        }
        let other = EnvironmentSource { runtime: Runtime::Python { minor: 12 }, ..two.clone() };
        assert_ne!(two.id(), other.id());
        assert_ne!(two.id(), EnvironmentSource { modules: Some("0".repeat(64)), ..two.clone() }.id());
    }

    #[test]
    fn requirements_are_names_with_versions_and_nothing_else() {
        for (text, normal) in [
            ("Six", "six"),
            ("a.b_c>=1, <2", "a-b-c>=1,<2"),
            ("ray[data]==2.0; python_version < '3.12'", "ray[data]==2.0; python_version < '3.12'"),
            ("x~=1.0+cpu", "x~=1.0+cpu"),
        ] {
            assert_eq!(requirement(text).unwrap(), normal);
        }
        for bad in [
            "-e .",
            "--index-url http://x",
            "-r /etc/passwd",
            "six @ file:///etc/passwd",
            "six@git+https://x",
            "./six",
            "../six",
            "six==${HOME}",
            "six\nsix2",
            "six\0",
            "_six",
            "==1",
            "ſix",
            &"s".repeat(1001),
        ] {
            assert!(requirement(bad).is_err(), "{bad:?} was taken");
        }
    }
}
