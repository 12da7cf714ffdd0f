//! Who a request claims to be signed by: whose key it is, before the signature is proven.

use crate::{
    Gateway,
    authorise::Caller,
    identities::{ACCESS_KEYS, KeyOwner, USERS, User},
    rights, roles,
    server::Peer,
    sigv4::{self, Claim},
};
use dayfly_types::{
    Region, Timestamp,
    credentials::Principal,
    policy::{Kind, Policy},
};
use http::request::Parts;
use thiserror::Error;

/// Who a request claims to be signed by: known here, not yet proven.
pub struct Signer {
    pub claim: Claim,
    pub secret: String,
    pub principal: Caller,
    pub region: Region,
}

/// Why nobody can have signed that.
#[derive(Debug, Error)]
pub enum Refused {
    /// The signature.
    #[error(transparent)]
    Signature(#[from] sigv4::Error),
    /// A key that is not known, or a token that is not its.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The server cannot say now.
    #[error("Service encountered an internal error.")]
    Internal,
}

impl Signer {
    /// The key that `claim` names, when it is known and the request is of now.
    pub async fn of(gateway: &Gateway, claim: Claim, parts: &Parts, peer: Peer) -> Result<Self, Refused> {
        let now = gateway.options.clock.now();
        claim.check_time(now)?;
        let (principal, secret) = key(gateway, &claim.access_key_id, claim.session_token.as_deref(), now).await?;
        let principal = principal.asking(gateway, parts, peer, &claim.region);
        let region = claim
            .region
            .parse()
            .map_err(|_| sigv4::Error::Scope("Credential should be scoped to a valid region.".to_owned()))?;
        Ok(Self { claim, secret, principal, region })
    }
}

/// Whose the key is, and its secret.
pub async fn key(
    gateway: &Gateway,
    access_key_id: &str,
    session_token: Option<&str>,
    now: Timestamp,
) -> Result<(Caller, String), Refused> {
    let options = &gateway.options;
    let (principal, secret) = match session_token {
        None if access_key_id == options.root.access_key_id => {
            return Ok((Caller::root(options.account.clone()), options.root.secret_access_key.clone()));
        }
        None => (user(gateway, access_key_id).await?, options.sessions.secret_of_key(access_key_id)),
        Some(token) => options.sessions.verify(access_key_id, token, now).ok_or(Refused::UnknownKey)?,
    };
    let rights = rights::of(gateway, &principal).await.map_err(|_| Refused::Internal)?;
    let session = match &principal {
        // Its text was checked when the session began; what cannot be read allows nothing.
        Principal::AssumedRole { policy: Some(text), .. } => {
            Some(Policy::parse(text, Kind::Identity).unwrap_or_default())
        }
        _ => None,
    };
    Ok((Caller::new(principal, rights, session), secret))
}

/// The user who has this key now.
async fn user(gateway: &Gateway, access_key_id: &str) -> Result<Principal, Refused> {
    let store = &gateway.options.store;
    let internal = |_| Refused::Internal;
    let owner = ACCESS_KEYS.get::<KeyOwner>(store, access_key_id).await.map_err(internal)?;
    let owner = owner.ok_or(Refused::UnknownKey)?.value;
    let user = USERS.get::<User>(store, &roles::key(&owner.account, &owner.user)).await.map_err(internal)?;
    let user = user.ok_or(Refused::UnknownKey)?.value;
    match user.keys.get(access_key_id) {
        Some(key) if key.active => {
            Ok(Principal::User { account: user.account, name: user.name, path: user.path, id: user.id })
        }
        _ => Err(Refused::UnknownKey),
    }
}
