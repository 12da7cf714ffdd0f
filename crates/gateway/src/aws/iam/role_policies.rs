//! Inline policies of roles, and managed ones that are attached to them.

use super::{
    Call, document,
    document::Kind,
    error,
    roles::{DOCUMENT_LENGTH_MAX, encoded, end_of_page},
};
use crate::aws::{Error, Response};

/// Characters of all inline policies of a role, without white space.
const INLINE_LENGTH_MAX: usize = 10_240;
const ATTACHED_MAX: usize = 20;

pub async fn put(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("PolicyName", 128)?;
    let text = call.required("PolicyDocument", DOCUMENT_LENGTH_MAX)?;
    document::check(text, Kind::Identity)?;
    call.change(|role| {
        role.inline.insert(name.to_owned(), text.to_owned());
        let solid = |text: &String| text.chars().filter(|character| !character.is_whitespace()).count();
        if role.inline.values().map(solid).sum::<usize>() > INLINE_LENGTH_MAX {
            let message = format!("Maximum policy size of {INLINE_LENGTH_MAX} bytes exceeded for role {}", role.name);
            return Err(error::limit(message));
        }
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("PolicyName", 128)?;
    let role = call.role().await?;
    let text = role.inline.get(name).ok_or_else(|| no_policy(name))?;
    Ok(call.answer(|xml| {
        xml.text("RoleName", &role.name).text("PolicyName", name).text("PolicyDocument", encoded(text));
    }))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let role = call.role().await?;
    let (page, next) = call.page(role.inline.into_keys().collect(), String::clone)?;
    Ok(call.answer(|xml| {
        xml.element("PolicyNames", |xml| {
            page.iter().for_each(|name| {
                xml.text("member", name);
            })
        });
        end_of_page(xml, next);
    }))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("PolicyName", 128)?;
    call.change(|role| role.inline.remove(name).map(drop).ok_or_else(|| no_policy(name))).await?;
    Ok(call.done())
}

pub async fn attach(call: &Call<'_>) -> Result<Response, Error> {
    let arn = policy_arn(call)?;
    // Policies of an account's own cannot be made yet, and AWS's are not listed here.
    if !arn.starts_with("arn:aws:iam::aws:policy/") {
        return Err(error::no_such(format!("Policy {arn} does not exist or is not attachable.")));
    }
    call.change(|role| {
        role.attached.insert(arn.to_owned());
        match role.attached.len() > ATTACHED_MAX {
            true => Err(error::limit(format!("Cannot exceed quota for PoliciesPerRole: {ATTACHED_MAX}"))),
            false => Ok(()),
        }
    })
    .await?;
    Ok(call.done())
}

pub async fn detach(call: &Call<'_>) -> Result<Response, Error> {
    let arn = policy_arn(call)?;
    call.change(|role| match role.attached.remove(arn) {
        true => Ok(()),
        false => Err(error::no_such(format!("Policy {arn} was not found."))),
    })
    .await?;
    Ok(call.done())
}

pub async fn list_attached(call: &Call<'_>) -> Result<Response, Error> {
    let role = call.role().await?;
    let (page, next) = call.page(role.attached.into_iter().collect(), String::clone)?;
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

fn policy_arn<'a>(call: &'a Call<'_>) -> Result<&'a str, Error> {
    let arn = call.required("PolicyArn", 2048)?;
    let is_policy = arn.starts_with("arn:") && arn.contains(":policy/") && !arn.ends_with('/');
    if is_policy { Ok(arn) } else { Err(Error::bad_request("InvalidInput", format!("ARN {arn} is not valid."))) }
}

fn no_policy(name: &str) -> Error {
    error::no_such(format!("The role policy with name {name} cannot be found."))
}
