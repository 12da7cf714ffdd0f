//! What `dayfly deploy` does for a web application beside its code: packages as a layer, static files into a bucket, an
//! address.

use super::{Error, FUNCTIONS, layer, service_code};
use crate::{
    client::{self, Client, Request},
    output, package,
    web_app::Statics,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path};

/// The variable of a function that says which static files its URL has: `/PATH/=HASH`.
pub const STATICS: &str = "DAYFLY_STATIC";
/// The bucket of all static files; keys are `FUNCTION/HASH/NAME`.
const BUCKET: &str = "dayfly-static";
/// Browsers ask again after a minute, and are told that nothing has changed; a name with a hash in it never changes.
const CACHE_A_MINUTE: &str = "public, max-age=60";
const CACHE_FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The layer with what `requirements.txt` names, built on the server; the same packages are the same layer.
pub async fn requirements(
    client: &Client,
    runtime: &str,
    folder: &Path,
    tell: &(dyn Fn(String) + Sync),
) -> Result<Option<String>, Error> {
    let file = folder.join("requirements.txt");
    if !folder.is_dir() || !file.is_file() {
        return Ok(None);
    }
    let mut requirements = Vec::new();
    layer::read_requirements(&file, &mut requirements, layer::INCLUDES_MAX)?;
    if requirements.is_empty() {
        return Ok(None);
    }
    let source = json!({"runtime": runtime, "requirements": requirements});
    let built = layer::build_environment(client, &source, tell).await?;
    let id = built["id"].as_str().unwrap_or_default();
    let name = format!("packages-{}", id.get(..32).unwrap_or(id));
    let versions =
        client.json("lambda", "GET", &["2018-10-31", "layers", &name, "versions"], &[], &Value::Null).await?;
    let mut layer = versions["LayerVersions"][0]["LayerVersionArn"].clone();
    if layer.is_null() {
        let publish = json!({"name": name, "environment": id, "description": "packages of a web application"});
        layer = client.dayfly("PublishLayer", &publish).await?["LayerVersionArn"].clone();
    }
    Ok(layer.as_str().map(str::to_owned))
}

/// Puts static files where the function's URL finds them, unless they are there. Gives the value of [`STATICS`].
pub async fn statics(client: &Client, function: &str, statics: &Statics) -> Result<String, Error> {
    let mut hash = Sha256::new();
    let mut contents = BTreeMap::new();
    for (name, path) in package::files(&statics.folder)? {
        let content = std::fs::read(&path)?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(&name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(&content);
        contents.insert(name, content);
    }
    let hash = hex::encode(&hash.finalize()[..16]);
    let put = async |path: &[&str], headers: &[(&str, &str)], content: Vec<u8>| {
        let length = content.len().to_string();
        let headers = [&[("content-length", length.as_str())], headers].concat();
        let body = content.into();
        client.send(Request { service: "s3", method: "PUT", path, query: &[], headers: &headers, body }).await
    };
    match put(&[BUCKET], &[], Vec::new()).await {
        // It is there, and ours.
        Err(client::Error::Service { status: 409, .. }) => {}
        made => drop(made?),
    }
    // Put last: where it is, all are.
    let mark = [BUCKET, function, hash.as_str(), ""];
    let asked = Request { service: "s3", method: "HEAD", path: &mark, ..Request::default() };
    if client.send(asked).await.is_err() {
        for (name, content) in contents {
            let path: Vec<&str> = [BUCKET, function, &hash].into_iter().chain(name.split('/')).collect();
            let kind = media_type(&name);
            let caching = if has_hash(&name) { CACHE_FOR_EVER } else { CACHE_A_MINUTE };
            put(&path, &[("content-type", &kind), ("cache-control", caching)], content).await?;
        }
        put(&mark, &[], Vec::new()).await?;
    }
    Ok(format!("{}={hash}", statics.path))
}

/// Gives an alias of the function a URL that anybody may call, if it has none. Its addresses: by host, and by path.
pub async fn address(client: &Client, function: &str, alias: &str) -> Result<(String, String), Error> {
    let of = [("Qualifier", alias)];
    let path = ["2021-10-31", "functions", function, "url"];
    let mut config = client.json("lambda", "GET", &path, &of, &Value::Null).await;
    if config.as_ref().is_err_and(|error| service_code(error) == Some("ResourceNotFoundException")) {
        config = client.json("lambda", "POST", &path, &of, &json!({"AuthType": "NONE"})).await;
        let permission = json!({
            "StatementId": "dayfly-url",
            "Action": "lambda:InvokeFunctionUrl",
            "Principal": "*",
            "FunctionUrlAuthType": "NONE",
        });
        let policy = [FUNCTIONS[0], FUNCTIONS[1], function, "policy"];
        match client.json("lambda", "POST", &policy, &of, &permission).await {
            Err(error) if service_code(&error) == Some("ResourceConflictException") => {}
            added => drop(added?),
        }
    }
    let by_host = config?["FunctionUrl"].as_str().unwrap_or_default().to_owned();
    let by_path = super::url::function_url(client, &format!("{function}:{alias}")).await?.unwrap_or_default();
    Ok((by_host, by_path))
}

/// Tells where an application is.
pub fn show(addresses: &(String, String)) -> Result<(), Error> {
    let (by_host, by_path) = addresses;
    output::line(by_path)?;
    if by_host != by_path {
        output::note(&format!("by host, with cookies of its own: {by_host}"));
    }
    Ok(())
}

/// The media type of a file of this name; texts are UTF-8.
pub(crate) fn media_type(name: &str) -> String {
    let found = mime_guess::from_path(name).first_or_octet_stream();
    let text = found.type_() == mime_guess::mime::TEXT || found.subtype() == "javascript" || found.subtype() == "json";
    if text { format!("{found}; charset=utf-8") } else { found.to_string() }
}

/// Whether a name has a hash between its dots or dashes, as build tools and Django's manifest storage write it.
fn has_hash(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split(['.', '-'])
        .any(|part| part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_served_as_what_they_are() {
        assert_eq!(media_type("a/style.css"), "text/css; charset=utf-8");
        assert_eq!(media_type("app.js"), "text/javascript; charset=utf-8");
        assert_eq!(media_type("a.png"), "image/png");
        assert_eq!(media_type("noname"), "application/octet-stream");
        assert!(has_hash("css/style.0123456789ab.css") && has_hash("index-0a1b2c3d.js"));
        assert!(!has_hash("style.css") && !has_hash("decade.css") && !has_hash("0123456789ab/style.css"));
    }
}
