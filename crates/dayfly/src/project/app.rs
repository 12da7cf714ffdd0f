//! What a `dayfly.App` declares: its module is run by the user's own Python, which prints it as JSON.
//!
//! The App's Python is small and without dependencies. It goes into the code package as `dayfly`, so that functions have it.

use crate::verbs::Error;
use serde_json::Value;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

const APP: &str = include_str!("../../../../sdk/python/dayfly/app.py");
/// The package `dayfly` as functions see it.
const INIT: &str = "\"\"\"The part of Dayfly that functions need.\"\"\"\n\nfrom .app import App, HTTPError, Response\n\n\
                    __all__ = [\"App\", \"HTTPError\", \"Response\"]\n";
/// What the module prints must not be taken for what it declares.
const LIST: &str = "import json, os, sys\n\
    out = os.dup(1)\n\
    os.dup2(2, 1)\n\
    sys.path[:0] = [os.getcwd(), sys.argv[2]]\n\
    import importlib\n\
    from dayfly.app import declarations\n\
    found = declarations(importlib.import_module(sys.argv[1]))\n\
    os.write(out, json.dumps(found).encode())\n";
const RUN_WAIT: Duration = Duration::from_secs(60);
const DECLARATION_BYTES_MAX: usize = 1 << 20;

/// Files that go along with the code.
pub fn runtime_files() -> [(&'static str, &'static str); 2] {
    [("dayfly/__init__.py", INIT), ("dayfly/app.py", APP)]
}

/// Whether a file makes an App.
pub fn is_app(file: &Path) -> bool {
    let source = std::fs::read_to_string(file).unwrap_or_default();
    source.lines().any(|line| {
        let call = ["dayfly.App(", "App("].iter().any(|call| line.contains(&format!("= {call}")));
        call && !line.starts_with([' ', '\t', '#'])
    }) && source.contains("dayfly")
}

/// Runs `module` in `folder` and reads what its App declares.
pub async fn declarations(folder: &Path, module: &str) -> Result<Value, Error> {
    let runtime = tempfile::tempdir()?;
    for (name, text) in runtime_files() {
        let path = runtime.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(runtime.path()))?;
        std::fs::write(path, text)?;
    }
    let python = match std::env::var_os("VIRTUAL_ENV") {
        Some(environment) => Path::new(&environment).join("bin/python"),
        None => "python3".into(),
    };
    let run = Command::new(&python)
        .args(["-c", LIST, module])
        .arg(runtime.path())
        .current_dir(folder)
        .env("DAYFLY_LISTING", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(RUN_WAIT, run)
        .await
        .map_err(|_| Error::Failed(format!("{module}.py did not end in {} s when it was read", RUN_WAIT.as_secs())))?
        .map_err(|error| {
            Error::Failed(format!("{}: {error}: {module}.py needs a Python to be read", python.display()))
        })?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        let hint = if said.contains("ModuleNotFoundError") {
            format!("\n(it is read with {}: install there what it imports)", python.display())
        } else {
            String::new()
        };
        return Err(Error::Failed(format!("{module}.py could not be read:\n{}{hint}", said.trim_end())));
    }
    if done.stdout.len() > DECLARATION_BYTES_MAX {
        return Err(Error::Failed(format!("{module}.py declares more than {DECLARATION_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&done.stdout).map_err(|error| Error::Failed(format!("{module}.py: {error}")))
}
