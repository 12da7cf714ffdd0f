//! `dayfly logs`: a function's log through FilterLogEvents, once or for as long as it is watched.

use super::Error;
use crate::{cli, client::Client, output};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(500);
// Events of one call are stored when it ends, so a line can turn up behind later ones; look back this far for those.
const LOOK_BACK_MS: i64 = 20_000;
// A call's lines are stored a moment after its answer: how long a log that is not there yet is waited for.
const GRACE: Duration = Duration::from_secs(1);

/// Prints the events since `--since`, and with `-f` those that follow.
pub async fn run(options: &cli::Logs) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let since_ms = i64::try_from(options.since.as_millis()).unwrap_or(i64::MAX);
    let mut from = Timestamp::now().as_millisecond().saturating_sub(since_ms);
    let mut seen: HashSet<String> = HashSet::new();
    loop {
        let mut current = HashSet::new();
        let mut newest = from;
        for event in events(&client, options, from).await? {
            let id = event["eventId"].as_str().unwrap_or_default().to_owned();
            newest = newest.max(event["timestamp"].as_i64().unwrap_or(from));
            if !seen.contains(&id) {
                print(&event, options.json)?;
            }
            current.insert(id);
        }
        if !options.follow {
            return Ok(());
        }
        seen = current;
        from = from.max(newest.saturating_sub(LOOK_BACK_MS));
        tokio::time::sleep(POLL).await;
    }
}

async fn events(client: &Client, options: &cli::Logs, from: i64) -> Result<Vec<Value>, Error> {
    let name = options.name.rsplit(':').next().unwrap_or(&options.name);
    let group = format!("/aws/lambda/{name}");
    let mut events = Vec::new();
    let mut token: Option<String> = None;
    let asked = Instant::now();
    loop {
        let mut query = json!({"logGroupName": group, "startTime": from.max(0)});
        if let Some(pattern) = &options.filter {
            query["filterPattern"] = json!(pattern);
        }
        if let Some(token) = &token {
            query["nextToken"] = json!(token);
        }
        match client.target("logs", "Logs_20140328.FilterLogEvents", &query).await {
            Ok(mut page) => {
                if let Value::Array(found) = page["events"].take() {
                    events.extend(found);
                }
                match page["nextToken"].as_str() {
                    Some(next) => token = Some(next.to_owned()),
                    None => return Ok(events),
                }
            }
            // A function that was never called has no group yet: wait for it, or say so.
            Err(error) if super::service_code(&error) == Some("ResourceNotFoundException") && options.follow => {
                return Ok(Vec::new());
            }
            Err(error)
                if super::service_code(&error) == Some("ResourceNotFoundException") && asked.elapsed() < GRACE =>
            {
                tokio::time::sleep(POLL / 5).await;
            }
            Err(error) if super::service_code(&error) == Some("ResourceNotFoundException") => {
                return Err(Error::Failed(format!(
                    "{name} has no log: it was never called, or there is no such function"
                )));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(event: &Value, as_json: bool) -> std::io::Result<()> {
    if as_json {
        return output::line(&event.to_string());
    }
    let at = event["timestamp"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let message = event["message"].as_str().unwrap_or_default().trim_end_matches('\n');
    output::line(&format!("{} {message}", at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")))
}
