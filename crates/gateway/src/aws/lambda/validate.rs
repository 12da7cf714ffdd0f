//! Checks of fields, with AWS's texts: constraints of the API's model are collected into one `ValidationException`;
//! what only the service knows is an `InvalidParameterValueException`.

use super::{
    dto::{Environment, FunctionRequest, LoggingConfig},
    error::invalid_parameter,
    operations::RUNTIMES,
};
use crate::aws::Error;
use dayfly_types::{Limits, Runtime, function::Reuse};
use std::collections::BTreeMap;

const FUNCTION_NAME: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";
const QUALIFIER: &str = r"(\$LATEST|[a-zA-Z0-9-_]+)";
const ROLE: &str = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
const DEAD_LETTERS: &str = r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()";
const TAG_VALUE_LENGTH_MAX: usize = 256;
const TAG_KEY_LENGTH_MAX: usize = 128;

/// Names that the platform itself sets in an instance.
const RESERVED: &[&str] = &[
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Violated constraints of the API's model.
#[derive(Debug, Default)]
pub struct Violations(Vec<String>);

impl Violations {
    /// Adds a violation unless `holds`.
    pub fn check(&mut self, holds: bool, value: &str, field: &str, constraint: &str) {
        if !holds {
            let value: String = value.chars().take(256).collect();
            self.0.push(format!("Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"));
        }
    }

    /// Adds a violation when a required field is missing.
    pub fn require(&mut self, present: bool, field: &str) {
        if !present {
            self.0.push(format!("Value null at '{field}' failed to satisfy constraint: Member must not be null"));
        }
    }

    /// Adds violations of bounds.
    pub fn range(&mut self, value: Option<i64>, field: &str, least: u32, most: u32) {
        let Some(value) = value else { return };
        let (least, most) = (i64::from(least), i64::from(most));
        let text = value.to_string();
        self.check(value >= least, &text, field, &format!("Member must have value greater than or equal to {least}"));
        self.check(value <= most, &text, field, &format!("Member must have value less than or equal to {most}"));
    }

    /// Adds a violation when a value is none of `choices`.
    pub fn choice(&mut self, value: Option<&str>, field: &str, choices: &[&str]) {
        let Some(value) = value else { return };
        let constraint = format!("Member must satisfy enum value set: [{}]", choices.join(", "));
        self.check(choices.contains(&value), value, field, &constraint);
    }

    /// The error, when there was any.
    pub fn finish(self) -> Result<(), Error> {
        let count = self.0.len();
        let errors = match count {
            0 => return Ok(()),
            1 => "error",
            _ => "errors",
        };
        let text = format!("{count} validation {errors} detected: {}", self.0.join("; "));
        Err(Error::bad_request("ValidationException", text))
    }

    fn alone(value: &str, field: &str, constraint: &str) -> Error {
        let mut violations = Self::default();
        violations.check(false, value, field, constraint);
        match violations.finish() {
            Err(error) => error,
            Ok(()) => unreachable!("a violation was added"),
        }
    }
}

/// A name that is none.
pub fn function_name_error(value: &str) -> Error {
    Violations::alone(
        value,
        "functionName",
        &format!("Member must satisfy regular expression pattern: {FUNCTION_NAME}"),
    )
}

/// A qualifier that is none.
pub fn qualifier_error(value: &str) -> Error {
    Violations::alone(value, "qualifier", &format!("Member must satisfy regular expression pattern: {QUALIFIER}"))
}

/// One of `choices`.
pub fn choice(value: &str, field: &str, choices: &[&str]) -> Result<(), Error> {
    let mut violations = Violations::default();
    violations.choice(Some(value), field, choices);
    violations.finish()
}

/// The constraints of the API's model on everything that Create and Update take.
pub fn fields(request: &FunctionRequest, limits: &Limits, violations: &mut Violations) {
    if let Some(handler) = &request.handler {
        violations.check(
            handler.chars().count() <= 128,
            handler,
            "handler",
            "Member must have length less than or equal to 128",
        );
        let solid = !handler.is_empty() && !handler.chars().any(|c| c.is_whitespace() || c.is_control());
        violations.check(solid, handler, "handler", r"Member must satisfy regular expression pattern: [^\s]+");
    }
    if let Some(role) = &request.role {
        violations.check(
            is_role(role),
            role,
            "role",
            &format!("Member must satisfy regular expression pattern: {ROLE}"),
        );
    }
    if let Some(text) = &request.description {
        let fits = text.chars().count() <= 256;
        violations.check(fits, text, "description", "Member must have length less than or equal to 256");
    }
    if let Some(target) = request.dead_letter_config.as_ref().and_then(|config| config.target_arn.as_deref()) {
        let pattern = format!("Member must satisfy regular expression pattern: {DEAD_LETTERS}");
        let named = target.is_empty() || (target.starts_with("arn:") && target.split(':').count() >= 4);
        violations.check(named, target, "deadLetterConfig.targetArn", &pattern);
    }
    violations.range(request.timeout, "timeout", 1, limits.timeout_s_max);
    violations.range(request.memory_size, "memorySize", limits.memory_mb_min, limits.memory_mb_max);
    let storage = request.ephemeral_storage.as_ref().map(|storage| storage.size);
    violations.range(
        storage,
        "ephemeralStorage.size",
        limits.ephemeral_storage_mb_min,
        limits.ephemeral_storage_mb_max,
    );
    violations.choice(request.package_type.as_deref(), "packageType", &["Image", "Zip"]);
    architectures(request.architectures.as_deref(), violations);
    if let Some(Environment { variables: Some(variables) }) = &request.environment {
        let named = variables.keys().all(|key| is_variable(key));
        let keys = variables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        violations.check(
            named,
            &keys,
            "environment.variables",
            "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
        );
    }
    if let Some(logging) = &request.logging_config {
        logging_fields(logging, violations);
    }
    let mode = request.tracing_config.as_ref().and_then(|tracing| tracing.mode.as_deref());
    violations.choice(mode, "tracingConfig.mode", &["Active", "PassThrough"]);
    let apply_on = request.snap_start.as_ref().and_then(|snap_start| snap_start.apply_on.as_deref());
    violations.choice(apply_on, "snapStart.applyOn", &["PublishedVersions", "None"]);
    let target = request.dead_letter_config.as_ref().and_then(|config| config.target_arn.as_deref());
    arn(target, "deadLetterConfig.targetArn", violations);
    arn(request.kms_key_arn.as_deref(), "kMSKeyArn", violations);
}

/// One of the two that Lambda has.
pub fn architectures(given: Option<&[String]>, violations: &mut Violations) {
    let Some(given) = given else { return };
    let known = given.iter().all(|one| ["x86_64", "arm64"].contains(&one.as_str())) && given.len() == 1;
    violations.check(
        known,
        &format!("[{}]", given.join(", ")),
        "architectures",
        "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]",
    );
}

/// The architecture that was asked for, which must be this machine's.
pub fn own_architecture(given: Option<Vec<String>>) -> Result<Option<String>, Error> {
    let own = host_architecture();
    match given.into_iter().flatten().next() {
        Some(other) if other != own => Err(invalid_parameter(format!(
            "Architecture {other} is not available: this server runs on {own} and has no other nodes"
        ))),
        given => Ok(given),
    }
}

/// This machine's architecture, as AWS calls it.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

/// A runtime that Lambda has and this machine too.
pub fn runtime(text: &str, found: &[Runtime]) -> Result<Runtime, Error> {
    if !RUNTIMES.contains(&text) {
        return Err(invalid_parameter(format!(
            "Value {text} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a valid ARN",
            RUNTIMES.join(", ")
        )));
    }
    match text.parse::<Runtime>() {
        Ok(runtime) if found.contains(&runtime) => Ok(runtime),
        _ => {
            let found: Vec<String> = found.iter().map(Runtime::to_string).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            Err(invalid_parameter(format!("The runtime {text} is not available on this server. Available: {found}")))
        }
    }
}

/// What the service asks of an environment beyond the model.
pub fn environment(variables: &BTreeMap<String, String>, limits: &Limits) -> Result<(), Error> {
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|key| RESERVED.contains(key) || key.starts_with("AWS_LAMBDA_"))
        .collect();
    if !reserved.is_empty() {
        return Err(invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {}",
            reserved.join(", ")
        )));
    }
    let size: usize = variables.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > limits.environment_bytes {
        return Err(invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the {} byte limit. Bytes measured: {size}",
            limits.environment_bytes
        )));
    }
    if let Some((key, _)) = variables.iter().find(|(_, value)| value.contains('\0')) {
        return Err(invalid_parameter(format!("The value of the environment variable {key} contains a NUL byte")));
    }
    Ok(())
}

