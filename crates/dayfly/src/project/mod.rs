//! A project: a folder whose `dayfly.toml`, or whose `dayfly.App`, says what it consists of. Used by `deploy` and `destroy`.

pub mod app;
pub mod manifest;
pub mod plan;
pub mod read;
pub mod record;
pub mod resources;
pub mod site;

use crate::verbs::{Error, layer};
use manifest::{Manifest, Module, Name, Requirements};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The file.
pub const FILE: &str = "dayfly.toml";

/// A project that was read.
#[derive(Debug)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// Its name.
    pub name: Name,
    /// What it says.
    pub manifest: Manifest,
    /// Its packages, file or not.
    pub requirements: Vec<String>,
    /// Whether functions need the runtime part of `dayfly.App`.
    pub has_app: bool,
}

/// Whether `path` is a project's folder, or its `dayfly.toml`.
pub fn is_project(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE) || path.join(FILE).is_file() || app::is_app(&path.join("app.py"))
}

/// Reads the project at `path`; runs its App, if it has one.
pub async fn read(path: &Path) -> Result<Project, Error> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
    let file = folder.join(FILE);
    let (mut manifest, shown) = match std::fs::read_to_string(&file) {
        Ok(text) => {
            let shown = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
            let shown = shown.strip_prefix("./").unwrap_or(&shown).display().to_string();
            (read::read(&text, &shown, &folder)?, shown)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let module = Module::try_from("app".to_owned()).map_err(Error::Failed)?;
            (Manifest { app: Some(module), ..Manifest::default() }, "app.py".to_owned())
        }
        Err(error) => return Err(Error::Usage(format!("{}: {error}", file.display()))),
    };
    let has_app = manifest.app.is_some();
    if let Some(module) = manifest.app.clone() {
        let declared = app::declarations(&folder, module.as_str()).await?;
        let shown = format!("{}.py", module.as_str().replace('.', "/"));
        add(&mut manifest, read::from_app(declared, &shown, &folder)?, &shown)?;
    }
    let name = match &manifest.name {
        Some(name) => name.clone(),
        None => name_of(&folder).map_err(|reason| {
            Error::Usage(format!("{shown}: the folder's name cannot be the project's; write name = \"…\": {reason}"))
        })?,
    };
    let requirements = match &manifest.requirements {
        None => Vec::new(),
        Some(Requirements::List(list)) => list.clone(),
        Some(Requirements::File(file)) => {
            let mut found = Vec::new();
            layer::read_requirements(&folder.join(file), &mut found, layer::INCLUDES_MAX)?;
            found
        }
    };
    Ok(Project { folder, name, manifest, requirements, has_app })
}

fn name_of(folder: &Path) -> Result<Name, String> {
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Name::try_from(name.trim_matches('-').to_owned())
}

/// Adds what an App declares. Each thing is said in one place.
fn add(manifest: &mut Manifest, declared: Manifest, app: &str) -> Result<(), Error> {
    let twice = |what: &str, name: &Name| Error::Usage(format!("{app}: {what} {name} is in {FILE} already"));
    for (name, function) in declared.functions {
        if manifest.functions.insert(name.clone(), function).is_some() {
            return Err(twice("the function", &name));
        }
    }
    // A queue, table or bucket may be used here and described there.
    for (name, queue) in declared.queues {
        manifest.queues.entry(name).or_insert(queue);
    }
    for (name, bucket) in declared.buckets {
        manifest.buckets.entry(name).or_insert(bucket);
    }
    for (name, table) in declared.tables {
        if manifest.tables.insert(name.clone(), table).is_some() {
            return Err(twice("the table", &name));
        }
    }
    for (key, value) in declared.environment {
        manifest.environment.entry(key).or_insert(value);
    }
    manifest.name = manifest.name.take().or(declared.name);
    manifest.memory = manifest.memory.or(declared.memory);
    manifest.timeout = manifest.timeout.or(declared.timeout);
    manifest.requirements = manifest.requirements.take().or(declared.requirements);
    Ok(())
}
