//! Inline policies of roles, users and groups, managed ones that are attached to them, and the boundaries of roles and users.

use super::{
    Call, document,
    document::Kind,
    error,
    identity::Identity,
    managed_policies,
    roles::{DOCUMENT_LENGTH_MAX, encoded, end_of_page},
};
use crate::aws::{Error, Response};

pub async fn put<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("PolicyName", 128)?;
    let text = call.required("PolicyDocument", DOCUMENT_LENGTH_MAX)?;
    document::check(text, Kind::Identity)?;
    call.change(|identity: &mut I| {
        identity.inline().insert(name.to_owned(), text.to_owned());
        let solid = |text: &String| text.chars().filter(|character| !character.is_whitespace()).count();
        if identity.inline().values().map(solid).sum::<usize>() > I::INLINE_LENGTH_MAX {
            let (most, kind) = (I::INLINE_LENGTH_MAX, I::KIND);
            let message = format!("Maximum policy size of {most} bytes exceeded for {kind} {}", identity.name());
            return Err(error::limit(message));
        }
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn get<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("PolicyName", 128)?;
    let mut identity = call.identity::<I>().await?;
    let text = identity.inline().remove(name).ok_or_else(|| no_policy(I::KIND, name))?;
    Ok(call.answer(|xml| {
        xml.text(I::PARAMETER, identity.name()).text("PolicyName", name).text("PolicyDocument", encoded(&text));
    }))
}

pub async fn list<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let mut identity = call.identity::<I>().await?;
    let (page, next) = call.page(identity.inline().keys().cloned().collect(), String::clone)?;
    Ok(call.answer(|xml| {
        xml.element("PolicyNames", |xml| {
            page.iter().for_each(|name| {
                xml.text("member", name);
            })
        });
        end_of_page(xml, next);
    }))
}

pub async fn delete<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("PolicyName", 128)?;
    call.change(|identity: &mut I| identity.inline().remove(name).map(drop).ok_or_else(|| no_policy(I::KIND, name)))
        .await?;
    Ok(call.done())
}

pub async fn attach<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let arn = policy_arn(call)?;
    managed_policies::check_attachable(call, arn).await?;
    call.change(|identity: &mut I| {
        identity.attached().insert(arn.to_owned());
        match identity.attached().len() > I::ATTACHED_MAX {
            true => {
                let kind = I::PARAMETER.trim_end_matches("Name");
                Err(error::limit(format!("Cannot exceed quota for PoliciesPer{kind}: {}", I::ATTACHED_MAX)))
            }
            false => Ok(()),
        }
    })
    .await?;
    Ok(call.done())
}

pub async fn detach<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let arn = policy_arn(call)?;
    call.change(|identity: &mut I| match identity.attached().remove(arn) {
        true => Ok(()),
        false => Err(error::no_such(format!("Policy {arn} was not found."))),
    })
    .await?;
    Ok(call.done())
}

pub async fn list_attached<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let mut identity = call.identity::<I>().await?;
    let (page, next) = call.page(identity.attached().iter().cloned().collect(), String::clone)?;
    Ok(call.answer(|xml| {
        xml.element("AttachedPolicies", |xml| {
            for arn in &page {
                let name = arn.rsplit('/').next().unwrap_or_default();
                xml.element("member", |xml| {
                    xml.text("PolicyName", name).text("PolicyArn", arn);
                });
            }
        });
        end_of_page(xml, next);
    }))
}

pub async fn put_boundary<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    let arn = call.required("PermissionsBoundary", 2048)?;
    managed_policies::check_attachable(call, arn).await?;
    call.change(|identity: &mut I| {
        *identity.boundary() = Some(arn.to_owned());
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn delete_boundary<I: Identity>(call: &Call<'_>) -> Result<Response, Error> {
    call.change(|identity: &mut I| {
        *identity.boundary() = None;
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub fn policy_arn<'a>(call: &'a Call<'_>) -> Result<&'a str, Error> {
    let arn = call.required("PolicyArn", 2048)?;
    let is_policy = arn.starts_with("arn:") && arn.contains(":policy/") && !arn.ends_with('/');
    if is_policy { Ok(arn) } else { Err(Error::bad_request("InvalidInput", format!("ARN {arn} is not valid."))) }
}

fn no_policy(kind: &str, name: &str) -> Error {
    error::no_such(format!("The {kind} policy with name {name} cannot be found."))
}
