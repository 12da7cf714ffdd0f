//! A queue's attributes: text by name, as clients write and read them.

use super::error::{Error, invalid_value};
use dayfly_triggers::queues::{Configuration, Counts, Fifo, QueueName, Redrive, Settings};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Attributes that are kept and returned, without an effect.
const KEPT: [&str; 5] =
    ["Policy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"];
/// Attributes that only the queue itself sets.
const READ_ONLY: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];
/// Attributes with which a queue is set up.
const SETTABLE: [&str; 10] = [
    "VisibilityTimeout",
    "DelaySeconds",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "MaximumMessageSize",
    "RedrivePolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
];

/// Sets what is given.
pub fn apply(given: &BTreeMap<String, String>, settings: &mut Settings) -> Result<(), Error> {
    for (name, value) in given {
        set(name, value, settings)?;
    }
    Ok(())
}

/// Whether a queue with `settings` is one that is asked for with `given`; otherwise the name of what differs.
pub fn same(given: &BTreeMap<String, String>, settings: &Settings) -> Result<(), &'static str> {
    for (name, value) in given {
        let mut other = settings.clone();
        if set(name, value, &mut other).is_err() || other != *settings {
            let known = SETTABLE.iter().chain(&KEPT).find(|known| *known == name);
            return Err(known.copied().unwrap_or("FifoQueue"));
        }
    }
    Ok(())
}

fn set(name: &str, value: &str, settings: &mut Settings) -> Result<(), Error> {
    let bad = || {
        let shown: String = value.chars().take(200).collect();
        Error::new("InvalidAttributeValue", format!("Invalid value for the parameter {name}: {shown}"))
    };
    let number =
        |range: RangeInclusive<u32>| value.parse().ok().filter(|number| range.contains(number)).ok_or_else(bad);
    let choice = |word: &str| value == word;
    match name {
        "VisibilityTimeout" => settings.visibility_s = number(0..=43_200)?,
        "DelaySeconds" => settings.delay_s = number(0..=900)?,
        "MessageRetentionPeriod" => settings.retention_s = number(60..=1_209_600)?,
        "ReceiveMessageWaitTimeSeconds" => settings.wait_s = number(0..=20)?,
        "MaximumMessageSize" => settings.message_bytes_max = number(1024..=1_048_576)?,
        "RedrivePolicy" => settings.redrive = redrive(value)?,
        // Told by the name, and only said again here.
        "FifoQueue" if value == "true" && settings.fifo.is_some() => {}
        "FifoQueue" => return Err(unknown(name)),
        "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit" => {
            let Some(fifo) = &mut settings.fifo else { return Err(unknown(name)) };
            match name {
                "ContentBasedDeduplication" if choice("true") || choice("false") => fifo.content_based = choice("true"),
                "DeduplicationScope" if choice("queue") || choice("messageGroup") => {
                    fifo.by_group = choice("messageGroup");
                }
                "FifoThroughputLimit" if choice("perQueue") || choice("perMessageGroupId") => {
                    value.clone_into(&mut fifo.throughput_limit);
                }
                _ => return Err(bad()),
            }
        }
        kept if KEPT.contains(&kept) => {
            let json = name.ends_with("Policy") && !value.is_empty();
            if json && !serde_json::from_str::<Value>(value).is_ok_and(|value| value.is_object()) {
                return Err(bad());
            }
            if value.is_empty() {
                settings.other.remove(name);
            } else {
                settings.other.insert(name.to_owned(), value.to_owned());
            }
        }
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// `InvalidAttributeName`.
fn unknown(name: &str) -> Error {
    let name: String = name.chars().take(200).collect();
    Error::new("InvalidAttributeName", format!("Unknown Attribute {name}."))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    max_receive_count: Value,
}

fn redrive(text: &str) -> Result<Option<Redrive>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |reason: &str| invalid_value(text, "RedrivePolicy", reason);
    let policy: RedrivePolicy =
        serde_json::from_str(text).map_err(|_| bad("Redrive policy is not a valid JSON map."))?;
    let target: QueueName =
        policy.dead_letter_target_arn.parse().map_err(|()| bad("Invalid value for deadLetterTargetArn."))?;
    let count = match &policy.max_receive_count {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|count| u32::try_from(count).ok()),
    };
    let count = count.filter(|count| (1..=1000).contains(count));
    let receives_max = count.ok_or_else(|| bad("Invalid value for maxReceiveCount: must be between 1 and 1000."))?;
    Ok(Some(Redrive { target, receives_max }))
}

