//! Operations on queues themselves.

use super::{
    Call, attributes, dto,
    error::{Error, Failure, invalid, invalid_value, missing},
    validate,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dayfly_triggers::queues::{Fifo, QueueName, Settings};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Queues in one answer.
const PAGE_MAX: i64 = 1000;
/// Most tags of a queue.
const TAGS_MAX: usize = 50;

pub async fn create_queue(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::CreateQueue = call.input()?;
    let name = dto.queue_name.ok_or_else(|| missing("QueueName"))?;
    validate::queue_name(&name)?;
    let name = call.own(&name);
    call.authorise(&name)?;
    let fifo = name.name.ends_with(".fifo");
    let said = dto.attributes.get("FifoQueue").map(String::as_str);
    if fifo != (said == Some("true")) && (fifo || said.is_some()) {
        return Err(match fifo {
            true => invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"),
            false if said == Some("true") => invalid("The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length"),
            false => Error::new("InvalidAttributeName", "Unknown Attribute FifoQueue."),
        }
        .into());
    }
    tags_are_few(&dto.tags, dto.tags.len())?;
    let fifo = fifo.then(|| Fifo { content_based: false, by_group: false, throughput_limit: "perQueue".to_owned() });
    let mut settings = Settings { fifo, ..Settings::default() };
    settings.other.insert("SqsManagedSseEnabled".to_owned(), "true".to_owned());
    attributes::apply(&dto.attributes, &mut settings)?;
    check_redrive(call, &name, &settings)?;
    let given = &dto.attributes;
    call.gateway.options.queues.create(&name, settings, dto.tags, |there| attributes::same(given, there)).await?;
    Ok(json!({"QueueUrl": call.url(&name)}))
}

pub fn get_queue_url(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::GetQueueUrl = call.input()?;
    let mut name = call.own(&dto.queue_name.ok_or_else(|| missing("QueueName"))?);
    if let Some(owner) = dto.owner {
        name.account = owner.parse().map_err(|_| invalid_value(&owner, "QueueOwnerAWSAccountId", "Not an account."))?;
    }
    call.authorise(&name)?;
    call.gateway.options.queues.get(&name)?;
    Ok(json!({"QueueUrl": call.url(&name)}))
}

pub fn list_queues(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::ListQueues = call.input()?;
    call.authorise(&call.own("*"))?;
    let (limit, after) = page(&dto)?;
    let (account, region) = (call.request.principal.account(), &call.request.region);
    let prefix = dto.queue_name_prefix.unwrap_or_default();
    let found = call.gateway.options.queues.list(account, region, &prefix, &after, limit + 1);
    Ok(paged(call, "QueueUrls", found, limit))
}

pub async fn list_dead_letter_source_queues(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::ListQueues = call.input()?;
    let queue = call.queue().await?;
    let (limit, after) = page(&dto)?;
    let found = call.gateway.options.queues.sources_of(queue.name(), &after, limit + 1).await;
    Ok(paged(call, "queueUrls", found, limit))
}

pub async fn delete_queue(call: &Call<'_>) -> Result<Value, Failure> {
    call.gateway.options.queues.delete(call.queue().await?.name()).await?;
    Ok(json!({}))
}

pub async fn purge_queue(call: &Call<'_>) -> Result<Value, Failure> {
    call.gateway.options.queues.purge(&*call.queue().await?).await?;
    Ok(json!({}))
}

pub async fn get_queue_attributes(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::QueueAttributes = call.input()?;
    let queue = call.queue().await?;
    let configuration = queue.configuration().await?;
    let counts = call.gateway.options.queues.counts(&queue);
    let shown = attributes::shown(&dto.attribute_names, queue.name(), &configuration, counts)?;
    Ok(if shown.is_empty() { json!({}) } else { json!({"Attributes": shown}) })
}

pub async fn set_queue_attributes(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::QueueAttributes = call.input()?;
    let queue = call.queue().await?;
    if dto.attributes.is_empty() {
        return Err(missing("Attribute.Name").into());
    }
    let mut settings = queue.configuration().await?.settings;
    attributes::apply(&dto.attributes, &mut settings)?;
    check_redrive(call, queue.name(), &settings)?;
    let given = dto.attributes;
    let change = |configuration: &mut dayfly_triggers::queues::Configuration| {
        // Checked above: what was valid then is valid now.
        let _valid = attributes::apply(&given, &mut configuration.settings);
    };
    call.gateway.options.queues.change(&queue, change).await?;
    Ok(json!({}))
}

pub async fn tag_queue(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::QueueAttributes = call.input()?;
    let queue = call.queue().await?;
    if dto.tags.is_empty() {
        return Err(missing("Tags").into());
    }
    let mut all = queue.configuration().await?.tags;
    all.extend(dto.tags.clone());
    tags_are_few(&dto.tags, all.len())?;
    call.gateway.options.queues.change(&queue, |configuration| configuration.tags.extend(dto.tags)).await?;
    Ok(json!({}))
}

pub async fn untag_queue(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: dto::QueueAttributes = call.input()?;
    let queue = call.queue().await?;
    let keys = dto.tag_keys;
    let kept = |tag: &String, _: &mut String| !keys.contains(tag);
    call.gateway.options.queues.change(&queue, |configuration| configuration.tags.retain(kept)).await?;
    Ok(json!({}))
}

pub async fn list_queue_tags(call: &Call<'_>) -> Result<Value, Failure> {
    let tags = call.queue().await?.configuration().await?.tags;
    Ok(if tags.is_empty() { json!({}) } else { json!({"Tags": tags}) })
}

/// Dead letters need a queue of the same kind.
fn check_redrive(call: &Call<'_>, name: &QueueName, settings: &Settings) -> Result<(), Error> {
    let Some(redrive) = &settings.redrive else { return Ok(()) };
    let bad = |reason: &str| Err(invalid_value(&redrive.target, "RedrivePolicy", reason));
    if redrive.target.region != name.region || redrive.target.account != name.account {
        return bad("Dead letter target must be in the same account and region.");
    }
    if redrive.target == *name {
        return bad("Dead letter target must not be the source queue.");
    }
    if redrive.target.name.ends_with(".fifo") != settings.fifo.is_some() {
        return bad("Dead-letter queue must be same type of queue as the source.");
    }
    if call.gateway.options.queues.get(&redrive.target).is_err() {
        return bad("Dead letter target does not exist.");
    }
    Ok(())
}

fn tags_are_few(tags: &BTreeMap<String, String>, total: usize) -> Result<(), Error> {
    let fits =
        |(key, value): (&String, &String)| (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256;
    if total > TAGS_MAX || !tags.iter().all(fits) {
        return Err(invalid(
            "A queue has at most 50 tags, with keys of 1 to 128 and values of at most 256 characters.",
        ));
    }
    Ok(())
}

fn page(dto: &dto::ListQueues) -> Result<(usize, String), Error> {
    let limit = validate::number(dto.max_results, "MaxResults", 1..=PAGE_MAX)?;
    let after = match &dto.next_token {
        None => String::new(),
        Some(token) => {
            let bytes = STANDARD.decode(token).ok();
            let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            name.ok_or_else(|| invalid_value(token, "NextToken", "Invalid NextToken value."))?
        }
    };
    Ok((limit.map_or(PAGE_MAX as usize, |limit| limit as usize), after))
}

fn paged(call: &Call<'_>, member: &str, mut found: Vec<QueueName>, limit: usize) -> Value {
    let more = found.len() > limit;
    found.truncate(limit);
    let mut answer = json!({});
    if !found.is_empty() {
        answer[member] = found.iter().map(|name| call.url(name)).collect();
    }
    if let Some(last) = found.last().filter(|_| more) {
        answer["NextToken"] = json!(STANDARD.encode(&last.name));
    }
    answer
}
