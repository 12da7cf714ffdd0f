//! `dayfly url`: the web addresses of a function or an API, in the form that needs no names to be resolved.

use super::{Error, service_code};
use crate::{cli, client::Client, output};
use serde_json::Value;

/// Prints the addresses, one a line.
pub async fn run(options: &cli::Url) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let mut found: Vec<String> = function_url(&client, &options.name).await?.into_iter().collect();
    if found.is_empty() && !options.name.contains(':') {
        // A web application's is that of the alias which gets the traffic.
        found.extend(function_url(&client, &format!("{}:{}", options.name, super::traffic::LIVE)).await?);
    }
    found.extend(apis(&client, &options.name).await?);
    if found.is_empty() {
        return Err(Error::Failed(format!(
            "{0}: there is no API of this name, and no function of this name with a URL",
            options.name
        )));
    }
    if options.json {
        return Ok(output::json(&found)?);
    }
    for address in &found {
        output::line(address)?;
    }
    Ok(())
}

/// The address of the URL of a function or, as `NAME:ALIAS`, of an alias, if it has one.
pub(super) async fn function_url(client: &Client, name: &str) -> Result<Option<String>, Error> {
    let (name, alias) = name.split_once(':').map_or((name, None), |(name, alias)| (name, Some(alias)));
    let of: Vec<(&str, &str)> = alias.map(|alias| ("Qualifier", alias)).into_iter().collect();
    let path = ["2021-10-31", "functions", name, "url"];
    let config = match client.json("lambda", "GET", &path, &of, &Value::Null).await {
        // Not every name of an API can be a function's.
        Err(error) if service_code(&error).is_some() => return Ok(None),
        config => config?,
    };
    let id = config["FunctionUrl"].as_str().and_then(|url| {
        let (_, rest) = url.split_once("://")?;
        match rest.split_once("/function-urls/") {
            Some((_, id)) => Some(id.trim_end_matches('/')),
            None => rest.split('.').next(),
        }
    });
    Ok(id.map(|id| format!("{}/function-urls/{id}/", client.endpoint())))
}

/// The addresses of the stages of the APIs with this name or id.
async fn apis(client: &Client, name: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut position = String::new();
    loop {
        let mut query = vec![("limit", "500")];
        if !position.is_empty() {
            query.push(("position", &position));
        }
        let page = client.json("apigateway", "GET", &["restapis"], &query, &Value::Null).await?;
        for api in page["item"].as_array().into_iter().flatten() {
            if [&api["name"], &api["id"]].contains(&&Value::from(name)) {
                found.extend(stages(client, api["id"].as_str().unwrap_or_default()).await?);
            }
        }
        match page["position"].as_str() {
            Some(next) if next != position => position = next.to_owned(),
            _ => return Ok(found),
        }
    }
}

async fn stages(client: &Client, api: &str) -> Result<Vec<String>, Error> {
    let stages = client.json("apigateway", "GET", &["restapis", api, "stages"], &[], &Value::Null).await?;
    let names = stages["item"].as_array().into_iter().flatten().filter_map(|stage| stage["stageName"].as_str());
    Ok(names.map(|stage| format!("{}/restapis/{api}/{stage}/_user_request_/", client.endpoint())).collect())
}
