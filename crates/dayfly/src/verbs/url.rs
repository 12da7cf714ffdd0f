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

/// The two kinds of API: where they are listed, and how their interfaces name what is listed.
struct Kind {
    path: &'static [&'static str],
    /// The parameter for the next page, and the member with it.
    next: &'static str,
    limit: &'static str,
    items: &'static str,
    id: &'static str,
}

const REST: Kind = Kind { path: &["restapis"], next: "position", limit: "limit", items: "item", id: "id" };
const HTTP: Kind = Kind { path: &["v2", "apis"], next: "nextToken", limit: "maxResults", items: "items", id: "apiId" };

/// The addresses of the stages of the APIs with this name or id.
async fn apis(client: &Client, name: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for kind in [&REST, &HTTP] {
        for api in all(client, kind, kind.path).await? {
            if ![&api["name"], &api[kind.id]].contains(&&Value::from(name)) {
                continue;
            }
            let api = api[kind.id].as_str().unwrap_or_default();
            let stages = all(client, kind, &[kind.path, &[api, "stages"]].concat()).await?;
            found.extend(stages.iter().filter_map(|stage| stage["stageName"].as_str()).map(|stage| {
                let path = match (kind.path, stage) {
                    (["restapis"], stage) => format!("restapis/{api}/{stage}/_user_request_"),
                    (_, "$default") => format!("http-apis/{api}"),
                    (_, stage) => format!("http-apis/{api}/{stage}"),
                };
                format!("{}/{path}/", client.endpoint())
            }));
        }
    }
    Ok(found)
}

/// A list, page after page.
async fn all(client: &Client, kind: &Kind, path: &[&str]) -> Result<Vec<Value>, Error> {
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        let mut query = vec![(kind.limit, "500")];
        if !next.is_empty() {
            query.push((kind.next, &next));
        }
        let mut page = client.json("apigateway", "GET", path, &query, &Value::Null).await?;
        if let Value::Array(items) = page[kind.items].take() {
            found.extend(items);
        }
        match page[kind.next].as_str() {
            Some(after) if after != next => next = after.to_owned(),
            _ => return Ok(found),
        }
    }
}
