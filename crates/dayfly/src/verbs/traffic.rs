//! Versions of a web application: each deployment publishes one that has an address of its own, and the application's
//! address leads to those that get traffic. `dayfly traffic` and `dayfly rollback`.
//!
//! All of it is Lambda's: the alias `live` has the application's URL and its routing, the alias `vN` has the URL of version
//! N. What had the traffic before is kept in the description of `live`.

use super::{Error, FUNCTIONS, service_code, url::function_url, web};
use crate::{cli, client::Client, output};
use serde_json::{Map, Value, json};

/// The alias that is the application.
pub const LIVE: &str = "live";
/// What the description of `live` begins with.
const BEFORE: &str = "before: ";

/// Publishes what has just been deployed, with an address of its own; and moves the traffic to it, if wanted or if there was
/// none. Gives the version, and whether it has the traffic.
pub async fn publish(client: &Client, name: &str, traffic: bool) -> Result<(u64, bool), Error> {
    let path = [FUNCTIONS[0], FUNCTIONS[1], name, "versions"];
    let published = client.json("lambda", "POST", &path, &[], &json!({})).await?;
    let version = number(&published["Version"]);
    let alias = json!({"Name": format!("v{version}"), "FunctionVersion": version.to_string()});
    match client.json("lambda", "POST", &aliases(name), &[], &alias).await {
        // What was deployed is what was there already.
        Err(error) if service_code(&error) == Some("ResourceConflictException") => {}
        made => drop(made?),
    }
    web::address(client, name, &format!("v{version}")).await?;
    let moved = match live(client, name).await? {
        None => {
            let alias = json!({"Name": LIVE, "FunctionVersion": version.to_string()});
            client.json("lambda", "POST", &aliases(name), &[], &alias).await?;
            true
        }
        Some(live) if traffic => {
            let now = number(&live["FunctionVersion"]);
            if now != version || shares(&live).len() > 1 {
                route(client, name, &[(version, 100)], (now != version).then_some(now)).await?;
            }
            true
        }
        Some(_) => false,
    };
    Ok((version, moved))
}

/// Shows or sets who gets what.
pub async fn run(options: &cli::Traffic) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let name = options.name.as_str();
    let before = live(&client, name).await?.ok_or_else(|| no_versions(name))?;
    if !options.shares.is_empty() {
        let mut wanted = options.shares.clone();
        let sum: u32 = wanted.iter().map(|(_, percent)| u32::from(*percent)).sum();
        wanted.retain(|(_, percent)| *percent > 0);
        wanted.sort_by_key(|(version, percent)| (u8::MAX - percent, *version));
        let twice = wanted.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if sum != 100 || wanted.len() > 2 || twice {
            return Err(Error::Usage(
                "the percentages of one or two versions make 100, for example v1=90 v2=10".into(),
            ));
        }
        let now = number(&before["FunctionVersion"]);
        let left = wanted.iter().all(|(version, _)| *version != now);
        route(&client, name, &wanted, left.then_some(now)).await?;
    }
    show(&client, name, options.json).await
}

/// Moves all traffic back.
pub async fn rollback(options: &cli::Rollback) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let name = options.name.as_str();
    let before = live(&client, name).await?.ok_or_else(|| no_versions(name))?;
    let now = number(&before["FunctionVersion"]);
    let kept = before["Description"].as_str().and_then(|text| text.strip_prefix(BEFORE)?.parse().ok());
    let numbers = versions(&client, name).await?;
    let earlier = || numbers.iter().copied().filter(|version| *version < now).max();
    let to = options.version.or(kept.filter(|version| numbers.contains(version))).or_else(earlier);
    let to = to.ok_or_else(|| Error::Failed(format!("there is no version before v{now}")))?;
    // Without a memory of it: a second rollback goes further back, and not here again.
    route(&client, name, &[(to, 100)], None).await?;
    output::line(&format!("{name}: v{to} has all traffic, v{now} had it"))?;
    Ok(())
}

