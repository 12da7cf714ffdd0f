//! Takes letters of asynchronous events that ended (`dayfly_scheduler::Letter`) over to where they go: the deliveries, or
//! the rules of an event bus. A letter and what it becomes change places in one commit, so none is lost.

use crate::{
    Deliveries, Events,
    deliveries::{Delivery, Sender},
    events::{self, Fields},
    queues::{Attribute, AttributeValue},
};
use dayfly_scheduler::{self as scheduler, Letter, LetterKind};
use dayfly_store::{Batch, Error as StoreError, Store};
use dayfly_types::{AccountId, Region};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Lambda, in policies.
const SERVICE: &str = "lambda.amazonaws.com";
/// Letters that are taken at a time.
const PAGE: usize = 50;
/// Wait when the store lets it down.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes letters for as long as the server runs, those of an earlier one first.
pub fn start(store: Store, scheduler: scheduler::Handle, deliveries: Deliveries, events: Events) {
    tokio::spawn(async move {
        loop {
            match take(&store, &scheduler, &deliveries, &events).await {
                Ok(0) => scheduler.letters_posted().await,
                Ok(_) => deliveries.posted(),
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "destinations wait for the store");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
}

async fn take(
    store: &Store,
    scheduler: &scheduler::Handle,
    deliveries: &Deliveries,
    events: &Events,
) -> Result<usize, StoreError> {
    let letters = scheduler.letters(PAGE).await?;
    let (count, mut batch) = (letters.len(), Batch::new());
    for (key, letter) in letters {
        batch = scheduler.letter_taken(batch, key);
        batch = match bus(&letter.target) {
            Some((account, region)) => events.add(batch, &account, &region, &[event(&letter, &account, &region)]),
            None => deliveries.post(batch, delivery(letter)),
        };
    }
    if count > 0 {
        store.tables.commit(batch).await?;
    }
    Ok(count)
}

/// Account and region of an event bus. There is only the default one.
pub fn bus(arn: &str) -> Option<(AccountId, Region)> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", "aws", "events", region, account, "event-bus/default"] => {
            Some((account.parse().ok()?, region.parse().ok()?))
        }
        _ => None,
    }
}

fn event(letter: &Letter, account: &AccountId, region: &Region) -> Value {
    let detail_type = match letter.kind {
        LetterKind::Success => "Lambda Function Invocation Result - Success",
        _ => "Lambda Function Invocation Result - Failure",
    };
    let resources = json!([letter.target, letter.function]);
    let detail = serde_json::from_str(&letter.text).unwrap_or_default();
    events::event(account, region, letter.at, Fields { source: "lambda", detail_type, resources, detail })
}

fn delivery(letter: Letter) -> Delivery {
    let sender = Sender {
        service: SERVICE.to_owned(),
        arn: letter.function.to_string(),
        account: letter.function.account.clone(),
        // The function's execution role sends.
        by_role: true,
    };
    let mut delivery = Delivery::new(sender, letter.target, letter.text);
    delivery.trace = letter.trace;
    if let LetterKind::DeadLetter { request_id, code, message } = letter.kind {
        let attribute = |data_type: &str, text: String| Attribute {
            data_type: data_type.to_owned(),
            value: AttributeValue::Text(text),
        };
        delivery.attributes = BTreeMap::from([
            ("RequestID".to_owned(), attribute("String", request_id)),
            ("ErrorCode".to_owned(), attribute("Number", code.to_string())),
        ]);
        // An attribute must not be empty.
        if !message.is_empty() {
            delivery.attributes.insert("ErrorMessage".to_owned(), attribute("String", message));
        }
    }
    delivery
}
