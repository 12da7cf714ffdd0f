//! CreateGroup and its siblings, and who is in a group.

use super::{
    Call, error,
    identity::has_no_policies,
    roles::{end_of_page, path, timestamp},
    users,
};
use crate::{
    aws::{Error, Response, xml::Xml},
    identities::{GROUPS, Group, USERS, User, new_id},
    roles::key,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most groups of a user, AWS's.
const GROUPS_MAX: usize = 10;

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("GroupName", 128)?.to_owned();
    let path = path(call, "Path")?;
    call.authorise(&format!("arn:aws:iam::{}:group{path}{name}", call.account))?;
    let group = Group {
        id: new_id("AGPA"),
        path,
        account: call.account.clone(),
        created: call.gateway.options.clock.now(),
        tags: BTreeMap::new(),
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        boundary: None,
        name,
    };
    if !GROUPS.create(&call.gateway.options.store, &key(&call.account, &group.name), &group).await? {
        return Err(error::exists("Group", &group.name));
    }
    Ok(call.answer(|xml| {
        xml.element("Group", |xml| write(xml, &group));
    }))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let group = call.identity::<Group>().await?;
    let (page, next) = call.page(members(call, &group.name).await?, |user| user.name.to_ascii_lowercase())?;
    Ok(call.answer(|xml| {
        xml.element("Group", |xml| write(xml, &group)).element("Users", |xml| {
            for user in &page {
                xml.element("member", |xml| users::write(xml, user, false));
            }
        });
        end_of_page(xml, next);
    }))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    call.authorise("*")?;
    let prefix = call.optional("PathPrefix", 512)?.unwrap_or("/");
    let all = call.all::<Group>().await?.into_iter().filter(|group| group.path.starts_with(prefix)).collect();
    shown(call, all)
}

pub async fn list_for_user(call: &Call<'_>) -> Result<Response, Error> {
    let user = call.identity::<User>().await?;
    let all = call.all::<Group>().await?.into_iter().filter(|group| user.groups.contains(&group.name)).collect();
    shown(call, all)
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.identity::<Group>().await?.name;
    if !members(call, &name).await?.is_empty() {
        return Err(error::in_use("Cannot delete entity, must remove users from group first."));
    }
    let unused = |group: &Group| has_no_policies(&mut group.clone());
    match GROUPS.delete(&call.gateway.options.store, &key(&call.account, &name), unused).await? {
        true => Ok(call.done()),
        false => Err(error::no_identity("group", &name)),
    }
}

pub async fn add_user(call: &Call<'_>) -> Result<Response, Error> {
    let group = call.identity::<Group>().await?.name;
    change_user(call, |user| {
        user.groups.insert(group.clone());
        match user.groups.len() > GROUPS_MAX {
            true => Err(error::limit(format!("Cannot exceed quota for GroupsPerUser: {GROUPS_MAX}"))),
            false => Ok(()),
        }
    })
    .await
}

pub async fn remove_user(call: &Call<'_>) -> Result<Response, Error> {
    let group = call.identity::<Group>().await?.name;
    change_user(call, |user| {
        user.groups.remove(&group);
        Ok(())
    })
    .await
}

/// The request is authorised for the group, as AWS has it.
async fn change_user(call: &Call<'_>, change: impl FnMut(&mut User) -> Result<(), Error>) -> Result<Response, Error> {
    let name = call.name("UserName", 64)?;
    let changed = USERS.change(&call.gateway.options.store, &key(&call.account, name), change).await?;
    changed.map(|_| call.done()).ok_or_else(|| error::no_identity("user", name))
}

async fn members(call: &Call<'_>, group: &str) -> Result<Vec<User>, Error> {
    Ok(call.all::<User>().await?.into_iter().filter(|user| user.groups.contains(group)).collect())
}

fn shown(call: &Call<'_>, all: Vec<Group>) -> Result<Response, Error> {
    let (page, next) = call.page(all, |group| group.name.to_ascii_lowercase())?;
    Ok(call.answer(|xml| {
        xml.element("Groups", |xml| {
            for group in &page {
                xml.element("member", |xml| write(xml, group));
            }
        });
        end_of_page(xml, next);
    }))
}

fn write(xml: &mut Xml, group: &Group) {
    xml.text("Path", &group.path)
        .text("GroupName", &group.name)
        .text("GroupId", &group.id)
        .text("Arn", group.arn())
        .text("CreateDate", timestamp(group.created));
}
