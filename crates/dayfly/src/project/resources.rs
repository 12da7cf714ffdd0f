//! Makes, changes and deletes what a plan names, by the operations that everybody's tools use.

use super::{
    record::{Kind, Resource},
    site,
};
use crate::{
    client::{self, Client, Request},
    verbs::{Error, FUNCTIONS, deploy, layer, service_code},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::path::Path;

const LAYERS: [&str; 2] = ["2018-10-31", "layers"];
const MAPPINGS: [&str; 2] = ["2015-03-31", "event-source-mappings"];
const STAGE: &str = "live";

/// Where things are made.
#[derive(Debug)]
pub struct At<'a> {
    /// The server.
    pub client: &'a Client,
    /// Account of what is made.
    pub account: String,
}

/// What functions and sites are made of.
#[derive(Debug)]
pub struct Material<'a> {
    /// The project's folder.
    pub folder: &'a Path,
    /// The code.
    pub zip: &'a [u8],
    /// ARN of the layer of packages.
    pub layer: Option<String>,
    /// Id of the API of the routes.
    pub api: Option<String>,
}

impl At<'_> {
    /// The ARN of something whose ARN ends in its name.
    pub fn arn(&self, service: &str, name: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{name}", self.client.region(), self.account)
    }

    fn function_arn(&self, name: &str) -> String {
        self.arn("lambda", &format!("function:{name}"))
    }

    /// A queue's address in AWS's form, which is the same wherever the server listens.
    pub fn queue_url(&self, name: &str) -> String {
        format!("https://sqs.{}.amazonaws.com/{}/{name}", self.client.region(), self.account)
    }

    async fn sqs(&self, operation: &str, body: &Value) -> Result<Value, client::Error> {
        self.client.target("sqs", &format!("AmazonSQS.{operation}"), body).await
    }

    async fn events(&self, operation: &str, body: &Value) -> Result<Value, client::Error> {
        self.client.target("events", &format!("AWSEvents.{operation}"), body).await
    }

    async fn dynamodb(&self, operation: &str, body: &Value) -> Result<Value, client::Error> {
        self.client.target("dynamodb", &format!("DynamoDB_20120810.{operation}"), body).await
    }

    async fn lambda(&self, method: &str, path: &[&str], body: &Value) -> Result<Value, client::Error> {
        self.client.json("lambda", method, path, &[], body).await
    }

    /// One request to S3.
    pub async fn s3(
        &self,
        method: &str,
        path: &[&str],
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Bytes, client::Error> {
        let request = Request { service: "s3", method, path, query, body, ..Request::default() };
        Ok(self.client.send(request).await?.body)
    }
}

