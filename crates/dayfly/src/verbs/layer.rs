//! `dayfly layer`: builds layers of Python packages on the server, lists and deletes layers.

use super::Error;
use crate::{
    cli::{Layer, LayerBuild, LayerWhat},
    client::{self, Client, Request},
    entry::Language,
    output,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

const LAYERS: [&str; 2] = ["2018-10-31", "layers"];
/// Requirements files that include each other.
pub(crate) const INCLUDES_MAX: usize = 20;

/// Builds, lists or deletes.
pub async fn run(options: &Layer) -> Result<(), Error> {
    match &options.what {
        LayerWhat::Build(build) => run_build(options, build).await,
        LayerWhat::Ls => list(options).await,
        LayerWhat::Rm { versions } => remove(options, versions).await,
    }
}

async fn run_build(options: &Layer, build: &LayerBuild) -> Result<(), Error> {
    let mut requirements = build.packages.clone();
    for file in &build.requirements {
        read_requirements(file, &mut requirements, INCLUDES_MAX)?;
    }
    if requirements.is_empty() {
        return Err(Error::Usage("name packages, or a file of them with -r".to_owned()));
    }
    let client = Client::new(&options.target)?;
    let runtime = match &build.runtime {
        Some(runtime) => runtime.clone(),
        None => super::deploy::newest_runtime(&client, Language::Python).await?,
    };
    let spinner = output::spinner("building");
    let source = json!({"runtime": runtime, "requirements": requirements});
    let built = build_environment(&client, &source, &|step| spinner.set_message(step)).await;
    spinner.finish_and_clear();
    let built = built?;
    let publish = json!({"name": build.name, "environment": built["id"], "description": build.description});
    let layer = client.dayfly("PublishLayer", &publish).await?;
    if options.json {
        return Ok(output::json(&json!({"layer": layer, "environment": built}))?);
    }
    let packages = built["packages"].as_array().map_or(0, Vec::len);
    let (size, own) = (&built["bytes"], &built["own_bytes"]);
    let shown = |bytes: &Value| output::size(bytes.as_u64().unwrap_or_default());
    output::note(&format!("{packages} packages, {}, of which {} not shared", shown(size), shown(own)));
    Ok(output::line(layer["LayerVersionArn"].as_str().unwrap_or_default())?)
}

/// Has the server build an environment; tells each step in words.
pub(crate) async fn build_environment(
    client: &Client,
    source: &Value,
    tell: &(dyn Fn(String) + Sync),
) -> Result<Value, Error> {
    let headers = [("content-type", "application/json")];
    let body = source.to_string().into();
    let path = ["environments"];
    let request = Request { service: "dayfly", method: "POST", path: &path, query: &[], headers: &headers, body };
    let mut last = Value::Null;
    client
        .lines(request, &mut |line| {
            tell(words(&line));
            last = line;
        })
        .await?;
    if let Some(error) = last.get("error") {
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        return Err(client::Error::Service { code: text("type"), message: text("message"), status: 200 }.into());
    }
    if last.get("id").is_none() {
        return Err(client::Error::Answer("it ended before the environment was there".to_owned()).into());
    }
    Ok(last)
}

fn words(step: &Value) -> String {
    match step["step"].as_str().unwrap_or_default() {
        "wait" => "waiting for another build".to_owned(),
        "resolve" => "resolving packages".to_owned(),
        "resolved" => format!("{} packages", step["packages"]),
        "download" => format!("downloading {}", step["what"].as_str().unwrap_or_default()),
        "build" => {
            format!("compiling {} files, {}", step["files"], output::size(step["bytes"].as_u64().unwrap_or_default()))
        }
        _ => "publishing".to_owned(),
    }
}

/// Adds a file's requirements, and those of the files that it includes, without comments and hashes.
pub(crate) fn read_requirements(file: &Path, into: &mut Vec<String>, includes: usize) -> Result<(), Error> {
    let text = fs::read_to_string(file).map_err(|error| Error::Usage(format!("{}: {error}", file.display())))?;
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default().split(" --hash=").next().unwrap_or_default().trim();
        let included = ["-r ", "--requirement ", "--requirement="].iter().find_map(|option| line.strip_prefix(option));
        match included {
            Some(_) if includes == 0 => {
                return Err(Error::Usage(format!("{}: files include each other too deeply", file.display())));
            }
            Some(name) => {
                let next = file.parent().unwrap_or(Path::new(".")).join(name.trim());
                read_requirements(&next, into, includes - 1)?;
            }
            None if line.is_empty() || line.starts_with('#') => {}
            None => into.push(line.to_owned()),
        }
    }
    Ok(())
}

async fn list(options: &Layer) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let mut layers = Vec::new();
    let mut marker = String::new();
    loop {
        let query: &[(&str, &str)] = if marker.is_empty() { &[] } else { &[("Marker", &marker)] };
        let page = client.json("lambda", "GET", &LAYERS, query, &Value::Null).await?;
        layers.extend(page["Layers"].as_array().cloned().unwrap_or_default());
        match page["NextMarker"].as_str() {
            Some(next) if !next.is_empty() && next != marker => marker = next.to_owned(),
            _ => break,
        }
    }
    if options.json {
        return Ok(output::json(&layers)?);
    }
    if layers.is_empty() {
        output::note("no layers yet: make one with `dayfly layer build PACKAGE --name NAME`");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = layers
        .iter()
        .map(|layer| {
            let latest = &layer["LatestMatchingVersion"];
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let runtimes = latest["CompatibleRuntimes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            vec![
                text(&layer["LayerName"]),
                latest["Version"].to_string(),
                runtimes.collect::<Vec<_>>().join(" "),
                text(&latest["CreatedDate"]).chars().take(19).collect(),
                text(&latest["LayerVersionArn"]),
            ]
        })
        .collect();
    let header = ["name", "version", "runtimes", "created (UTC)", "arn"];
    Ok(output::line(&output::table(&header, &rows, &[1]))?)
}

async fn remove(options: &Layer, versions: &[String]) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    for given in versions {
        // Of an ARN, the name and the version are the last two parts.
        let mut parts = given.rsplit(':');
        let (version, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if name.is_empty() || version.parse::<u64>().is_err() {
            return Err(Error::Usage(format!("{given}: write NAME:VERSION")));
        }
        let path = [LAYERS[0], LAYERS[1], name, "versions", version];
        client.json("lambda", "DELETE", &path, &[], &Value::Null).await?;
        if !options.json {
            output::line(&format!("deleted {name}:{version}"))?;
        }
    }
    if options.json { Ok(output::json(&versions)?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_files_are_read_with_those_that_they_include() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("base.txt", "numpy\n");
        write("all.txt", "# note\n-r base.txt\nsix==1.0 \\\n  --hash=sha256:00\n\npandas>=2  # why\n");
        let mut found = Vec::new();
        read_requirements(&folder.path().join("all.txt"), &mut found, INCLUDES_MAX).unwrap();
        assert_eq!(found, ["numpy", "six==1.0", "pandas>=2"]);
        write("ring.txt", "-r ring.txt\n");
        assert!(read_requirements(&folder.path().join("ring.txt"), &mut found, INCLUDES_MAX).is_err());
    }
}
