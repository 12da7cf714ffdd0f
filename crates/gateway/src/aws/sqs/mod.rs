//! SQS, in both of its protocols: `X-Amz-Target: AmazonSQS.…` with JSON, and `Action` with XML. The queues themselves are in
//! `dayfly_triggers::queues`.

mod attributes;
mod dto;
mod error;
mod messages;
mod query;
mod queues;
mod validate;

use super::{Protocol, Request, Response, response, target};
use crate::{
    Gateway,
    authorise::{More, authorise_with},
    host,
    sigv4::query_pairs,
};
use dayfly_triggers::queues::{Queue, QueueName};
use dayfly_types::policy::{Kind, Policy};
use error::{Error, Failure, missing};
use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// Largest body: a batch's messages, and what JSON or percent signs make of them.
pub const BODY_BYTES_MAX: u64 = 8 << 20;

/// How the client speaks.
pub fn protocol(parts: &Parts) -> Protocol {
    if parts.headers.contains_key("x-amz-target") { Protocol::Json } else { Protocol::Query }
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, super::Error> {
    let call = match protocol(&request.parts) {
        Protocol::Json => Call::of_json(gateway, request),
        _ => Call::of_query(gateway, request),
    };
    let result = match &call {
        Ok(call) => call.run().await,
        Err(_) => Ok(Value::Null),
    };
    match (call, result) {
        (Ok(call), Ok(value)) => Ok(call.shown(&value)),
        (Ok(_), Err(Failure::Common(error))) => Err(error),
        (Ok(_), Err(Failure::Own(error))) | (Err(error), _) => Ok(shown_error(&error, request)),
    }
}

/// One request, whichever way it came.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    operation: String,
    input: Value,
}

impl<'a> Call<'a> {
    fn of_json(gateway: &'a Gateway, request: &'a Request) -> Result<Self, Error> {
        let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
        let input = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        Ok(Self { gateway, request, operation: target(&request.parts).to_owned(), input })
    }

