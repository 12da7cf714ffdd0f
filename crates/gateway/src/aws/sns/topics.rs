//! Topics, their attributes and tags.

use super::{Call, SUBSCRIPTION_ROWS, TOPIC_ROWS, attributes, invalid, not_found};
use crate::aws::{Error, Response};
use dayfly_store::Batch;
use dayfly_triggers::topics::{SUBSCRIPTIONS, Subscription, TOPICS, Topic, TopicName, valid_name};
use serde_json::json;
use std::collections::BTreeMap;

/// Most topics of the server.
const TOPICS_MAX: usize = 100_000;
/// Attributes that are kept and returned.
const KEPT: [&str; 4] = ["DisplayName", "Policy", "DeliveryPolicy", "TracingConfig"];

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.required("Name")?;
    let attributes = call.parameters.entries("Attributes", ["key", "value"]);
    let fifo = name.ends_with(".fifo") || attributes.get("FifoTopic").is_some_and(|value| value == "true");
    if fifo {
        return Err(Error::unsupported("FIFO topics"));
    }
    if !valid_name(name) {
        return Err(invalid("Topic Name"));
    }
    let (region, account) = (call.request.region.clone(), call.gateway.options.account.clone());
    let name = TopicName { region, account, name: name.to_owned() };
    let arn = name.to_string();
    call.authorise(&arn)?;
    let mut topic = Topic { name, attributes: BTreeMap::new(), tags: tags(call, BTreeMap::new())? };
    for (name, value) in attributes.into_iter().filter(|(name, _)| name != "FifoTopic") {
        set(&mut topic, &name, value)?;
    }
    if call.store().tables.scan(TOPICS, &[], &[0xff], TOPICS_MAX, false).await?.len() == TOPICS_MAX {
        let message = format!("There are {TOPICS_MAX} topics, which is as many as may be");
        return Err(Error::bad_request("TopicLimitExceeded", message));
    }
    if !TOPIC_ROWS.create(call.store(), &arn, &topic).await? {
        let there = get(call, &arn).await?;
        if !topic.attributes.iter().all(|(name, value)| there.attributes.get(name) == Some(value)) {
            return Err(invalid("Attributes Reason: Topic already exists with different attributes"));
        }
        if !topic.tags.iter().all(|(key, value)| there.tags.get(key) == Some(value)) {
            return Err(invalid("Tags Reason: Topic already exists with different tags"));
        }
    }
    Ok(call.answer(|xml| {
        xml.text("TopicArn", arn);
    }))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.topic("TopicArn")?.to_string();
    let subscriptions: Vec<Subscription> = SUBSCRIPTION_ROWS.all(call.store(), &format!("{arn}:")).await?;
    let batch = Batch::new().delete(TOPICS, arn);
    let batch =
        subscriptions.into_iter().fold(batch, |batch, subscription| batch.delete(SUBSCRIPTIONS, subscription.arn));
    call.store().tables.commit(batch).await?;
    Ok(call.done())
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let prefix = format!("arn:aws:sns:{}:{}:", call.request.region, call.gateway.options.account);
    call.authorise("*")?;
    let all: Vec<Topic> = TOPIC_ROWS.all(call.store(), &prefix).await?;
    let (page, next) = call.page(all, |topic| topic.name.to_string());
    Ok(call.answer(|xml| {
        xml.element("Topics", |xml| {
            for topic in &page {
                xml.element("member", |xml| {
                    xml.text("TopicArn", &topic.name);
                });
            }
        });
        xml.optional("NextToken", next);
    }))
}

pub async fn get_attributes(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.topic("TopicArn")?.to_string();
    let topic = get(call, &arn).await?;
    let subscriptions: Vec<Subscription> = SUBSCRIPTION_ROWS.all(call.store(), &format!("{arn}:")).await?;
    let account = &call.gateway.options.account;
    let mut all = BTreeMap::from([
        ("TopicArn", arn.clone()),
        ("Owner", account.to_string()),
        ("DisplayName", String::new()),
        ("Policy", default_policy(&arn, account.as_str())),
        ("SubscriptionsConfirmed", subscriptions.len().to_string()),
        ("SubscriptionsPending", "0".to_owned()),
        ("SubscriptionsDeleted", "0".to_owned()),
    ]);
    all.extend(topic.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())));
    Ok(call.answer(|xml| attributes(xml, all.into_iter())))
}

pub async fn set_attributes(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.topic("TopicArn")?.to_string();
    let name = call.required("AttributeName")?;
    let value = call.parameters.get("AttributeValue").unwrap_or_default();
    change(call, &arn, |topic| set(topic, name, value.to_owned())).await?;
    Ok(call.done())
}

pub async fn tag(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.topic("ResourceArn")?.to_string();
    change(call, &arn, |topic| {
        topic.tags = tags(call, std::mem::take(&mut topic.tags))?;
        Ok(())
    })
    .await?;
    Ok(call.answer(|_| {}))
}

pub async fn untag(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.topic("ResourceArn")?.to_string();
    let gone = call.parameters.texts("TagKeys");
    change(call, &arn, |topic| {
        topic.tags.retain(|key, _| !gone.contains(key));
        Ok(())
    })
    .await?;
    Ok(call.answer(|_| {}))
}

pub async fn list_tags(call: &Call<'_>) -> Result<Response, Error> {
    let topic = get(call, &call.topic("ResourceArn")?.to_string()).await?;
    Ok(call.answer(|xml| {
        xml.element("Tags", |xml| {
            for (key, value) in &topic.tags {
                xml.element("member", |xml| {
                    xml.text("Key", key).text("Value", value);
                });
            }
        });
    }))
}

/// The topic of this ARN.
pub async fn get(call: &Call<'_>, arn: &str) -> Result<Topic, Error> {
    let read = TOPIC_ROWS.get(call.store(), arn).await?;
    read.map(|read| read.value).ok_or_else(|| not_found("Topic"))
}

async fn change(call: &Call<'_>, arn: &str, change: impl FnMut(&mut Topic) -> Result<(), Error>) -> Result<(), Error> {
    TOPIC_ROWS.change(call.store(), arn, change).await?.map(drop).ok_or_else(|| not_found("Topic"))
}

fn set(topic: &mut Topic, name: &str, value: String) -> Result<(), Error> {
    if !KEPT.contains(&name) {
        return Err(invalid("AttributeName"));
    }
    if name.ends_with("Policy") && serde_json::from_str::<serde::de::IgnoredAny>(&value).is_err() {
        return Err(invalid(format!("{name} Reason: Policy Error: null")));
    }
    if name == "DisplayName" && value.chars().count() > 100 {
        return Err(invalid("DisplayName"));
    }
    topic.attributes.insert(name.to_owned(), value);
    Ok(())
}

fn tags(call: &Call<'_>, mut tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    for [key, value] in call.parameters.members("Tags", ["Key", "Value"]) {
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(invalid("Tags"));
        }
        tags.insert(key, value);
    }
    if tags.len() > call.gateway.options.limits.tags {
        return Err(Error::bad_request(
            "TagLimitExceeded",
            "Could not complete request: tag quota of per resource exceeded",
        ));
    }
    Ok(tags)
}

/// What SNS says of a topic whose policy nobody set.
fn default_policy(arn: &str, account: &str) -> String {
    let statement = json!({
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": ["SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:DeleteTopic", "SNS:Subscribe", "SNS:Publish"],
        "Resource": arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": account}},
    });
    json!({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}).to_string()
}
