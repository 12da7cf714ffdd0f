//! CreateUser and its siblings.

use super::{
    Call, error,
    identity::has_no_policies,
    managed_policies,
    roles::{end_of_page, path, timestamp},
    tags,
};
use crate::{
    aws::{Error, Response, xml::Xml},
    identities::{USERS, User, new_id},
    roles::key,
};
use std::collections::{BTreeMap, BTreeSet};

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("UserName", 64)?.to_owned();
    let path = path(call, "Path")?;
    call.authorise(&format!("arn:aws:iam::{}:user{path}{name}", call.account))?;
    let boundary = call.optional("PermissionsBoundary", 2048)?;
    if let Some(arn) = boundary {
        managed_policies::check_attachable(call, arn).await?;
    }
    let user = User {
        id: new_id("AIDA"),
        path,
        account: call.account.clone(),
        created: call.gateway.options.clock.now(),
        tags: tags::of(call, &BTreeMap::new())?,
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        boundary: boundary.map(str::to_owned),
        groups: BTreeSet::new(),
        keys: BTreeMap::new(),
        name,
    };
    if !USERS.create(&call.gateway.options.store, &key(&call.account, &user.name), &user).await? {
        return Err(error::exists("User", &user.name));
    }
    Ok(call.answer(|xml| {
        xml.element("User", |xml| write(xml, &user, true));
    }))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let user = call.identity::<User>().await?;
    Ok(call.answer(|xml| {
        xml.element("User", |xml| write(xml, &user, true));
    }))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    call.authorise("*")?;
    let prefix = call.optional("PathPrefix", 512)?.unwrap_or("/");
    let all = call.all::<User>().await?.into_iter().filter(|user| user.path.starts_with(prefix)).collect();
    let (page, next) = call.page(all, |user: &User| user.name.to_ascii_lowercase())?;
    Ok(call.answer(|xml| {
        xml.element("Users", |xml| {
            for user in &page {
                xml.element("member", |xml| write(xml, user, false));
            }
        });
        end_of_page(xml, next);
    }))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.identity::<User>().await?.name;
    let unused = |user: &User| {
        has_no_policies(&mut user.clone())?;
        match (user.keys.is_empty(), user.groups.is_empty()) {
            (false, _) => Err(error::in_use("Cannot delete entity, must delete access keys first.")),
            (_, false) => Err(error::in_use("Cannot delete entity, must remove users from group first.")),
            _ => Ok(()),
        }
    };
    match USERS.delete(&call.gateway.options.store, &key(&call.account, &name), unused).await? {
        true => Ok(call.done()),
        false => Err(error::no_identity("user", &name)),
    }
}

/// Lists leave out what AWS leaves out of them.
pub fn write(xml: &mut Xml, user: &User, whole: bool) {
    xml.text("Path", &user.path)
        .text("UserName", &user.name)
        .text("UserId", &user.id)
        .text("Arn", user.arn())
        .text("CreateDate", timestamp(user.created));
    if !whole {
        return;
    }
    if let Some(boundary) = &user.boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "Policy").text("PermissionsBoundaryArn", boundary);
        });
    }
    if !user.tags.is_empty() {
        tags::write(xml, &user.tags);
    }
}
