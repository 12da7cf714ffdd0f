//! CreateAccessKey and its siblings.

use super::{
    Call, error,
    roles::{end_of_page, timestamp},
};
use crate::{
    aws::{Error, Response},
    identities::{ACCESS_KEYS, AccessKey, KeyOwner, User},
};

/// Most keys of a user, AWS's.
const KEYS_MAX: usize = 2;

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let user = call.identity::<User>().await?;
    let store = &call.gateway.options.store;
    let id = format!("AKIA{}", &uuid::Uuid::new_v4().simple().to_string().to_uppercase()[..16]);
    let owner = KeyOwner { account: call.account.clone(), user: user.name };
    if !ACCESS_KEYS.create(store, &id, &owner).await? {
        return Err(Error::internal("two access keys have one id"));
    }
    let key = AccessKey { created: call.gateway.options.clock.now(), active: true };
    let changed = call.change(|user: &mut User| {
        user.keys.insert(id.clone(), key.clone());
        match user.keys.len() > KEYS_MAX {
            true => Err(error::limit(format!("Cannot exceed quota for AccessKeysPerUser: {KEYS_MAX}"))),
            false => Ok(()),
        }
    });
    let (user, ()) = match changed.await {
        Ok(changed) => changed,
        Err(error) => {
            ACCESS_KEYS.delete::<KeyOwner>(store, &id, |_| Ok(())).await?;
            return Err(error);
        }
    };
    let secret = call.gateway.options.sessions.secret_of_key(&id);
    Ok(call.answer(|xml| {
        xml.element("AccessKey", |xml| {
            xml.text("UserName", &user.name)
                .text("AccessKeyId", &id)
                .text("Status", status(true))
                .text("SecretAccessKey", secret)
                .text("CreateDate", timestamp(key.created));
        });
    }))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let user = call.identity::<User>().await?;
    Ok(call.answer(|xml| {
        xml.text("UserName", &user.name).element("AccessKeyMetadata", |xml| {
            for (id, key) in &user.keys {
                xml.element("member", |xml| {
                    xml.text("UserName", &user.name)
                        .text("AccessKeyId", id)
                        .text("Status", status(key.active))
                        .text("CreateDate", timestamp(key.created));
                });
            }
        });
        end_of_page(xml, None);
    }))
}

pub async fn update(call: &Call<'_>) -> Result<Response, Error> {
    let id = call.required("AccessKeyId", 128)?;
    let active = match call.required("Status", 16)? {
        "Active" => true,
        "Inactive" => false,
        _ => return Err(error::validation("Status must be Active or Inactive.")),
    };
    call.change(|user: &mut User| user.keys.get_mut(id).map(|key| key.active = active).ok_or_else(|| no_key(id)))
        .await?;
    Ok(call.done())
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let id = call.required("AccessKeyId", 128)?;
    call.change(|user: &mut User| user.keys.remove(id).map(drop).ok_or_else(|| no_key(id))).await?;
    ACCESS_KEYS.delete::<KeyOwner>(&call.gateway.options.store, id, |_| Ok(())).await?;
    Ok(call.done())
}

fn status(active: bool) -> &'static str {
    if active { "Active" } else { "Inactive" }
}

fn no_key(id: &str) -> Error {
    error::no_such(format!("The Access Key with id {id} cannot be found."))
}
