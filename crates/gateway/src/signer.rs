//! Who a request claims to be signed by: whose key it is, before the signature is proven.

use crate::{
    Gateway,
    sigv4::{self, Claim},
};
use dayfly_types::{Region, Timestamp, credentials::Principal};
use thiserror::Error;

/// Who a request claims to be signed by: known here, not yet proven.
pub struct Signer {
    pub claim: Claim,
    pub secret: String,
    pub principal: Principal,
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
}

impl Signer {
    /// The key that `claim` names, when it is known and the request is of now.
    pub fn of(gateway: &Gateway, claim: Claim) -> Result<Self, Refused> {
        let now = gateway.options.clock.now();
        claim.check_time(now)?;
        let (principal, secret) = key(gateway, &claim.access_key_id, claim.session_token.as_deref(), now)?;
        let region = claim
            .region
            .parse()
            .map_err(|_| sigv4::Error::Scope("Credential should be scoped to a valid region.".to_owned()))?;
        Ok(Self { claim, secret, principal, region })
    }
}

/// Whose the key is, and its secret.
pub fn key(
    gateway: &Gateway,
    access_key_id: &str,
    session_token: Option<&str>,
    now: Timestamp,
) -> Result<(Principal, String), Refused> {
    let options = &gateway.options;
    let key = match session_token {
        Some(token) => options.sessions.verify(access_key_id, token, now),
        None if access_key_id == options.root.access_key_id => {
            let root = Principal::Root { account: options.account.clone() };
            Some((root, options.root.secret_access_key.clone()))
        }
        None => None,
    };
    key.ok_or(Refused::UnknownKey)
}
