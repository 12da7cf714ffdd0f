//! Tags by ARN, for both versions of the interface: `arn:aws:apigateway:REGION::` and `/restapis/API`, the same with
//! `/stages/STAGE`, `/apis/API` or `/domainnames/NAME`.

use super::{
    error::{bad_request, not_found},
    shown,
};
use crate::{
    aws::{Error, Request, Response, response},
    http_api,
    rest_api::{APIS, STAGES},
    rows::Table,
};
use dayfly_store::Store;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TAGS_MAX: usize = 50;

type Tags = BTreeMap<String, String>;

/// A request about the tags of something.
pub struct Tagged<'a> {
    pub store: &'a Store,
    pub request: &'a Request,
    pub arn: &'a str,
}

#[derive(Debug, Deserialize)]
struct Given {
    tags: Tags,
}

pub async fn get(tagged: &Tagged<'_>) -> Result<Response, Error> {
    let (table, key) = tagged.row()?;
    let read = table.get::<Value>(tagged.store, &key).await?.ok_or_else(|| not_found("resource"))?;
    Ok(shown(&json!({"tags": read.value["tags"]})))
}

/// Adds tags; the status of success differs between the versions.
pub async fn add(tagged: &Tagged<'_>, status: StatusCode) -> Result<Response, Error> {
    let given: Given = serde_json::from_slice(&tagged.request.body)
        .map_err(|failure| bad_request(format!("Invalid request body: {failure}")))?;
    tagged.change(|tags| tags.extend(given.tags.clone())).await?;
    Ok(response::empty(status))
}

pub async fn remove(tagged: &Tagged<'_>) -> Result<Response, Error> {
    let names = tagged.request.query_all("tagKeys");
    tagged.change(|tags| tags.retain(|name, _| !names.contains(name))).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

impl Tagged<'_> {
    async fn change(&self, change: impl Fn(&mut Tags)) -> Result<(), Error> {
        let (table, key) = self.row()?;
        let change = |row: &mut Value| {
            let tags = serde_json::from_value::<Tags>(row["tags"].take());
            let mut tags = tags.map_err(|failure| Error::internal(format!("tags of {key}: {failure}")))?;
            change(&mut tags);
            if tags.len() > TAGS_MAX {
                return Err(bad_request(format!("There may be at most {TAGS_MAX} tags")));
            }
            row["tags"] = json!(tags);
            Ok(())
        };
        table.change(self.store, &key, change).await?.map(|_| ()).ok_or_else(|| not_found("resource"))
    }

    /// Where the thing is kept.
    fn row(&self) -> Result<(Table, String), Error> {
        let prefix = format!("arn:aws:apigateway:{}::", self.request.region);
        let path = self.arn.strip_prefix(&prefix).ok_or_else(|| bad_request("Invalid ARN specified in the request"))?;
        match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["restapis", api] => Ok((APIS, (*api).to_owned())),
            ["restapis", api, "stages", stage] => Ok((STAGES, format!("{api}/{stage}"))),
            ["apis", api] => Ok((http_api::APIS, (*api).to_owned())),
            ["domainnames", name] => Ok((http_api::DOMAINS, name.to_ascii_lowercase())),
            _ => Err(not_found("resource")),
        }
    }
}
