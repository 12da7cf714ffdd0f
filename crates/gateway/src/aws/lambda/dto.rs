//! Shapes of Lambda's requests and answers, with AWS's names. Unknown fields are ignored, as AWS does.

use super::code_package::ZipFile;
use dayfly_scheduler::layers::created;
use dayfly_types::{
    FunctionArn, FunctionConfiguration, Layer, LayerVersion,
    function::{LastUpdate, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// CreateFunction and UpdateFunctionConfiguration: every field is optional, as the checks say what is missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionRequest {
    pub function_name: Option<String>,
    pub runtime: Option<String>,
    pub role: Option<String>,
    pub handler: Option<String>,
    pub code: Option<CodeRequest>,
    pub description: Option<String>,
    pub timeout: Option<i64>,
    pub memory_size: Option<i64>,
    pub publish: Option<bool>,
    pub package_type: Option<String>,
    pub environment: Option<Environment>,
    pub ephemeral_storage: Option<EphemeralStorage>,
    pub architectures: Option<Vec<String>>,
    pub tags: Option<BTreeMap<String, String>>,
    pub logging_config: Option<LoggingConfig>,
    pub revision_id: Option<String>,
    pub vpc_config: Option<VpcConfig>,
    pub tracing_config: Option<TracingConfig>,
    pub dead_letter_config: Option<DeadLetterConfig>,
    #[serde(rename = "KMSKeyArn")]
    pub kms_key_arn: Option<String>,
    pub snap_start: Option<SnapStart>,
    pub layers: Option<Vec<String>>,
    pub file_system_configs: Option<Vec<Value>>,
    pub image_config: Option<Value>,
    pub code_signing_config_arn: Option<String>,
    pub durable_config: Option<Value>,
    pub tenancy_config: Option<Value>,
    pub capacity_provider_config: Option<Value>,
}

/// `Code` of CreateFunction: where the package is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeRequest {
    pub zip_file: Option<ZipFile>,
    pub s3_bucket: Option<String>,
    pub s3_key: Option<String>,
    pub s3_object_version: Option<String>,
    pub image_uri: Option<String>,
}

/// PublishLayerVersion.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublishLayerRequest {
    pub description: Option<String>,
    pub content: Option<CodeRequest>,
    pub compatible_runtimes: Option<Vec<String>>,
    pub compatible_architectures: Option<Vec<String>>,
    pub license_info: Option<String>,
}

/// UpdateFunctionCode.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateCodeRequest {
    pub zip_file: Option<ZipFile>,
    pub s3_bucket: Option<String>,
    pub s3_key: Option<String>,
    pub s3_object_version: Option<String>,
    pub image_uri: Option<String>,
    pub publish: Option<bool>,
    pub dry_run: Option<bool>,
    pub revision_id: Option<String>,
    pub architectures: Option<Vec<String>>,
}

/// TagResource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagRequest {
    pub tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Environment {
    pub variables: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EphemeralStorage {
    pub size: i64,
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoggingConfig {
    pub log_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_log_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_log_level: Option<String>,
    pub log_group: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpcConfig {
    pub subnet_ids: Vec<String>,
    pub security_group_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_allowed_for_dual_stack: Option<bool>,
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TracingConfig {
    pub mode: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeadLetterConfig {
    pub target_arn: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapStart {
    pub apply_on: Option<String>,
}

/// `FunctionConfiguration` as AWS answers it, with `arn` as its name: as it was asked for, or with the version in lists.
pub fn configuration(function: &FunctionConfiguration, arn: &FunctionArn) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("FunctionName", json!(arn.name));
    put("FunctionArn", json!(arn));
    put("Runtime", json!(function.runtime));
    put("Role", json!(function.role));
    put("Handler", json!(function.handler));
    put("CodeSize", json!(function.code.size_bytes));
    put("CodeSha256", json!(sha256_base64(&function.code.sha256)));
    put("Description", json!(function.description));
    put("Timeout", json!(function.timeout_s));
    put("MemorySize", json!(function.memory_mb));
    put("LastModified", json!(function.last_modified.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()));
    put("Version", json!(function.version()));
    put("RevisionId", json!(function.revision_id));
    put("PackageType", json!("Zip"));
    put("Architectures", json!([function.architecture]));
    put("EphemeralStorage", json!({"Size": function.ephemeral_storage_mb}));
    put("TracingConfig", json!({"Mode": "PassThrough"}));
    put("SnapStart", json!({"ApplyOn": "None", "OptimizationStatus": "Off"}));
    let logging = &function.logging;
    put(
        "LoggingConfig",
        json!(LoggingConfig {
            log_format: Some(logging.format.clone()),
            application_log_level: logging.application_level.clone(),
            system_log_level: logging.system_level.clone(),
            log_group: Some(logging.group.clone()),
        }),
    );
    if !function.layers.is_empty() {
        let shown = |layer: &Layer| json!({"Arn": layer.arn, "CodeSize": layer.content.size_bytes()});
        put("Layers", function.layers.iter().map(shown).collect());
    }
    if !function.environment.is_empty() {
        put("Environment", json!({"Variables": function.environment}));
    }
    for (name, value) in &function.other {
        put(name, shown(name, value));
    }
    state(&function.state, &mut put);
    last_update(&function.last_update, &mut put);
    out
}

/// A layer version as lists show it.
pub fn layer_version(version: &LayerVersion) -> Value {
    let mut body = json!({
        "LayerVersionArn": version.arn,
        "Version": version.arn.version,
        "Description": version.description,
        "CreatedDate": created(version.created),
    });
    if let Some(license) = &version.license {
        body["LicenseInfo"] = json!(license);
    }
    for (name, values) in
        [("CompatibleRuntimes", &version.runtimes), ("CompatibleArchitectures", &version.architectures)]
    {
        if !values.is_empty() {
            body[name] = json!(values);
        }
    }
    body
}

/// What a kept field looks like in an answer: some have members that only AWS sets.
fn shown(name: &str, value: &Value) -> Value {
    let mut value = value.clone();
    match (name, value.as_object_mut()) {
        ("VpcConfig", Some(members)) => {
            members.insert("VpcId".to_owned(), json!(""));
        }
        ("SnapStart", Some(members)) => {
            members.insert("OptimizationStatus".to_owned(), json!("Off"));
        }
        _ => {}
    }
    value
}

fn state(state: &State, put: &mut impl FnMut(&str, Value)) {
    match state {
        State::Pending => {
            put("State", json!("Pending"));
            put("StateReason", json!("The function is being created."));
            put("StateReasonCode", json!("Creating"));
        }
        State::Active => put("State", json!("Active")),
        State::Failed { reason, code } => {
            put("State", json!("Failed"));
            put("StateReason", json!(reason));
            put("StateReasonCode", json!(code));
        }
    }
}

fn last_update(update: &LastUpdate, put: &mut impl FnMut(&str, Value)) {
    match update {
        LastUpdate::Successful => put("LastUpdateStatus", json!("Successful")),
        LastUpdate::InProgress => {
            put("LastUpdateStatus", json!("InProgress"));
            put("LastUpdateStatusReason", json!("The function is being created."));
            put("LastUpdateStatusReasonCode", json!("Creating"));
        }
        LastUpdate::Failed { reason, code } => {
            put("LastUpdateStatus", json!("Failed"));
            put("LastUpdateStatusReason", json!(reason));
            put("LastUpdateStatusReasonCode", json!(code));
        }
    }
}

/// A SHA-256 as Lambda writes it.
pub fn sha256_base64(hexadecimal: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(hex::decode(hexadecimal).unwrap_or_default())
}
