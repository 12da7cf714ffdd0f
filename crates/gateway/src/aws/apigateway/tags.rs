//! Tags of APIs and stages, by ARN: `arn:aws:apigateway:REGION::/restapis/API`, `…/stages/STAGE` after it.

use super::{
    Call,
    error::{bad_request, not_found},
    shown,
};
use crate::{
    aws::{Error, Response, response},
    rest_api::{APIS, STAGES},
    rows::Table,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TAGS_MAX: usize = 50;

type Tags = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
struct Given {
    tags: Tags,
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let (table, key) = row(call)?;
    let read = table.get::<Value>(call.store(), &key).await?.ok_or_else(|| not_found("resource"))?;
    Ok(shown(&json!({"tags": read.value["tags"]})))
}

pub async fn add(call: &Call<'_>) -> Result<Response, Error> {
    let given = call.body::<Given>()?.tags;
    change(call, |tags| tags.extend(given.clone())).await
}

pub async fn remove(call: &Call<'_>) -> Result<Response, Error> {
    let names = call.request.query_all("tagKeys");
    change(call, |tags| tags.retain(|name, _| !names.contains(name))).await
}

async fn change(call: &Call<'_>, change: impl Fn(&mut Tags)) -> Result<Response, Error> {
    let (table, key) = row(call)?;
    let change = |row: &mut Value| {
        let mut tags: Tags =
            serde_json::from_value(row["tags"].take()).map_err(|error| Error::internal(error.to_string()))?;
        change(&mut tags);
        if tags.len() > TAGS_MAX {
            return Err(bad_request(format!("There may be at most {TAGS_MAX} tags")));
        }
        row["tags"] = json!(tags);
        Ok(())
    };
    table.change(call.store(), &key, change).await?.ok_or_else(|| not_found("resource"))?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// Where the thing is kept that the path's ARN names.
fn row(call: &Call<'_>) -> Result<(Table, String), Error> {
    // An ARN whose slashes are not escaped comes in several segments.
    let arn = call.segments[1..].join("/");
    let prefix = format!("arn:aws:apigateway:{}::", call.request.region);
    let path = arn.strip_prefix(&prefix).ok_or_else(|| bad_request("Invalid ARN specified in the request"))?;
    match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["restapis", api] => Ok((APIS, (*api).to_owned())),
        ["restapis", api, "stages", stage] => Ok((STAGES, format!("{api}/{stage}"))),
        _ => Err(not_found("resource")),
    }
}
