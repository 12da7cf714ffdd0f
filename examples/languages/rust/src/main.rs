//! Counts the words of a text.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(count)).await
}

async fn count(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let text = event.payload["text"].as_str().ok_or("the event has no \"text\"")?;
    eprintln!("{} bytes", text.len());
    Ok(json!({"words": text.split_whitespace().count(), "request": event.context.request_id}))
}
