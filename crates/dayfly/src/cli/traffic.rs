//! Options of the verbs that move the traffic of a web application between its versions.

use super::Target;
use clap::Args;

/// Options of `dayfly traffic`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly traffic shop                 who gets what, and each version's own address
  dayfly traffic shop v1=90 v2=10     one request in ten goes to version 2
  dayfly traffic shop v2=100

Each request draws anew. An address of a version, which `dayfly traffic` prints, always leads to that version.")]
pub struct Traffic {
    /// Name of the application
    pub name: String,
    /// Percentages; they make 100. Of two versions at most
    #[arg(value_name = "vN=PERCENT", value_parser = share)]
    pub shares: Vec<(u64, u8)>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `dayfly rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly rollback shop        to the version that had the traffic before
  dayfly rollback shop v3")]
pub struct Rollback {
    /// Name of the application
    pub name: String,
    /// The version to go back to. Default: the one before
    #[arg(value_name = "vN", value_parser = version)]
    pub version: Option<u64>,
    #[command(flatten)]
    pub target: Target,
}

fn share(text: &str) -> Result<(u64, u8), String> {
    let (name, percent) = text.split_once('=').ok_or("write vN=PERCENT, for example v1=90")?;
    let percent = percent.strip_suffix('%').unwrap_or(percent);
    let percent: u8 = percent.parse().ok().filter(|percent| *percent <= 100).ok_or("a percentage is 0 to 100")?;
    Ok((version(name)?, percent))
}

fn version(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('v').unwrap_or(text);
    number.parse().ok().filter(|number| *number > 0).ok_or_else(|| "write vN, for example v1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_versions() {
        assert_eq!(share("v12=90"), Ok((12, 90)));
        assert_eq!(share("1=5%"), Ok((1, 5)));
        for bad in ["v1", "v0=1", "v1=101", "v1=-1", "live=10", "v1=1.5"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
