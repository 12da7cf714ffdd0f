//! `dayfly init`: a project to begin with.

use super::Error;
use crate::{
    cli::{Init, Template},
    output,
};
use std::fs;

/// Name and text of each file of a template.
type Files = &'static [(&'static str, &'static str)];

const API: Files = &[
    ("dayfly.toml", include_str!("../../templates/api/dayfly.toml")),
    ("app.py", include_str!("../../templates/api/app.py")),
];
const APP: Files = &[("app.py", include_str!("../../templates/app/app.py"))];
const QUEUE: Files = &[
    ("dayfly.toml", include_str!("../../templates/queue/dayfly.toml")),
    ("app.py", include_str!("../../templates/queue/app.py")),
];
const SCHEDULE: Files = &[
    ("dayfly.toml", include_str!("../../templates/schedule/dayfly.toml")),
    ("app.py", include_str!("../../templates/schedule/app.py")),
];

/// Writes the template's files, unless one of them is there.
pub fn run(options: &Init) -> Result<(), Error> {
    let files = match options.template {
        Template::Api => API,
        Template::App => APP,
        Template::Queue => QUEUE,
        Template::Schedule => SCHEDULE,
    };
    // `dayfly.toml` and `dayfly.App` both make a project: neither is put beside the other.
    for name in ["dayfly.toml", "app.py"] {
        let path = options.folder.join(name);
        if path.exists() {
            return Err(Error::Usage(format!("{} is there already: nothing was written", path.display())));
        }
    }
    fs::create_dir_all(&options.folder)?;
    for (name, text) in files {
        let path = options.folder.join(name);
        fs::write(&path, text)?;
        output::line(&path.display().to_string())?;
    }
    output::note(&format!("deploy it: dayfly deploy {}", options.folder.display()));
    Ok(())
}
