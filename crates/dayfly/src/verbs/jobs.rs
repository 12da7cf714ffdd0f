//! `dayfly jobs`: the jobs of the account, one of them, or the end of one.

use super::Error;
use crate::{
    cli,
    client::{self, Client},
    output,
};
use dayfly_scheduler::jobs::{JobState, JobView};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// Calls that `show` lists unless it prints JSON: the first that are of interest.
const CALLS_SHOWN: usize = 50;
/// How often a job that is followed is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Lists, shows or cancels.
pub async fn run(options: &cli::Jobs) -> Result<(), Error> {
    match &options.what {
        None => list(options).await,
        Some(cli::JobsVerb::Show(one)) => show(options, one).await,
        Some(cli::JobsVerb::Cancel(one)) => cancel(options, one).await,
    }
}

async fn list(options: &cli::Jobs) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let jobs = all(&client, "ListJobs", "jobs", json!({"limit": 1000})).await?;
    if options.json {
        return Ok(output::json(&jobs)?);
    }
    if jobs.is_empty() {
        output::note("no jobs: they come with `dayfly.map(f, xs)` in Python");
        return Ok(());
    }
    let rows: Result<Vec<Vec<String>>, Error> = jobs.into_iter().map(|job| Ok(row(&parse(job)?))).collect();
    let header = ["job", "name", "state", "calls", "done", "failed", "running", "cost", "began (UTC)"];
    Ok(output::line(&output::table(&header, &rows?, &[3, 4, 5, 6, 7]))?)
}

async fn show(options: &cli::Jobs, what: &cli::ShowJob) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let id = find(&client, &what.one.id).await?;
    if what.follow {
        follow(&client, &id, options.json).await?;
    }
    let job = client.dayfly("GetJob", &json!({"job": id})).await?;
    let calls = all(&client, "ListJobCalls", "calls", json!({"job": id, "limit": 1000})).await?;
    if options.json {
        return Ok(output::json(&json!({"job": job, "calls": calls}))?);
    }
    output::line(&about(&parse(job)?))?;
    let is_fine = |call: &&Value| call["status"] == "success";
    let of_interest: Vec<&Value> = calls.iter().filter(|call| !is_fine(call)).take(CALLS_SHOWN).collect();
    if !of_interest.is_empty() {
        output::line("")?;
        let rows: Vec<Vec<String>> = of_interest.into_iter().map(call_row).collect();
        let header = ["call", "state", "attempts", "ms", "memory MB", "request", "log stream"];
        output::line(&output::table(&header, &rows, &[0, 2, 3, 4]))?;
    }
    Ok(())
}

/// Waits for the end of a job, and tells how it goes; not where JSON is wanted.
async fn follow(client: &Client, id: &str, quiet: bool) -> Result<(), Error> {
    let mut told = String::new();
    loop {
        let job: JobView = parse(client.dayfly("GetJob", &json!({"job": id})).await?)?;
        let line = progress(&job);
        if line != told && !quiet {
            output::line(&line)?;
        }
        told = line;
        if job.state != JobState::Running {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn progress(job: &JobView) -> String {
    let (counts, cost) = (&job.counts, output::money(job.cost_usd, "USD"));
    let (done, failed) = (counts.succeeded, counts.failed + counts.cancelled);
    format!("{done} of {} calls done, {failed} failed, {} running, {cost}", counts.calls, job.running)
}

async fn cancel(options: &cli::Jobs, one: &cli::OneJob) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let id = find(&client, &one.id).await?;
    let job = client.dayfly("CancelJob", &json!({"job": id})).await?;
    if options.json { Ok(output::json(&job)?) } else { Ok(output::line(&format!("cancelled {id}"))?) }
}

/// All pages of a list.
async fn all(client: &Client, operation: &str, field: &str, mut query: Value) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    loop {
        let mut page = client.dayfly(operation, &query).await?;
        if let Value::Array(items) = page[field].take() {
            found.extend(items);
        }
        match page["token"].take() {
            Value::String(token) => query["token"] = token.into(),
            _ => return Ok(found),
        }
    }
}

/// The id that `text` is, or is the only one to begin with.
async fn find(client: &Client, text: &str) -> Result<String, Error> {
    if text.len() >= 32 {
        return Ok(text.to_owned());
    }
    let jobs = all(client, "ListJobs", "jobs", json!({"limit": 1000})).await?;
    let ids = jobs.iter().filter_map(|job| job["job"].as_str()).filter(|id| id.starts_with(text));
    match ids.collect::<Vec<_>>().as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => Err(Error::Failed(format!("there is no job {text}"))),
        several => Err(Error::Usage(format!("{} jobs begin with {text}", several.len()))),
    }
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| client::Error::Answer(error.to_string()).into())
}

