//! CreateEventSourceMapping, GetEventSourceMapping, ListEventSourceMappings, UpdateEventSourceMapping,
//! DeleteEventSourceMapping: of queues.

use super::{
    error::{invalid_parameter, of_json},
    function, list_functions,
    validate::Violations,
};
use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request, Response, response},
};
use dayfly_scheduler::functions;
use dayfly_triggers::{
    mappings::{self, Mapping},
    queues::QueueName,
};
use dayfly_types::FunctionArn;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Most filters of a mapping; AWS's largest quota.
const FILTERS_MAX: usize = 10;
/// Most mappings in one answer.
const PAGE_MAX: usize = 100;
/// Fields that have no meaning for a queue.
const OF_OTHERS: [&str; 13] = [
    "ParallelizationFactor",
    "StartingPosition",
    "StartingPositionTimestamp",
    "DestinationConfig",
    "MaximumRecordAgeInSeconds",
    "BisectBatchOnFunctionError",
    "MaximumRetryAttempts",
    "TumblingWindowInSeconds",
    "Topics",
    "Queues",
    "SourceAccessConfigurations",
    "SelfManagedEventSource",
    "ProvisionedPollerConfig",
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Dto {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    enabled: Option<bool>,
    batch_size: Option<u32>,
    maximum_batching_window_in_seconds: Option<u32>,
    filter_criteria: Option<FilterCriteria>,
    scaling_config: Option<ScalingConfig>,
    function_response_types: Option<Vec<String>>,
    tags: BTreeMap<String, String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    pattern: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ScalingConfig {
    maximum_concurrency: Option<u32>,
}

pub async fn create(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let dto = read(request)?;
    let mut violations = Violations::default();
    violations.require(dto.function_name.is_some(), "functionName");
    violations.finish()?;
    let arn = dto.event_source_arn.as_deref().ok_or_else(|| invalid_parameter("EventSourceArn must be given."))?;
    let source = queue(arn)?;
    let named = dto.function_name.as_deref().unwrap_or_default();
    let mut mapping = Mapping {
        id: Uuid::new_v4(),
        function: function(gateway, request, "lambda:CreateEventSourceMapping", named)?,
        source,
        batch_size: 10,
        window_s: 0,
        filters: Vec::new(),
        reports_failures: false,
        concurrency: None,
        enabled: true,
        modified: gateway.options.clock.now(),
        tags: dto.tags.clone(),
    };
    super::check_tags(&dto.tags, dto.tags.len(), &gateway.options.limits)?;
    apply(dto, &mut mapping)?;
    check(gateway, &mapping).await?;
    gateway.options.mappings.create(mapping.clone()).await?;
    Ok(shown(StatusCode::ACCEPTED, &mapping, "Creating"))
}

pub async fn get(gateway: &Gateway, request: &Request, id: &str) -> Result<Response, Error> {
    let mapping = find(gateway, request, id, "lambda:GetEventSourceMapping")?;
    Ok(shown(StatusCode::OK, &mapping, state(&mapping)))
}

pub async fn update(gateway: &Gateway, request: &Request, id: &str) -> Result<Response, Error> {
    let before = find(gateway, request, id, "lambda:UpdateEventSourceMapping")?;
    let dto = read(request)?;
    let mut after = before.clone();
    if let Some(name) = &dto.function_name {
        after.function = function(gateway, request, "lambda:UpdateEventSourceMapping", name)?;
    }
    apply(dto, &mut after)?;
    check(gateway, &after).await?;
    let word = match (before.enabled, after.enabled) {
        (true, false) => "Disabling",
        (false, true) => "Enabling",
        _ => "Updating",
    };
    let updated = gateway.options.mappings.update(before.id, |mapping| *mapping = after).await?;
    Ok(shown(StatusCode::ACCEPTED, &updated, word))
}

pub async fn delete(gateway: &Gateway, request: &Request, id: &str) -> Result<Response, Error> {
    let mapping = find(gateway, request, id, "lambda:DeleteEventSourceMapping")?;
    let deleted = gateway.options.mappings.delete(mapping.id).await?;
    Ok(shown(StatusCode::ACCEPTED, &deleted, "Deleting"))
}

pub async fn list(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let account = request.principal.account();
    authorise(&request.principal, "lambda:ListEventSourceMappings", "*", account)?;
    let source = request.query("EventSourceArn");
    let wanted = match request.query("FunctionName") {
        Some(name) => Some(function(gateway, request, "lambda:ListEventSourceMappings", &name)?),
        None => None,
    };
    let limit = match request.query("MaxItems") {
        // A page need not be as long as is asked.
        Some(_) => list_functions::page_size(request)?.min(PAGE_MAX),
        None => PAGE_MAX,
    };
    let after = match request.query("Marker").filter(|marker| !marker.is_empty()) {
        Some(marker) => Some(marker.parse::<Uuid>().map_err(|_| invalid_parameter("Invalid Marker"))?),
        None => None,
    };
    let mut found = gateway.options.mappings.list(after, limit + 1, |mapping| {
        mapping.source.account == *account
            && mapping.source.region == request.region
            && source.as_ref().is_none_or(|arn| *arn == mapping.source.to_string())
            && wanted.as_ref().is_none_or(|function| *function == mapping.function)
    });
    let more = found.len() > limit;
    found.truncate(limit);
    let all: Vec<Value> = found.iter().map(|mapping| body(mapping, state(mapping))).collect();
    let mut answer = json!({"EventSourceMappings": all});
    if let Some(last) = found.last().filter(|_| more) {
        answer["NextMarker"] = json!(last.id);
    }
    Ok(response::json(StatusCode::OK, &answer))
}

fn read(request: &Request) -> Result<Dto, Error> {
    let dto: Dto = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let given = |name: &&&str| dto.others.get(**name).is_some_and(|value| !value.is_null() && *value != json!([]));
    // First what it is: of a stream, its own fields are not what is wrong.
    if let Some(arn) = &dto.event_source_arn {
        queue(arn)?;
    }
    match OF_OTHERS.iter().find(given) {
        Some(name) => Err(invalid_parameter(format!("{name} is not supported for SQS event sources."))),
        None => Ok(dto),
    }
}

fn queue(arn: &str) -> Result<QueueName, Error> {
    arn.parse().map_err(|()| {
        let arn: String = arn.chars().take(200).collect();
        invalid_parameter(format!("Unrecognized event source: {arn}. Dayfly polls SQS queues."))
    })
}

fn find(gateway: &Gateway, request: &Request, id: &str, action: &str) -> Result<Mapping, Error> {
    let id: Uuid = id.parse().map_err(|_| Error::from(mappings::Error::NotFound))?;
    let mapping = gateway.options.mappings.get(id)?;
    authorise(&request.principal, action, &arn(&mapping), &mapping.source.account)?;
    if mapping.source.region == request.region { Ok(mapping) } else { Err(mappings::Error::NotFound.into()) }
}

/// Sets what is given.
fn apply(dto: Dto, mapping: &mut Mapping) -> Result<(), Error> {
    mapping.enabled = dto.enabled.unwrap_or(mapping.enabled);
    mapping.batch_size = dto.batch_size.unwrap_or(mapping.batch_size);
    mapping.window_s = dto.maximum_batching_window_in_seconds.unwrap_or(mapping.window_s);
    if let Some(criteria) = dto.filter_criteria {
        mapping.filters = criteria.filters.into_iter().map(|filter| filter.pattern).collect();
    }
    if let Some(scaling) = dto.scaling_config {
        mapping.concurrency = scaling.maximum_concurrency;
    }
    if let Some(types) = dto.function_response_types {
        if let Some(other) = types.iter().find(|kind| *kind != "ReportBatchItemFailures") {
            return Err(invalid_parameter(format!("Unknown function response type: {other}")));
        }
        mapping.reports_failures = !types.is_empty();
    }
    Ok(())
}

/// What Lambda asks of a mapping, its queue and its function.
async fn check(gateway: &Gateway, mapping: &Mapping) -> Result<(), Error> {
    let fifo = mapping.source.name.ends_with(".fifo");
    let bound = |holds: bool, message: &str| if holds { Ok(()) } else { Err(invalid_parameter(message)) };
    bound((1..=10_000).contains(&mapping.batch_size), "BatchSize must be between 1 and 10000.")?;
    bound(mapping.window_s <= 300, "MaximumBatchingWindowInSeconds must be between 0 and 300.")?;
    bound(
        mapping.batch_size <= 10 || fifo || mapping.window_s > 0,
        "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
    )?;
    bound(!fifo || mapping.batch_size <= 10, "Maximum batch size of a FIFO queue is 10.")?;
    bound(!fifo || mapping.window_s == 0, "Batching window is not supported for FIFO queues.")?;
    let concurrency = mapping.concurrency.is_none_or(|calls| (2..=1000).contains(&calls));
    bound(concurrency, "MaximumConcurrency must be between 2 and 1000.")?;
    bound(mapping.filters.len() <= FILTERS_MAX, "There are more filters than may be.")?;
    let queue = match gateway.options.queues.get(&mapping.source) {
        Ok(queue) => queue.configuration().await.ok(),
        Err(_) => None,
    };
    let Some(queue) = queue else {
        return Err(invalid_parameter(
            "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error \
             Message: The specified queue does not exist.",
        ));
    };
    let function = gateway.options.scheduler.functions().get(&mapping.function).await;
    let function = function.map_err(|error| match error {
        functions::Error::NotFound(_) => invalid_parameter("Function does not exist"),
        other => other.into(),
    })?;
    let (hidden, timeout) = (queue.settings.visibility_s, function.timeout_s);
    bound(
        hidden >= timeout,
        &format!("Queue visibility timeout: {hidden} seconds is less than Function timeout: {timeout} seconds"),
    )
}

fn state(mapping: &Mapping) -> &'static str {
    if mapping.enabled { "Enabled" } else { "Disabled" }
}

fn arn(mapping: &Mapping) -> String {
    let FunctionArn { region, account, .. } = &mapping.function;
    format!("arn:aws:lambda:{region}:{account}:event-source-mapping:{}", mapping.id)
}

fn shown(status: StatusCode, mapping: &Mapping, state: &str) -> Response {
    response::json(status, &body(mapping, state))
}

fn body(mapping: &Mapping, state: &str) -> Value {
    let types: &[&str] = if mapping.reports_failures { &["ReportBatchItemFailures"] } else { &[] };
    let mut body = json!({
        "UUID": mapping.id,
        "EventSourceMappingArn": arn(mapping),
        "EventSourceArn": mapping.source.to_string(),
        "FunctionArn": mapping.function,
        "BatchSize": mapping.batch_size,
        "MaximumBatchingWindowInSeconds": mapping.window_s,
        "FunctionResponseTypes": types,
        "LastModified": mapping.modified.as_millisecond() as f64 / 1000.0,
        "State": state,
        "StateTransitionReason": "USER_INITIATED",
    });
    if !mapping.filters.is_empty() {
        let filters: Vec<Value> = mapping.filters.iter().map(|pattern| json!({"Pattern": pattern})).collect();
        body["FilterCriteria"] = json!({"Filters": filters});
    }
    if let Some(calls) = mapping.concurrency {
        body["ScalingConfig"] = json!({"MaximumConcurrency": calls});
    }
    body
}