    fn of_query(gateway: &'a Gateway, request: &'a Request) -> Result<Self, Error> {
        let mut parameters = query_pairs(request.parts.uri.query().unwrap_or_default());
        parameters.extend(query_pairs(&String::from_utf8_lossy(&request.body)));
        let action = parameters.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.clone());
        let operation = action.ok_or_else(|| missing("Action"))?;
        let mut input = query::to_json(parameters);
        // The oldest clients send to the queue's own address.
        if input.get("QueueUrl").is_none() && request.segments().len() == 2 {
            input["QueueUrl"] = json!(request.parts.uri.path());
        }
        Ok(Self { gateway, request, operation, input })
    }

    async fn run(&self) -> Result<Value, Failure> {
        match self.operation.as_str() {
            "CreateQueue" => queues::create_queue(self).await,
            "GetQueueUrl" => queues::get_queue_url(self),
            "ListQueues" => queues::list_queues(self),
            "ListDeadLetterSourceQueues" => queues::list_dead_letter_source_queues(self).await,
            "DeleteQueue" => queues::delete_queue(self).await,
            "PurgeQueue" => queues::purge_queue(self).await,
            "GetQueueAttributes" => queues::get_queue_attributes(self).await,
            "SetQueueAttributes" => queues::set_queue_attributes(self).await,
            "TagQueue" => queues::tag_queue(self).await,
            "UntagQueue" => queues::untag_queue(self).await,
            "ListQueueTags" => queues::list_queue_tags(self).await,
            "SendMessage" => messages::send_message(self).await,
            "SendMessageBatch" => messages::send_message_batch(self).await,
            "ReceiveMessage" => messages::receive_message(self).await,
            "DeleteMessage" => messages::delete_message(self).await,
            "DeleteMessageBatch" => messages::delete_message_batch(self).await,
            "ChangeMessageVisibility" => messages::change_message_visibility(self).await,
            "ChangeMessageVisibilityBatch" => messages::change_message_visibility_batch(self).await,
            known if UNSERVED.contains(&known) => Err(super::Error::unsupported(known).into()),
            other => {
                let other: String = other.chars().take(200).collect();
                Err(Error::new("InvalidAction", format!("The action {other} is not valid for this endpoint.")).into())
            }
        }
    }

    fn input<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.input).map_err(|error| malformed(&error))
    }

    /// The queue that the request names by its address, once the request may do this operation on it.
    async fn queue(&self) -> Result<Arc<Queue>, Failure> {
        let url = self.input.get("QueueUrl").and_then(Value::as_str).filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| missing("QueueUrl"))?;
        let mut parts = url.rsplit('/');
        let (name, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Ok(account) = account.parse() else {
            let url: String = url.chars().take(200).collect();
            return Err(
                Error::new("InvalidAddress", format!("The address {url} is not valid for this endpoint.")).into()
            );
        };
        let name = QueueName { account, region: self.request.region.clone(), name: name.to_owned() };
        let queue = self.gateway.options.queues.get(&name);
        match &queue {
            Ok(queue) if !self.request.principal.is_unbounded() => {
                let configuration = queue.configuration().await?;
                let policy = configuration.settings.other.get("Policy");
                // One that says nothing that is understood allows nothing.
                let policy = policy.and_then(|text| Policy::parse(text, Kind::Resource).ok());
                self.authorise_with(&name, policy.as_ref())?;
            }
            _ => self.authorise(&name)?,
        }
        Ok(queue?)
    }

    fn authorise(&self, name: &QueueName) -> Result<(), Failure> {
        self.authorise_with(name, None)
    }

    fn authorise_with(&self, name: &QueueName, policy: Option<&Policy>) -> Result<(), Failure> {
        let action = format!("sqs:{}", self.operation.trim_end_matches("Batch"));
        let more = More { policy, ..More::default() };
        let checked = authorise_with(&self.request.principal, &action, &name.to_string(), &name.account, more);
        checked.map_err(|denied| super::Error::from(denied).into())
    }

    /// A queue of the account that asks.
    fn own(&self, name: &str) -> QueueName {
        QueueName {
            account: self.request.principal.account().clone(),
            region: self.request.region.clone(),
            name: name.to_owned(),
        }
    }

    fn url(&self, name: &QueueName) -> String {
        let base = match host::host(&self.request.parts) {
            Some(host) => format!("http://{host}"),
            None => self.gateway.options.public_endpoint.trim_end_matches('/').to_owned(),
        };
        format!("{base}/{}/{}", name.account, name.name)
    }

    fn shown(&self, value: &Value) -> Response {
        let silent = SILENT.contains(&self.operation.as_str());
        match protocol(&self.request.parts) {
            Protocol::Json if silent => response::with_type(StatusCode::OK, JSON, "".into()),
            Protocol::Json => response::with_type(StatusCode::OK, JSON, value.to_string().into()),
            _ => response::xml(
                StatusCode::OK,
                query::to_xml(&self.operation, (!silent).then_some(value), self.request.id),
            ),
        }
    }
}

const JSON: &str = "application/x-amz-json-1.0";
/// Operations that have nothing to tell.
const SILENT: [&str; 7] = [
    "DeleteQueue",
    "PurgeQueue",
    "SetQueueAttributes",
    "TagQueue",
    "UntagQueue",
    "DeleteMessage",
    "ChangeMessageVisibility",
];
/// The operations of SQS that are not served.
const UNSERVED: [&str; 5] =
    ["AddPermission", "RemovePermission", "StartMessageMoveTask", "ListMessageMoveTasks", "CancelMessageMoveTask"];

fn malformed(error: &serde_json::Error) -> Error {
    Error::new("SerializationException", error.to_string())
}

fn shown_error(error: &Error, request: &Request) -> Response {
    tracing::debug!(code = error.code, message = error.message, "refused");
    let side = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    if protocol(&request.parts) == Protocol::Json {
        let body = json!({"__type": format!("com.amazonaws.sqs#{}", error.name), "message": error.message});
        let mut response = response::with_type(error.status, JSON, body.to_string().into());
        if let Ok(value) = HeaderValue::from_str(&format!("{};{side}", error.code)) {
            response.headers_mut().insert(HeaderName::from_static("x-amzn-query-error"), value);
        }
        return response;
    }
    response::xml(
        error.status,
        format!(
            "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error>\
             <Type>{side}</Type><Code>{}</Code><Message>{}</Message><Detail/></Error><RequestId>{}</RequestId>\
             </ErrorResponse>",
            error.code,
            response::xml_text(&error.message),
            request.id
        ),
    )
}