/// A word of the protocol for people: `out_of_memory` is `out of memory`.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(|text| text.replace('_', " ")))
        .unwrap_or_default()
}

fn state(job: &JobView) -> String {
    let state = word(&job.state);
    if job.unfetched > 0 { format!("{state}, {} to fetch", job.unfetched) } else { state }
}

fn row(job: &JobView) -> Vec<String> {
    let counts = &job.counts;
    vec![
        job.job.to_string(),
        job.name.clone(),
        state(job),
        counts.calls.to_string(),
        counts.succeeded.to_string(),
        (counts.failed + counts.cancelled).to_string(),
        job.running.to_string(),
        output::money(job.cost_usd, "USD"),
        second(&job.created_at),
    ]
}

fn about(job: &JobView) -> String {
    let counts = &job.counts;
    let waiting = counts.calls.saturating_sub(counts.ended() + job.running);
    let mut lines = vec![
        ("job", job.job.to_string()),
        ("name", job.name.clone()),
        ("function", job.function.clone()),
        ("state", state(job)),
        ("began (UTC)", second(&job.created_at)),
    ];
    lines.extend(job.ended_at.as_ref().map(|at| ("ended (UTC)", second(at))));
    lines.extend([
        ("calls", format!("{}, at most {} at once", counts.calls, job.max_in_flight)),
        ("succeeded", counts.succeeded.to_string()),
        ("failed", counts.failed.to_string()),
        ("cancelled", counts.cancelled.to_string()),
        ("running", job.running.to_string()),
        ("waiting", waiting.to_string()),
        ("memory", format!("{} MB", job.memory_mb)),
        ("runtime", job.runtime.clone()),
        ("cost", output::money(job.cost_usd, "USD")),
    ]);
    lines.extend(job.tags.iter().map(|(key, value)| ("tag", format!("{key}={value}"))));
    let lines: Vec<String> = lines.into_iter().map(|(name, value)| format!("{name:<12} {value}")).collect();
    lines.join("\n")
}

fn call_row(call: &Value) -> Vec<String> {
    let text = |field: &str| call[field].as_str().unwrap_or("-").to_owned();
    let number = |field: &str, by: f64, digits: usize| {
        call[field].as_f64().map_or_else(|| "-".to_owned(), |value| format!("{:.digits$}", value / by))
    };
    let state = if call["status"].is_null() { word(&call["state"]) } else { word(&call["status"]) };
    vec![
        call["n"].to_string(),
        state,
        number("attempt", 1.0, 0),
        number("duration_us", 1e3, 1),
        number("memory_peak_bytes", 1_048_576.0, 1),
        text("request_id"),
        text("log_stream"),
    ]
}

fn second(at: &dayfly_types::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_shown_with_what_waits_and_what_is_to_fetch() {
        let job: JobView = parse(json!({
            "job": "01234567-89ab-4def-8123-456789abcdef", "name": "square", "function": "job-square-01234567",
            "state": "ended", "detached": true, "calls": 10, "succeeded": 5, "failed": 2, "cancelled": 0, "running": 1,
            "max_in_flight": 4, "memory_mb": 512, "runtime": "python3.11", "cost_usd": 0.5,
            "created_at": "2026-11-23T12:00:00Z", "unfetched": 3, "tags": {"team": "maths"},
        }))
        .unwrap();
        let text = about(&job);
        for line in ["waiting      2", "state        ended, 3 to fetch", "tag          team=maths"] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
        assert_eq!(row(&job)[3..7], ["10", "5", "2", "1"]);
        assert!(progress(&job).starts_with("5 of 10 calls done, 2 failed, 1 running, "));
    }

    #[test]
    fn a_call_is_shown_whether_or_not_it_ran() {
        let waiting = call_row(&json!({"state": "waiting", "n": 3}));
        assert_eq!(waiting, ["3", "waiting", "-", "-", "-", "-", "-"]);
        let ended = call_row(&json!({
            "state": "ended", "status": "out_of_memory", "n": 4, "attempt": 2, "duration_us": 1500,
            "memory_peak_bytes": 1_048_576, "request_id": "r", "log_stream": "s",
        }));
        assert_eq!(ended, ["4", "out of memory", "2", "1.5", "1.0", "r", "s"]);
    }
}
