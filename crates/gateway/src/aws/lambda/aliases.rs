//! CreateAlias, GetAlias, UpdateAlias, DeleteAlias and ListAliases.

use super::{
    error::{invalid_parameter, of_json},
    latest_function, list_functions,
    validate::Violations,
    versions::check_description,
};
use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request, Response, response},
};
use dayfly_scheduler::functions::{self, Alias, AliasChange};
use dayfly_types::{FunctionArn, Qualifier};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Given {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<Routing>,
    revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Routing {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

pub async fn create(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let given: Given = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let mut violations = Violations::default();
    violations.require(given.name.is_some(), "name");
    violations.require(given.function_version.is_some(), "functionVersion");
    violations.finish()?;
    let name = given.name.clone().unwrap_or_default();
    let arn = alias_arn(gateway, request, "lambda:CreateAlias", named, &name)?;
    let change = checked(given, None)?;
    let alias = Alias {
        version: change.version.unwrap_or(Qualifier::Latest),
        other: change.other.flatten(),
        description: change.description.unwrap_or_default(),
        revision_id: String::new(),
    };
    check_routing(&alias.version, alias.other)?;
    let made = gateway.options.scheduler.functions().create_alias(&arn, alias).await?;
    Ok(response::json(StatusCode::CREATED, &shown(&arn, &made)))
}

pub async fn get(gateway: &Gateway, request: &Request, named: &str, name: &str) -> Result<Response, Error> {
    let arn = alias_arn(gateway, request, "lambda:GetAlias", named, name)?;
    let alias = gateway.options.scheduler.functions().alias(&arn).await?;
    Ok(response::json(StatusCode::OK, &shown(&arn, &alias)))
}

pub async fn update(gateway: &Gateway, request: &Request, named: &str, name: &str) -> Result<Response, Error> {
    let arn = alias_arn(gateway, request, "lambda:UpdateAlias", named, name)?;
    let given: Given = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let functions = gateway.options.scheduler.functions();
    let missing = |error| match error {
        functions::Error::NoAlias(arn) => {
            Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("Alias not found: {arn}"))
        }
        other => Error::from(other),
    };
    let before = functions.alias(&arn).await.map_err(missing)?;
    let mut change = checked(given, Some(&before))?;
    check_routing(change.version.as_ref().unwrap_or(&before.version), change.other.unwrap_or(before.other))?;
    // What was checked is what is changed: a change in between makes this one fail, as it would have been told so.
    change.revision_id.get_or_insert(before.revision_id);
    let updated = functions.update_alias(&arn, change).await.map_err(missing)?;
    Ok(response::json(StatusCode::OK, &shown(&arn, &updated)))
}

pub async fn delete(gateway: &Gateway, request: &Request, named: &str, name: &str) -> Result<Response, Error> {
    let arn = alias_arn(gateway, request, "lambda:DeleteAlias", named, name)?;
    gateway.options.scheduler.functions().delete_alias(&arn).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn list(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = latest_function(gateway, request, "lambda:ListAliases", named)?;
    let limit = list_functions::page_size(request)?;
    let version = request.query("FunctionVersion");
    let after = request.query("Marker").unwrap_or_default();
    let aliases = gateway.options.scheduler.functions().aliases(&arn).await?;
    let mut found: Vec<(String, Alias)> = aliases
        .into_iter()
        .filter(|(name, alias)| {
            *name > after && version.as_ref().is_none_or(|version| *version == alias.version.to_string())
        })
        .take(limit + 1)
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let all = found.iter().map(|(name, alias)| shown(&arn.qualified(Qualifier::Alias(name.clone())), alias));
    let mut body = json!({"Aliases": all.collect::<Vec<_>>()});
    if let Some((name, _)) = found.last().filter(|_| more) {
        body["NextMarker"] = json!(name);
    }
    Ok(response::json(StatusCode::OK, &body))
}

/// The ARN of the alias `name`, once the request may do `action` on its function.
fn alias_arn(
    gateway: &Gateway,
    request: &Request,
    action: &str,
    named: &str,
    name: &str,
) -> Result<FunctionArn, Error> {
    let function = latest_function(gateway, request, action, named)?;
    match name.parse() {
        Ok(qualifier @ Qualifier::Alias(_)) => {
            let arn = function.qualified(qualifier);
            authorise(&request.principal, action, &arn.to_string(), &arn.account)?;
            Ok(arn)
        }
        _ => {
            let mut violations = Violations::default();
            let pattern = "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)";
            violations.check(false, name, "name", pattern);
            violations.finish()?;
            Err(invalid_parameter("Invalid alias name"))
        }
    }
}

/// The fields, each checked alone. `before` is the alias that is changed.
fn checked(given: Given, before: Option<&Alias>) -> Result<AliasChange, Error> {
    check_description(given.description.as_deref())?;
    let mut violations = Violations::default();
    let version = match given.function_version {
        Some(text) => match text.parse() {
            Ok(version @ (Qualifier::Latest | Qualifier::Version(_))) => Some(version),
            _ => {
                let pattern = r"Member must satisfy regular expression pattern: (\$LATEST|[0-9]+)";
                violations.check(false, &text, "functionVersion", pattern);
                None
            }
        },
        None => before.map(|alias| alias.version.clone()),
    };
    violations.finish()?;
    let other = given.routing_config.map(|routing| weight(routing.additional_version_weights.unwrap_or_default()));
    Ok(AliasChange {
        revision_id: given.revision_id.filter(|text| !text.is_empty()),
        version,
        other: other.transpose()?,
        description: given.description,
    })
}

/// The second version and its part.
fn weight(weights: BTreeMap<String, f64>) -> Result<Option<(u64, f64)>, Error> {
    if weights.len() > 1 {
        return Err(invalid_parameter("Number of items in AdditionalVersionWeights cannot be greater than 1"));
    }
    let Some((version, part)) = weights.into_iter().next() else { return Ok(None) };
    let value = format!("{{{version}={part}}}");
    let mut violations = Violations::default();
    violations.check(
        (0.0..=1.0).contains(&part),
        &value,
        "routingConfig.additionalVersionWeights",
        "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value \
         greater than or equal to 0.0, Member must not be null]",
    );
    let number = match version.parse() {
        Ok(Qualifier::Version(number)) => Some(number),
        _ => None,
    };
    violations.check(
        number.is_some(),
        &value,
        "routingConfig.additionalVersionWeights",
        "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length \
         greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]",
    );
    violations.finish()?;
    Ok(number.map(|number| (number, part)))
}

/// What two versions of one alias must be.
fn check_routing(version: &Qualifier, other: Option<(u64, f64)>) -> Result<(), Error> {
    match (version, other) {
        (_, None) => Ok(()),
        (Qualifier::Version(number), Some((other, _))) if *number == other => Err(invalid_parameter(format!(
            "Invalid function version {number}. Function version {number} is already included in routing configuration."
        ))),
        (Qualifier::Version(_), Some(_)) => Ok(()),
        (_, Some(_)) => Err(invalid_parameter("$LATEST is not supported for an alias pointing to more than 1 version")),
    }
}

fn shown(arn: &FunctionArn, alias: &Alias) -> Value {
    let mut shown = json!({
        "AliasArn": arn,
        "Name": arn.qualifier.as_ref().map(ToString::to_string),
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if let Some((version, part)) = alias.other {
        shown["RoutingConfig"] = json!({"AdditionalVersionWeights": {version.to_string(): part}});
    }
    shown
}
