//! Shapes of DynamoDB's requests, with AWS's names. Attribute values are read by `dayfly_tables`. Unknown fields are ignored.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// CreateTable and UpdateTable.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TableRequest {
    pub table_name: Option<String>,
    pub attribute_definitions: Option<Vec<AttributeDefinition>>,
    pub key_schema: Option<Vec<KeyElement>>,
    pub billing_mode: Option<String>,
    pub provisioned_throughput: Option<Throughput>,
    pub local_secondary_indexes: Option<Vec<IndexRequest>>,
    pub global_secondary_indexes: Option<Vec<IndexRequest>>,
    pub global_secondary_index_updates: Option<Vec<IndexUpdate>>,
    pub deletion_protection_enabled: Option<bool>,
    pub table_class: Option<String>,
    pub tags: Option<Vec<Tag>>,
    pub stream_specification: Option<Value>,
    #[serde(rename = "SSESpecification")]
    pub sse_specification: Option<Value>,
    pub resource_policy: Option<Value>,
    pub replica_updates: Option<Value>,
    pub on_demand_throughput: Option<Value>,
    pub warm_throughput: Option<Value>,
    pub global_table_witness_updates: Option<Value>,
    pub multi_region_consistency: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeDefinition {
    pub attribute_name: String,
    pub attribute_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyElement {
    pub attribute_name: String,
    pub key_type: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Throughput {
    pub read_capacity_units: i64,
    pub write_capacity_units: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IndexRequest {
    pub index_name: String,
    pub key_schema: Vec<KeyElement>,
    pub projection: Option<ProjectionRequest>,
    pub provisioned_throughput: Option<Throughput>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProjectionRequest {
    pub projection_type: Option<String>,
    pub non_key_attributes: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IndexUpdate {
    pub create: Option<IndexRequest>,
    pub update: Option<IndexRequest>,
    pub delete: Option<IndexRequest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ListTables {
    pub exclusive_start_table_name: Option<String>,
    pub limit: Option<i64>,
}

/// What one item's operation says, alone or as a part of a transaction.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ItemRequest {
    pub table_name: Option<String>,
    pub item: Option<Value>,
    pub key: Option<Value>,
    pub condition_expression: Option<String>,
    pub update_expression: Option<String>,
    pub projection_expression: Option<String>,
    pub expression_attribute_names: Option<BTreeMap<String, String>>,
    pub expression_attribute_values: Option<Value>,
    pub return_values: Option<String>,
    pub return_values_on_condition_check_failure: Option<String>,
    pub return_consumed_capacity: Option<String>,
    pub consistent_read: Option<bool>,
}

/// Query and Scan.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReadRequest {
    pub table_name: Option<String>,
    pub index_name: Option<String>,
    pub key_condition_expression: Option<String>,
    pub filter_expression: Option<String>,
    pub projection_expression: Option<String>,
    pub expression_attribute_names: Option<BTreeMap<String, String>>,
    pub expression_attribute_values: Option<Value>,
    pub limit: Option<i64>,
    pub exclusive_start_key: Option<Value>,
    pub scan_index_forward: Option<bool>,
    pub select: Option<String>,
    pub segment: Option<i64>,
    pub total_segments: Option<i64>,
    pub consistent_read: Option<bool>,
    pub return_consumed_capacity: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BatchGet {
    pub request_items: BTreeMap<String, Keys>,
    pub return_consumed_capacity: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Keys {
    pub keys: Vec<Value>,
    pub projection_expression: Option<String>,
    pub expression_attribute_names: Option<BTreeMap<String, String>>,
    pub attributes_to_get: Option<Value>,
    pub consistent_read: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BatchWrite {
    pub request_items: BTreeMap<String, Vec<WriteRequest>>,
    pub return_consumed_capacity: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WriteRequest {
    pub put_request: Option<ItemRequest>,
    pub delete_request: Option<ItemRequest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Transact {
    pub transact_items: Vec<TransactItem>,
    pub client_request_token: Option<String>,
    pub return_consumed_capacity: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TransactItem {
    pub get: Option<ItemRequest>,
    pub put: Option<ItemRequest>,
    pub delete: Option<ItemRequest>,
    pub update: Option<ItemRequest>,
    pub condition_check: Option<ItemRequest>,
}

/// UpdateTimeToLive, and the operations on tags.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    pub table_name: Option<String>,
    pub time_to_live_specification: Option<TimeToLive>,
    pub resource_arn: Option<String>,
    pub tags: Option<Vec<Tag>>,
    pub tag_keys: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TimeToLive {
    pub enabled: bool,
    pub attribute_name: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: String,
    pub value: String,
}
