//! `dayfly rm`: deletes functions, each on its own, so that one that is missing does not keep the others.

use super::{Error, FUNCTIONS};
use crate::{cli, client::Client, output};
use serde_json::Value;

/// Deletes the functions named.
pub async fn run(options: &cli::Rm) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let mut deleted = Vec::new();
    let mut failed = 0;
    for name in &options.names {
        match client.json("lambda", "DELETE", &[FUNCTIONS[0], FUNCTIONS[1], name], &[], &Value::Null).await {
            Ok(_) => {
                if !options.json {
                    output::line(&format!("deleted {name}"))?;
                }
                deleted.push(name);
            }
            Err(error) if super::service_code(&error).is_some() => {
                output::note(&format!("dayfly: {name}: {error}"));
                failed += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if options.json {
        output::json(&deleted)?;
    }
    if failed > 0 {
        Err(Error::Failed(format!("{failed} of {} were not deleted", options.names.len())))
    } else {
        Ok(())
    }
}