/// The attributes that were asked for.
pub fn shown(
    names: &[String],
    name: &QueueName,
    queue: &Configuration,
    counts: Counts,
) -> Result<BTreeMap<String, String>, Error> {
    let all = all(name, queue, counts);
    if let Some(other) = names.iter().find(|name| {
        let name = name.as_str();
        name != "All" && !READ_ONLY.contains(&name) && !SETTABLE.contains(&name) && !KEPT.contains(&name)
    }) {
        return Err(unknown(other));
    }
    let asked = |name: &str| names.iter().any(|asked| asked == "All" || asked == name);
    Ok(all.into_iter().filter(|(name, _)| asked(name)).collect())
}

fn all(name: &QueueName, queue: &Configuration, counts: Counts) -> BTreeMap<String, String> {
    let settings = &queue.settings;
    let mut all = BTreeMap::from(
        [
            ("VisibilityTimeout", settings.visibility_s.to_string()),
            ("DelaySeconds", settings.delay_s.to_string()),
            ("MessageRetentionPeriod", settings.retention_s.to_string()),
            ("ReceiveMessageWaitTimeSeconds", settings.wait_s.to_string()),
            ("MaximumMessageSize", settings.message_bytes_max.to_string()),
            ("ApproximateNumberOfMessages", counts.visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
            ("CreatedTimestamp", queue.created.as_second().to_string()),
            ("LastModifiedTimestamp", queue.modified.as_second().to_string()),
            ("QueueArn", name.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    all.extend(settings.other.clone());
    if let Some(redrive) = &settings.redrive {
        let policy =
            json!({"deadLetterTargetArn": redrive.target.to_string(), "maxReceiveCount": redrive.receives_max});
        all.insert("RedrivePolicy".to_owned(), policy.to_string());
    }
    if let Some(Fifo { content_based, by_group, throughput_limit }) = &settings.fifo {
        let scope = if *by_group { "messageGroup" } else { "queue" };
        for (name, value) in [
            ("FifoQueue", "true"),
            ("ContentBasedDeduplication", if *content_based { "true" } else { "false" }),
            ("DeduplicationScope", scope),
            ("FifoThroughputLimit", throughput_limit),
        ] {
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn attributes_are_bounded() {
        for (name, value) in [
            ("VisibilityTimeout", "43201"),
            ("DelaySeconds", "-1"),
            ("DelaySeconds", "901"),
            ("MessageRetentionPeriod", "59"),
            ("ReceiveMessageWaitTimeSeconds", "21"),
            ("MaximumMessageSize", "1023"),
            ("MaximumMessageSize", "x"),
            ("Policy", "[]"),
        ] {
            let error = apply(&of(name, value), &mut Settings::default()).unwrap_err();
            assert_eq!(error.name, "InvalidAttributeValue", "{name} {value}");
        }
        for name in ["FifoQueue", "ContentBasedDeduplication", "QueueArn", "Nonsense"] {
            let error = apply(&of(name, "true"), &mut Settings::default()).unwrap_err();
            assert_eq!(error.name, "InvalidAttributeName", "{name}");
        }
    }

    #[test]
    fn a_redrive_policy_is_read_and_removed() {
        let mut settings = Settings::default();
        let arn = "arn:aws:sqs:us-east-1:000000000000:dead";
        for count in ["5", "\"5\""] {
            let policy = format!("{{\"deadLetterTargetArn\": \"{arn}\", \"maxReceiveCount\": {count}}}");
            apply(&of("RedrivePolicy", &policy), &mut settings).unwrap();
            let redrive = settings.redrive.clone().unwrap();
            assert_eq!((redrive.target.to_string().as_str(), redrive.receives_max), (arn, 5));
        }
        assert_eq!(same(&of("DelaySeconds", "0"), &settings), Ok(()));
        assert_eq!(same(&of("DelaySeconds", "1"), &settings), Err("DelaySeconds"));
        apply(&of("RedrivePolicy", ""), &mut settings).unwrap();
        assert_eq!(settings.redrive, None);
        for bad in ["x", "{}", "{\"deadLetterTargetArn\": \"q\", \"maxReceiveCount\": 1}"] {
            assert!(apply(&of("RedrivePolicy", bad), &mut settings).is_err());
        }
    }
}
