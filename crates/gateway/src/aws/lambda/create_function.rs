//! CreateFunction.

use super::{
    change::Change,
    dto::{self, FunctionRequest},
    error::{invalid_parameter, of_json},
    validate::{self, Violations},
};
use crate::{
    Gateway,
    authorise::{More, authorise, authorise_with},
    aws::{Error, Request, Response, response},
    front::offload,
    roles,
};
use dayfly_types::{
    CodeReference, FunctionArn, FunctionConfiguration, FunctionReference, Runtime,
    function::{LastUpdate, LoggingConfig, State},
};
use http::StatusCode;
use std::collections::BTreeMap;

pub async fn create_function(gateway: &Gateway, request: Request) -> Result<Response, Error> {
    let body = request.body.clone();
    let parse = move || serde_json::from_slice::<FunctionRequest>(&body).map_err(|error| of_json(&error));
    let mut dto = offload(request.body.len(), parse).await?;
    let options = &gateway.options;
    let mut violations = Violations::default();
    violations.require(dto.function_name.is_some(), "functionName");
    violations.require(dto.role.is_some(), "role");
    violations.require(dto.code.is_some(), "code");
    validate::fields(&dto, &options.limits, &mut violations);
    violations.finish()?;

    let arn = arn(gateway, &request, dto.function_name.as_deref().unwrap_or_default())?;
    authorise(&request.principal, "lambda:CreateFunction", &arn.to_string(), &arn.account)?;
    pass_role(gateway, &request, dto.role.as_deref()).await?;
    let publish = dto.publish == Some(true);
    if dto.package_type.as_deref() == Some("Image") {
        return Err(invalid_parameter("Dayfly does not support container images yet: PackageType must be Zip"));
    }
    if dto.runtime.is_none() || dto.handler.is_none() {
        return Err(invalid_parameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    }
    let code = dto.code.take().unwrap_or_default();
    let architecture = validate::own_architecture(dto.architectures.take())?;
    let tags = dto.tags.take().unwrap_or_default();
    validate::tags(&tags, tags.len(), &options.limits)?;
    let change = Change::of(dto, gateway).await?;

    let mut function = defaults(arn, gateway);
    function.tags = tags;
    function.architecture = architecture.unwrap_or(function.architecture);
    change.apply(&mut function);
    let zip = code.package(gateway, &request).await?;
    let functions = options.scheduler.functions();
    let mut created = functions.create(function, zip).await?;
    if publish {
        created = functions.publish_made(created).await?;
    }
    Ok(response::json(StatusCode::CREATED, &dto::configuration(&created, &created.arn)))
}

/// Whether the request may give a function the role `arn`. Whoever has not all rights gives none that nobody has made:
/// functions with such a role have the account's.
pub async fn pass_role(gateway: &Gateway, request: &Request, arn: Option<&str>) -> Result<(), Error> {
    let Some(arn) = arn.filter(|_| !request.principal.is_unbounded()) else { return Ok(()) };
    let more = More { context: &[("iam:PassedToService", "lambda.amazonaws.com")], ..More::default() };
    authorise_with(&request.principal, "iam:PassRole", arn, &gateway.options.account, more)?;
    match roles::find(&gateway.options.store, &gateway.options.account, arn).await? {
        Some(_) => Ok(()),
        None => Err(invalid_parameter("The role defined for the function cannot be assumed by Lambda.")),
    }
}

fn arn(gateway: &Gateway, request: &Request, name: &str) -> Result<FunctionArn, Error> {
    let reference: FunctionReference = name.parse().map_err(|_| validate::function_name_error(name))?;
    if reference.qualifier.is_some() {
        return Err(validate::function_name_error(name));
    }
    if reference.region.is_some_and(|region| region != request.region) {
        return Err(invalid_parameter("The region of the function's ARN is not the region of the request."));
    }
    Ok(FunctionArn {
        region: request.region.clone(),
        account: reference.account.unwrap_or_else(|| gateway.options.account.clone()),
        name: reference.name,
        qualifier: None,
    })
}

/// A function before the request's fields are applied; AWS's defaults.
fn defaults(arn: FunctionArn, gateway: &Gateway) -> FunctionConfiguration {
    let group = format!("/aws/lambda/{}", arn.name);
    FunctionConfiguration {
        arn,
        // Always replaced: a request without a runtime is refused.
        runtime: Runtime::Python { minor: 9 },
        handler: String::new(),
        role: String::new(),
        description: String::new(),
        timeout_s: 3,
        memory_mb: 128,
        ephemeral_storage_mb: 512,
        environment: BTreeMap::new(),
        architecture: validate::host_architecture().to_owned(),
        tags: BTreeMap::new(),
        logging: LoggingConfig { format: "Text".to_owned(), application_level: None, system_level: None, group },
        // Code, revision and state are the registry's to set.
        code: CodeReference { sha256: String::new(), size_bytes: 0 },
        revision_id: String::new(),
        last_modified: gateway.options.clock.now(),
        state: State::Pending,
        last_update: LastUpdate::Successful,
        other: BTreeMap::new(),
        layers: Vec::new(),
        job: None,
    }
}
