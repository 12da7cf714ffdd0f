//! `dayfly ls`: the functions, as a table or as JSON.

use super::{Error, FUNCTIONS};
use crate::{cli, client::Client, output};
use serde_json::Value;

/// Lists every function of the region.
pub async fn run(options: &cli::Ls) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let functions = list(&client).await?;
    if options.json {
        return Ok(output::json(&functions)?);
    }
    if functions.is_empty() {
        output::note("no functions yet: make one with `dayfly deploy FOLDER`");
        return Ok(());
    }
    let text = |function: &Value, field: &str| function[field].as_str().unwrap_or("-").to_owned();
    let rows: Vec<Vec<String>> = functions
        .iter()
        .map(|function| {
            vec![
                text(function, "FunctionName"),
                text(function, "Runtime"),
                text(function, "Handler"),
                function["MemorySize"].to_string(),
                function["Timeout"].to_string(),
                output::size(function["CodeSize"].as_u64().unwrap_or_default()),
                text(function, "LastModified").chars().take(19).collect(),
            ]
        })
        .collect();
    let header = ["name", "runtime", "handler", "memory MB", "timeout s", "code", "modified (UTC)"];
    Ok(output::line(&output::table(&header, &rows, &[3, 4, 5]))?)
}

async fn list(client: &Client) -> Result<Vec<Value>, Error> {
    let mut functions = Vec::new();
    let mut marker = String::new();
    loop {
        let query: &[(&str, &str)] = if marker.is_empty() { &[] } else { &[("Marker", &marker)] };
        let path = [FUNCTIONS[0], FUNCTIONS[1], ""];
        let page = client.json("lambda", "GET", &path, query, &Value::Null).await?;
        functions.extend(page["Functions"].as_array().cloned().unwrap_or_default());
        match page["NextMarker"].as_str() {
            Some(next) if !next.is_empty() && next != marker => marker = next.to_owned(),
            _ => return Ok(functions),
        }
    }
}
