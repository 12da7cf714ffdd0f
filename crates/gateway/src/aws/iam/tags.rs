//! Tags of roles, users and policies.

use super::{Call, error, identity::Identity, roles::end_of_page};
use crate::aws::{Error, Response, xml::Xml};
use std::collections::BTreeMap;

pub async fn tag<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    call.change(|identity: &mut I| {
        *identity.tags() = of(call, identity.tags())?;
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn untag<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let gone = call.parameters.texts("TagKeys");
    call.change(|identity: &mut I| {
        identity.tags().retain(|key, _| !gone.contains(key));
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn list<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let mut identity = call.identity::<I>().await?;
    Ok(call.answer(|xml| {
        write(xml, identity.tags());
        end_of_page(xml, None);
    }))
}

pub fn write(xml: &mut Xml, tags: &BTreeMap<String, String>) {
    xml.element("Tags", |xml| {
        for (key, value) in tags {
            xml.element("member", |xml| {
                xml.text("Key", key).text("Value", value);
            });
        }
    });
}

/// Those of before, and those of the request.
pub fn of(call: &Call<'_>, before: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    let mut tags = before.clone();
    for [key, value] in call.parameters.members("Tags", ["Key", "Value"]) {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(error::validation("A tag's key has 1 to 128 characters, its value at most 256."));
        }
        tags.insert(key, value);
    }
    if tags.len() > call.gateway.options.limits.tags {
        return Err(error::limit(format!("Cannot exceed quota for Tags: {}", call.gateway.options.limits.tags)));
    }
    Ok(tags)
}
