//! Amazon SNS: topics whose messages go to functions and queues. A query `Action`, and XML. What a message becomes for each
//! subscription is in `dayfly_triggers::topics`.

mod operations;
mod publish;
mod subscriptions;
mod topics;

use super::{Error, Request, Response, query, query::Parameters, xml::Xml};
use crate::{Gateway, authorise::authorise, rows::Table};
use dayfly_store::Store;
use dayfly_triggers::topics::{SUBSCRIPTIONS, TOPICS, TopicName};
use http::StatusCode;

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";
/// Topics or subscriptions in one answer, SNS's.
const PAGE: usize = 100;

/// A request to SNS, with its parameters.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    parameters: Parameters,
    operation: String,
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let parameters = Parameters::of(request);
    let operation = parameters.action()?.to_owned();
    let call = Call { gateway, request, parameters, operation };
    match call.operation.as_str() {
        "CreateTopic" => topics::create(&call).await,
        "DeleteTopic" => topics::delete(&call).await,
        "ListTopics" => topics::list(&call).await,
        "GetTopicAttributes" => topics::get_attributes(&call).await,
        "SetTopicAttributes" => topics::set_attributes(&call).await,
        "TagResource" => topics::tag(&call).await,
        "UntagResource" => topics::untag(&call).await,
        "ListTagsForResource" => topics::list_tags(&call).await,
        "Subscribe" => subscriptions::subscribe(&call).await,
        "ConfirmSubscription" => subscriptions::confirm(&call).await,
        "Unsubscribe" => subscriptions::unsubscribe(&call).await,
        "ListSubscriptions" => subscriptions::list(&call).await,
        "ListSubscriptionsByTopic" => subscriptions::list_by_topic(&call).await,
        "GetSubscriptionAttributes" => subscriptions::get_attributes(&call).await,
        "SetSubscriptionAttributes" => subscriptions::set_attributes(&call).await,
        "Publish" => publish::publish(&call).await,
        "PublishBatch" => publish::publish_batch(&call).await,
        other => Err(query::not_served(other, operations::NAMES, "2010-03-31")),
    }
}

impl Call<'_> {
    fn required(&self, name: &str) -> Result<&str, Error> {
        let value = self.parameters.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| invalid(format!("{name} Reason: no value for required parameter")))
    }

    fn store(&self) -> &Store {
        &self.gateway.options.store
    }

    fn authorise(&self, resource: &str) -> Result<(), Error> {
        let account = &self.gateway.options.account;
        authorise(
            &self.request.principal,
            &format!("sns:{}", self.operation.trim_end_matches("Batch")),
            resource,
            account,
        )
        .map_err(|denied| Error::new(StatusCode::FORBIDDEN, "AuthorizationError", denied.0))
    }

    /// The topic that `parameter` names and the request may work on.
    fn topic(&self, parameter: &str) -> Result<TopicName, Error> {
        let arn = self.required(parameter)?;
        self.authorise(arn)?;
        arn.parse().map_err(|()| invalid(format!("{parameter} Reason: An ARN must have at least 6 elements, not 1")))
    }

    fn done(&self) -> Response {
        query::done(self.request, &self.operation, NAMESPACE)
    }

    fn answer(&self, inside: impl FnOnce(&mut Xml)) -> Response {
        query::answer(self.request, &self.operation, NAMESPACE, inside)
    }

    /// A page of `all`, which is in order of ARN, and what asks for the next.
    fn page<T>(&self, all: Vec<T>, arn: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let after = self.parameters.get("NextToken").unwrap_or_default().to_owned();
        let mut rest = all.into_iter().filter(|item| arn(item) > after);
        let page: Vec<T> = rest.by_ref().take(PAGE).collect();
        let next = rest.next().and_then(|_| page.last().map(&arn));
        (page, next)
    }
}

fn invalid(reason: impl std::fmt::Display) -> Error {
    Error::bad_request("InvalidParameter", format!("Invalid parameter: {reason}"))
}

fn not_found(what: &str) -> Error {
    Error::new(StatusCode::NOT_FOUND, "NotFound", format!("{what} does not exist"))
}

/// Texts by name, as SNS writes attributes.
fn attributes<'a>(xml: &mut Xml, all: impl Iterator<Item = (&'a str, String)>) {
    xml.element("Attributes", |xml| {
        for (key, value) in all {
            xml.element("entry", |xml| {
                xml.text("key", key).text("value", value);
            });
        }
    });
}

const TOPIC_ROWS: Table = Table(TOPICS);
const SUBSCRIPTION_ROWS: Table = Table(SUBSCRIPTIONS);
