//! What a bucket tells of its objects: the record of an event, posted in the commit of what it tells of.

use super::{
    Call,
    notification::{Kind, Notification, of_bucket},
    xml::{encoded, timestamp},
};
use crate::aws::Error;
use dayfly_objects::{Bucket, Cause, Change, Observer};
use dayfly_store::Batch;
use dayfly_triggers::deliveries::{Deliveries, Delivery, Sender};
use serde_json::{Value, json};

/// Subject of what goes to topics.
const SUBJECT: &str = "Amazon S3 Notification";
/// S3, in policies.
pub const SERVICE: &str = "s3.amazonaws.com";

/// Posts events for those whom buckets notify.
pub struct Notifier(pub Deliveries);

impl Observer for Notifier {
    fn changed(&self, mut batch: Batch, change: &Change<'_>) -> Batch {
        let event = match change.cause {
            Cause::Put => "ObjectCreated:Put",
            Cause::Copy => "ObjectCreated:Copy",
            Cause::Upload => "ObjectCreated:CompleteMultipartUpload",
            Cause::Delete => "ObjectRemoved:Delete",
        };
        for notification in of_bucket(change.bucket).iter().filter(|one| one.wants(event, change.key)) {
            let text = json!({"Records": [record(change, event, &notification.id)]}).to_string();
            let mut delivery = Delivery::new(sender(change.bucket), notification.target.clone(), text);
            delivery.subject = Some(SUBJECT.to_owned());
            delivery.trace.clone_from(&change.origin.trace);
            batch = self.0.post(batch, delivery);
        }
        batch
    }

    fn committed(&self) {
        self.0.posted();
    }
}

/// `arn:aws:s3:::BUCKET`.
pub fn arn(bucket: &Bucket) -> String {
    format!("arn:aws:s3:::{}", bucket.name)
}

/// Tells queues and topics that they will be told.
pub async fn test(
    call: &Call<'_>,
    bucket: &Bucket,
    notifications: impl Iterator<Item = &Notification>,
) -> Result<(), Error> {
    let options = &call.gateway.options;
    let mut batch = Batch::new();
    for notification in notifications.filter(|notification| notification.kind != Kind::Function) {
        let text = json!({
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": timestamp(options.clock.now()),
            "Bucket": bucket.name,
            "RequestId": call.id.to_string(),
            "HostId": call.id.to_string(),
        });
        let mut delivery = Delivery::new(sender(bucket), notification.target.clone(), text.to_string());
        delivery.subject = Some(SUBJECT.to_owned());
        batch = options.deliveries.post(batch, delivery);
    }
    if !batch.writes.is_empty() {
        options.store.tables.commit(batch).await?;
        options.deliveries.posted();
    }
    Ok(())
}

fn sender(bucket: &Bucket) -> Sender {
    Sender { service: SERVICE.to_owned(), arn: arn(bucket), account: bucket.account.clone(), by_role: false }
}

fn record(change: &Change<'_>, event: &str, configuration: &str) -> Value {
    let Change { bucket, key, object, at, origin, .. } = change;
    // Later ones of a key are greater: they wait for each other, and the clock has microseconds.
    let mut about = json!({
        // As in a form: a blank is a plus sign.
        "key": encoded(key, true).replace("%20", "+"),
        "sequencer": format!("{:016X}", at.as_microsecond()),
    });
    if change.cause != Cause::Delete {
        about["size"] = json!(object.size);
        about["eTag"] = json!(object.etag);
    }
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        "eventName": event,
        "userIdentity": {"principalId": format!("AWS:{}", origin.requester)},
        "requestParameters": {"sourceIPAddress": origin.address},
        "responseElements": {"x-amz-request-id": origin.request_id, "x-amz-id-2": origin.request_id},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": bucket.account},
                "arn": arn(bucket),
            },
            "object": about,
        },
    })
}
