//! Shapes of EventBridge Scheduler's requests, with AWS's names.

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Schedule {
    pub schedule_expression: String,
    pub schedule_expression_timezone: Option<String>,
    pub flexible_time_window: Window,
    pub target: Target,
    pub group_name: Option<String>,
    pub start_date: Option<f64>,
    pub end_date: Option<f64>,
    pub state: Option<String>,
    pub description: Option<String>,
    pub action_after_completion: Option<String>,
    pub kms_key_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Window {
    pub mode: String,
    pub maximum_window_in_minutes: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    pub arn: String,
    pub role_arn: String,
    pub input: Option<String>,
    pub retry_policy: Option<Retry>,
    pub dead_letter_config: Option<DeadLetters>,
    pub sqs_parameters: Option<SqsParameters>,
    /// What is for targets that are not served.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Retry {
    pub maximum_event_age_in_seconds: Option<u32>,
    pub maximum_retry_attempts: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeadLetters {
    pub arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SqsParameters {
    pub message_group_id: Option<String>,
}
