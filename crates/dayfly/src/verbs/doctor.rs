//! `dayfly doctor`: what this machine gives, what it lacks, and what that means. Talks to no server.

use super::Error;
use crate::{cli, output};
use dayfly_sandbox::doctor::{Check, Status};
use serde_json::json;

/// Prints the checks; fails when calls cannot run here.
pub fn run(options: &cli::Doctor) -> Result<(), Error> {
    let mut checks = dayfly_sandbox::doctor::report(&std::env::current_exe()?);
    checks.push(interpreters());
    let missing = checks.iter().filter(|check| check.status == Status::Missing).count();
    if options.json {
        output::json(&json!({"checks": checks, "can_run": missing == 0}))?;
    } else {
        for check in &checks {
            output::line(&format!("{:<8}  {}: {}", word(check.status), check.name, check.detail))?;
            if check.status != Status::Good {
                output::line(&format!("{:<8}  → {}", "", check.consequence))?;
            }
        }
    }
    if missing > 0 {
        return Err(Error::Failed(format!("calls cannot run on this machine: {missing} of the checks failed")));
    }
    Ok(())
}

fn interpreters() -> Check {
    let found = dayfly_worker::interpreters::find(&[]);
    let consequence = if found.is_empty() { "no function can be created: install python3" } else { "" };
    let list: Vec<String> =
        found.iter().map(|found| format!("{} ({})", found.version, found.executable.display())).collect();
    Check {
        name: "Python interpreters",
        status: if found.is_empty() { Status::Missing } else { Status::Good },
        detail: if list.is_empty() { "none".into() } else { list.join(", ") },
        consequence: consequence.into(),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Good => "good",
        Status::Degraded => "degraded",
        Status::Missing => "missing",
    }
}
