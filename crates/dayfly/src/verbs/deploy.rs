//! `dayfly deploy`: packs code, creates or updates the function, waits until it can be called.

use super::{Error, FUNCTIONS, traffic, web};
use crate::{
    cli,
    client::{self, Client},
    entry::Language,
    output, package, project,
    web_app::{self, Statics, WebApp},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_types::function::Reuse;
use serde_json::{Map, Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Role of functions deployed here; Dayfly does not look into it yet, and AWS's API wants one.
const ROLE: &str = "arn:aws:iam::000000000000:role/dayfly";
const READY_WAIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// What a new web application gets unless it is told otherwise: Lambda's own defaults are for less.
const MEMORY_OF_APP_MB: u32 = 512;
const TIMEOUT_OF_APP_S: u32 = 30;

/// Deploys a project, or one function; of that it prints the ARN and how to call it.
pub async fn run(options: &cli::Deploy) -> Result<(), Error> {
    if options.is_of_a_function() {
        return function(options).await;
    }
    if project::is_project(&options.path) {
        return super::project::deploy(options).await;
    }
    if options.dry_run || options.yes {
        let path = options.path.display();
        return Err(Error::Usage(format!("{path} has no {}: --dry-run and --yes are of projects", project::FILE)));
    }
    function(options).await
}

async fn function(options: &cli::Deploy) -> Result<(), Error> {
    let app = web_app(options);
    let beside = app.as_ref().map(WebApp::files).unwrap_or_default();
    let beside: Vec<(&str, &str)> = beside.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let package = package::pack_with(&options.path, &beside)?;
    let client = Client::new(&options.target)?;
    let name = options.name.clone().or(package.name).ok_or_else(|| {
        Error::Usage(format!("{} gives no function name: name one with --name", options.path.display()))
    })?;
    let mut wanted = Wanted {
        name,
        language: match (&options.handler, &package.entry) {
            (Some(handler), _) => Language::of(&options.path, handler),
            (None, entry) => entry.as_ref().map(|(_, language)| *language).unwrap_or_default(),
        },
        handler: options.handler.clone().or(package.entry.map(|(handler, _)| handler)),
        runtime: options.runtime.clone(),
        memory: options.memory,
        timeout: options.timeout,
        env: options.env.clone(),
        tags: options.tag.iter().cloned().chain(options.reuse.map(reuse_tag)).collect(),
        layers: None,
    };
    let message =
        format!("deploying {} ({} files, {})", wanted.name, package.files, output::size(package.zip.len() as u64));
    let spinner = output::spinner(&message);
    let deployed = async {
        if let Some(app) = &app {
            complete(&client, &mut wanted, app, &options.path, &|step| spinner.set_message(step)).await?;
            spinner.set_message(message.clone());
        }
        let configuration = deploy(&client, &wanted, &package.zip).await?;
        let made = match &app {
            Some(_) => {
                let published = traffic::publish(&client, &wanted.name, !options.no_traffic).await?;
                Some((published, web::address(&client, &wanted.name, traffic::LIVE).await?))
            }
            None => None,
        };
        Ok::<_, Error>((configuration, made))
    };
    let deployed = deployed.await;
    spinner.finish_and_clear();
    let (configuration, made) = deployed?;
    if options.json {
        return Ok(output::json(&configuration)?);
    }
    output::line(configuration["FunctionArn"].as_str().unwrap_or_default())?;
    if let Some(((version, has_traffic), addresses)) = made {
        let has = if has_traffic { "has all traffic" } else { "waits for traffic" };
        output::note(&format!("version v{version} {has}: see `dayfly traffic {}`", wanted.name));
        return web::show(&addresses);
    }
    let data = options.target.data.as_ref().map(|data| format!(" --data {}", data.display())).unwrap_or_default();
    output::note(&format!("call it: dayfly invoke{data} {} '{{}}'", wanted.name));
    Ok(())
}

/// The tag that says so.
fn reuse_tag(reuse: Reuse) -> (String, String) {
    (Reuse::TAG.to_owned(), reuse.to_string())
}

/// What a function should be; what is `None` stays as it is, or gets the default.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// `module.function`.
    pub handler: Option<String>,
    /// For example `python3.11`; for a new function the newest of its language.
    pub runtime: Option<String>,
    /// What the handler is written in.
    pub language: Language,
    /// MB.
    pub memory: Option<u32>,
    /// Seconds.
    pub timeout: Option<u32>,
    /// Environment; all of it when not empty.
    pub env: Vec<(String, String)>,
    /// Tags to add.
    pub tags: Vec<(String, String)>,
    /// ARNs of layer versions.
    pub layers: Option<Vec<String>>,
}

/// The web application that is to be deployed, if it is one.
fn web_app(options: &cli::Deploy) -> Option<WebApp> {
    // A package that is called through a handler of its own is none, whatever else is in it.
    let found = options.handler.is_none().then(|| WebApp::find(&options.path, options.app.as_deref())).flatten();
    found.map(|app| match &options.statics {
        Some((path, folder)) => WebApp { statics: Some(Statics { path: path.clone(), folder: folder.clone() }), ..app },
        None => app,
    })
}

/// What a web application needs beside its code: room, its packages, its static files.
async fn complete(
    client: &Client,
    wanted: &mut Wanted,
    app: &WebApp,
    folder: &Path,
    tell: &(dyn Fn(String) + Sync),
) -> Result<(), Error> {
    let path = [FUNCTIONS[0], FUNCTIONS[1], wanted.name.as_str(), "configuration"];
    let before = match client.json("lambda", "GET", &path, &[], &Value::Null).await {
        Err(error) if super::service_code(&error) == Some("ResourceNotFoundException") => {
            wanted.memory.get_or_insert(MEMORY_OF_APP_MB);
            wanted.timeout.get_or_insert(TIMEOUT_OF_APP_S);
            Value::Null
        }
        before => before?,
    };
    wanted.handler = Some(web_app::HANDLER.to_owned());
    let runtime = match (&wanted.runtime, before["Runtime"].as_str()) {
        (Some(runtime), _) => runtime.clone(),
        (None, Some(runtime)) => runtime.to_owned(),
        (None, None) => newest_runtime(client, Language::Python).await?,
    };
    wanted.layers = web::requirements(client, &runtime, folder, tell).await?.map(|layer| vec![layer]);
    wanted.runtime = Some(runtime);
    if wanted.env.is_empty() {
        let kept = before["Environment"]["Variables"].as_object().into_iter().flatten();
        wanted.env = kept.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    }
    wanted.env.retain(|(key, _)| key != web::STATICS);
    if let Some(statics) = &app.statics {
        tell("uploading static files".to_owned());
        wanted.env.push((web::STATICS.to_owned(), web::statics(client, &wanted.name, statics).await?));
    }
    Ok(())
}

/// Creates the function or brings it up to date, and waits until it is active.
pub async fn deploy(client: &Client, wanted: &Wanted, zip: &[u8]) -> Result<Value, Error> {
    let path = [FUNCTIONS[0], FUNCTIONS[1], wanted.name.as_str(), "configuration"];
    match client.json("lambda", "GET", &path, &[], &Value::Null).await {
        Ok(_) => update(client, wanted, zip).await?,
        Err(error) if super::service_code(&error) == Some("ResourceNotFoundException") => {
            create(client, wanted, zip).await?;
        }
        Err(error) => return Err(error.into()),
    }
    ready(client, &wanted.name).await
}

async fn create(client: &Client, wanted: &Wanted, zip: &[u8]) -> Result<(), Error> {
    let handler = wanted.handler.as_deref().ok_or_else(|| {
        Error::Usage(
            "no handler found: define `def handler(event, context)` in app.py, main.py, lambda_function.py or index.py, \
             export `handler` from index.js, bring a program named bootstrap, or name one with --handler module.function, or a web application with --app module:object"
                .into(),
        )
    })?;
    let mut request = settings(wanted);
    request.insert("FunctionName".into(), json!(wanted.name));
    request.insert("Handler".into(), json!(handler));
    request.insert("Role".into(), json!(ROLE));
    request.insert("Code".into(), json!({"ZipFile": STANDARD.encode(zip)}));
    if wanted.runtime.is_none() {
        request.insert("Runtime".into(), json!(newest_runtime(client, wanted.language).await?));
    }
    if !wanted.tags.is_empty() {
        request.insert("Tags".into(), pairs(&wanted.tags));
    }
    client.json("lambda", "POST", &FUNCTIONS, &[], &Value::Object(request)).await?;
    Ok(())
}

async fn update(client: &Client, wanted: &Wanted, zip: &[u8]) -> Result<(), Error> {
    let name = wanted.name.as_str();
    let mut request = settings(wanted);
    if let Some(handler) = &wanted.handler {
        request.insert("Handler".into(), json!(handler));
    }
    ready(client, name).await?;
    if !request.is_empty() {
        let path = [FUNCTIONS[0], FUNCTIONS[1], name, "configuration"];
        client.json("lambda", "PUT", &path, &[], &Value::Object(request)).await?;
        ready(client, name).await?;
    }
    let code = json!({"ZipFile": STANDARD.encode(zip)});
    let updated = client.json("lambda", "PUT", &[FUNCTIONS[0], FUNCTIONS[1], name, "code"], &[], &code).await?;
    if !wanted.tags.is_empty() {
        let arn = updated["FunctionArn"].as_str().unwrap_or_default();
        client.json("lambda", "POST", &["2017-03-31", "tags", arn], &[], &json!({"Tags": pairs(&wanted.tags)})).await?;
    }
    Ok(())
}

/// Brings the function to these settings and this code, and waits until it is active.
pub async fn put(client: &Client, name: &str, mut settings: Map<String, Value>, zip: &[u8]) -> Result<(), Error> {
    let path = [FUNCTIONS[0], FUNCTIONS[1], name, "configuration"];
    match client.json("lambda", "GET", &path, &[], &Value::Null).await {
        Ok(_) => {
            ready(client, name).await?;
            client.json("lambda", "PUT", &path, &[], &Value::Object(settings)).await?;
            ready(client, name).await?;
            let code = json!({"ZipFile": STANDARD.encode(zip)});
            client.json("lambda", "PUT", &[FUNCTIONS[0], FUNCTIONS[1], name, "code"], &[], &code).await?;
        }
        Err(error) if super::service_code(&error) == Some("ResourceNotFoundException") => {
            settings.insert("FunctionName".into(), json!(name));
            settings.insert("Role".into(), json!(ROLE));
            settings.insert("Code".into(), json!({"ZipFile": STANDARD.encode(zip)}));
            client.json("lambda", "POST", &FUNCTIONS, &[], &Value::Object(settings)).await?;
        }
        Err(error) => return Err(error.into()),
    }
    ready(client, name).await.map(drop)
}

fn settings(wanted: &Wanted) -> Map<String, Value> {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| settings.insert(name.to_owned(), value));
    set("Runtime", wanted.runtime.as_ref().map(|runtime| json!(runtime)));
    set("MemorySize", wanted.memory.map(|memory| json!(memory)));
    set("Timeout", wanted.timeout.map(|timeout| json!(timeout)));
    set("Layers", wanted.layers.as_ref().map(|layers| json!(layers)));
    set("Environment", (!wanted.env.is_empty()).then(|| json!({"Variables": pairs(&wanted.env)})));
    settings
}

