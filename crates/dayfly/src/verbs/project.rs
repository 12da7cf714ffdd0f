//! `dayfly deploy` of a project, and `dayfly destroy`: the plan, then each step as it is done, then the addresses.

use super::{Error, deploy};
use crate::{
    cli,
    client::Client,
    entry::Language,
    output, package,
    project::{
        self, Project, app,
        plan::{Action, Step},
        record::{Kind, Record, Resource},
        resources::{self, At, Material},
        site,
    },
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
};

/// Deploys the project at the path.
pub async fn deploy(options: &cli::Deploy) -> Result<(), Error> {
    let project = project::read(&options.path).await?;
    let client = Client::new(&options.target)?;
    let at = at(&client).await?;
    let runtime = match &project.manifest.runtime {
        Some(runtime) => runtime.clone(),
        None => deploy::newest_runtime(&client, Language::Python).await?,
    };
    let zip = code(&project)?;
    let wanted = project::plan::resources(&project, &at, &runtime, &hex::encode(Sha256::digest(&zip)))?;
    let record = Record::read(&client, project.name.as_str()).await?;
    let steps = project::plan::plan(&at, wanted, &record).await?;
    if options.dry_run {
        return show(&project, &steps, options.json, &mut std::io::stdout().lock());
    }
    show(&project, &steps, false, &mut std::io::stderr().lock())?;
    let lost: Vec<&Step> =
        steps.iter().filter(|step| step.action == Action::Delete && step.resource.kind.holds_data()).collect();
    if !lost.is_empty() && !options.yes {
        confirm(&format!("{} of these hold data, which goes with them. Delete?", lost.len()))?;
    }
    let record = carry_out(&at, project.name.as_str(), &steps, record, (&project.folder, &zip)).await?;
    let addresses = addresses(&client, &project, &record);
    if options.json {
        let plan = json!({"project": project.name.as_str(), "plan": as_json(&steps), "addresses": addresses});
        return Ok(output::json(&plan)?);
    }
    for address in &addresses {
        output::line(&format!(
            "{:<8}{}",
            address["route"].as_str().unwrap_or_default(),
            address["url"].as_str().unwrap_or_default()
        ))?;
    }
    Ok(())
}

/// Deletes all that deploys of the project made.
pub async fn destroy(options: &cli::Destroy) -> Result<(), Error> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => project::read(&options.path).await?.name.to_string(),
    };
    let client = Client::new(&options.target)?;
    let at = at(&client).await?;
    let record = Record::read(&client, &name).await?;
    if record.resources.is_empty() {
        return Err(Error::Failed(format!("nothing of {name} is deployed")));
    }
    let steps = project::plan::plan(&at, Vec::new(), &record).await?;
    for step in &steps {
        output::note(&line(step));
    }
    if !options.yes {
        confirm(&format!("Delete all of {name}, with its data?"))?;
    }
    carry_out(&at, &name, &steps, record, (&options.path, &[])).await?;
    if options.json { Ok(output::json(&as_json(&steps))?) } else { Ok(output::line(&format!("deleted {name}"))?) }
}

async fn at(client: &Client) -> Result<At<'_>, Error> {
    let information = client.dayfly("GetServerInfo", &json!({})).await?;
    Ok(At { client, account: information["account"].as_str().unwrap_or_default().to_owned() })
}

/// The folder's code, with what an App needs when it runs.
fn code(project: &Project) -> Result<Bytes, Error> {
    let runtime = if project.has_app { app::runtime_files().to_vec() } else { Vec::new() };
    Ok(package::pack_with(&project.folder, &runtime)?.zip)
}

