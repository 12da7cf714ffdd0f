//! The command line: verbs, options and their help. Parsed by `main`; holds no behaviour.

mod access;
mod environments;
mod project;
mod traffic;

pub use access::{Allowed, Attach, Key, KeyWhat, Policy, PolicyWhat, User, UserWhat};
pub use environments::{Environments, EnvironmentsWhat, Layer, LayerBuild, LayerWhat};
pub use project::{Destroy, Init, Template};
pub use traffic::{Rollback, Traffic};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{net::SocketAddr, path::PathBuf};

/// A serverless cloud in one binary: AWS Lambda's protocols, a fresh instance for every call.
#[derive(Debug, Parser)]
#[command(name = "dayfly", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "\
Start here:
  dayfly doctor                 what this machine can do
  dayfly demo                   a first call, start to end
  dayfly serve                  run the server
  eval \"$(dayfly env)\"          point the aws command and boto3 at it

Exit codes: 0 it worked, 1 it failed (or the function did), 2 the command line is wrong.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the server
    Serve(Serve),
    /// Print export lines that point AWS tools at the server
    Env(Env),
    /// Make a project in a folder, from a template
    Init(Init),
    /// Deploy a project (dayfly.toml or dayfly.App), or one function from a folder or a file
    Deploy(Deploy),
    /// Delete what deploys of a project made
    Destroy(Destroy),
    /// Call a function
    Invoke(Invoke),
    /// Show a function's log
    Logs(Logs),
    /// List functions
    Ls(Ls),
    /// Delete functions
    Rm(Rm),
    /// Print the web addresses of a function or an API
    Url(Url),
    /// Show or split the traffic of a web application between its versions
    Traffic(Traffic),
    /// Move all traffic of a web application back to an earlier version
    Rollback(Rollback),
    /// List, show and remove environments of packages
    Environments(Environments),
    /// Build, list and delete layers
    Layer(Layer),
    /// List, make and delete users
    User(User),
    /// List, make and delete users' keys
    Key(Key),
    /// List, make, attach and delete policies
    Policy(Policy),
    /// Show what calls used and what they cost
    Bill(Bill),
    /// List jobs, show one, or cancel one
    Jobs(Jobs),
    /// Tell what this machine gives, what it lacks, and what that means
    Doctor(Doctor),
    /// Start a server of its own, deploy a function, call it 20 times, show the bill, clean up
    Demo(Demo),
    /// Print a completion script for a shell
    Completions(Completions),
}

/// Which server a client verb talks to.
#[derive(Debug, Args)]
pub struct Target {
    /// Data folder of the server. Without it: AWS_ENDPOINT_URL and the AWS_* keys when set, else the default folder
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Region of the functions
    #[arg(long, value_name = "REGION", global = true)]
    pub region: Option<String>,
}

/// Options of `dayfly serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly serve
  dayfly serve --data /tmp/try --listen 127.0.0.1:0     a free port, printed on the ready line

The configuration (limits, prices, region) is DIR/config.toml, or the file named by --config.
SIGTERM or Ctrl-C drains: no new calls, running ones finish within --drain-seconds. A second signal ends them.
DAYFLY_LOG sets what is logged, for example DAYFLY_LOG=debug.")]
pub struct Serve {
    /// Folder of everything the server keeps. Default: dayfly/ in XDG_DATA_HOME (~/.local/share)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4566")]
    pub listen: SocketAddr,
    /// Certificate of the server in PEM form, with those that lead to a root: what is listened to is https
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of that certificate in PEM form, without a password
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Configuration file. Default: config.toml in the data folder, if there is one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long running calls may take to finish at shutdown
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
    /// End when nobody has been served, and nothing has run or waited, for this long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub exit_when_idle: Option<u64>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How the server's own log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line per event, for people.
    Text,
    /// A JSON object per event.
    Json,
}

/// Options of `dayfly env`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eval \"$(dayfly env)\"
  dayfly env --shell fish | source
  dayfly env --shell powershell | Invoke-Expression")]
pub struct Env {
    /// Data folder of the server
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Region to set
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Whose syntax
    #[arg(long, value_enum, default_value_t = Shell::Sh)]
    pub shell: Shell,
}

/// Shells that `dayfly env` can speak to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// sh, bash, zsh and their kin.
    Sh,
    /// fish.
    Fish,
    /// PowerShell.
    Powershell,
}

/// Options of `dayfly deploy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly deploy                     the project in this folder: its plan, each step, its addresses
  dayfly deploy shop --dry-run      the plan alone
  dayfly deploy hello.py
  dayfly deploy hello.js
  dayfly deploy ./resize --memory 512 --timeout 30 --env BUCKET=photos --tag team=web
  dayfly deploy ./shop                              a Flask, Django, FastAPI or Starlette application
  dayfly deploy ./shop --app shop.web:make_app()

