//! The `dayfly` binary: parses the command line, builds the runtime, runs the verb, maps an error to an exit code.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cli;
mod client;
mod config;
mod entry;
mod folder;
mod idle;
mod output;
mod package;
mod project;
mod serve;
mod socket;
mod verbs;
mod web_app;

use clap::{CommandFactory, Parser};
use std::{io::Write, process::ExitCode};
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

fn main() -> ExitCode {
    // The launcher must stay single-threaded and small: nothing else may have happened in it.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "launcher") {
        dayfly_sandbox::launcher::main();
    }
    abort_on_panic();
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&verbs::Error::Io(error)),
    };
    match runtime.block_on(run(cli.verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(verb: cli::Verb) -> Result<(), verbs::Error> {
    match verb {
        cli::Verb::Serve(options) => {
            log_to_stderr(options.log_format);
            Ok(serve::run(&options).await?)
        }
        cli::Verb::Env(options) => verbs::env::run(&options),
        cli::Verb::Deploy(options) => verbs::deploy::run(&options).await,
        cli::Verb::Destroy(options) => verbs::project::destroy(&options).await,
        cli::Verb::Init(options) => verbs::init::run(&options),
        cli::Verb::Invoke(options) => verbs::invoke::run(&options).await,
        cli::Verb::Logs(options) => verbs::logs::run(&options).await,
        cli::Verb::Ls(options) => verbs::ls::run(&options).await,
        cli::Verb::Rm(options) => verbs::rm::run(&options).await,
        cli::Verb::Url(options) => verbs::url::run(&options).await,
        cli::Verb::Traffic(options) => verbs::traffic::run(&options).await,
        cli::Verb::Rollback(options) => verbs::traffic::rollback(&options).await,
        cli::Verb::Environments(options) => verbs::environments::run(&options).await,
        cli::Verb::Layer(options) => verbs::layer::run(&options).await,
        cli::Verb::Jobs(options) => verbs::jobs::run(&options).await,
        cli::Verb::User(options) => verbs::access::user(&options).await,
        cli::Verb::Key(options) => verbs::access::key(&options).await,
        cli::Verb::Policy(options) => verbs::access::policy(&options).await,
        cli::Verb::Bill(options) => verbs::bill::run(&options).await,
        cli::Verb::Doctor(options) => verbs::doctor::run(&options),
        cli::Verb::Demo(options) => verbs::demo::run(&options).await,
        cli::Verb::Completions(options) => {
            let mut script = Vec::new();
            clap_complete::generate(options.shell, &mut cli::Cli::command(), "dayfly", &mut script);
            Ok(std::io::stdout().lock().write_all(&script)?)
        }
    }
}

fn fail(error: &verbs::Error) -> ExitCode {
    output::note(&format!("{} {error}", output::red("dayfly:")));
    ExitCode::from(error.exit_code())
}

fn log_to_stderr(format: cli::LogFormat) {
    let filter = EnvFilter::try_from_env("DAYFLY_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // At `debug`, the steps of each call (see ARCHITECTURE.md) and the time that each took.
        .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
        .with_writer(std::io::stderr)
        .with_ansi(output::colour(&std::io::stderr()));
    match format {
        cli::LogFormat::Text => builder.init(),
        cli::LogFormat::Json => builder.json().init(),
    }
}

/// A bug stops the process with a backtrace rather than leave a limping task; nothing acknowledged is lost by it.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        let _ = writeln!(std::io::stderr(), "dayfly: a bug: {panic}\n{backtrace}");
        std::process::abort();
    }));
}
