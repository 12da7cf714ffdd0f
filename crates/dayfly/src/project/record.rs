//! What deploys of a project made: one JSON object in the server's bucket `dayfly-deployments`, read before a plan is made and
//! written before and after each step, on the condition that nobody else wrote it in between.

use crate::{
    client::{self, Client, Request},
    verbs::Error,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

const BUCKET: &str = "dayfly-deployments";

/// Kinds of what is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A layer of packages.
    Packages,
    /// A table of items.
    Table,
    /// A message queue.
    Queue,
    /// A bucket.
    Bucket,
    /// A function.
    Function,
    /// Messages of a queue go to a function.
    Mapping,
    /// A rule that calls a function by the clock.
    Schedule,
    /// Objects of a bucket are told to functions.
    Notification,
    /// Routes.
    Api,
    /// Files of a bucket that browsers see.
    Site,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Packages => "packages",
            Self::Table => "table",
            Self::Queue => "queue",
            Self::Bucket => "bucket",
            Self::Function => "function",
            Self::Mapping => "messages",
            Self::Schedule => "schedule",
            Self::Notification => "objects",
            Self::Api => "routes",
            Self::Site => "site",
        })
    }
}

impl Kind {
    /// Whether what people put in goes with it.
    pub fn holds_data(self) -> bool {
        matches!(self, Self::Table | Self::Queue | Self::Bucket)
    }
}

/// A thing as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// Its name on the server.
    pub name: String,
    /// How it should be; null while it is being made.
    pub spec: Value,
}

/// A thing that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Made {
    /// It.
    #[serde(flatten)]
    pub resource: Resource,
    /// What the server calls it, when that is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// All that was made for a project, in the order of making.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// What was made.
    pub resources: Vec<Made>,
    /// Of the object that was read; nothing when there was none.
    #[serde(skip)]
    tag: Option<String>,
}

impl Record {
    /// Reads the record of `project`; an empty one when there is none.
    pub async fn read(client: &Client, project: &str) -> Result<Self, Error> {
        let key = format!("{project}.json");
        let path = [BUCKET, key.as_str()];
        match client.send(Request { service: "s3", method: "GET", path: &path, ..Request::default() }).await {
            Ok(answer) => {
                let mut record: Self = serde_json::from_slice(&answer.body)
                    .map_err(|error| Error::Failed(format!("the record {BUCKET}/{key} cannot be read: {error}")))?;
                record.tag = answer.header("etag").map(str::to_owned);
                Ok(record)
            }
            Err(client::Error::Service { status: 404, .. }) => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes it; the record of a project that has nothing is deleted.
    pub async fn write(&mut self, client: &Client, project: &str) -> Result<(), Error> {
        let key = format!("{project}.json");
        let path = [BUCKET, key.as_str()];
        if self.resources.is_empty() {
            client.send(Request { service: "s3", method: "DELETE", path: &path, ..Request::default() }).await?;
            self.tag = None;
            return Ok(());
        }
        let body = serde_json::to_vec(self).map_err(|error| Error::Failed(error.to_string()))?;
        let condition = match &self.tag {
            Some(tag) => ("if-match", tag.as_str()),
            None => ("if-none-match", "*"),
        };
        let headers = [condition, ("content-type", "application/json")];
        let put = || Request {
            service: "s3",
            method: "PUT",
            path: &path,
            headers: &headers,
            body: body.clone().into(),
            ..Request::default()
        };
        let mut written = client.send(put()).await;
        if matches!(&written, Err(client::Error::Service { status: 404, .. })) && self.tag.is_none() {
            let bucket = [BUCKET];
            client.send(Request { service: "s3", method: "PUT", path: &bucket, ..Request::default() }).await?;
            written = client.send(put()).await;
        }
        match written {
            Ok(answer) => {
                self.tag = answer.header("etag").map(str::to_owned);
                Ok(())
            }
            Err(client::Error::Service { status: 412, .. }) => Err(Error::Failed(format!(
                "{project} is being deployed by somebody else: try again when that has ended"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// What was made of this kind and name.
    pub fn find(&self, resource: &Resource) -> Option<&Made> {
        self.resources.iter().find(|made| made.resource.kind == resource.kind && made.resource.name == resource.name)
    }

    /// Notes that it is about to be made.
    pub fn begin(&mut self, resource: &Resource) {
        if self.find(resource).is_none() {
            let resource = Resource { spec: Value::Null, ..resource.clone() };
            self.resources.push(Made { resource, id: None });
        }
    }

    /// Notes that it is as it should be.
    pub fn done(&mut self, resource: &Resource, id: Option<String>) {
        let same = |made: &&mut Made| made.resource.kind == resource.kind && made.resource.name == resource.name;
        if let Some(made) = self.resources.iter_mut().find(same) {
            *made = Made { resource: resource.clone(), id };
        }
    }

    /// Notes that it is gone.
    pub fn forget(&mut self, resource: &Resource) {
        self.resources.retain(|made| made.resource.kind != resource.kind || made.resource.name != resource.name);
    }
}
