//! AWS IAM: roles, with their trust, inline and attached policies. A query `Action`, and XML. What they
//! mean is for `rights` and `authorise`.

mod document;
mod error;
mod operations;
mod role_policies;
mod roles;

use super::{Error, Request, Response, query, query::Parameters};
use crate::{Gateway, authorise::authorise, roles::Role};
use dayfly_types::AccountId;

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// A request to IAM, with its parameters.
struct Call<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    parameters: Parameters,
    account: AccountId,
    operation: String,
}

/// Answers an authenticated request.
pub async fn answer(gateway: &Gateway, request: &Request) -> Result<Response, Error> {
    let parameters = Parameters::of(request);
    let operation = parameters.action()?.to_owned();
    let account = gateway.options.account.clone();
    let call = Call { gateway, request, parameters, account, operation };
    let result = dispatch(&call).await;
    if !["Get", "List", "Simulate"].iter().any(|verb| call.operation.starts_with(verb)) {
        gateway.rights.changed();
    }
    result
}

async fn dispatch(call: &Call<'_>) -> Result<Response, Error> {
    match call.operation.as_str() {
        "CreateRole" => roles::create(call).await,
        "GetRole" => roles::get(call).await,
        "ListRoles" => roles::list(call).await,
        "UpdateRole" => roles::update(call).await,
        "UpdateAssumeRolePolicy" => roles::update_trust(call).await,
        "DeleteRole" => roles::delete(call).await,
        "TagRole" => roles::tag(call).await,
        "UntagRole" => roles::untag(call).await,
        "ListRoleTags" => roles::list_tags(call).await,
        "PutRolePolicy" => role_policies::put(call).await,
        "GetRolePolicy" => role_policies::get(call).await,
        "ListRolePolicies" => role_policies::list(call).await,
        "DeleteRolePolicy" => role_policies::delete(call).await,
        "AttachRolePolicy" => role_policies::attach(call).await,
        "DetachRolePolicy" => role_policies::detach(call).await,
        "ListAttachedRolePolicies" => role_policies::list_attached(call).await,
        other => Err(query::not_served(other, operations::NAMES, "2010-05-08")),
    }
}

impl Call<'_> {
    /// The value under `name`, of 1 to `longest` characters.
    fn required(&self, name: &str, longest: usize) -> Result<&str, Error> {
        let value = self.optional(name, longest)?;
        value.filter(|value| !value.is_empty()).ok_or_else(|| {
            error::validation(format!(
                "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must not be null",
                lower_first(name)
            ))
        })
    }

    fn optional(&self, name: &str, longest: usize) -> Result<Option<&str>, Error> {
        let value = self.parameters.get(name);
        if value.is_some_and(|value| value.chars().count() > longest) {
            return Err(error::validation(format!(
                "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must have length less \
                 than or equal to {longest}",
                lower_first(name)
            )));
        }
        Ok(value)
    }

    /// A name: letters, digits and `_+=,.@-`.
    fn name(&self, parameter: &str, longest: usize) -> Result<&str, Error> {
        let name = self.required(parameter, longest)?;
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)) {
            return Err(error::validation(format!(
                "The specified value for {} is invalid. It must contain only alphanumeric characters and/or the \
                 following: +=,.@_-",
                lower_first(parameter)
            )));
        }
        Ok(name)
    }

    fn role_name(&self) -> Result<&str, Error> {
        self.name("RoleName", 64)
    }

    fn authorise(&self, resource: &str) -> Result<(), Error> {
        let action = format!("iam:{}", self.operation);
        authorise(&self.request.principal, &action, resource, &self.account).map_err(error::denied)
    }

    /// The role that the request names and may work on.
    async fn role(&self) -> Result<Role, Error> {
        let name = self.role_name()?;
        let key = crate::roles::key(&self.account, name);
        let read = crate::roles::ROLES.get::<Role>(&self.gateway.options.store, &key).await?.map(|read| read.value);
        let unknown = || format!("arn:aws:iam::{}:role/{name}", self.account);
        self.authorise(&read.as_ref().map_or_else(unknown, Role::arn))?;
        read.ok_or_else(|| error::no_role(name))
    }

    /// Changes the role that the request names.
    async fn change<R>(&self, change: impl FnMut(&mut Role) -> Result<R, Error>) -> Result<(Role, R), Error> {
        let role = self.role().await?;
        let key = crate::roles::key(&self.account, &role.name);
        let changed = crate::roles::ROLES.change(&self.gateway.options.store, &key, change).await?;
        changed.ok_or_else(|| error::no_role(&role.name))
    }

    fn done(&self) -> Response {
        query::done(self.request, &self.operation, NAMESPACE)
    }

    fn answer(&self, inside: impl FnOnce(&mut super::xml::Xml)) -> Response {
        query::answer(self.request, &self.operation, NAMESPACE, inside)
    }

    /// A page of `all`, which is in order of `name`, and the marker of the next.
    fn page<T>(&self, all: Vec<T>, name: impl Fn(&T) -> String) -> Result<(Vec<T>, Option<String>), Error> {
        let most = match self.parameters.get("MaxItems") {
            None => 100,
            Some(text) => text.parse().ok().filter(|most| (1..=1000).contains(most)).ok_or_else(|| {
                error::validation("1 validation error detected: Value at 'maxItems' failed to satisfy constraint: Member must have value between 1 and 1000")
            })?,
        };
        let marker = self.parameters.get("Marker").unwrap_or_default();
        let mut rest = all.into_iter().filter(|item| marker.is_empty() || name(item).as_str() > marker);
        let page: Vec<T> = rest.by_ref().take(most).collect();
        let next = rest.next().and_then(|_| page.last().map(&name));
        Ok((page, next))
    }
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(characters).collect()
}
