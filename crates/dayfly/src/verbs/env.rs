//! `dayfly env`: export lines for a shell.

use super::Error;
use crate::{cli, client::DEFAULT_ENDPOINT, client::DEFAULT_REGION, folder, output};

/// Prints the lines. Works whether or not the server runs, once it has run.
pub fn run(options: &cli::Env) -> Result<(), Error> {
    let path = folder::locate(options.data.as_deref())?;
    let keys = folder::keys(&path)?;
    let server = folder::server(&path)?;
    if server.is_none() {
        output::note(&format!("dayfly: no server runs on {}; assuming {DEFAULT_ENDPOINT}", path.display()));
    }
    let endpoint = server.as_ref().map_or(DEFAULT_ENDPOINT, |server| server.endpoint.as_str());
    let region = options.region.as_deref().or(server.as_ref().map(|server| server.region.as_str()));
    for (name, value) in [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", &keys.root.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &keys.root.secret_access_key),
        ("AWS_DEFAULT_REGION", region.unwrap_or(DEFAULT_REGION)),
    ] {
        output::line(&export(options.shell, name, value))?;
    }
    Ok(())
}

/// The line that sets a variable in this shell.
pub fn export(shell: cli::Shell, name: &str, value: &str) -> String {
    match shell {
        cli::Shell::Sh => format!("export {name}='{}'", value.replace('\'', r"'\''")),
        cli::Shell::Fish => format!("set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
        cli::Shell::Powershell => format!("$env:{name} = '{}'", value.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_each_shell() {
        assert_eq!(export(cli::Shell::Sh, "A", "x'y"), r"export A='x'\''y'");
        assert_eq!(export(cli::Shell::Fish, "A", r"x'\y"), r"set -gx A 'x\'\\y'");
        assert_eq!(export(cli::Shell::Powershell, "A", "x'y"), "$env:A = 'x''y'");
    }
}
