//! CreateRole and its siblings.

use super::{Call, document, document::Kind, error, identity::has_no_policies, tags};
use crate::{
    aws::{Error, Response, xml::Xml},
    identities::new_id,
    roles::{FORMER_ROLES, ROLES, Role, key},
    sigv4::percent_encode,
};
use dayfly_types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a policy document.
pub const DOCUMENT_LENGTH_MAX: usize = 131_072;

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name_of::<Role>()?.to_owned();
    let path = path(call, "Path")?;
    call.authorise(&format!("arn:aws:iam::{}:role{path}{name}", call.account))?;
    let trust = call.required("AssumeRolePolicyDocument", DOCUMENT_LENGTH_MAX)?.to_owned();
    document::check(&trust, Kind::Trust)?;
    let role = Role {
        id: new_id("AROA"),
        path,
        account: call.account.clone(),
        created: call.gateway.options.clock.now(),
        description: call.optional("Description", 1000)?.map(str::to_owned),
        max_session_s: max_session(call)?.unwrap_or(3600),
        trust,
        boundary: call.optional("PermissionsBoundary", 2048)?.map(str::to_owned),
        tags: tags::of(call, &BTreeMap::new())?,
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        name,
    };
    let key = key(&call.account, &role.name);
    if !ROLES.create(&call.gateway.options.store, &key, &role).await? {
        return Err(error::exists("Role", &role.name));
    }
    Ok(call.answer(|xml| {
        xml.element("Role", |xml| write(xml, &role, Shown::Whole));
    }))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let role = call.identity::<Role>().await?;
    Ok(call.answer(|xml| {
        xml.element("Role", |xml| write(xml, &role, Shown::Whole));
    }))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    call.authorise("*")?;
    let prefix = call.optional("PathPrefix", 512)?.unwrap_or("/");
    let all: Vec<Role> = ROLES.all(&call.gateway.options.store, &format!("{}/", call.account)).await?;
    let all = all.into_iter().filter(|role| role.path.starts_with(prefix)).collect();
    let (page, next) = call.page(all, |role| role.name.to_ascii_lowercase())?;
    Ok(call.answer(|xml| {
        xml.element("Roles", |xml| {
            for role in &page {
                xml.element("member", |xml| write(xml, role, Shown::InList));
            }
        });
        end_of_page(xml, next);
    }))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let description = call.optional("Description", 1000)?.map(str::to_owned);
    let max_session = max_session(call)?;
    call.change(|role: &mut Role| {
        role.description = description.clone().or(role.description.take());
        role.max_session_s = max_session.unwrap_or(role.max_session_s);
        Ok(())
    })
    .await?;
    Ok(call.answer(|_| ()))
}

pub async fn update_trust(call: &Call<'_>) -> Result<Response, Error> {
    let trust = call.required("PolicyDocument", DOCUMENT_LENGTH_MAX)?;
    document::check(trust, Kind::Trust)?;
    call.change(|role: &mut Role| {
        trust.clone_into(&mut role.trust);
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = &call.identity::<Role>().await?.name;
    let unused = |role: &Role| has_no_policies(&mut role.clone());
    // Written first, so that there is no moment at which functions of the role have more than it.
    FORMER_ROLES.create(&call.gateway.options.store, &key(&call.account, name), &()).await?;
    match ROLES.delete(&call.gateway.options.store, &key(&call.account, name), unused).await? {
        true => Ok(call.done()),
        false => Err(error::no_identity("role", name)),
    }
}

/// `IsTruncated` and `Marker`.
pub fn end_of_page(xml: &mut Xml, next: Option<String>) {
    xml.text("IsTruncated", next.is_some()).optional("Marker", next);
}

/// Policy documents are shown with every character encoded.
pub fn encoded(document: &str) -> String {
    let mut out = String::with_capacity(document.len() * 2);
    percent_encode(document.as_bytes(), false, &mut out);
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Whole,
    /// Without what AWS leaves out of lists.
    InList,
}

fn write(xml: &mut Xml, role: &Role, shown: Shown) {
    xml.text("Path", &role.path)
        .text("RoleName", &role.name)
        .text("RoleId", &role.id)
        .text("Arn", role.arn())
        .text("CreateDate", timestamp(role.created))
        .text("AssumeRolePolicyDocument", encoded(&role.trust))
        .optional("Description", role.description.as_ref())
        .text("MaxSessionDuration", role.max_session_s);
    if shown == Shown::InList {
        return;
    }
    if let Some(boundary) = &role.boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "Policy").text("PermissionsBoundaryArn", boundary);
        });
    }
    if !role.tags.is_empty() {
        tags::write(xml, &role.tags);
    }
    xml.element("RoleLastUsed", |_| ());
}

pub fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn path(call: &Call<'_>, parameter: &str) -> Result<String, Error> {
    let path = call.optional(parameter, 512)?.unwrap_or("/");
    let printable = path.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if path.starts_with('/') && path.ends_with('/') && printable {
        return Ok(path.to_owned());
    }
    Err(error::validation(
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    ))
}

fn max_session(call: &Call<'_>) -> Result<Option<u32>, Error> {
    let Some(text) = call.parameters.get("MaxSessionDuration") else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| (3600..=43_200).contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        error::validation(
            "1 validation error detected: Value at 'maxSessionDuration' failed to satisfy constraint: Member must have \
             value between 3600 and 43200",
        )
    })
}