/// Sets the routing of `live`; `wanted` has one or two versions, the larger share first.
async fn route(client: &Client, name: &str, wanted: &[(u64, u8)], before: Option<u64>) -> Result<(), Error> {
    let mut others = Map::new();
    for (version, percent) in wanted.iter().skip(1) {
        others.insert(version.to_string(), json!(f64::from(*percent) / 100.0));
    }
    let change = json!({
        "FunctionVersion": wanted.first().map(|(version, _)| version.to_string()),
        "RoutingConfig": {"AdditionalVersionWeights": others},
        "Description": before.map(|before| format!("{BEFORE}{before}")).unwrap_or_default(),
    });
    let [first, second, function, kind] = aliases(name);
    client.json("lambda", "PUT", &[first, second, function, kind, LIVE], &[], &change).await?;
    Ok(())
}

async fn show(client: &Client, name: &str, as_json: bool) -> Result<(), Error> {
    let live = live(client, name).await?.ok_or_else(|| no_versions(name))?;
    let shares = shares(&live);
    let mut found = Vec::new();
    for version in versions(client, name).await? {
        let share = shares.iter().find(|(with, _)| *with == version).map_or(0, |(_, percent)| *percent);
        let address = function_url(client, &format!("{name}:v{version}")).await?;
        found.push(json!({"version": format!("v{version}"), "percent": share, "address": address}));
    }
    if as_json {
        return Ok(output::json(&found)?);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap_or("-").to_owned();
            vec![text("version"), format!("{}%", row["percent"]), text("address")]
        })
        .collect();
    Ok(output::line(&output::table(&["version", "traffic", "address"], &rows, &[1]))?)
}

/// The versions and their percentages.
fn shares(live: &Value) -> Vec<(u64, u64)> {
    let weights = live["RoutingConfig"]["AdditionalVersionWeights"].as_object().into_iter().flatten();
    let others = weights.filter_map(|(version, part)| {
        let percent = (part.as_f64()? * 100.0).round();
        Some((version.parse().ok()?, percent as u64))
    });
    let others: Vec<(u64, u64)> = others.collect();
    let rest = 100_u64.saturating_sub(others.iter().map(|(_, percent)| percent).sum());
    [(number(&live["FunctionVersion"]), rest)].into_iter().chain(others).collect()
}

async fn live(client: &Client, name: &str) -> Result<Option<Value>, Error> {
    let [first, second, function, kind] = aliases(name);
    match client.json("lambda", "GET", &[first, second, function, kind, LIVE], &[], &Value::Null).await {
        Err(error) if service_code(&error) == Some("ResourceNotFoundException") => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// The numbers of all published versions, in order.
async fn versions(client: &Client, name: &str) -> Result<Vec<u64>, Error> {
    let path = [FUNCTIONS[0], FUNCTIONS[1], name, "versions"];
    let mut numbers = Vec::new();
    let mut marker = String::new();
    loop {
        let query: &[(&str, &str)] = if marker.is_empty() { &[] } else { &[("Marker", &marker)] };
        let page = client.json("lambda", "GET", &path, query, &Value::Null).await?;
        let found = page["Versions"].as_array().into_iter().flatten();
        numbers.extend(found.map(|version| number(&version["Version"])).filter(|number| *number > 0));
        match page["NextMarker"].as_str() {
            Some(next) if !next.is_empty() && next != marker => marker = next.to_owned(),
            _ => break,
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn aliases(name: &str) -> [&str; 4] {
    [FUNCTIONS[0], FUNCTIONS[1], name, "aliases"]
}

/// The number of a version; 0 for `$LATEST`.
fn number(version: &Value) -> u64 {
    version.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn no_versions(name: &str) -> Error {
    Error::Failed(format!(
        "{name} is no web application that `dayfly deploy` has deployed: it has no versions with traffic"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_from_the_routing() {
        assert_eq!(shares(&json!({"FunctionVersion": "3"})), [(3, 100)]);
        let split = json!({"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.07}}});
        assert_eq!(shares(&split), [(1, 93), (2, 7)]);
    }
}