A project is a folder with a dayfly.toml, or with an app.py that makes a dayfly.App; --dry-run and --yes are for projects,
the other options for single functions, whose handler is found by convention: handler or lambda_handler in app.py, main.py,
lambda_function.py or index.py, exported from index.js (.mjs, .cjs), or the program bootstrap (or in the one file given). Where there is none, a web application is looked for: app or application in app.py,
main.py, wsgi.py, asgi.py, application.py or app/, or what manage.py names. It gets the packages of its
requirements.txt and an address of its own. .dayflyignore and .gitignore are respected; .git, .venv and __pycache__ never go along.")]
pub struct Deploy {
    /// A project's folder, a function's folder, or a single .py or .js file
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Delete tables, queues and buckets that the project no longer has, without being asked
    #[arg(long, short)]
    pub yes: bool,
    /// Name of the function. Default: the folder's or file's name
    #[arg(long)]
    pub name: Option<String>,
    /// module.function. Default: found by convention
    #[arg(long)]
    pub handler: Option<String>,
    /// A web application (WSGI or ASGI). Default: found by convention
    #[arg(long, value_name = "MODULE:OBJECT", value_parser = crate::web_app::parse_object, conflicts_with = "handler")]
    pub app: Option<String>,
    /// Static files of a web application, served without a call. Default: static/ or staticfiles/, at /static/
    #[arg(long = "static", value_name = "[/PATH=]FOLDER", value_parser = crate::web_app::parse_statics, conflicts_with = "handler")]
    pub statics: Option<(String, PathBuf)>,
    /// Publish a web application's new version, and leave the traffic where it is
    #[arg(long, conflicts_with = "handler")]
    pub no_traffic: bool,
    /// For example python3.12, nodejs22.x, provided.al2023. Default: the newest that the server has and the code suits
    #[arg(long)]
    pub runtime: Option<String>,
    /// Memory in MB
    #[arg(long, value_name = "MB")]
    pub memory: Option<u32>,
    /// Timeout in seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
    /// Environment variable; replaces all that were set before. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// Tag; added to those that were set before. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub tag: Vec<(String, String)>,
    /// Calls that an instance serves, or seconds (30s) for which it does. Default: one call
    #[arg(long, value_name = "CALLS|SECONDS")]
    pub reuse: Option<dayfly_types::function::Reuse>,
    /// Print the function's configuration, or the project's plan and addresses, as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

impl Deploy {
    /// Whether an option says that a single function is meant.
    pub fn is_of_a_function(&self) -> bool {
        self.name.is_some()
            || self.handler.is_some()
            || self.app.is_some()
            || self.statics.is_some()
            || self.no_traffic
            || self.runtime.is_some()
            || self.memory.is_some()
            || self.timeout.is_some()
            || !self.env.is_empty()
            || !self.tag.is_empty()
            || self.reuse.is_some()
    }
}

/// Options of `dayfly invoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly invoke hello '{\"name\": \"Ada\"}'
  dayfly invoke hello @event.json --log
  echo '{}' | dayfly invoke hello -
  dayfly invoke hello --async

The result goes to stdout and nothing else does. Exit code 1 when the function failed; its error is on stdout then.")]
pub struct Invoke {
    /// Name or ARN of the function, with :QUALIFIER if wanted
    pub name: String,
    /// JSON, @FILE, or - for stdin. Default: {}
    pub payload: Option<String>,
    /// Show the log's last 4 KB on stderr
    #[arg(long, conflicts_with = "asynchronous")]
    pub log: bool,
    /// Queue the event and return at once
    #[arg(long = "async", id = "asynchronous")]
    pub asynchronous: bool,
    /// Client context: a JSON object for the handler's context
    #[arg(long, value_name = "JSON")]
    pub client_context: Option<String>,
    /// Print one JSON object with status, version, request id, error and payload
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `dayfly logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly logs hello
  dayfly logs hello -f
  dayfly logs hello --since 2h --filter ERROR")]
pub struct Logs {
    /// Name of the function
    pub name: String,
    /// Go on as lines come, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How far back: 90s, 10m, 2h, 7d
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span)]
    pub since: std::time::Duration,
    /// CloudWatch filter pattern, for example ERROR or '?warn ?error'
    #[arg(long, value_name = "PATTERN")]
    pub filter: Option<String>,
    /// Print events as JSON, one a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `dayfly ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly ls
  dayfly ls --json | jq -r .[].FunctionName")]
pub struct Ls {
    /// Print configurations as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `dayfly rm`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly rm hello
  dayfly rm one two three")]
pub struct Rm {
    /// Names of the functions
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Print the names of those deleted as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `dayfly url`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly url hello              the address of a function's URL
  dayfly url pets               those of the stages of the API called pets

An address opens in any browser on this machine. APIs and function URLs are also reached by host:
API.execute-api.localhost:PORT/STAGE/ and ID.lambda-url.REGION.localhost:PORT/")]
pub struct Url {
    /// Name of a function with a URL, or name or id of a REST API
    pub name: String,
    /// Print the addresses as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `dayfly bill`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly bill
  dayfly bill --by tag:team --from 2026-11-01 --to 2026-12-01
  dayfly bill --by day --json

Prices are AWS Lambda's public ones unless the server's configuration says otherwise.")]
pub struct Bill {
    /// A row per what: function, day, or tag:KEY
    #[arg(long, default_value = "function", value_parser = by)]
    pub by: dayfly_meter::bill::By,
    /// Calls from this day or time on (2026-11-23 or 2026-11-23T10:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<jiff::Timestamp>,
    /// Calls before this day or time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<jiff::Timestamp>,
    /// Print the bill as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `dayfly jobs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly jobs
  dayfly jobs show 3f2b                 the first digits of its id are enough
  dayfly jobs cancel 3f2b
  dayfly jobs --json | jq -r '.[] | select(.state == \"running\") | .job'

A job is what `dayfly.map(f, xs)` makes in Python. To cancel one ends the calls that run, too.")]
pub struct Jobs {
    /// What to do with one of them
    #[command(subcommand)]
    pub what: Option<JobsVerb>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// What `dayfly jobs` does with one job.
#[derive(Debug, Subcommand)]
pub enum JobsVerb {
    /// Show a job, and those of its calls that did not succeed
    Show(ShowJob),
    /// Take a job back: its running calls are ended
    Cancel(OneJob),
}

/// A job to be shown.
#[derive(Debug, Args)]
pub struct ShowJob {
    /// Which.
    #[command(flatten)]
    pub one: OneJob,
    /// Wait for its end, with a line for each second in which something happened
    #[arg(long, short)]
    pub follow: bool,
}

/// A job.
#[derive(Debug, Args)]
pub struct OneJob {
    /// Its id, or the beginning of it
    pub id: String,
}

/// Options of `dayfly doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 1 when functions cannot run on this machine.")]
pub struct Doctor {
    /// Print the checks as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `dayfly demo`.
#[derive(Debug, Args)]
#[command(after_help = "Nothing is kept: the server's data folder is a temporary one.")]
pub struct Demo {
    /// How many calls
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub calls: u32,
}

/// Options of `dayfly completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly completions bash > ~/.local/share/bash-completion/completions/dayfly
  dayfly completions zsh > ~/.zfunc/_dayfly
  dayfly completions fish > ~/.config/fish/completions/dayfly.fish")]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    Ok((key.into(), value.into()))
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    let problem = || "write a number and s, m, h or d, for example 10m".to_owned();
    let unit = text.chars().last().ok_or_else(problem)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(problem()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| problem())?;
    number
        .checked_mul(seconds)
        .filter(|s| *s <= 10 * 366 * 86_400)
        .map(std::time::Duration::from_secs)
        .ok_or("that is more than ten years".into())
}

fn time(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(day) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        return day.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| "write 2026-11-23 or 2026-11-23T10:00:00Z".into())
}

fn by(text: &str) -> Result<dayfly_meter::bill::By, String> {
    use dayfly_meter::bill::By;
    match text {
        "function" => Ok(By::Function),
        "day" => Ok(By::Day),
        _ => match text.strip_prefix("tag:") {
            Some(key) if !key.is_empty() => Ok(By::Tag(key.into())),
            _ => Err("write function, day or tag:KEY".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed_and_every_verb_shows_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            assert!(verb.get_after_help().is_some(), "{} has neither example nor note", verb.get_name());
        }
    }

    #[test]
    fn spans_times_and_groupings_are_read() {
        assert_eq!(span("90s").unwrap().as_secs(), 90);
        assert_eq!(span("2h").unwrap().as_secs(), 7200);
        for bad in ["", "m", "10", "-1m", "10w", "1.5h", "99999999999999999999s", "18446744073709551615d", "5ä"] {
            assert!(span(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(time("2026-11-23").unwrap().to_string(), "2026-11-23T00:00:00Z");
        assert_eq!(time("2026-11-23T10:00:00Z").unwrap().to_string(), "2026-11-23T10:00:00Z");
        assert!(time("yesterday").is_err());
        assert!(by("tag:").is_err() && by("week").is_err());
        assert_eq!(by("tag:team"), Ok(dayfly_meter::bill::By::Tag("team".into())));
    }
}
