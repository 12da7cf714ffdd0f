//! PutBucketNotificationConfiguration and GetBucketNotificationConfiguration.

use super::{
    Call,
    error::{invalid_argument, malformed_xml, not_implemented},
    notify,
    xml::{Xml, parse, rooted},
};
use crate::aws::{Error, Response, response};
use dayfly_objects::Bucket;
use dayfly_triggers::{
    queues::QueueName,
    topics::{TOPICS, TopicName},
};
use dayfly_types::FunctionArn;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Name of the setting of a bucket that holds its notifications.
const SETTING: &str = "notification";
/// Most configurations of a bucket, AWS's.
const CONFIGURATIONS_MAX: usize = 100;
/// Longest id, AWS's.
const ID_CHARACTERS_MAX: usize = 255;
/// Longest prefix or suffix, AWS's.
const FILTER_BYTES_MAX: usize = 1024;
/// Events that there are; `*` is for all of a kind.
const EVENTS: [&str; 8] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
];

/// Who is told of which objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub id: String,
    pub kind: Kind,
    /// ARN of who is told.
    pub target: String,
    pub events: Vec<String>,
    pub prefix: String,
    pub suffix: String,
    /// The names of its filter rules, as they were given.
    pub rules: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Function,
    Queue,
    Topic,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(default, rename = "CloudFunctionConfiguration")]
    functions: Vec<Configuration>,
    #[serde(default, rename = "QueueConfiguration")]
    queues: Vec<Configuration>,
    #[serde(default, rename = "TopicConfiguration")]
    topics: Vec<Configuration>,
    event_bridge_configuration: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    id: Option<String>,
    #[serde(alias = "CloudFunction", alias = "Queue", alias = "Topic")]
    target: String,
    #[serde(default, rename = "Event")]
    events: Vec<String>,
    filter: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    s3_key: Option<Rules>,
}

#[derive(Debug, Deserialize)]
struct Rules {
    #[serde(default, rename = "FilterRule")]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    name: String,
    #[serde(default)]
    value: String,
}

