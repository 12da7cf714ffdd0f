//! CreateRole and its siblings.

use super::{Call, document, document::Kind, error};
use crate::{
    aws::{Error, Response, xml::Xml},
    roles::{FORMER_ROLES, ROLES, Role, key},
    sigv4::percent_encode,
};
use dayfly_types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Characters of a policy document.
pub const DOCUMENT_LENGTH_MAX: usize = 131_072;

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.role_name()?.to_owned();
    let path = path(call, "Path")?;
    call.authorise(&format!("arn:aws:iam::{}:role{path}{name}", call.account))?;
    let trust = call.required("AssumeRolePolicyDocument", DOCUMENT_LENGTH_MAX)?.to_owned();
    document::check(&trust, Kind::Trust)?;
    let role = Role {
        id: format!("AROA{}", &Uuid::new_v4().simple().to_string().to_uppercase()[..17]),
        path,
        account: call.account.clone(),
        created: call.gateway.options.clock.now(),
        description: call.optional("Description", 1000)?.map(str::to_owned),
        max_session_s: max_session(call)?.unwrap_or(3600),
        trust,
        boundary: call.optional("PermissionsBoundary", 2048)?.map(str::to_owned),
        tags: tags(call, &BTreeMap::new())?,
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        name,
    };
    let key = key(&call.account, &role.name);
    if !ROLES.create(&call.gateway.options.store, &key, &role).await? {
        return Err(error::exists(&role.name));
    }
    Ok(call.answer(|xml| {
        xml.element("Role", |xml| write(xml, &role, Shown::Whole));
    }))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let role = call.role().await?;
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
    call.change(|role| {
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
    call.change(|role| {
        trust.clone_into(&mut role.trust);
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = &call.role().await?.name;
    let unused = |role: &Role| match (role.attached.is_empty(), role.inline.is_empty()) {
        (false, _) => Err(error::in_use("Cannot delete entity, must detach all policies first.")),
        (_, false) => Err(error::in_use("Cannot delete entity, must delete policies first.")),
        _ => Ok(()),
    };
    // Written first, so that there is no moment at which functions of the role have more than it.
    FORMER_ROLES.create(&call.gateway.options.store, &key(&call.account, name), &()).await?;
    match ROLES.delete(&call.gateway.options.store, &key(&call.account, name), unused).await? {
        true => Ok(call.done()),
        false => Err(error::no_role(name)),
    }
}

pub async fn tag(call: &Call<'_>) -> Result<Response, Error> {
    call.change(|role| {
        role.tags = tags(call, &role.tags)?;
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn untag(call: &Call<'_>) -> Result<Response, Error> {
    let key = |number| call.parameters.get(&format!("TagKeys.member.{number}"));
    call.change(|role| {
        for gone in (1..=50).map_while(key) {
            role.tags.remove(gone);
        }
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn list_tags(call: &Call<'_>) -> Result<Response, Error> {
    let role = call.role().await?;
    Ok(call.answer(|xml| {
        write_tags(xml, &role.tags);
        end_of_page(xml, None);
    }))
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
        write_tags(xml, &role.tags);
    }
    xml.element("RoleLastUsed", |_| ());
}

fn write_tags(xml: &mut Xml, tags: &BTreeMap<String, String>) {
    xml.element("Tags", |xml| {
        for (key, value) in tags {
            xml.element("member", |xml| {
                xml.text("Key", key).text("Value", value);
            });
        }
    });
}

fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn path(call: &Call<'_>, parameter: &str) -> Result<String, Error> {
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

fn tags(call: &Call<'_>, before: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    let mut tags = before.clone();
    for [key, value] in call.parameters.members("Tags", ["Key", "Value"]) {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(error::validation("A tag's key has 1 to 128 characters, its value at most 256."));
        }
        tags.insert(key, value);
    }
    if tags.len() > call.gateway.options.limits.tags {
        return Err(error::limit(format!("Cannot exceed quota for TagsPerRole: {}", call.gateway.options.limits.tags)));
    }
    Ok(tags)
}
