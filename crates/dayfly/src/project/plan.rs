//! What a project needs, what an earlier deploy made, and the difference.

use super::{
    Project,
    manifest::{Function, Key, Manifest, Name, Queue, Table},
    record::{Kind, Made, Record, Resource},
    resources, site,
};
use crate::verbs::Error;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const MEMORY_MB: i64 = 256;
const TIMEOUT_S: i64 = 30;
/// As Lambda advises: six times the function's timeout.
const VISIBILITY_FACTOR: i64 = 6;
const VISIBILITY_S_MAX: i64 = 43_200;

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there, and these parts of it are not as wanted.
    Change(Vec<String>),
    /// It is as wanted.
    Keep,
    /// An earlier deploy made it, and nothing wants it any more.
    Delete,
}

/// A step of a plan.
#[derive(Debug)]
pub struct Step {
    /// What happens.
    pub action: Action,
    /// To what.
    pub resource: Resource,
}

/// Compares what the project needs with what is recorded and there: what is made first comes first, deletions come last.
pub async fn plan(at: &resources::At<'_>, wanted: Vec<Resource>, record: &Record) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for resource in &wanted {
        let made = record.find(resource);
        let there = resources::exists(at, resource, made.and_then(|made| made.id.as_deref())).await?;
        let action = match made {
            None if there => {
                return Err(Error::Failed(format!(
                    "{} {} is there already, and no deploy of this project made it: delete or rename it",
                    resource.kind, resource.name
                )));
            }
            Some(made) if there => compare(resource, made)?,
            _ => Action::Create,
        };
        steps.push(Step { action, resource: resource.clone() });
    }
    // A site is told where the routes are: new ones are elsewhere.
    if steps.iter().any(|step| step.resource.kind == Kind::Api && step.action == Action::Create) {
        for step in steps.iter_mut().filter(|step| step.resource.kind == Kind::Site && step.action == Action::Keep) {
            step.action = Action::Change(vec!["api".to_owned()]);
        }
    }
    let names: BTreeSet<(Kind, &str)> = wanted.iter().map(|one| (one.kind, one.name.as_str())).collect();
    let gone = record.resources.iter().rev().filter(|made| !names.contains(&(made.resource.kind, &made.resource.name)));
    steps.extend(gone.map(|made| Step { action: Action::Delete, resource: made.resource.clone() }));
    Ok(steps)
}

fn compare(wanted: &Resource, made: &Made) -> Result<Action, Error> {
    // What a deploy began and did not finish says nothing.
    let old = made.resource.spec.as_object().cloned().unwrap_or_default();
    let new = wanted.spec.as_object().cloned().unwrap_or_default();
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let different: Vec<String> = keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
    if wanted.kind == Kind::Table && !old.is_empty() && different.iter().any(|key| key == "definition") {
        return Err(Error::Failed(format!(
            "table {}: keys and indexes cannot be changed, its items would be lost; give the new one another name",
            wanted.name
        )));
    }
    Ok(if different.is_empty() { Action::Keep } else { Action::Change(different) })
}

/// All that the manifest asks for, in the order in which it can be made.
pub fn resources(project: &Project, at: &resources::At<'_>, runtime: &str, code: &str) -> Result<Vec<Resource>, Error> {
    let manifest = &project.manifest;
    let full = |name: &Name| format!("{}-{name}", project.name);
    let mut found = Vec::new();
    let mut add = |kind, name: String, spec: Value| found.push(Resource { kind, name, spec });

    let packages = json!({"runtime": runtime, "requirements": project.requirements});
    if !project.requirements.is_empty() {
        add(Kind::Packages, format!("{}-packages", project.name), packages.clone());
    }
    for (name, table) in &manifest.tables {
        add(Kind::Table, full(name), json!({"definition": definition(table), "expires": table.expires}));
    }
    for (name, queue) in &manifest.queues {
        let mut attributes = attributes(manifest, name, queue);
        if let Some(attempts) = queue.attempts {
            let dead = queue_name(&format!("{}-dead", full(name)), queue);
            let redrive = json!({"deadLetterTargetArn": at.arn("sqs", &dead), "maxReceiveCount": attempts.0});
            attributes.insert("RedrivePolicy".into(), json!(redrive.to_string()));
            let fifo = if queue.fifo { json!({"FifoQueue": "true"}) } else { json!({}) };
            add(Kind::Queue, dead, json!({"attributes": fifo}));
        }
        add(Kind::Queue, queue_name(&full(name), queue), json!({"attributes": attributes}));
    }
    for name in manifest.buckets.keys() {
        add(Kind::Bucket, full(name), json!({}));
    }
    let shared = shared_environment(project, at);
    for (name, function) in &manifest.functions {
        let mut environment = shared.clone();
        environment.extend(function.environment.iter().map(|(key, value)| (key.as_str().to_owned(), value.clone())));
        let spec = json!({
            "handler": function.handler.as_str(),
            "runtime": runtime,
            "memory": function.memory.or(manifest.memory).map_or(MEMORY_MB, |memory| memory.0),
            "timeout": timeout(manifest, function),
            "environment": environment,
            "code": code,
            "packages": (!project.requirements.is_empty()).then_some(&packages),
        });
        add(Kind::Function, full(name), spec);
    }
    for (name, function) in &manifest.functions {
        for queue_key in &function.queues {
            let Some(queue) = manifest.queues.get(queue_key) else { continue };
            let batch = queue.batch.map_or(10, |batch| batch.0);
            let window = queue.window_seconds.map_or(i64::from(batch > 10), |window| window.0);
            let spec = json!({
                "queue": queue_name(&full(queue_key), queue), "function": full(name), "batch": batch, "window": window,
                "concurrency": queue.concurrency.map(|calls| calls.0),
            });
            add(Kind::Mapping, format!("{}-{queue_key}", full(name)), spec);
        }
        for (index, schedule) in function.schedules.iter().enumerate() {
            let spec = json!({"schedule": schedule.as_str(), "function": full(name)});
            add(Kind::Schedule, format!("{}-{}", full(name), index + 1), spec);
        }
    }
    for (name, bucket) in &manifest.buckets {
        let handled = manifest.functions.iter().filter(|(_, function)| function.objects.contains(name));
        let functions: Vec<String> = handled.map(|(function, _)| full(function)).collect();
        if !functions.is_empty() {
            let spec = json!({"functions": functions, "prefix": bucket.prefix, "suffix": bucket.suffix});
            add(Kind::Notification, full(name), spec);
        }
    }
    let mut routes = BTreeMap::new();
    for (name, function) in &manifest.functions {
        routes.extend(function.routes.iter().map(|route| (format!("{} {}", route.method, route.path), full(name))));
    }
    let api = (!routes.is_empty()).then(|| project.name.to_string());
    if let Some(api) = &api {
        add(Kind::Api, api.clone(), json!({"routes": routes}));
    }
    for (name, bucket) in &manifest.buckets {
        if let Some(folder) = &bucket.site {
            let files = site::hashes(&project.folder.join(folder))?;
            add(Kind::Site, full(name), json!({"folder": folder, "files": files, "api": api}));
        }
    }
    Ok(found)
}