/// What a bucket notifies of.
pub fn of_bucket(bucket: &Bucket) -> Vec<Notification> {
    let set = bucket.settings.get(SETTING);
    set.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

pub async fn put_bucket_notification_configuration(call: &mut Call<'_>) -> Result<Response, Error> {
    let document: Document = parse(&call.document().await?)?;
    if document.event_bridge_configuration.is_some() {
        return Err(not_implemented("notifications to EventBridge"));
    }
    let of_kind = |kind, configurations: Vec<Configuration>| {
        configurations.into_iter().map(move |configuration| configuration.read(kind))
    };
    let all = of_kind(Kind::Function, document.functions)
        .chain(of_kind(Kind::Queue, document.queues))
        .chain(of_kind(Kind::Topic, document.topics));
    let notifications: Vec<Notification> = all.collect::<Result<_, _>>()?;
    if notifications.len() > CONFIGURATIONS_MAX {
        return Err(invalid_argument(format!("There may be {CONFIGURATIONS_MAX} configurations")));
    }
    check_overlap(&notifications)?;
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    if !call.header("x-amz-skip-destination-validation").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        for notification in &notifications {
            check_destination(call, &bucket, notification).await?;
        }
    }
    let before = of_bucket(&bucket);
    let text = serde_json::to_string(&notifications).map_err(super::error::internal)?;
    let text = (!notifications.is_empty()).then_some(text);
    call.gateway.options.objects.set(&call.bucket, SETTING, text).await?;
    let added = notifications.iter().filter(|notification| !before.contains(notification));
    notify::test(call, &bucket, added).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn get_bucket_notification_configuration(call: &Call<'_>) -> Result<Response, Error> {
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    let mut xml = rooted("NotificationConfiguration");
    for notification in of_bucket(&bucket) {
        let (element, target) = match notification.kind {
            Kind::Function => ("CloudFunctionConfiguration", "CloudFunction"),
            Kind::Queue => ("QueueConfiguration", "Queue"),
            Kind::Topic => ("TopicConfiguration", "Topic"),
        };
        xml.element(element, |xml| {
            xml.text("Id", &notification.id).text(target, &notification.target);
            for event in &notification.events {
                xml.text("Event", event);
            }
            if !notification.rules.is_empty() {
                xml.element("Filter", |xml| {
                    xml.element("S3Key", |xml| rules(xml, &notification));
                });
            }
        });
    }
    Ok(xml.answer())
}

fn rules(xml: &mut Xml, notification: &Notification) {
    for name in &notification.rules {
        let value = if name.eq_ignore_ascii_case("prefix") { &notification.prefix } else { &notification.suffix };
        xml.element("FilterRule", |xml| {
            xml.text("Name", name).text("Value", value);
        });
    }
}

impl Configuration {
    fn read(self, kind: Kind) -> Result<Notification, Error> {
        if self.events.is_empty() {
            return Err(malformed_xml());
        }
        if !self.events.iter().all(|event| EVENTS.contains(&event.as_str())) {
            return Err(invalid_argument("The event is not supported for notifications"));
        }
        let id = self.id.filter(|id| !id.is_empty()).unwrap_or_else(|| Uuid::new_v4().to_string());
        if id.chars().count() > ID_CHARACTERS_MAX {
            return Err(invalid_argument("The id of a notification configuration is too long"));
        }
        let (mut prefix, mut suffix, mut rules) = (None, None, Vec::new());
        for Rule { name, value } in self.filter.and_then(|filter| filter.s3_key).map_or_else(Vec::new, |key| key.rules)
        {
            let place = match name.to_ascii_lowercase().as_str() {
                "prefix" => &mut prefix,
                "suffix" => &mut suffix,
                _ => return Err(invalid_argument("filter rule name must be either prefix or suffix")),
            };
            if value.len() > FILTER_BYTES_MAX {
                return Err(invalid_argument(
                    "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation",
                ));
            }
            if place.replace(value).is_some() {
                return Err(invalid_argument("Cannot specify more than one prefix or suffix rule in a filter."));
            }
            rules.push(name);
        }
        let (prefix, suffix) = (prefix.unwrap_or_default(), suffix.unwrap_or_default());
        let valid = match kind {
            Kind::Function => self.target.parse::<FunctionArn>().is_ok(),
            Kind::Queue => self.target.parse::<QueueName>().is_ok(),
            Kind::Topic => self.target.parse::<TopicName>().is_ok(),
        };
        if !valid {
            return Err(invalid_argument("The ARN is not well formed"));
        }
        if self.target.ends_with(".fifo") {
            return Err(invalid_argument("FIFO SQS queues are not supported as a destination of notifications"));
        }
        Ok(Notification { id, kind, target: self.target, events: self.events, prefix, suffix, rules })
    }
}

impl Notification {
    /// Whether it is for an event such as `ObjectCreated:Put` of this key.
    pub fn wants(&self, event: &str, key: &str) -> bool {
        let named = |wanted: &String| {
            let wanted = wanted.trim_start_matches("s3:");
            wanted == event || wanted.strip_suffix('*').is_some_and(|kind| event.starts_with(kind))
        };
        self.events.iter().any(named) && key.starts_with(&self.prefix) && key.ends_with(&self.suffix)
    }

    /// Whether both would be for the same event of the same key, which S3 does not take.
    fn overlaps(&self, other: &Self) -> bool {
        let kind = |event: &str| event.strip_suffix('*').map(str::to_owned);
        let same = |a: &String, b: &String| {
            a == b
                || kind(a).is_some_and(|kind| b.starts_with(&kind))
                || kind(b).is_some_and(|kind| a.starts_with(&kind))
        };
        let begins = self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix);
        let ends = self.suffix.ends_with(&other.suffix) || other.suffix.ends_with(&self.suffix);
        begins && ends && self.events.iter().any(|a| other.events.iter().any(|b| same(a, b)))
    }
}

