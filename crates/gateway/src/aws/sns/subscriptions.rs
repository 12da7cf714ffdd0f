//! Subscriptions of functions and queues. They need no confirmation: they are of the topic's own account.

use super::{Call, SUBSCRIPTION_ROWS, attributes, invalid, not_found, topics};
use crate::aws::{Error, Response};
use dayfly_triggers::{
    patterns::Pattern,
    queues::QueueName,
    topics::{SUBSCRIPTIONS_MAX, Subscription},
};
use dayfly_types::FunctionArn;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

pub async fn subscribe(call: &Call<'_>) -> Result<Response, Error> {
    let topic = call.topic("TopicArn")?;
    let arn = topic.to_string();
    topics::get(call, &arn).await?;
    let protocol = call.required("Protocol")?;
    let endpoint = call.required("Endpoint")?.to_owned();
    let fits = match protocol {
        "lambda" => endpoint.parse::<FunctionArn>().is_ok(),
        "sqs" => endpoint.parse::<QueueName>().is_ok() && !endpoint.ends_with(".fifo"),
        "http" | "https" | "email" | "email-json" | "sms" | "application" | "firehose" => {
            return Err(Error::unsupported(&format!("subscriptions with the protocol {protocol}")));
        }
        _ => return Err(invalid(format!("Does not support this protocol string: {protocol}"))),
    };
    if !fits {
        return Err(invalid("Endpoint"));
    }
    let mut subscription = Subscription {
        arn: format!("{arn}:{}", Uuid::new_v4()),
        topic,
        endpoint,
        raw: false,
        filter: None,
        filters_body: false,
        dead_letters: None,
    };
    for (name, value) in call.parameters.entries("Attributes", ["key", "value"]) {
        set(&mut subscription, &name, &value)?;
    }
    let all: Vec<Subscription> = SUBSCRIPTION_ROWS.all(call.store(), &format!("{arn}:")).await?;
    // A second subscription of the same endpoint is the first.
    let found = match all.iter().find(|there| there.endpoint == subscription.endpoint) {
        Some(there) if subscription == (Subscription { arn: subscription.arn.clone(), ..there.clone() }) => &there.arn,
        Some(_) => return Err(invalid("Attributes Reason: Subscription already exists with different attributes")),
        None if all.len() >= SUBSCRIPTIONS_MAX => {
            let message = format!("A topic may have {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(Error::bad_request("SubscriptionLimitExceeded", message));
        }
        None => {
            SUBSCRIPTION_ROWS.create(call.store(), &subscription.arn, &subscription).await?;
            &subscription.arn
        }
    };
    Ok(call.answer(|xml| {
        xml.text("SubscriptionArn", found);
    }))
}

pub async fn confirm(call: &Call<'_>) -> Result<Response, Error> {
    topics::get(call, &call.topic("TopicArn")?.to_string()).await?;
    call.required("Token")?;
    // No subscription waits to be confirmed, so there is no token.
    Err(invalid("Token"))
}

pub async fn unsubscribe(call: &Call<'_>) -> Result<Response, Error> {
    let arn = named(call)?;
    SUBSCRIPTION_ROWS.delete::<Subscription>(call.store(), arn, |_| Ok(())).await?;
    Ok(call.done())
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    call.authorise("*")?;
    let prefix = format!("arn:aws:sns:{}:{}:", call.request.region, call.gateway.options.account);
    let all = SUBSCRIPTION_ROWS.all(call.store(), &prefix).await?;
    Ok(shown(call, all))
}

pub async fn list_by_topic(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.topic("TopicArn")?.to_string();
    topics::get(call, &arn).await?;
    let all = SUBSCRIPTION_ROWS.all(call.store(), &format!("{arn}:")).await?;
    Ok(shown(call, all))
}

pub async fn get_attributes(call: &Call<'_>) -> Result<Response, Error> {
    let read = SUBSCRIPTION_ROWS.get::<Subscription>(call.store(), named(call)?).await?;
    let subscription = read.ok_or_else(|| not_found("Subscription"))?.value;
    let account = subscription.topic.account.to_string();
    let mut all = BTreeMap::from([
        ("SubscriptionArn", subscription.arn.clone()),
        ("TopicArn", subscription.topic.to_string()),
        ("Owner", account.clone()),
        ("Protocol", subscription.protocol().to_owned()),
        ("Endpoint", subscription.endpoint.clone()),
        ("RawMessageDelivery", subscription.raw.to_string()),
        ("PendingConfirmation", "false".to_owned()),
        ("ConfirmationWasAuthenticated", "true".to_owned()),
        ("SubscriptionPrincipal", format!("arn:aws:iam::{account}:root")),
    ]);
    if let Some(filter) = subscription.filter {
        let scope = if subscription.filters_body { "MessageBody" } else { "MessageAttributes" };
        all.extend([("FilterPolicy", filter), ("FilterPolicyScope", scope.to_owned())]);
    }
    if let Some(queue) = subscription.dead_letters {
        all.insert("RedrivePolicy", json!({"deadLetterTargetArn": queue}).to_string());
    }
    Ok(call.answer(|xml| attributes(xml, all.into_iter())))
}

pub async fn set_attributes(call: &Call<'_>) -> Result<Response, Error> {
    let arn = named(call)?;
    let name = call.required("AttributeName")?;
    let value = call.parameters.get("AttributeValue").unwrap_or_default();
    let changed =
        SUBSCRIPTION_ROWS.change::<Subscription, ()>(call.store(), arn, |there| set(there, name, value)).await?;
    changed.ok_or_else(|| not_found("Subscription"))?;
    Ok(call.done())
}

/// The ARN of the subscription that the request may work on.
fn named<'a>(call: &'a Call<'_>) -> Result<&'a str, Error> {
    let arn = call.required("SubscriptionArn")?;
    call.authorise(arn)?;
    match arn.rsplit_once(':') {
        Some((topic, _)) if topic.parse::<dayfly_triggers::topics::TopicName>().is_ok() => Ok(arn),
        _ => Err(invalid("SubscriptionArn Reason: Wrong number of slashes in relative portion of the ARN.")),
    }
}

fn shown(call: &Call<'_>, all: Vec<Subscription>) -> Response {
    let (page, next) = call.page(all, |subscription| subscription.arn.clone());
    call.answer(|xml| {
        xml.element("Subscriptions", |xml| {
            for subscription in &page {
                xml.element("member", |xml| {
                    xml.text("SubscriptionArn", &subscription.arn).text("Owner", &subscription.topic.account);
                    xml.text("Protocol", subscription.protocol()).text("Endpoint", &subscription.endpoint);
                    xml.text("TopicArn", &subscription.topic);
                });
            }
        });
        xml.optional("NextToken", next);
    })
}

fn set(subscription: &mut Subscription, name: &str, value: &str) -> Result<(), Error> {
    let wrong = |reason: &str| Err(invalid(format!("{name}: {reason}")));
    match name {
        "RawMessageDelivery" => match value.to_ascii_lowercase().as_str() {
            "true" if subscription.protocol() == "lambda" => {
                return wrong("Delivery protocol [lambda] does not support raw message delivery.");
            }
            word @ ("true" | "false") => subscription.raw = word == "true",
            _ => return wrong("Invalid value. Must be true or false."),
        },
        "FilterPolicy" if value.is_empty() || value == "{}" => subscription.filter = None,
        "FilterPolicy" => match Pattern::parse(value) {
            Ok(_) => subscription.filter = Some(value.to_owned()),
            Err(error) => return wrong(&error.to_string()),
        },
        "FilterPolicyScope" => match value {
            "MessageAttributes" | "MessageBody" => subscription.filters_body = value == "MessageBody",
            _ => return wrong("Invalid value. Must be MessageAttributes or MessageBody."),
        },
        "RedrivePolicy" if value.is_empty() => subscription.dead_letters = None,
        "RedrivePolicy" => {
            let policy: Value = serde_json::from_str(value).unwrap_or_default();
            match policy["deadLetterTargetArn"].as_str().filter(|arn| arn.parse::<QueueName>().is_ok()) {
                Some(arn) => subscription.dead_letters = Some(arn.to_owned()),
                None => return wrong("deadLetterTargetArn is no queue"),
            }
        }
        _ => return Err(invalid("AttributeName")),
    }
    Ok(())
}