/// What tells functions where queues, tables and buckets are.
fn shared_environment(project: &Project, at: &resources::At<'_>) -> BTreeMap<String, String> {
    let manifest = &project.manifest;
    let variable = |kind: &str, name: &Name| format!("{kind}_{}", name.as_str().to_uppercase().replace('-', "_"));
    let full = |name: &Name| format!("{}-{name}", project.name);
    let mut shared: BTreeMap<String, String> =
        manifest.environment.iter().map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
    for (name, queue) in &manifest.queues {
        // The form that does not hang on where the server listens today; of an address, only account and name count.
        let url = at.queue_url(&queue_name(&full(name), queue));
        shared.insert(variable("QUEUE", name), url);
    }
    shared.extend(manifest.tables.keys().map(|name| (variable("TABLE", name), full(name))));
    shared.extend(manifest.buckets.keys().map(|name| (variable("BUCKET", name), full(name))));
    shared
}

fn timeout(manifest: &Manifest, function: &Function) -> i64 {
    function.timeout.or(manifest.timeout).map_or(TIMEOUT_S, |timeout| timeout.0)
}

fn queue_name(name: &str, queue: &Queue) -> String {
    if queue.fifo { format!("{name}.fifo") } else { name.to_owned() }
}

fn attributes(manifest: &Manifest, name: &Name, queue: &Queue) -> Map<String, Value> {
    let consumer = manifest.functions.values().find(|function| function.queues.contains(name));
    let default = consumer.map_or(30, |function| timeout(manifest, function) * VISIBILITY_FACTOR);
    let visibility = queue.visibility_seconds.map_or(default.min(VISIBILITY_S_MAX), |seconds| seconds.0);
    let mut attributes = Map::from_iter([("VisibilityTimeout".to_owned(), json!(visibility.to_string()))]);
    if queue.fifo {
        attributes.insert("FifoQueue".into(), json!("true"));
    }
    attributes
}

/// CreateTable's request without the name.
fn definition(table: &Table) -> Value {
    let schema = |key: &Key, range: Option<&Key>| -> Vec<Value> {
        let hash = json!({"AttributeName": key.name, "KeyType": "HASH"});
        std::iter::once(hash)
            .chain(range.map(|range| json!({"AttributeName": range.name, "KeyType": "RANGE"})))
            .collect()
    };
    let mut kinds: BTreeMap<&str, char> = BTreeMap::new();
    let keys = table.indexes.values().flat_map(|index| [Some(&index.key), index.range.as_ref()]);
    for key in [Some(&table.key), table.range.as_ref()].into_iter().chain(keys).flatten() {
        kinds.insert(&key.name, key.kind);
    }
    let definitions: Vec<Value> =
        kinds.iter().map(|(name, kind)| json!({"AttributeName": name, "AttributeType": kind})).collect();
    let indexes: Vec<Value> = table
        .indexes
        .iter()
        .map(|(name, index)| {
            let schema = schema(&index.key, index.range.as_ref());
            json!({"IndexName": name.as_str(), "KeySchema": schema, "Projection": {"ProjectionType": "ALL"}})
        })
        .collect();
    let mut definition = json!({
        "AttributeDefinitions": definitions, "KeySchema": schema(&table.key, table.range.as_ref()),
        "BillingMode": "PAY_PER_REQUEST",
    });
    if !indexes.is_empty() {
        definition["GlobalSecondaryIndexes"] = json!(indexes);
    }
    definition
}
