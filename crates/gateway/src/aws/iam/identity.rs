//! What roles, users and groups have in common: a name, an ARN, inline policies and attached ones.

use super::{Call, error};
use crate::{
    aws::Error,
    identities::{GROUPS, Group, USERS, User},
    roles::{ROLES, Role, key},
    rows::Table,
};
use dayfly_types::credentials::Principal;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};

/// One of them.
pub trait Identity: DeserializeOwned + Serialize + Send {
    /// Where they are kept.
    const TABLE: Table;
    /// The parameter that names one.
    const PARAMETER: &'static str;
    /// What it is, in ARNs and messages.
    const KIND: &'static str;
    /// Most characters of a name.
    const NAME_MAX: usize;
    /// Characters of all inline policies, without white space.
    const INLINE_LENGTH_MAX: usize;
    /// Most attached policies.
    const ATTACHED_MAX: usize;

    fn name(&self) -> &str;
    fn arn(&self) -> String;
    fn inline(&mut self) -> &mut BTreeMap<String, String>;
    fn attached(&mut self) -> &mut BTreeSet<String>;
    /// Tags, of those that have some.
    fn tags(&mut self) -> &mut BTreeMap<String, String>;
    /// The boundary, of those that have one.
    fn boundary(&mut self) -> &mut Option<String>;
}

macro_rules! identity {
    ($type:ty, $table:expr, $parameter:literal, $kind:literal, $name:literal, $inline:literal, $attached:literal) => {
        impl Identity for $type {
            const TABLE: Table = $table;
            const PARAMETER: &'static str = $parameter;
            const KIND: &'static str = $kind;
            const NAME_MAX: usize = $name;
            const INLINE_LENGTH_MAX: usize = $inline;
            const ATTACHED_MAX: usize = $attached;

            fn name(&self) -> &str {
                &self.name
            }
            fn arn(&self) -> String {
                Self::arn(self)
            }
            fn inline(&mut self) -> &mut BTreeMap<String, String> {
                &mut self.inline
            }
            fn attached(&mut self) -> &mut BTreeSet<String> {
                &mut self.attached
            }
            fn tags(&mut self) -> &mut BTreeMap<String, String> {
                &mut self.tags
            }
            fn boundary(&mut self) -> &mut Option<String> {
                &mut self.boundary
            }
        }
    };
}
identity!(Role, ROLES, "RoleName", "role", 64, 10_240, 20);
identity!(User, USERS, "UserName", "user", 64, 2_048, 20);
identity!(Group, GROUPS, "GroupName", "group", 128, 5_120, 20);

impl Call<'_> {
    /// The name that the request gives, or else the user who asks.
    pub fn name_of<I: Identity>(&self) -> Result<&str, Error> {
        match &*self.request.principal {
            Principal::User { name, .. } if I::KIND == "user" && self.parameters.get("UserName").is_none() => Ok(name),
            _ => self.name(I::PARAMETER, I::NAME_MAX),
        }
    }

    /// The one that the request names and may work on.
    pub async fn identity<I: Identity>(&self) -> Result<I, Error> {
        let name = self.name_of::<I>()?;
        let read = I::TABLE.get::<I>(&self.gateway.options.store, &key(&self.account, name)).await?;
        let read = read.map(|read| read.value);
        let unknown = || format!("arn:aws:iam::{}:{}/{name}", self.account, I::KIND);
        self.authorise(&read.as_ref().map_or_else(unknown, I::arn))?;
        read.ok_or_else(|| error::no_identity(I::KIND, name))
    }

    /// Changes the one that the request names.
    pub async fn change<I: Identity, R>(
        &self,
        change: impl FnMut(&mut I) -> Result<R, Error>,
    ) -> Result<(I, R), Error> {
        let name = self.identity::<I>().await?.name().to_owned();
        let changed = I::TABLE.change(&self.gateway.options.store, &key(&self.account, &name), change).await?;
        changed.ok_or_else(|| error::no_identity(I::KIND, &name))
    }

    /// All of the account, in order of name.
    pub async fn all<I: Identity>(&self) -> Result<Vec<I>, Error> {
        I::TABLE.all(&self.gateway.options.store, &format!("{}/", self.account)).await
    }
}

/// Refuses to delete what still has policies.
pub fn has_no_policies<I: Identity>(identity: &mut I) -> Result<(), Error> {
    match (identity.attached().is_empty(), identity.inline().is_empty()) {
        (false, _) => Err(error::in_use("Cannot delete entity, must detach all policies first.")),
        (_, false) => Err(error::in_use("Cannot delete entity, must delete policies first.")),
        _ => Ok(()),
    }
}
