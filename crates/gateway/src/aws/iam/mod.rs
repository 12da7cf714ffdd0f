//! AWS IAM: users, their keys and groups, roles with their trust, inline and managed policies. A query `Action`, and XML. What they
//! mean is for `rights` and `authorise`.

mod access_keys;
mod document;
mod error;
mod groups;
mod identity;
mod identity_policies;
mod managed_policies;
mod operations;
mod roles;
mod tags;
mod users;

use super::{Error, Request, Response, query, query::Parameters};
use crate::{
    Gateway,
    authorise::authorise,
    identities::{Group, User},
    roles::Role,
};
use dayfly_types::AccountId;
use identity::Identity;

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
        "CreateUser" => users::create(call).await,
        "GetUser" => users::get(call).await,
        "ListUsers" => users::list(call).await,
        "DeleteUser" => users::delete(call).await,
        "CreateAccessKey" => access_keys::create(call).await,
        "ListAccessKeys" => access_keys::list(call).await,
        "UpdateAccessKey" => access_keys::update(call).await,
        "DeleteAccessKey" => access_keys::delete(call).await,
        "CreateGroup" => groups::create(call).await,
        "GetGroup" => groups::get(call).await,
        "ListGroups" => groups::list(call).await,
        "DeleteGroup" => groups::delete(call).await,
        "AddUserToGroup" => groups::add_user(call).await,
        "RemoveUserFromGroup" => groups::remove_user(call).await,
        "ListGroupsForUser" => groups::list_for_user(call).await,
        "CreatePolicy" => managed_policies::create(call).await,
        "GetPolicy" => managed_policies::get(call).await,
        "ListPolicies" => managed_policies::list(call).await,
        "DeletePolicy" => managed_policies::delete(call).await,
        "CreatePolicyVersion" => managed_policies::create_version(call).await,
        "GetPolicyVersion" => managed_policies::get_version(call).await,
        "ListPolicyVersions" => managed_policies::list_versions(call).await,
        "SetDefaultPolicyVersion" => managed_policies::set_default_version(call).await,
        "DeletePolicyVersion" => managed_policies::delete_version(call).await,
        "ListEntitiesForPolicy" => managed_policies::list_entities(call).await,
        // The same for each kind of identity.
        _ => match call.operation.replacen("Role", "*", 1).as_str() {
            operation if operation != call.operation => of_identity::<Role>(call, operation).await,
            _ => match call.operation.replacen("User", "*", 1).as_str() {
                operation if operation != call.operation => of_identity::<User>(call, operation).await,
                _ => of_identity::<Group>(call, &call.operation.replacen("Group", "*", 1)).await,
            },
        },
    }
}

/// Operations that are the same for roles, users and groups; `*` stands for the kind.
async fn of_identity<I: Identity>(call: &Call<'_>, operation: &str) -> Result<Response, Error> {
    match operation {
        "Put*Policy" => identity_policies::put::<I>(call).await,
        "Get*Policy" => identity_policies::get::<I>(call).await,
        "List*Policies" => identity_policies::list::<I>(call).await,
        "Delete*Policy" => identity_policies::delete::<I>(call).await,
        "Attach*Policy" => identity_policies::attach::<I>(call).await,
        "Detach*Policy" => identity_policies::detach::<I>(call).await,
        "ListAttached*Policies" => identity_policies::list_attached::<I>(call).await,
        "Put*PermissionsBoundary" if I::KIND != "group" => identity_policies::put_boundary::<I>(call).await,
        "Delete*PermissionsBoundary" if I::KIND != "group" => identity_policies::delete_boundary::<I>(call).await,
        "Tag*" if I::KIND != "group" => tags::tag::<I>(call).await,
        "Untag*" if I::KIND != "group" => tags::untag::<I>(call).await,
        "List*Tags" if I::KIND != "group" => tags::list::<I>(call).await,
        _ => Err(query::not_served(&call.operation, operations::NAMES, "2010-05-08")),
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

    fn authorise(&self, resource: &str) -> Result<(), Error> {
        let action = format!("iam:{}", self.operation);
        authorise(&self.request.principal, &action, resource, &self.account).map_err(error::denied)
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