/// Tags that are added, and how many there are afterwards.
pub fn tags(added: &BTreeMap<String, String>, total: usize, limits: &Limits) -> Result<(), Error> {
    for (key, value) in added {
        if key.is_empty() || key.chars().count() > TAG_KEY_LENGTH_MAX {
            return Err(invalid_parameter(format!(
                "Tag keys must have a length between 1 and {TAG_KEY_LENGTH_MAX} characters"
            )));
        }
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            return Err(invalid_parameter(format!("The tag key {key} uses the reserved prefix aws:")));
        }
        if value.chars().count() > TAG_VALUE_LENGTH_MAX {
            return Err(invalid_parameter(format!(
                "The value of the tag {key} is longer than {TAG_VALUE_LENGTH_MAX} characters"
            )));
        }
        if key == Reuse::TAG
            && let Err(reason) = value.parse::<Reuse>()
        {
            return Err(invalid_parameter(format!("The value of the tag {key} is not valid: {reason}")));
        }
    }
    if total > limits.tags {
        return Err(invalid_parameter(format!("The number of tags must not exceed {}", limits.tags)));
    }
    Ok(())
}

fn logging_fields(logging: &LoggingConfig, violations: &mut Violations) {
    violations.choice(logging.log_format.as_deref(), "loggingConfig.logFormat", &["JSON", "Text"]);
    let level = logging.application_log_level.as_deref();
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    violations.choice(level, "loggingConfig.applicationLogLevel", &levels);
    let level = logging.system_log_level.as_deref();
    violations.choice(level, "loggingConfig.systemLogLevel", &["DEBUG", "INFO", "WARN"]);
    if let Some(group) = &logging.log_group {
        let field = "loggingConfig.logGroup";
        violations.check((1..=512).contains(&group.len()), group, field, "Member must have length between 1 and 512");
        let plain = group.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte));
        violations.check(plain, group, field, r"Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+");
    }
}

