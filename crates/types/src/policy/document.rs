//! Policy documents: read once, then asked whether somebody may do something with something.

use super::{
    condition::Condition,
    pattern::{LENGTH_MAX, Pattern, Special, matches},
};
use crate::AccountId;
use serde_json::{Map, Value};
use thiserror::Error;

/// Most statements of a document, and most values of a field of one: no document within AWS's sizes has as many.
const ENTRIES_MAX: usize = 2000;

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who may take a role on.
    Trust,
    /// What an identity may do.
    Identity,
    /// Who may do what with a resource.
    Resource,
}

/// A text is no policy of its kind; AWS's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Malformed(String);

/// A policy, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// What a policy says to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Silent,
    /// The principal's account may: what its principals may is for their own policies to say.
    AllowedToAccount,
    /// The principal may.
    Allowed,
    /// No, whatever others say.
    Denied,
}

/// Somebody who may be named by the policy of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The account, when it is not a service.
    pub account: Option<AccountId>,
    /// Every ARN that names it: a role's session has its own and the role's.
    pub arns: Vec<String>,
    /// `lambda.amazonaws.com`, for example, when it is a service.
    pub service: Option<String>,
}

/// What conditions and variables look at: values by key, whose case does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context(Vec<(String, Vec<String>)>);

/// Who wants to do what with what.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// `lambda:InvokeFunction`, for example.
    pub action: &'a str,
    /// An ARN, or `*` for what is not done with one thing.
    pub resource: &'a str,
    /// For policies that name principals.
    pub who: &'a Who,
    /// What is known of the request.
    pub context: &'a Context,
}

#[derive(Debug, Clone, PartialEq)]
struct Statement {
    allows: bool,
    principals: Option<Principals>,
    actions: OneOf,
    /// `None` in trust policies: they are about their role.
    resources: Option<OneOf>,
    conditions: Vec<Condition>,
}

/// Patterns, one of which must fit; or none of which may.
#[derive(Debug, Clone, PartialEq)]
struct OneOf {
    patterns: Vec<Pattern>,
    negated: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Principals {
    everybody: bool,
    aws: Vec<String>,
    services: Vec<String>,
    negated: bool,
}

/// How a policy names somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Not,
    ByAccount,
    Exactly,
}

impl Policy {
    /// Reads a document of this kind.
    ///
    /// # Errors
    /// What AWS says of a document that is none.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, Malformed> {
        let document: Value =
            serde_json::from_str(text).map_err(|_| Malformed::new("This policy contains invalid Json"))?;
        let document = document.as_object().ok_or_else(syntax)?;
        let variables = match document.get("Version").map(Value::as_str) {
            None | Some(Some("2008-10-17")) => false,
            Some(Some("2012-10-17")) => true,
            Some(_) => return Err(Malformed::new("The policy must contain a valid version string")),
        };
        known(document, &["Version", "Id", "Statement"])?;
        let statements = match document.get("Statement") {
            Some(Value::Array(all)) if !all.is_empty() && all.len() <= ENTRIES_MAX => all
                .iter()
                .map(|one| Statement::parse(one.as_object().ok_or_else(syntax)?, kind, variables))
                .collect::<Result<_, _>>()?,
            Some(Value::Object(one)) => vec![Statement::parse(one, kind, variables)?],
            _ => return Err(syntax()),
        };
        Ok(Self { statements })
    }

    /// The policy that nobody gets past.
    pub fn denies_everything() -> Self {
        let all = || OneOf { patterns: Vec::new(), negated: true };
        let (actions, resources) = (all(), Some(all()));
        Self {
            statements: vec![Statement { allows: false, principals: None, actions, resources, conditions: Vec::new() }],
        }
    }

    /// What it says.
    pub fn verdict(&self, question: &Question<'_>) -> Verdict {
        let action = question.action.to_ascii_lowercase();
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            let named = statement.principals.as_ref().map_or(Named::Exactly, |all| all.name(question.who));
            if named == Named::Not || !statement.applies(&action, question) {
                continue;
            }
            match (statement.allows, named) {
                (false, _) => return Verdict::Denied,
                (true, Named::Exactly) => verdict = Verdict::Allowed,
                (true, _) if verdict == Verdict::Silent => verdict = Verdict::AllowedToAccount,
                (true, _) => {}
            }
        }
        verdict
    }

    /// Whether a statement allows something to everybody.
    pub fn is_public(&self) -> bool {
        let public = |statement: &Statement| {
            statement.allows && statement.principals.as_ref().is_some_and(|all| all.everybody && !all.negated)
        };
        self.statements.iter().any(public)
    }
}

impl Statement {
    fn parse(given: &Map<String, Value>, kind: Kind, variables: bool) -> Result<Self, Malformed> {
        const FIELDS: &[&str] = &[
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        known(given, FIELDS)?;
        let allows = match given.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err(syntax()),
        };
        let principals = Principals::parse(given)?;
        match kind {
            Kind::Trust if principals.is_none() => {
                return Err(Malformed::new("AssumeRolePolicy must contain Principal"));
            }
            Kind::Resource if principals.is_none() => {
                return Err(Malformed::new("Missing required field Principal"));
            }
            Kind::Trust if given.contains_key("Resource") || given.contains_key("NotResource") => {
                return Err(Malformed::new("Has prohibited field Resource"));
            }
            Kind::Identity if principals.is_some() => {
                return Err(Malformed::new("Policy document should not specify a principal."));
            }
            _ => {}
        }
        let special = Special { wildcards: true, variables };
        let actions = OneOf::parse(given, "Action", special, str::to_ascii_lowercase)?
            .ok_or_else(|| Malformed::new("Policy statement must contain actions."))?;
        let resources = OneOf::parse(given, "Resource", special, str::to_owned)?;
        if resources.is_none() && kind != Kind::Trust {
            return Err(Malformed::new("Policy statement must contain resources."));
        }
        let conditions = match given.get("Condition") {
            None => Vec::new(),
            Some(Value::Object(all)) => conditions(all, variables)?,
            Some(_) => return Err(syntax()),
        };
        Ok(Self { allows, principals, actions, resources, conditions })
    }