/// Does what the plan says, and notes each step before and after.
async fn carry_out(
    at: &At<'_>,
    project: &str,
    steps: &[Step],
    mut record: Record,
    (folder, zip): (&Path, &[u8]),
) -> Result<Record, Error> {
    let id_of = |kind: Kind| record.resources.iter().find(|made| made.resource.kind == kind)?.id.clone();
    let (layer, api) = (id_of(Kind::Packages), id_of(Kind::Api));
    let mut material = Material { folder, zip, layer, api };
    let mut replaced = None;
    for step in steps.iter().filter(|step| step.action != Action::Keep) {
        let resource = &step.resource;
        let id = record.find(resource).and_then(|made| made.id.clone());
        let spinner = output::spinner(&format!("{} {}", resource.kind, resource.name));
        let done = if step.action == Action::Delete {
            let done = resources::delete(at, resource, id.as_deref()).await;
            if done.is_ok() {
                record.forget(resource);
            }
            done
        } else {
            record.begin(resource);
            record.write(at.client, project).await?;
            // What is not there any more has no id.
            let known = id.as_deref().filter(|_| step.action != Action::Create);
            let made = resources::make(at, resource, known, &material).await;
            made.map(|id| {
                match resource.kind {
                    Kind::Packages => replaced = std::mem::replace(&mut material.layer, id.clone()),
                    Kind::Api => material.api.clone_from(&id),
                    _ => {}
                }
                record.done(resource, id);
            })
        };
        spinner.finish_and_clear();
        done.map_err(|error| Error::Failed(format!("{} {}: {error}", resource.kind, resource.name)))?;
        record.write(at.client, project).await?;
        output::note(&format!("  {} {} {}", verb(&step.action), resource.kind, resource.name));
    }
    if let (Some(old), Some(step)) = (replaced, steps.iter().find(|step| step.resource.kind == Kind::Packages)) {
        resources::delete(at, &step.resource, Some(&old)).await?;
    }
    Ok(record)
}

fn verb(action: &Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Change(_) => "changed",
        Action::Keep => "kept",
        Action::Delete => "deleted",
    }
}

fn line(step: &Step) -> String {
    let Resource { kind, name, .. } = &step.resource;
    match &step.action {
        Action::Create => format!("  + {kind:<9} {name}"),
        Action::Change(what) if what.is_empty() => format!("  ~ {kind:<9} {name}"),
        Action::Change(what) => format!("  ~ {kind:<9} {name} ({})", what.join(", ")),
        Action::Keep => format!("    {kind:<9} {name}"),
        Action::Delete => format!("  - {kind:<9} {name}"),
    }
}

fn as_json(steps: &[Step]) -> Vec<Value> {
    let each = steps.iter().map(|step| {
        let (action, changed) = match &step.action {
            Action::Create => ("create", Vec::new()),
            Action::Change(what) => ("change", what.clone()),
            Action::Keep => ("unchanged", Vec::new()),
            Action::Delete => ("delete", Vec::new()),
        };
        json!({"action": action, "kind": step.resource.kind, "name": step.resource.name, "changed": changed})
    });
    each.collect()
}

fn show(project: &Project, steps: &[Step], as_json_text: bool, out: &mut impl Write) -> Result<(), Error> {
    if as_json_text {
        let plan = json!({"project": project.name.as_str(), "plan": as_json(steps)});
        writeln!(out, "{}", serde_json::to_string_pretty(&plan).unwrap_or_default())?;
        return Ok(());
    }
    let count = |wanted: fn(&Action) -> bool| steps.iter().filter(|step| wanted(&step.action)).count();
    writeln!(
        out,
        "{}: {} to create, {} to change, {} unchanged, {} to delete",
        project.name,
        count(|action| *action == Action::Create),
        count(|action| matches!(action, Action::Change(_))),
        count(|action| *action == Action::Keep),
        count(|action| *action == Action::Delete),
    )?;
    for step in steps {
        writeln!(out, "{}", line(step))?;
    }
    Ok(())
}

/// Asks at the terminal; where there is none, `--yes` has to be given.
fn confirm(question: &str) -> Result<(), Error> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::Usage(format!("{question} Nobody can be asked here: say --yes")));
    }
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Error::Failed("nothing was done".to_owned())) }
}

/// The addresses of sites, and of each route.
fn addresses(client: &Client, project: &Project, record: &Record) -> Vec<Map<String, Value>> {
    let entry =
        |route: &str, url: String| Map::from_iter([("route".to_owned(), json!(route)), ("url".to_owned(), json!(url))]);
    let of = |kind: Kind| record.resources.iter().filter(move |made| made.resource.kind == kind);
    let mut found: Vec<_> =
        of(Kind::Site).map(|made| entry("site", site::address(client, &made.resource.name))).collect();
    if let Some(api) = of(Kind::Api).next().and_then(|made| made.id.as_deref()) {
        let base = resources::address(client, api);
        for route in project.manifest.functions.values().flat_map(|function| &function.routes) {
            found.push(entry(&route.method, format!("{base}{}", route.path.trim_start_matches('/'))));
        }
    }
    found
}