/// Whether it is there.
pub async fn exists(at: &At<'_>, resource: &Resource, id: Option<&str>) -> Result<bool, Error> {
    let name = resource.name.as_str();
    let answer = match (resource.kind, id) {
        (Kind::Table, _) => at.dynamodb("DescribeTable", &json!({"TableName": name})).await.map(drop),
        (Kind::Queue, _) => at.sqs("GetQueueUrl", &json!({"QueueName": name})).await.map(drop),
        (Kind::Bucket, _) => at.s3("HEAD", &[name], &[], Bytes::new()).await.map(drop),
        (Kind::Function, _) => {
            at.lambda("GET", &[FUNCTIONS[0], FUNCTIONS[1], name, "configuration"], &Value::Null).await.map(drop)
        }
        (Kind::Schedule, _) => at.events("DescribeRule", &json!({"Name": name})).await.map(drop),
        (Kind::Mapping, Some(id)) => at.lambda("GET", &[MAPPINGS[0], MAPPINGS[1], id], &Value::Null).await.map(drop),
        (Kind::Api, Some(id)) => {
            at.client.json("apigateway", "GET", &["restapis", id], &[], &Value::Null).await.map(drop)
        }
        (Kind::Packages, Some(id)) => {
            let version = id.rsplit(':').next().unwrap_or_default();
            at.lambda("GET", &[LAYERS[0], LAYERS[1], name, "versions", version], &Value::Null).await.map(drop)
        }
        (Kind::Notification | Kind::Site, id) => return Ok(id.is_some()),
        (Kind::Mapping | Kind::Api | Kind::Packages, None) => return Ok(false),
    };
    match answer {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes it, or brings what is there to what is wanted; gives what the server calls it, when that is not its name.
pub async fn make(
    at: &At<'_>,
    resource: &Resource,
    id: Option<&str>,
    material: &Material<'_>,
) -> Result<Option<String>, Error> {
    let (name, spec) = (resource.name.as_str(), &resource.spec);
    match resource.kind {
        Kind::Packages => {
            let built = layer::build_environment(at.client, spec, &|_| ()).await?;
            let layer = at.client.dayfly("PublishLayer", &json!({"name": name, "environment": built["id"]})).await?;
            Ok(text(&layer["LayerVersionArn"]))
        }
        Kind::Table => table(at, name, spec).await.map(|()| None),
        Kind::Queue => {
            let attributes = &spec["attributes"];
            match at.sqs("GetQueueUrl", &json!({"QueueName": name})).await {
                Ok(_) => {
                    let url = at.queue_url(name);
                    // Whether it is in order is settled when it is made.
                    let mut changed = attributes.as_object().cloned().unwrap_or_default();
                    changed.remove("FifoQueue");
                    at.sqs("SetQueueAttributes", &json!({"QueueUrl": url, "Attributes": changed})).await?;
                }
                Err(error) if is_missing(&error) => {
                    at.sqs("CreateQueue", &json!({"QueueName": name, "Attributes": attributes})).await?;
                }
                Err(error) => return Err(error.into()),
            }
            Ok(None)
        }
        Kind::Bucket => {
            at.s3("PUT", &[name], &[], Bytes::new()).await?;
            Ok(None)
        }
        Kind::Function => function(at, name, spec, material).await.map(|()| None),
        Kind::Mapping => mapping(at, spec, id).await,
        Kind::Schedule => {
            at.events("PutRule", &json!({"Name": name, "ScheduleExpression": spec["schedule"]})).await?;
            let arn = at.function_arn(spec["function"].as_str().unwrap_or_default());
            at.events("PutTargets", &json!({"Rule": name, "Targets": [{"Id": "function", "Arn": arn}]})).await?;
            Ok(None)
        }
        Kind::Notification => {
            at.s3("PUT", &[name], &[("notification", "")], notification(at, spec).into()).await?;
            Ok(Some("set".to_owned()))
        }
        Kind::Api => api(at, name, spec, id).await,
        Kind::Site => {
            site::make(at, name, spec, material).await?;
            Ok(Some("set".to_owned()))
        }
    }
}

/// Deletes it; it is no mistake when it is gone already.
pub async fn delete(at: &At<'_>, resource: &Resource, id: Option<&str>) -> Result<(), Error> {
    let name = resource.name.as_str();
    let answer = match (resource.kind, id) {
        (Kind::Table, _) => at.dynamodb("DeleteTable", &json!({"TableName": name})).await.map(drop),
        (Kind::Queue, _) => at.sqs("DeleteQueue", &json!({"QueueUrl": at.queue_url(name)})).await.map(drop),
        (Kind::Bucket, _) => match empty(at, name, |_| false).await {
            Ok(()) => at.s3("DELETE", &[name], &[], Bytes::new()).await.map(drop),
            Err(error) => Err(error),
        },
        (Kind::Function, _) => at.lambda("DELETE", &[FUNCTIONS[0], FUNCTIONS[1], name], &Value::Null).await.map(drop),
        (Kind::Schedule, _) => match at.events("RemoveTargets", &json!({"Rule": name, "Ids": ["function"]})).await {
            Ok(_) => at.events("DeleteRule", &json!({"Name": name})).await.map(drop),
            Err(error) => Err(error),
        },
        (Kind::Mapping, Some(id)) => at.lambda("DELETE", &[MAPPINGS[0], MAPPINGS[1], id], &Value::Null).await.map(drop),
        (Kind::Api, Some(id)) => {
            at.client.json("apigateway", "DELETE", &["restapis", id], &[], &Value::Null).await.map(drop)
        }
        (Kind::Packages, Some(id)) => {
            let version = id.rsplit(':').next().unwrap_or_default();
            at.lambda("DELETE", &[LAYERS[0], LAYERS[1], name, "versions", version], &Value::Null).await.map(drop)
        }
        (Kind::Notification, Some(_)) => {
            let none = "<NotificationConfiguration/>";
            at.s3("PUT", &[name], &[("notification", "")], none.into()).await.map(drop)
        }
        (Kind::Site, Some(_)) => site::delete(at, name).await,
        (Kind::Mapping | Kind::Api | Kind::Packages | Kind::Notification | Kind::Site, None) => return Ok(()),
    };
    match answer {
        Err(error) if !is_missing(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Where the routes of an API are.
pub fn address(client: &Client, api: &str) -> String {
    format!("{}{}", client.endpoint(), path(api))
}

/// The same on the server's own origin.
pub fn path(api: &str) -> String {
    format!("/restapis/{api}/{STAGE}/_user_request_/")
}

fn is_missing(error: &client::Error) -> bool {
    matches!(error, client::Error::Service { status: 404, .. })
        || service_code(error).is_some_and(|code| {
            code == "ResourceNotFoundException"
                || code.contains("NonExistentQueue")
                || code.contains("QueueDoesNotExist")
        })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

async fn table(at: &At<'_>, name: &str, spec: &Value) -> Result<(), Error> {
    let named = json!({"TableName": name});
    match at.dynamodb("DescribeTable", &named).await {
        Ok(_) => {}
        Err(error) if is_missing(&error) => {
            let mut request = spec["definition"].clone();
            request["TableName"] = json!(name);
            at.dynamodb("CreateTable", &request).await?;
        }
        Err(error) => return Err(error.into()),
    }
    let found = at.dynamodb("DescribeTimeToLive", &named).await?;
    let found = &found["TimeToLiveDescription"];
    let enabled = found["TimeToLiveStatus"] == "ENABLED";
    let set = async |attribute: &Value, enabled: bool| {
        let how = json!({"AttributeName": attribute, "Enabled": enabled});
        at.dynamodb("UpdateTimeToLive", &json!({"TableName": name, "TimeToLiveSpecification": how})).await
    };
    if enabled && found["AttributeName"] != spec["expires"] {
        set(&found["AttributeName"], false).await?;
    }
    if !spec["expires"].is_null() && (!enabled || found["AttributeName"] != spec["expires"]) {
        set(&spec["expires"], true).await?;
    }
    Ok(())
}

async fn function(at: &At<'_>, name: &str, spec: &Value, material: &Material<'_>) -> Result<(), Error> {
    let settings = json!({
        "Handler": spec["handler"], "Runtime": spec["runtime"], "MemorySize": spec["memory"], "Timeout": spec["timeout"],
        "Environment": {"Variables": spec["environment"]}, "Layers": material.layer.iter().collect::<Vec<_>>(),
    });
    deploy::put(at.client, name, settings.as_object().cloned().unwrap_or_default(), material.zip).await?;
    // Those who call it, in this account.
    for caller in ["apigateway", "events", "s3"] {
        let permission = json!({
            "StatementId": format!("dayfly-{caller}"), "Action": "lambda:InvokeFunction",
            "Principal": format!("{caller}.amazonaws.com"), "SourceAccount": at.account,
        });
        match at.lambda("POST", &[FUNCTIONS[0], FUNCTIONS[1], name, "policy"], &permission).await {
            Err(error) if service_code(&error) != Some("ResourceConflictException") => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

async fn mapping(at: &At<'_>, spec: &Value, id: Option<&str>) -> Result<Option<String>, Error> {
    let queue = at.arn("sqs", spec["queue"].as_str().unwrap_or_default());
    let mut request = Map::from_iter([
        ("FunctionName".to_owned(), spec["function"].clone()),
        ("BatchSize".to_owned(), spec["batch"].clone()),
        ("MaximumBatchingWindowInSeconds".to_owned(), spec["window"].clone()),
        ("FunctionResponseTypes".to_owned(), json!(["ReportBatchItemFailures"])),
    ]);
    let concurrency = &spec["concurrency"];
    if !concurrency.is_null() || id.is_some() {
        let scaling = if concurrency.is_null() { json!({}) } else { json!({"MaximumConcurrency": concurrency}) };
        request.insert("ScalingConfig".into(), scaling);
    }
    // One that an interrupted deploy made is found by its two ends.
    let function = spec["function"].as_str().unwrap_or_default();
    let query = [("FunctionName", function), ("EventSourceArn", queue.as_str())];
    let found = at.client.json("lambda", "GET", &MAPPINGS, &query, &Value::Null).await?;
    let there = found["EventSourceMappings"].as_array().into_iter().flatten();
    let there = there.filter_map(|one| text(&one["UUID"])).find(|one| id.is_none_or(|id| id == one));
    let answer = match there {
        Some(id) => at.lambda("PUT", &[MAPPINGS[0], MAPPINGS[1], &id], &Value::Object(request)).await?,
        None => {
            request.insert("EventSourceArn".into(), json!(queue));
            at.lambda("POST", &MAPPINGS, &Value::Object(request)).await?
        }
    };
    Ok(text(&answer["UUID"]))
}

/// Imports the routes as one document, and gives them to the stage.
async fn api(at: &At<'_>, name: &str, spec: &Value, id: Option<&str>) -> Result<Option<String>, Error> {
    let mut paths: Map<String, Value> = Map::new();
    for (route, function) in spec["routes"].as_object().into_iter().flatten() {
        let (method, path) = route.split_once(' ').unwrap_or_default();
        let method = if method == "ANY" { "x-amazon-apigateway-any-method".to_owned() } else { method.to_lowercase() };
        let arn = at.function_arn(function.as_str().unwrap_or_default());
        let region = at.client.region();
        let uri = format!("arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations");
        let integration = json!({"type": "aws_proxy", "httpMethod": "POST", "uri": uri});
        paths.entry(path.to_owned()).or_insert_with(|| json!({}))[method] =
            json!({"x-amazon-apigateway-integration": integration});
    }
    let document = json!({"swagger": "2.0", "info": {"title": name, "version": "1"}, "paths": paths});
    let answer = match id {
        Some(id) => at.client.json("apigateway", "PUT", &["restapis", id], &[("mode", "overwrite")], &document).await,
        None => at.client.json("apigateway", "POST", &["restapis"], &[("mode", "import")], &document).await,
    };
    let answer = answer?;
    let id = answer["id"].as_str().unwrap_or_default();
    let stage = json!({"stageName": STAGE});
    at.client.json("apigateway", "POST", &["restapis", id, "deployments"], &[], &stage).await?;
    Ok(Some(id.to_owned()))
}

fn notification(at: &At<'_>, spec: &Value) -> String {
    let rule = |name: &str| match spec[name].as_str() {
        Some(value) => format!("<FilterRule><Name>{name}</Name><Value>{}</Value></FilterRule>", escaped(value)),
        None => String::new(),
    };
    let rules = format!("{}{}", rule("prefix"), rule("suffix"));
    let filter = if rules.is_empty() { rules } else { format!("<Filter><S3Key>{rules}</S3Key></Filter>") };
    let each = spec["functions"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|function| {
        let arn = at.function_arn(function);
        format!(
            "<CloudFunctionConfiguration><Id>{function}</Id><CloudFunction>{arn}</CloudFunction>\
             <Event>s3:ObjectCreated:*</Event>{filter}</CloudFunctionConfiguration>"
        )
    });
    format!("<NotificationConfiguration>{}</NotificationConfiguration>", each.collect::<String>())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Deletes the objects of a bucket but those to keep, page by page.
pub async fn empty(at: &At<'_>, bucket: &str, keep: impl Fn(&str) -> bool) -> Result<(), client::Error> {
    let mut after = String::new();
    loop {
        let query = [("list-type", "2"), ("encoding-type", "url"), ("start-after", after.as_str())];
        let page = at.s3("GET", &[bucket], &query, Bytes::new()).await?;
        let page = String::from_utf8_lossy(&page).into_owned();
        let keys = page.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()).map(decoded);
        let keys: Vec<String> = keys.collect();
        let Some(last) = keys.last().cloned() else { return Ok(()) };
        for key in keys.iter().filter(|key| !keep(key)) {
            at.s3("DELETE", &object(bucket, key), &[], Bytes::new()).await?;
        }
        after = last;
    }
}

/// The path of an object.
pub fn object<'a>(bucket: &'a str, key: &'a str) -> Vec<&'a str> {
    std::iter::once(bucket).chain(key.split('/')).collect()
}

/// A key as `encoding-type=url` gives it.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let escape = (*first == b'%').then(|| after.get(..2).and_then(hex)).flatten();
        bytes.push(escape.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