fn pairs(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>().into()
}

/// Waits as the SDKs' waiters do: until `Active` and no update under way.
async fn ready(client: &Client, name: &str) -> Result<Value, Error> {
    let started = Instant::now();
    loop {
        let path = [FUNCTIONS[0], FUNCTIONS[1], name, "configuration"];
        let configuration = client.json("lambda", "GET", &path, &[], &Value::Null).await?;
        let text = |field: &str| configuration[field].as_str().unwrap_or_default();
        if text("State") == "Failed" {
            return Err(Error::Failed(format!("{name} could not be made: {}", text("StateReason"))));
        }
        if text("LastUpdateStatus") == "Failed" && text("State") == "Active" && started.elapsed() > POLL {
            return Err(Error::Failed(format!("{name} could not be updated: {}", text("LastUpdateStatusReason"))));
        }
        if text("State") == "Active" && text("LastUpdateStatus") != "InProgress" {
            return Ok(configuration);
        }
        if started.elapsed() > READY_WAIT {
            return Err(Error::Failed(format!("{name} is still {} after {} s", text("State"), READY_WAIT.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The newest runtime of a language that the server has.
pub async fn newest_runtime(client: &Client, language: Language) -> Result<String, Error> {
    let information = client.dayfly("GetServerInfo", &json!({})).await?;
    let runtimes = information["runtimes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    language.newest(runtimes).ok_or_else(|| {
        let missing = format!("the server has no runtime of {language:?}: see `dayfly doctor`");
        client::Error::Answer(missing).into()
    })
}
