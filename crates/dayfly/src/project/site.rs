//! Files of a folder as a bucket's website. Beside them it has `dayfly.json`, which says where the routes are.

use super::resources::{self, At, Material, object};
use crate::{
    client::{self, Request},
    package,
    verbs::{Error, web::media_type},
};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path};

/// Says where the API is: `{"api": "/restapis/…/"}`.
const SETTINGS: &str = "dayfly.json";

/// SHA-256 of each file, by its path in the folder.
pub fn hashes(folder: &Path) -> Result<BTreeMap<String, String>, Error> {
    let files = package::files(folder)?.into_iter().map(|(name, path)| {
        let content = std::fs::read(&path).map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
        Ok((name, hex::encode(Sha256::digest(content))))
    });
    files.collect()
}

/// Where browsers find the site.
pub fn address(client: &client::Client, bucket: &str) -> String {
    format!("{}/websites/{bucket}/", client.endpoint())
}

/// Puts the files into the bucket, takes others out, and lets everybody read.
pub async fn make(at: &At<'_>, bucket: &str, spec: &Value, material: &Material<'_>) -> Result<(), Error> {
    let folder = material.folder.join(spec["folder"].as_str().unwrap_or_default());
    let files = package::files(&folder)?;
    for (name, path) in &files {
        let content = std::fs::read(path).map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
        put(at, bucket, name, content.into()).await?;
    }
    let settings = json!({"api": material.api.as_deref().map(resources::path)}).to_string();
    put(at, bucket, SETTINGS, settings.into()).await?;
    resources::empty(at, bucket, |key| key == SETTINGS || files.contains_key(key)).await?;

    // The pages of a single-page app are all made by the first.
    let error = if files.contains_key("404.html") { "404.html" } else { "index.html" };
    let website = format!(
        "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
         <ErrorDocument><Key>{error}</Key></ErrorDocument></WebsiteConfiguration>"
    );
    at.s3("PUT", &[bucket], &[("website", "")], website.into()).await?;
    let statement = json!({
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
    });
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    at.s3("PUT", &[bucket], &[("policy", "")], policy.into()).await?;
    Ok(())
}

/// Nobody sees the files any more; they are still there.
pub async fn delete(at: &At<'_>, bucket: &str) -> Result<(), client::Error> {
    at.s3("DELETE", &[bucket], &[("policy", "")], Bytes::new()).await?;
    at.s3("DELETE", &[bucket], &[("website", "")], Bytes::new()).await.map(drop)
}

async fn put(at: &At<'_>, bucket: &str, key: &str, body: Bytes) -> Result<(), client::Error> {
    let path = object(bucket, key);
    // What is asked for by one name must be the newest.
    let caching = if key.ends_with(".html") || key == SETTINGS { "no-cache" } else { "max-age=3600" };
    let kind = media_type(key);
    let headers = [("cache-control", caching), ("content-type", kind.as_str())];
    at.client
        .send(Request { service: "s3", method: "PUT", path: &path, query: &[], headers: &headers, body })
        .await
        .map(drop)
}