fn check_overlap(notifications: &[Notification]) -> Result<(), Error> {
    for (index, notification) in notifications.iter().enumerate() {
        let others = &notifications[index + 1..];
        if others.iter().any(|other| other.id == notification.id) {
            return Err(invalid_argument("The ids of notification configurations must be unique"));
        }
        if others.iter().any(|other| other.overlaps(notification)) {
            return Err(invalid_argument(
                "Configurations overlap. Configurations on the same bucket cannot share a common event type.",
            ));
        }
    }
    Ok(())
}

async fn check_destination(call: &Call<'_>, bucket: &Bucket, notification: &Notification) -> Result<(), Error> {
    let options = &call.gateway.options;
    let fits = match notification.kind {
        Kind::Function => match notification.target.parse::<FunctionArn>() {
            Ok(function) => match options.scheduler.functions().access_of_call(&function).await {
                Ok(access) => access.policy.allows_service(notify::SERVICE, &notify::arn(bucket), &bucket.account),
                Err(_) => false,
            },
            Err(_) => false,
        },
        Kind::Queue => notification.target.parse().is_ok_and(|queue: QueueName| options.queues.get(&queue).is_ok()),
        Kind::Topic => options.store.tables.get(TOPICS, notification.target.as_bytes()).await?.is_some(),
    };
    if fits {
        return Ok(());
    }
    Err(invalid_argument("Unable to validate the following destination configurations"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> Result<Notification, Error> {
        let text = format!("<N><CloudFunctionConfiguration>{inside}</CloudFunctionConfiguration></N>");
        let document: Document = parse(text.as_bytes())?;
        document.functions.into_iter().next().unwrap().read(Kind::Function)
    }

    const TARGET: &str = "<CloudFunction>arn:aws:lambda:us-east-1:000000000000:function:f</CloudFunction>";

    fn notification(events: &str, prefix: &str, suffix: &str) -> Notification {
        let rule =
            |name: &str, value: &str| format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>");
        let events: String = events.split(',').map(|event| format!("<Event>s3:{event}</Event>")).collect();
        let filter = format!("<Filter><S3Key>{}{}</S3Key></Filter>", rule("Prefix", prefix), rule("suffix", suffix));
        read(&format!("{TARGET}{events}{filter}")).unwrap()
    }

    #[test]
    fn a_notification_is_for_its_events_and_keys() {
        let one = notification("ObjectCreated:*", "in/", ".jpg");
        assert!(one.wants("ObjectCreated:Copy", "in/a.jpg"));
        assert!(!one.wants("ObjectRemoved:Delete", "in/a.jpg"));
        assert!(!one.wants("ObjectCreated:Put", "in/a.png") && !one.wants("ObjectCreated:Put", "out/a.jpg"));
        assert!(notification("ObjectCreated:Put,ObjectRemoved:Delete", "", "").wants("ObjectRemoved:Delete", "k"));
    }

    #[test]
    fn two_for_the_same_object_overlap() {
        let all = notification("ObjectCreated:*", "in/", "");
        assert!(all.overlaps(&notification("ObjectCreated:Put", "in/deep/", ".jpg")));
        assert!(!all.overlaps(&notification("ObjectRemoved:*", "in/", "")));
        assert!(!all.overlaps(&notification("ObjectCreated:Put", "out/", "")));
        assert!(!notification("ObjectCreated:*", "", ".jpg").overlaps(&notification("ObjectCreated:*", "", ".png")));
    }

    #[test]
    fn what_s3_would_not_take_is_refused() {
        let event = "<Event>s3:ObjectCreated:*</Event>";
        for bad in [
            TARGET.to_owned(),
            event.to_owned(),
            format!("{TARGET}<Event>s3:ObjectMoved:*</Event>"),
            format!("{event}<CloudFunction>f</CloudFunction>"),
            format!("{TARGET}{event}<Filter><S3Key><FilterRule><Name>x</Name></FilterRule></S3Key></Filter>"),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
