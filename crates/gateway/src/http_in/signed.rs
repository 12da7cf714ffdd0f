//! Requests to APIs and function URLs that must be signed.

use super::{Asked, refusal::Refusal};
use crate::{
    authorise::authorise,
    signer::{Refused, Signer},
    sigv4::{self, Claim, Hashed},
};
use sha2::{Digest, Sha256};

/// Who signed a request.
pub struct Caller {
    pub account: String,
    pub access_key_id: String,
    pub arn: String,
    /// As GetCallerIdentity names it.
    pub id: String,
}

/// Who signed the request for `service`, when it may do `action` on `resource`.
pub async fn caller(
    asked: &Asked<'_>,
    body: &[u8],
    service: &str,
    action: &str,
    resource: &str,
) -> Result<Caller, Refusal> {
    let invalid = |message: &str| Refusal::signature("InvalidSignatureException", message);
    let claim = match Claim::read(&asked.parts) {
        Ok(claim) if claim.service == service => claim,
        Ok(_) => {
            return Err(invalid(&format!("Credential should be scoped to correct service: '{service}'.")));
        }
        Err(sigv4::Error::Missing) => return Err(Refusal::missing_token()),
        Err(error) => return Err(Refusal::signature("IncompleteSignatureException", &error.to_string())),
    };
    let signer = Signer::of(asked.gateway, claim, &asked.parts, asked.peer).await.map_err(|refused| match refused {
        Refused::UnknownKey => Refusal::signature("UnrecognizedClientException", &refused.to_string()),
        Refused::Signature(_) | Refused::Internal => invalid(&refused.to_string()),
    })?;
    let sha256: [u8; 32] = Sha256::digest(body).into();
    let Signer { claim, secret, principal, .. } = signer;
    claim.verify(&secret, &asked.parts, Hashed::Body(&sha256)).map_err(|error| invalid(&error.to_string()))?;
    authorise(&principal, action, resource, &asked.gateway.options.account)
        .map_err(|denied| Refusal::signature("AccessDeniedException", &denied.0))?;
    let account = principal.account().to_string();
    let id = principal.id();
    Ok(Caller { account, access_key_id: claim.access_key_id, arn: principal.arn(), id })
}
