//! Options of the verbs about packages that the server keeps: `environments` and `layer`.

use super::Target;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Options of `dayfly environments`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly environments
  dayfly environments show 3f9a
  dayfly environments rm 3f9a")]
pub struct Environments {
    /// Without one: a list
    #[command(subcommand)]
    pub what: Option<EnvironmentsWhat>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub enum EnvironmentsWhat {
    /// Show one, with its packages
    Show {
        /// Its id, or the beginning of it
        id: String,
    },
    /// Remove some; a job that needs one builds it again
    Rm {
        /// Their ids, or the beginnings of them
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Options of `dayfly layer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly layer build -r requirements.txt --name science
  dayfly layer build scikit-learn pandas==2.2.3 --name science --runtime python3.11
  dayfly layer ls
  dayfly layer rm science:1

The server resolves, downloads and compiles the packages once, and keeps one copy of each file for all layers and
environments. There is no limit on their size. Give a function the layer by the ARN that `build` prints.")]
pub struct Layer {
    /// What to do
    #[command(subcommand)]
    pub what: LayerWhat,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// What to do with layers.
#[derive(Debug, Subcommand)]
pub enum LayerWhat {
    /// Have the server build a layer of Python packages
    Build(LayerBuild),
    /// List layers, each with its newest version
    Ls,
    /// Delete layer versions; functions that use them keep them
    Rm {
        /// NAME:VERSION, or ARNs
        #[arg(required = true)]
        versions: Vec<String>,
    },
}

/// Options of `dayfly layer build`.
#[derive(Debug, Args)]
pub struct LayerBuild {
    /// Packages by name, as in a requirements file
    pub packages: Vec<String>,
    /// A requirements file; may be repeated
    #[arg(short, long = "requirements", value_name = "FILE")]
    pub requirements: Vec<PathBuf>,
    /// Name of the layer
    #[arg(long)]
    pub name: String,
    /// python3.9 to python3.14. Default: the newest that the server has
    #[arg(long)]
    pub runtime: Option<String>,
    /// What the layer is for
    #[arg(long)]
    pub description: Option<String>,
}
