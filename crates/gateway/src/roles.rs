//! Roles and their policies as they are kept: what `aws/iam` changes, and what `rights` reads.
//!
//! | table | key | value |
//! |---|---|---|
//! | `iam_roles` | `ACCOUNT/name in lower case` | [`Role`] as JSON |

use crate::{aws::Error, rows::Table};
use dayfly_store::Store;
use dayfly_types::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// All roles.
pub const ROLES: Table = Table("iam_roles");

/// Roles that were deleted: their names leave functions no rights.
pub const FORMER_ROLES: Table = Table("iam_former_roles");

/// A role, with everything that is attached to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Role {
    /// `AROA` and 17 letters and digits.
    pub id: String,
    /// As it was given; unique without regard to case.
    pub name: String,
    /// `/`, or `/…/`.
    pub path: String,
    pub account: AccountId,
    pub created: Timestamp,
    pub description: Option<String>,
    pub max_session_s: u32,
    /// Who may take the role on: the document as it was given.
    pub trust: String,
    pub boundary: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// Inline policies: documents by name.
    pub inline: BTreeMap<String, String>,
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
}

impl Role {
    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:role{}{}", self.account, self.path, self.name)
    }
}

/// The role with this ARN.
pub async fn find(store: &Store, account: &AccountId, arn: &str) -> Result<Option<Role>, Error> {
    let Some(name) = name_in_arn(arn, account) else { return Ok(None) };
    let read = ROLES.get::<Role>(store, &key(account, name)).await?;
    Ok(read.map(|read| read.value).filter(|role| role.arn() == arn))
}

/// The name in the ARN of a role of `account`.
pub fn name_in_arn<'a>(arn: &'a str, account: &AccountId) -> Option<&'a str> {
    let rest = arn.strip_prefix("arn:aws:iam::")?.strip_prefix(account.as_str())?.strip_prefix(":role/")?;
    rest.rsplit('/').next().filter(|name| !name.is_empty())
}

/// The key of the role (user, group, policy) that `name` names.
pub fn key(account: &AccountId, name: &str) -> String {
    format!("{account}/{}", name.to_ascii_lowercase())
}
