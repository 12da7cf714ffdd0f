//! Users, groups and managed policies as they are kept: what `aws/iam` changes and `rights` reads. Roles are in `roles`.
//!
//! | table | key | value |
//! |---|---|---|
//! | `iam_users` | `ACCOUNT/name in lower case` | [`User`] as JSON |
//! | `iam_groups` | `ACCOUNT/name in lower case` | [`Group`] as JSON |
//! | `iam_policies` | `ACCOUNT/name in lower case` | [`ManagedPolicy`] as JSON |
//! | `iam_access_keys` | the key's id | [`KeyOwner`] as JSON |

use crate::rows::Table;
use dayfly_types::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The table of users.
pub const USERS: Table = Table("iam_users");
/// The table of groups.
pub const GROUPS: Table = Table("iam_groups");
/// The table of the account's own managed policies.
pub const POLICIES: Table = Table("iam_policies");
/// The table that tells whose key an id is.
pub const ACCESS_KEYS: Table = Table("iam_access_keys");

/// A user, with everything that is attached to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// `AIDA` and 17 letters and digits.
    pub id: String,
    pub name: String,
    pub path: String,
    pub account: AccountId,
    pub created: Timestamp,
    pub tags: BTreeMap<String, String>,
    pub inline: BTreeMap<String, String>,
    pub attached: BTreeSet<String>,
    pub boundary: Option<String>,
    /// Names of its groups.
    pub groups: BTreeSet<String>,
    /// By id. The secrets are kept nowhere: see `SessionIssuer::secret_of_key`.
    pub keys: BTreeMap<String, AccessKey>,
}

/// A key of a user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessKey {
    pub created: Timestamp,
    pub active: bool,
}

/// Whose a key is. The user's own row says whether it still has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyOwner {
    pub account: AccountId,
    pub user: String,
}

/// A group of users.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    /// `AGPA` and 17 letters and digits.
    pub id: String,
    pub name: String,
    pub path: String,
    pub account: AccountId,
    pub created: Timestamp,
    /// AWS has none for groups; here so that all identities are alike.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub inline: BTreeMap<String, String>,
    pub attached: BTreeSet<String>,
    /// The same.
    #[serde(default)]
    pub boundary: Option<String>,
}

/// A managed policy of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManagedPolicy {
    /// `ANPA` and 17 letters and digits.
    pub id: String,
    pub name: String,
    pub path: String,
    pub account: AccountId,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub description: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// By number; never empty.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The version that counts.
    pub default: u32,
    /// The last number that was given.
    pub latest: u32,
}

/// A version of a managed policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyVersion {
    pub document: String,
    pub created: Timestamp,
}

impl User {
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:user{}{}", self.account, self.path, self.name)
    }
}

impl Group {
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:group{}{}", self.account, self.path, self.name)
    }
}

impl ManagedPolicy {
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:policy{}{}", self.account, self.path, self.name)
    }

    /// The document of the version that counts.
    pub fn document(&self) -> &str {
        self.versions.get(&self.default).map_or("", |version| version.document.as_str())
    }
}

/// The name in the ARN of a policy of `account`.
pub fn policy_in_arn<'a>(arn: &'a str, account: &AccountId) -> Option<&'a str> {
    let rest = arn.strip_prefix("arn:aws:iam::")?.strip_prefix(account.as_str())?.strip_prefix(":policy/")?;
    rest.rsplit('/').next().filter(|name| !name.is_empty())
}

/// A unique id: `prefix` and 17 letters and digits.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", &uuid::Uuid::new_v4().simple().to_string().to_uppercase()[..17])
}
