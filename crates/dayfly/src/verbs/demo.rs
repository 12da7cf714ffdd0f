//! `dayfly demo`: the main job in one command. Starts a server of its own on a temporary folder and a free port, deploys
//! a function, calls it, shows calls and bill, and takes everything down again, also on Ctrl-C.

use super::{Error, FUNCTIONS, bill, deploy};
use crate::{
    cli,
    client::{Client, Request},
    output, package,
};
use bytes::Bytes;
use dayfly_meter::bill::{Bill, BillQuery, By};
use std::{
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

const SOURCE: &str = "\
calls = 0                      # init: runs once, in the zygote


def handler(event, context):
    global calls
    calls += 1                 # always 1: every call has an instance of its own
    return {'hello': event['name'], 'calls_seen_by_this_instance': calls}
";
const START_WAIT: Duration = Duration::from_secs(20);
const BILL_WAIT: Duration = Duration::from_secs(5);
const STOP_WAIT: Duration = Duration::from_secs(15);

/// Runs the demo; the server is gone when this returns, whatever happened.
pub async fn run(options: &cli::Demo) -> Result<(), Error> {
    let folder = tempfile::Builder::new().prefix("dayfly-demo-").tempdir()?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let executable = std::env::current_exe()?;
    let mut server = Command::new(executable)
        .args(["serve", "--listen", "127.0.0.1:0", "--drain-seconds", "5", "--data"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // A Ctrl-C at the terminal is for this process, which then stops the server.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let result = tokio::select! {
        result = show(&mut server, folder.path(), options.calls) => result,
        _ = interrupt.recv() => Err(Error::Failed("interrupted".into())),
        _ = terminate.recv() => Err(Error::Failed("terminated".into())),
    };
    let stopped = stop(&mut server).await;
    result.and(stopped)
}

async fn show(server: &mut Child, folder: &std::path::Path, calls: u32) -> Result<(), Error> {
    let started = Instant::now();
    wait_until_ready(server).await?;
    output::note(&format!("a server started in {:.0} ms, on an empty folder", ms(started)));

    let target = cli::Target { data: Some(folder.to_owned()), region: None };
    let client = Client::new(&target)?;
    let zip = package::zip(std::iter::once(Ok(("app.py".into(), SOURCE.into(), false))))?;
    let wanted =
        deploy::Wanted { name: "hello".into(), handler: Some("app.handler".into()), ..deploy::Wanted::default() };
    let started = Instant::now();
    deploy::deploy(&client, &wanted, &zip).await?;
    output::note(&format!("deployed a function in {:.0} ms:\n", ms(started)));
    output::note(SOURCE);

    let bar = output::progress(u64::from(calls), "calling");
    let mut rows = Vec::new();
    for number in 1..=calls {
        rows.push(call(&client, number).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    output::line(&output::table(&["call", "latency ms", "instance", "answer"], &rows, &[0, 1]))?;
    let instances: std::collections::BTreeSet<&String> = rows.iter().map(|row| &row[2]).collect();
    output::note(&format!("\n{calls} calls, {} instances; each is gone. The bill:\n", instances.len()));
    let query = BillQuery { by: By::Function, from: None, to: None };
    let bill = settled_bill(&client, &query, calls).await?;
    output::line(&bill::render(&bill, &query.by))?;
    output::note("\nNow for real: dayfly serve");
    if instances.len() != rows.len() {
        return Err(Error::Failed("an instance served more than one call".into()));
    }
    Ok(())
}

/// The bill once it has all the calls: a call is answered a moment before its record is written.
async fn settled_bill(client: &Client, query: &BillQuery, calls: u32) -> Result<Bill, Error> {
    let started = Instant::now();
    loop {
        let bill = bill::fetch(client, query).await?;
        if bill.total.requests >= u64::from(calls) {
            return Ok(bill);
        }
        if started.elapsed() > BILL_WAIT {
            return Err(Error::Failed(format!("{} of {calls} calls are on the bill", bill.total.requests)));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn call(client: &Client, number: u32) -> Result<Vec<String>, Error> {
    let started = Instant::now();
    let response = client
        .send(Request {
            service: "lambda",
            method: "POST",
            path: &[FUNCTIONS[0], FUNCTIONS[1], "hello", "invocations"],
            headers: &[("content-type", "application/json")],
            body: Bytes::from(format!("{{\"name\": \"call {number}\"}}")),
            ..Request::default()
        })
        .await?;
    let answer = String::from_utf8_lossy(&response.body).into_owned();
    if response.header("x-amz-function-error").is_some() {
        return Err(Error::Function(answer));
    }
    let instance = response.header("x-dayfly-instance-id").unwrap_or("-").to_owned();
    Ok(vec![number.to_string(), format!("{:.2}", ms(started)), instance, answer])
}

async fn wait_until_ready(server: &mut Child) -> Result<(), Error> {
    let failed = || Error::Failed("the server did not start; its message is above".into());
    let stdout = server.stdout.take().ok_or_else(failed)?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(START_WAIT, lines.next_line()).await;
    match line {
        Ok(Ok(Some(line))) if line.contains("listening on") => Ok(()),
        _ => Err(failed()),
    }
}

async fn stop(server: &mut Child) -> Result<(), Error> {
    if let Some(pid) = server.id() {
        // Without `unsafe`, a signal other than KILL goes through rustix.
        if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    match tokio::time::timeout(STOP_WAIT, server.wait()).await {
        Ok(Ok(_)) => Ok(()),
        _ => {
            server.kill().await?;
            Err(Error::Failed("the server did not stop in time and was killed".into()))
        }
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
