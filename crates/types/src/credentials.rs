//! Session credentials of an execution role: derived, not stored, so that a boot costs no write.
//!
//! The session token carries who and until when, sealed with HMAC-SHA256 under the server's secret; the secret access
//! key is derived from the token. Whoever holds the server's secret can verify a request without a table.

use crate::{AccountId, Timestamp};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;

/// A key pair, with a token when it is temporary.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Who a request acts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// The account's root user.
    Root {
        /// The account.
        account: AccountId,
    },
    /// A function's execution role, assumed for its instances.
    ExecutionRole {
        /// The account.
        account: AccountId,
        /// ARN of the role, as the function's configuration has it.
        role_arn: String,
        /// Session name: the function's name.
        session: String,
    },
    /// A user that IAM knows.
    User {
        /// The account.
        account: AccountId,
        /// The name, as it was given.
        name: String,
        /// `/`, or `/…/`.
        path: String,
        /// `AIDA…`.
        id: String,
    },
    /// A role that somebody took on with AssumeRole.
    AssumedRole {
        /// The account.
        account: AccountId,
        /// ARN of the role.
        role_arn: String,
        /// `AROA…`.
        role_id: String,
        /// Session name, as it was given.
        session: String,
        /// A policy that the session may not go beyond.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<String>,
    },
}

impl Principal {
    /// The account that the principal belongs to.
    pub fn account(&self) -> &AccountId {
        match self {
            Self::Root { account }
            | Self::ExecutionRole { account, .. }
            | Self::User { account, .. }
            | Self::AssumedRole { account, .. } => account,
        }
    }

    /// Its ARN, as GetCallerIdentity gives it.
    pub fn arn(&self) -> String {
        match self {
            Self::Root { account } => format!("arn:aws:iam::{account}:root"),
            Self::ExecutionRole { account, role_arn, session }
            | Self::AssumedRole { account, role_arn, session, .. } => {
                let role = role_arn.rsplit('/').next().unwrap_or_default();
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
            }
            Self::User { account, name, path, .. } => format!("arn:aws:iam::{account}:user{path}{name}"),
        }
    }

    /// `UserId`, as GetCallerIdentity gives it.
    pub fn id(&self) -> String {
        match self {
            Self::Root { account } => account.to_string(),
            Self::ExecutionRole { session, .. } => format!("AROADAYFLY:{session}"),
            Self::User { id, .. } => id.clone(),
            Self::AssumedRole { role_id, session, .. } => format!("{role_id}:{session}"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    key: String,
    principal: Principal,
    expires_at: Timestamp,
}

/// Issues and verifies session credentials. Holds the server's secret.
#[derive(Clone)]
pub struct SessionIssuer {
    secret: [u8; 32],
}

impl SessionIssuer {
    /// An issuer with the server's 32-byte secret.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// Credentials for `principal` until `expires_at`.
    pub fn issue(&self, principal: &Principal, expires_at: Timestamp) -> Credentials {
        let random = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
        let access_key_id = format!("ASIA{}", &random[..16]);
        let claims = Claims { key: access_key_id.clone(), principal: principal.clone(), expires_at };
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let seal = URL_SAFE_NO_PAD.encode(self.mac(b"seal", body.as_bytes()));
        let session_token = format!("{body}.{seal}");
        Credentials {
            access_key_id,
            secret_access_key: self.secret_for(&session_token),
            session_token: Some(session_token),
        }
    }

    /// The principal and the secret access key behind a key id and token; `None` when the token is forged, expired or
    /// another key's.
    pub fn verify(&self, access_key_id: &str, session_token: &str, now: Timestamp) -> Option<(Principal, String)> {
        let (body, seal) = session_token.split_once('.')?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        self.keyed(b"seal", body.as_bytes()).verify_slice(&seal).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        (claims.key == access_key_id && now < claims.expires_at)
            .then(|| (claims.principal, self.secret_for(session_token)))
    }

    /// The secret access key of a user's key, which is kept nowhere: the server's secret makes it of the key's id.
    pub fn secret_of_key(&self, access_key_id: &str) -> String {
        URL_SAFE_NO_PAD.encode(&self.mac(b"user", access_key_id.as_bytes())[..30])
    }

    fn secret_for(&self, session_token: &str) -> String {
        URL_SAFE_NO_PAD.encode(&self.mac(b"key", session_token.as_bytes())[..30])
    }

    fn mac(&self, label: &[u8], data: &[u8]) -> [u8; 32] {
        self.keyed(label, data).finalize().into_bytes().into()
    }

    fn keyed(&self, label: &[u8], data: &[u8]) -> Hmac<Sha256> {
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(&self.secret) else {
            unreachable!("HMAC takes keys of any length")
        };
        mac.update(label);
        mac.update(b"\0");
        mac.update(data);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_session_verifies_until_it_expires_and_only_unforged() {
        let issuer = SessionIssuer::new([7; 32]);
        let now = Timestamp::now();
        let principal = Principal::Root { account: AccountId::default() };
        let credentials = issuer.issue(&principal, now + Duration::from_secs(60));
        let (key, token) = (credentials.access_key_id.as_str(), credentials.session_token.as_deref().unwrap());
        assert_eq!(issuer.verify(key, token, now), Some((principal, credentials.secret_access_key.clone())));
        assert_eq!(issuer.verify(key, token, now + Duration::from_secs(60)), None);
        assert_eq!(issuer.verify("ASIAOTHER", token, now), None);
        assert_eq!(SessionIssuer::new([8; 32]).verify(key, token, now), None);
        let forged = format!("{}x{}", &token[..4], &token[5..]);
        assert_eq!(issuer.verify(key, &forged, now), None);
    }
}