    fn applies(&self, action: &str, question: &Question<'_>) -> bool {
        self.actions.holds(action, question.context, self.allows)
            && self.resources.as_ref().is_none_or(|all| all.holds(question.resource, question.context, self.allows))
            && self.conditions.iter().all(|condition| condition.holds(question.context))
    }
}

impl OneOf {
    /// The field `name`, or `Not` and its name; `None` when there is neither.
    fn parse(
        given: &Map<String, Value>,
        name: &str,
        special: Special,
        written: impl Fn(&str) -> String,
    ) -> Result<Option<Self>, Malformed> {
        let (value, negated) = match (given.get(name), given.get(&format!("Not{name}"))) {
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(syntax()),
        };
        let texts = texts(value)?;
        if texts.is_empty() {
            return Ok(None);
        }
        let patterns = texts.iter().map(|text| Pattern::new(&written(text), special)).collect::<Option<_>>();
        let long =
            || Malformed(format!("A value is longer than {LENGTH_MAX} characters, or has a variable without end"));
        Ok(Some(Self { patterns: patterns.ok_or_else(long)?, negated }))
    }

    /// Whether a statement with these is about `text`. A pattern with a variable that is not known counts as the one that
    /// lets nobody do more.
    fn holds(&self, text: &str, context: &Context, allows: bool) -> bool {
        let unknown = self.negated && allows;
        let fits = |pattern: &Pattern| pattern.filled(context).map_or(unknown, |filled| matches(&filled, text));
        self.patterns.iter().any(fits) != self.negated
    }
}

impl Principals {
    fn parse(given: &Map<String, Value>) -> Result<Option<Self>, Malformed> {
        let (value, negated) = match (given.get("Principal"), given.get("NotPrincipal")) {
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(syntax()),
        };
        let mut all = Self { negated, ..Self::default() };
        match value {
            Value::String(text) if text == "*" => all.everybody = true,
            Value::Object(kinds) => {
                for (kind, value) in kinds {
                    let texts = texts(value)?;
                    match kind.as_str() {
                        "AWS" => all.aws.extend(texts),
                        "Service" => all.services.extend(texts),
                        // Nobody comes here through these.
                        "Federated" | "CanonicalUser" => {}
                        _ => return Err(Malformed(format!("Invalid principal in policy: {kind}"))),
                    }
                }
            }
            _ => return Err(Malformed::new("Invalid principal in policy")),
        }
        all.everybody |= all.aws.iter().any(|text| text == "*");
        Ok(Some(all))
    }

    fn name(&self, who: &Who) -> Named {
        let named = if self.everybody {
            Named::Exactly
        } else {
            let aws = self.aws.iter().map(|text| name(text, who)).max().unwrap_or(Named::Not);
            let service = who.service.as_ref().is_some_and(|service| self.services.contains(service));
            if service { Named::Exactly } else { aws }
        };
        match (self.negated, named) {
            (false, named) => named,
            (true, Named::Not) => Named::Exactly,
            (true, _) => Named::Not,
        }
    }
}

/// How an entry of `AWS` names somebody.
fn name(text: &str, who: &Who) -> Named {
    if who.arns.iter().any(|arn| arn == text) {
        return Named::Exactly;
    }
    let Some(account) = &who.account else { return Named::Not };
    let is_account = text == account.as_str()
        || text
            .strip_prefix("arn:aws:iam::")
            .and_then(|rest| rest.strip_suffix(":root"))
            .is_some_and(|number| number == account.as_str());
    if is_account { Named::ByAccount } else { Named::Not }
}

impl Context {
    /// Nothing known.
    pub const EMPTY: &Self = &Self(Vec::new());

    /// The values under `key`; `None` when there is no such key.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        let found = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, values)| values.as_slice())
    }

    /// One more value under `key`.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        match self.0.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(key)) {
            Some((_, values)) => values.push(value.into()),
            None => self.0.push((key.to_owned(), vec![value.into()])),
        }
    }
}

impl Malformed {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

fn syntax() -> Malformed {
    Malformed::new("Syntax errors in policy.")
}

fn known(given: &Map<String, Value>, fields: &[&str]) -> Result<(), Malformed> {
    match given.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(unknown) => Err(Malformed(format!("Unknown field {}", unknown.chars().take(100).collect::<String>()))),
        None => Ok(()),
    }
}

/// One text, or a list of them.
fn texts(value: &Value) -> Result<Vec<String>, Malformed> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(all) if all.len() <= ENTRIES_MAX => {
            all.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(syntax)).collect()
        }
        _ => Err(syntax()),
    }
}

fn conditions(all: &Map<String, Value>, variables: bool) -> Result<Vec<Condition>, Malformed> {
    let mut conditions = Vec::new();
    for (operator, keys) in all {
        for (key, value) in keys.as_object().ok_or_else(syntax)? {
            let values = match value {
                Value::Array(all) => all.iter().map(scalar).collect::<Option<Vec<_>>>(),
                one => scalar(one).map(|one| vec![one]),
            };
            let condition = Condition::new(operator, key, &values.ok_or_else(syntax)?, variables);
            conditions.push(condition.ok_or_else(|| {
                Malformed(format!("Invalid Condition type : {}.", operator.chars().take(100).collect::<String>()))
            })?);
        }
    }
    Ok(conditions)
}

/// A value of a condition: numbers and truths come unquoted, too.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
