//! Options of the verbs that are for whole projects.

use super::Target;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `dayfly init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly init shop
  dayfly init --template queue orders

Nothing that is there is written over.")]
pub struct Init {
    /// Folder; made when it is not there
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// What to begin with
    #[arg(long, value_enum, default_value_t = Template::Api)]
    pub template: Template,
}

/// Projects to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// Routes and a table, in dayfly.toml
    Api,
    /// Routes in Python, with dayfly.App
    App,
    /// A route that hands on to a queue, and what handles its messages
    Queue,
    /// A function that is called by the clock
    Schedule,
}

/// Options of `dayfly destroy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly destroy                    what deploys of the project in this folder made
  dayfly destroy --name shop --yes  the same, without the folder and without a question")]
pub struct Destroy {
    /// The project's folder
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// The project's name. Default: as its folder says
    #[arg(long)]
    pub name: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Print what was deleted as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}
