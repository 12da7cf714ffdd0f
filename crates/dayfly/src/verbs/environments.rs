//! `dayfly environments`: what the server has built, what is in it, and how to be rid of it.

use super::Error;
use crate::{
    cli::{Environments, EnvironmentsWhat},
    client::Client,
    output,
};
use serde_json::{Value, json};

/// What is shown of an id: enough to tell it from others, and to be taken for it.
const ID_LENGTH: usize = 12;

/// Lists, shows or removes.
pub async fn run(options: &Environments) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    match &options.what {
        None => list(&client, options.json).await,
        Some(EnvironmentsWhat::Show { id }) => show(&client, id, options.json).await,
        Some(EnvironmentsWhat::Rm { ids }) => remove(&client, ids, options.json).await,
    }
}

async fn list(client: &Client, as_json: bool) -> Result<(), Error> {
    let environments = all(client).await?;
    if as_json {
        return Ok(output::json(&environments)?);
    }
    if environments.is_empty() {
        output::note("no environments yet: a job or `dayfly layer build` makes them");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = environments
        .iter()
        .map(|environment| {
            let text = |field: &str| environment[field].as_str().unwrap_or("-").to_owned();
            let packages = environment["packages"].as_array().map_or(0, Vec::len);
            vec![
                text("id").chars().take(ID_LENGTH).collect(),
                text("runtime"),
                packages.to_string(),
                output::size(environment["bytes"].as_u64().unwrap_or_default()),
                output::size(environment["own_bytes"].as_u64().unwrap_or_default()),
                text("used_at").chars().take(19).collect(),
            ]
        })
        .collect();
    let header = ["id", "runtime", "packages", "size", "not shared", "used (UTC)"];
    Ok(output::line(&output::table(&header, &rows, &[2, 3, 4]))?)
}

async fn show(client: &Client, id: &str, as_json: bool) -> Result<(), Error> {
    let environment = find(client, id).await?;
    if as_json {
        return Ok(output::json(&environment)?);
    }
    for field in ["id", "runtime", "platform", "used_at"] {
        output::line(&format!("{field:<10}{}", environment[field].as_str().unwrap_or("-")))?;
    }
    for field in ["bytes", "own_bytes"] {
        let size = output::size(environment[field].as_u64().unwrap_or_default());
        output::line(&format!("{:<10}{size}", if field == "bytes" { "size" } else { "not shared" }))?;
    }
    for package in environment["packages"].as_array().into_iter().flatten() {
        output::line(&format!("  {}", package.as_str().unwrap_or_default()))?;
    }
    Ok(())
}

async fn remove(client: &Client, ids: &[String], as_json: bool) -> Result<(), Error> {
    let mut removed = Vec::new();
    for id in ids {
        let id = find(client, id).await?["id"].as_str().unwrap_or_default().to_owned();
        client.dayfly("DeleteEnvironment", &json!({"id": id})).await?;
        if !as_json {
            output::line(&format!("removed {:.ID_LENGTH$}", id))?;
        }
        removed.push(id);
    }
    if as_json { Ok(output::json(&removed)?) } else { Ok(()) }
}

/// The one environment whose id begins so.
async fn find(client: &Client, beginning: &str) -> Result<Value, Error> {
    let mut found: Vec<Value> = all(client).await?;
    found.retain(|environment| environment["id"].as_str().is_some_and(|id| id.starts_with(beginning)));
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(Error::Failed(format!("there is no environment {beginning}"))),
        (Some(_), others) => Err(Error::Failed(format!("{} environments begin with {beginning}", others + 1))),
    }
}

async fn all(client: &Client) -> Result<Vec<Value>, Error> {
    let mut environments = Vec::new();
    let mut token = Value::Null;
    loop {
        let page = client.dayfly("ListEnvironments", &json!({"token": token, "limit": 1000})).await?;
        environments.extend(page["environments"].as_array().cloned().unwrap_or_default());
        match &page["token"] {
            Value::Null => return Ok(environments),
            next => token = next.clone(),
        }
    }
}