fn arn(value: Option<&str>, field: &str, violations: &mut Violations) {
    let Some(value) = value else { return };
    let shaped = value.is_empty() || (value.starts_with("arn:") && value.splitn(4, ':').count() == 4);
    violations.check(
        shaped && value.len() <= 2048,
        value,
        field,
        r"Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()",
    );
}

fn is_role(text: &str) -> bool {
    let name = match text.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "iam", "", account, resource]
            if partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) =>
        {
            resource.strip_prefix("role").map(|name| name.strip_prefix('/').unwrap_or(name))
        }
        _ => None,
    };
    text.len() <= 2048
        && name.is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte))
        })
}

fn is_variable(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= 2
        && bytes[0].is_ascii_alphabetic()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::lambda::dto::EphemeralStorage;

    fn checked(request: &FunctionRequest) -> String {
        let mut violations = Violations::default();
        fields(request, &Limits::default(), &mut violations);
        violations.finish().map_or_else(|error| error.message, |()| String::new())
    }

    #[test]
    fn constraints_have_awss_words() {
        let request = FunctionRequest { memory_size: Some(127), ..FunctionRequest::default() };
        assert_eq!(
            checked(&request),
            "1 validation error detected: Value '127' at 'memorySize' failed to satisfy constraint: \
             Member must have value greater than or equal to 128"
        );
        let request = FunctionRequest {
            timeout: Some(901),
            handler: Some("a b".to_owned()),
            ephemeral_storage: Some(EphemeralStorage { size: 1 << 40 }),
            ..FunctionRequest::default()
        };
        assert!(checked(&request).starts_with("3 validation errors detected: "), "{}", checked(&request));
    }

    #[test]
    fn bounds_are_inclusive() {
        for (memory, timeout, storage) in [(128, 1, 512), (10_240, 900, 10_240)] {
            let request = FunctionRequest {
                memory_size: Some(memory),
                timeout: Some(timeout),
                ephemeral_storage: Some(EphemeralStorage { size: storage }),
                handler: Some("h".repeat(128)),
                description: Some("ü".repeat(256)),
                role: Some("arn:aws:iam::123456789012:role/service-role/x".to_owned()),
                ..FunctionRequest::default()
            };
            assert_eq!(checked(&request), "");
        }
        let request = FunctionRequest {
            handler: Some("h".repeat(129)),
            description: Some("ü".repeat(257)),
            role: Some("arn:aws:iam::1234:role/x".to_owned()),
            ..FunctionRequest::default()
        };
        assert!(checked(&request).starts_with("3 validation errors"));
    }

    #[test]
    fn a_runtime_must_be_lambdas_and_this_machines() {
        let found = [Runtime::Python { minor: 11 }];
        assert!(runtime("python3.11", &found).is_ok());
        assert!(runtime("cobol", &found).unwrap_err().message.contains("enum value set: ["));
        for absent in ["python3.12", "python3.8", "nodejs22.x"] {
            let error = runtime(absent, &found).unwrap_err();
            assert_eq!(error.code, "InvalidParameterValueException");
            assert!(error.message.ends_with("Available: python3.11"), "{}", error.message);
        }
    }

    #[test]
    fn environments_are_bounded_and_keep_off_reserved_names() {
        let limits = Limits::default();
        let of = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(environment(&of("KEY", &"v".repeat(4093)), &limits).is_ok());
        assert!(environment(&of("KEY", &"v".repeat(4094)), &limits).is_err());
        assert!(environment(&of("KEY", "a\0b"), &limits).is_err());
        let error = environment(&of("AWS_REGION", "x"), &limits).unwrap_err();
        assert!(error.message.ends_with("Reserved keys used in this request: AWS_REGION"));
        for bad in ["", "A", "1A", "A-B", "A B", "Ä1", "_A"] {
            assert!(!is_variable(bad), "{bad:?}");
        }
        assert!(is_variable("A1_"));
    }

    #[test]
    fn tags_are_bounded() {
        let limits = Limits::default();
        let of = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(tags(&of(&"k".repeat(128), &"v".repeat(256)), 50, &limits).is_ok());
        for (bad, total) in [
            (of("", "v"), 1),
            (of(&"k".repeat(129), ""), 1),
            (of("k", &"v".repeat(257)), 1),
            (of("AWS:x", ""), 1),
            (of("dayfly:reuse", "often"), 1),
            (of("k", ""), 51),
        ] {
            assert!(tags(&bad, total, &limits).is_err());
        }
    }
}
