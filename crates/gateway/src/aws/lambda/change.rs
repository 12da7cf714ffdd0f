//! What CreateFunction and UpdateFunctionConfiguration change, checked as a whole before any of it is applied.

use super::{
    dto::{Environment, FunctionRequest, LoggingConfig},
    error::invalid_parameter,
    layers, validate,
};
use crate::{Gateway, aws::Error};
use dayfly_types::{FunctionConfiguration, Layer, Runtime, function};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Checked fields. Applying them cannot fail.
#[derive(Debug, Default)]
pub struct Change {
    runtime: Option<Runtime>,
    handler: Option<String>,
    role: Option<String>,
    description: Option<String>,
    timeout_s: Option<u32>,
    memory_mb: Option<u32>,
    ephemeral_storage_mb: Option<u32>,
    environment: Option<BTreeMap<String, String>>,
    logging: Option<LoggingConfig>,
    layers: Option<Vec<Layer>>,
    /// New values of `FunctionConfiguration::other`; `None` removes one.
    other: Vec<(&'static str, Option<Value>)>,
}

impl Change {
    /// Checks what the service asks beyond the API's model, which `validate::fields` has checked.
    pub async fn of(request: FunctionRequest, gateway: &Gateway) -> Result<Self, Error> {
        let options = &gateway.options;
        refuse_unsupported(&request)?;
        let runtime = match &request.runtime {
            Some(text) => Some(validate::runtime(text, &options.scheduler.runtimes())?),
            None => None,
        };
        let environment = request.environment.map(|Environment { variables }| variables.unwrap_or_default());
        if let Some(variables) = &environment {
            validate::environment(variables, &options.limits)?;
        }
        if let Some(logging) = &request.logging_config {
            check_levels(logging)?;
        }
        let layers = match request.layers {
            Some(given) => Some(layers::of_function(gateway, given).await?),
            None => None,
        };
        let mut other = Vec::new();
        if let Some(vpc) = request.vpc_config {
            let empty = vpc.subnet_ids.is_empty() && vpc.security_group_ids.is_empty();
            other.push(("VpcConfig", (!empty).then(|| json!(vpc))));
        }
        if let Some(tracing) = request.tracing_config {
            other.push(("TracingConfig", tracing.mode.map(|mode| json!({"Mode": mode}))));
        }
        if let Some(snap_start) = request.snap_start {
            other.push(("SnapStart", snap_start.apply_on.map(|on| json!({"ApplyOn": on}))));
        }
        if let Some(dead_letter) = request.dead_letter_config {
            let target = dead_letter.target_arn.filter(|arn| !arn.is_empty());
            let named = |arn: &String| ["arn:aws:sqs:", "arn:aws:sns:"].iter().any(|start| arn.starts_with(start));
            if let Some(other) = target.as_ref().filter(|arn| !named(arn)) {
                return Err(invalid_parameter(format!("A dead-letter queue is an SQS queue or an SNS topic: {other}")));
            }
            other.push(("DeadLetterConfig", target.map(|arn| json!({"TargetArn": arn}))));
        }
        if let Some(key) = request.kms_key_arn {
            other.push(("KMSKeyArn", (!key.is_empty()).then(|| json!(key))));
        }
        // The model's constraints bound these to 32 bits.
        let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        Ok(Self {
            runtime,
            handler: request.handler,
            role: request.role,
            description: request.description,
            timeout_s: number(request.timeout),
            memory_mb: number(request.memory_size),
            ephemeral_storage_mb: number(request.ephemeral_storage.map(|storage| storage.size)),
            environment,
            logging: request.logging_config,
            layers,
            other,
        })
    }

    /// Applies the fields that were given.
    pub fn apply(self, to: &mut FunctionConfiguration) {
        set(&mut to.runtime, self.runtime);
        set(&mut to.handler, self.handler);
        set(&mut to.role, self.role);
        set(&mut to.description, self.description);
        set(&mut to.timeout_s, self.timeout_s);
        set(&mut to.memory_mb, self.memory_mb);
        set(&mut to.ephemeral_storage_mb, self.ephemeral_storage_mb);
        set(&mut to.environment, self.environment);
        set(&mut to.layers, self.layers);
        if let Some(logging) = self.logging {
            apply_logging(logging, &mut to.logging);
        }
        for (name, value) in self.other {
            match value {
                Some(value) => to.other.insert(name.to_owned(), value),
                None => to.other.remove(name),
            };
        }
    }
}

fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}

fn apply_logging(given: LoggingConfig, to: &mut function::LoggingConfig) {
    set(&mut to.format, given.log_format);
    set(&mut to.group, given.log_group);
    if to.format == "JSON" {
        let or_info = |given: Option<String>, old: &Option<String>| given.or(old.clone()).or(Some("INFO".to_owned()));
        to.application_level = or_info(given.application_log_level, &to.application_level);
        to.system_level = or_info(given.system_log_level, &to.system_level);
    } else {
        to.application_level = None;
        to.system_level = None;
    }
}

fn check_levels(logging: &LoggingConfig) -> Result<(), Error> {
    let levels = logging.application_log_level.is_some() || logging.system_log_level.is_some();
    if levels && logging.log_format.as_deref() != Some("JSON") {
        return Err(invalid_parameter("Log levels can only be set when LogFormat is JSON."));
    }
    Ok(())
}

/// Fields that would change what the function sees, and that are not there yet: ignoring them would be a lie.
fn refuse_unsupported(request: &FunctionRequest) -> Result<(), Error> {
    let present = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null() && *value != json!({}));
    let unsupported = [
        ("FileSystemConfigs", request.file_system_configs.as_ref().is_some_and(|systems| !systems.is_empty())),
        ("ImageConfig", present(&request.image_config)),
        ("CodeSigningConfigArn", request.code_signing_config_arn.as_ref().is_some_and(|arn| !arn.is_empty())),
        ("DurableConfig", present(&request.durable_config)),
        ("TenancyConfig", present(&request.tenancy_config)),
        ("CapacityProviderConfig", present(&request.capacity_provider_config)),
    ];
    match unsupported.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(invalid_parameter(format!("Dayfly does not support {name} yet"))),
        None => Ok(()),
    }
}
