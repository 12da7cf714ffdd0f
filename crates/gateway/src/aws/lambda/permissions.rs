//! AddPermission, GetPolicy and RemovePermission: the resource policy of a function.

use super::{
    error::{invalid_parameter, of_json},
    function,
    validate::Violations,
};
use crate::{
    Gateway,
    aws::{Error, Request, Response, response},
};
use dayfly_types::{
    AccountId, FunctionArn, Qualifier, ResourcePolicy, Statement,
    policy::{Kind, Policy},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Bytes of a policy.
const POLICY_BYTES_MAX: usize = 20_480;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Permission {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    revision_id: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
}

pub async fn add_permission(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = permitted_function(gateway, request, "lambda:AddPermission", named)?;
    let given: Permission = serde_json::from_slice(&request.body).map_err(|error| of_json(&error))?;
    let revision = given.revision_id.clone();
    let statement = statement(given)?;
    let shown = shown(&statement, &arn).to_string();
    let of = arn.clone();
    let functions = gateway.options.scheduler.functions();
    let added =
        functions.update_access(&arn, move |access| add(&mut access.policy, statement, revision.as_deref(), &of));
    added.await??;
    Ok(response::json(StatusCode::CREATED, &json!({"Statement": shown})))
}

pub async fn get_policy(gateway: &Gateway, request: &Request, named: &str) -> Result<Response, Error> {
    let arn = permitted_function(gateway, request, "lambda:GetPolicy", named)?;
    let policy = gateway.options.scheduler.functions().access(&arn).await?.policy;
    if policy.statements.is_empty() {
        return Err(not_found("No policy is associated with the given resource."));
    }
    let body = json!({"Policy": document(&policy, &arn), "RevisionId": policy.revision_id});
    Ok(response::json(StatusCode::OK, &body))
}

pub async fn remove_permission(gateway: &Gateway, request: &Request, named: &str, id: &str) -> Result<Response, Error> {
    let arn = permitted_function(gateway, request, "lambda:RemovePermission", named)?;
    let (id, revision) = (id.to_owned(), request.query("RevisionId"));
    let functions = gateway.options.scheduler.functions();
    let removed = functions.update_access(&arn, move |access| remove(&mut access.policy, &id, revision.as_deref()));
    removed.await??;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// The function, version or alias whose policy it is.
fn permitted_function(gateway: &Gateway, request: &Request, action: &str, named: &str) -> Result<FunctionArn, Error> {
    let arn = function(gateway, request, action, named)?;
    match arn.qualifier {
        Some(Qualifier::Latest) => Err(invalid_parameter("We currently do not support adding policies for $LATEST.")),
        _ => Ok(arn),
    }
}

fn add(policy: &mut ResourcePolicy, new: Statement, revision: Option<&str>, arn: &FunctionArn) -> Result<(), Error> {
    check_revision(policy, revision)?;
    if policy.statements.iter().any(|statement| statement.id == new.id) {
        let message = format!(
            "The statement id ({}) provided already exists. Please provide a new statement id, or remove the existing \
             statement.",
            new.id
        );
        return Err(Error::new(StatusCode::CONFLICT, "ResourceConflictException", message));
    }
    policy.statements.push(new);
    if document(policy, arn).len() > POLICY_BYTES_MAX {
        let message = format!("The final policy size is bigger than the limit ({POLICY_BYTES_MAX}).");
        return Err(Error::bad_request("PolicyLengthExceededException", message));
    }
    policy.revision_id = Uuid::new_v4().to_string();
    Ok(())
}

fn remove(policy: &mut ResourcePolicy, id: &str, revision: Option<&str>) -> Result<(), Error> {
    let before = policy.statements.len();
    if before == 0 {
        return Err(not_found("No policy is associated with the given resource."));
    }
    check_revision(policy, revision)?;
    policy.statements.retain(|statement| statement.id != id);
    if policy.statements.len() == before {
        return Err(not_found(&format!("Statement {id} is not found in resource policy.")));
    }
    policy.revision_id = Uuid::new_v4().to_string();
    Ok(())
}

fn check_revision(policy: &ResourcePolicy, given: Option<&str>) -> Result<(), Error> {
    if given.is_none_or(|given| given == policy.revision_id) {
        return Ok(());
    }
    Err(Error::new(
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailedException",
        "The RevisionId provided does not match the latest RevisionId. Call the GetPolicy API to retrieve the latest \
         RevisionId for your resource.",
    ))
}

fn not_found(message: &str) -> Error {
    Error::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
}

fn statement(given: Permission) -> Result<Statement, Error> {
    let mut violations = Violations::default();
    for (value, field) in
        [(&given.statement_id, "statementId"), (&given.action, "action"), (&given.principal, "principal")]
    {
        violations.require(value.is_some(), field);
    }
    let (id, action) = (given.statement_id.unwrap_or_default(), given.action.unwrap_or_default());
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let pattern = |text: &str| format!("Member must satisfy regular expression pattern: {text}");
    violations.check((1..=100).contains(&id.len()) && word(&id), &id, "statementId", &pattern("([a-zA-Z0-9-_]+)"));
    let verb = action.strip_prefix("lambda:").unwrap_or_default();
    let known = verb == "*" || (!verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_alphabetic()));
    violations.check(known, &action, "action", &pattern("(lambda:[*]|lambda:[a-zA-Z]+|[*])"));
    if let Some(kind) = &given.function_url_auth_type {
        let constraint = "Member must satisfy enum value set: [NONE, AWS_IAM]";
        violations.check(["NONE", "AWS_IAM"].contains(&kind.as_str()), kind, "functionUrlAuthType", constraint);
    }
    if let Some(arn) = &given.source_arn {
        violations.check(
            arn.starts_with("arn:"),
            arn,
            "sourceArn",
            &pattern("arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:([a-z0-9-]*)?:(\\d{12})?:(.*)"),
        );
    }
    let account = match &given.source_account {
        Some(text) => {
            let parsed: Option<AccountId> = text.parse().ok();
            violations.check(parsed.is_some(), text, "sourceAccount", &pattern("\\d{12}"));
            parsed
        }
        None => None,
    };
    violations.finish()?;
    let principal = given.principal.unwrap_or_default();
    let is_service = principal.ends_with(".amazonaws.com") || principal.ends_with(".amazon.com");
    let is_identity = principal.parse::<AccountId>().is_ok() || principal.starts_with("arn:aws");
    if principal != "*" && !is_service && !is_identity {
        let shown: String = principal.chars().take(200).collect();
        return Err(invalid_parameter(format!(
            "The provided principal was invalid. Please check the principal and try again: {shown}"
        )));
    }
    Ok(Statement {
        id,
        principal,
        action,
        source_arn: given.source_arn,
        source_account: account,
        principal_org_id: given.principal_org_id,
        event_source_token: given.event_source_token,
        url_auth_type: given.function_url_auth_type,
        via_url: given.invoked_via_function_url,
    })
}

/// The policy as `authorise` asks it; `None` when there is none.
pub fn policy(policy: &ResourcePolicy, arn: &FunctionArn) -> Option<Policy> {
    if policy.statements.is_empty() {
        return None;
    }
    Policy::parse(&document(policy, arn), Kind::Resource).ok()
}

/// The policy as IAM writes policies.
fn document(policy: &ResourcePolicy, arn: &FunctionArn) -> String {
    let statements: Vec<Value> = policy.statements.iter().map(|statement| shown(statement, arn)).collect();
    json!({"Version": "2012-10-17", "Id": "default", "Statement": statements}).to_string()
}

fn shown(statement: &Statement, arn: &FunctionArn) -> Value {
    let principal = match statement.principal.as_str() {
        "*" => json!("*"),
        account if account.parse::<AccountId>().is_ok() => json!({"AWS": format!("arn:aws:iam::{account}:root")}),
        identity if identity.starts_with("arn:") => json!({"AWS": identity}),
        service => json!({"Service": service}),
    };
    let mut shown = json!({
        "Sid": statement.id,
        "Effect": "Allow",
        "Principal": principal,
        "Action": statement.action,
        "Resource": arn.to_string(),
    });
    let mut equals = Map::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            equals.insert(name.to_owned(), Value::String(value));
        }
    };
    put("AWS:SourceAccount", statement.source_account.as_ref().map(ToString::to_string));
    put("aws:PrincipalOrgID", statement.principal_org_id.clone());
    put("lambda:EventSourceToken", statement.event_source_token.clone());
    put("lambda:FunctionUrlAuthType", statement.url_auth_type.clone());
    let mut condition = Map::new();
    if !equals.is_empty() {
        condition.insert("StringEquals".to_owned(), Value::Object(equals));
    }
    if let Some(source) = &statement.source_arn {
        condition.insert("ArnLike".to_owned(), json!({"AWS:SourceArn": source}));
    }
    if let Some(via_url) = statement.via_url {
        condition.insert("Bool".to_owned(), json!({"lambda:InvokedViaFunctionUrl": via_url.to_string()}));
    }
    if !condition.is_empty() {
        shown["Condition"] = Value::Object(condition);
    }
    shown
}
