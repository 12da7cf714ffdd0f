//! DynamoDB: `X-Amz-Target: DynamoDB_20120810.…` and JSON 1.0. The tables themselves are in `dayfly_tables`.

mod batch;
mod capacity;
mod dto;
mod error;
mod items;
mod operations;
mod query;
mod schema;
mod settings;
mod tables;
mod transactions;

use super::{Request, Response, response, target};
use crate::{Gateway, authorise::authorise};
use dayfly_tables::{Error, Item, Table, TableName};
use error::{Failure, invalid};
use http::{HeaderName, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// Largest body, AWS's.
pub const BODY_BYTES_MAX: u64 = 16 << 20;

const JSON: &str = "application/x-amz-json-1.0";
/// Parameters that expressions replaced in 2014.
const LEGACY: [&str; 7] = [
    "Expected",
    "AttributeUpdates",
    "KeyConditions",
    "QueryFilter",
    "ScanFilter",
    "ConditionalOperator",
    "AttributesToGet",
];

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, super::Error> {
    let result = match Call::of(gateway, request) {
        Ok(call) => call.run().await,
        Err(error) => Err(error),
    };
    match result {
        Ok(value) => Ok(shown(StatusCode::OK, &value)),
        Err(Failure::Own(error)) => {
            tracing::debug!(%error, "refused");
            let (status, body) = error::body(&error);
            Ok(shown(status, &body))
        }
        Err(Failure::Common(error)) => Err(error),
    }
}

/// One request.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    operation: &'a str,
    input: Value,
}

impl<'a> Call<'a> {
    fn of(gateway: &'a Gateway, request: &'a Request) -> Result<Self, Failure> {
        let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
        let input = serde_json::from_slice(body).map_err(|error| Error::Serialization(error.to_string()))?;
        Ok(Self { gateway, request, operation: target(&request.parts), input })
    }

    async fn run(&self) -> Result<Value, Failure> {
        if let Some(name) = LEGACY.iter().find(|name| self.input.get(**name).is_some_and(|value| !value.is_null())) {
            return Err(invalid(format!(
                "Dayfly does not support the legacy parameter {name}: use an expression instead"
            ))
            .into());
        }
        match self.operation {
            "CreateTable" => tables::create_table(self).await,
            "DescribeTable" => tables::describe_table(self).await,
            "ListTables" => tables::list_tables(self),
            "UpdateTable" => tables::update_table(self).await,
            "DeleteTable" => tables::delete_table(self).await,
            "PutItem" => items::put_item(self).await,
            "GetItem" => items::get_item(self).await,
            "DeleteItem" => items::delete_item(self).await,
            "UpdateItem" => items::update_item(self).await,
            "Query" => query::query(self).await,
            "Scan" => query::scan(self).await,
            "BatchGetItem" => batch::batch_get_item(self).await,
            "BatchWriteItem" => batch::batch_write_item(self).await,
            "TransactGetItems" => transactions::transact_get_items(self).await,
            "TransactWriteItems" => transactions::transact_write_items(self).await,
            "UpdateTimeToLive" => settings::update_time_to_live(self).await,
            "DescribeTimeToLive" => settings::describe_time_to_live(self).await,
            "TagResource" => settings::tag_resource(self).await,
            "UntagResource" => settings::untag_resource(self).await,
            "ListTagsOfResource" => settings::list_tags_of_resource(self).await,
            "DescribeEndpoints" => Ok(json!({"Endpoints": [{"Address": self.host(), "CachePeriodInMinutes": 1440}]})),
            known if operations::NAMES.contains(&known) => Err(super::Error::unsupported(known).into()),
            "" => Err(super::Error::unknown_operation("no X-Amz-Target").into()),
            other => Err(super::Error::unknown_operation(other).into()),
        }
    }

    fn input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.input).map_err(|error| Error::Serialization(error.to_string()).into())
    }

    /// The table that a request names by its name or ARN, once the request may do this operation on it.
    fn table(&self, name: Option<&str>) -> Result<Arc<Table>, Failure> {
        Ok(self.gateway.options.tables.get(&self.table_name(name)?)?)
    }

    /// The same for a part of the operation that policies know by another name, or for an index of the table.
    fn table_for(&self, action: &str, name: Option<&str>, index: Option<&str>) -> Result<Arc<Table>, Failure> {
        let table = self.named_table(name)?;
        let below = index.map(|index| format!("/index/{index}")).unwrap_or_default();
        self.authorise(action, &table, &below)?;
        Ok(self.gateway.options.tables.get(&table)?)
    }

    fn table_name(&self, name: Option<&str>) -> Result<TableName, Failure> {
        let table = self.named_table(name)?;
        self.authorise(self.operation, &table, "")?;
        Ok(table)
    }

    fn authorise(&self, action: &str, table: &TableName, below: &str) -> Result<(), Failure> {
        let (action, arn) = (format!("dynamodb:{action}"), format!("{table}{below}"));
        Ok(authorise(&self.request.principal, &action, &arn, &table.account).map_err(super::Error::from)?)
    }

    fn named_table(&self, name: Option<&str>) -> Result<TableName, Failure> {
        let given = name.ok_or_else(|| error::constraint(None, "tableName", "Member must not be null"))?;
        let mut table = TableName {
            account: self.request.principal.account().clone(),
            region: self.request.region.clone(),
            name: given.to_owned(),
        };
        if let ["arn", _, "dynamodb", region, account, resource] = given.splitn(6, ':').collect::<Vec<_>>()[..]
            && let Some(name) = resource.strip_prefix("table/")
        {
            let bad = || invalid(format!("Invalid TableArn: {}", error::short(given)));
            if region != table.region.to_string() {
                return Err(bad().into());
            }
            table.account = account.parse().map_err(|_| bad())?;
            table.name = name.to_owned();
        }
        schema::table_name(&table.name, "tableName")?;
        Ok(table)
    }

    fn host(&self) -> String {
        let endpoint = &self.gateway.options.public_endpoint;
        crate::host::host(&self.request.parts).map_or_else(|| endpoint.clone(), |host| host.to_string())
    }
}

/// An attribute map of a request.
fn item(name: &str, json: Option<Value>) -> Result<Item, Failure> {
    match json {
        Some(json) => Ok(dayfly_tables::item_from_json(json)?),
        None => Err(error::constraint(None, name, "Member must not be null").into()),
    }
}

fn shown(status: StatusCode, body: &Value) -> Response {
    let text = body.to_string();
    let crc = crc32fast::hash(text.as_bytes());
    let mut response = response::with_type(status, JSON, text.into());
    // Clients compare it, and send a request again whose answer does not match.
    response.headers_mut().insert(HeaderName::from_static("x-amz-crc32"), crc.into());
    response
}
