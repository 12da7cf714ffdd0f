//! What a principal may do: its policies, read from where `aws/iam` keeps them when its key is known. Never asked for the
//! account's root.
//!
//! What was read is kept until IAM changes anything: the server is the only one that writes these rows.

use crate::{
    Gateway,
    aws::Error,
    identities::{GROUPS, Group, ManagedPolicy, POLICIES, USERS, User},
    managed,
    roles::{self, FORMER_ROLES, ROLES, Role},
};
use dayfly_store::Store;
use dayfly_types::{
    AccountId,
    credentials::Principal,
    policy::{Kind, Policy},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Most principals whose rights are kept.
const KEPT_MAX: usize = 4096;

/// The policies of a principal.
#[derive(Debug, Default, PartialEq)]
pub struct Rights {
    /// Its own, its groups', inline and managed.
    pub policies: Vec<Policy>,
    /// What they may not go beyond.
    pub boundary: Option<Policy>,
    /// The principal's tags, for conditions.
    pub tags: BTreeMap<String, String>,
}

/// `None` for everything.
type Found = Option<Arc<Rights>>;

/// Rights as they were read; shared by all gateways of a server.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Goes up with every change of IAM.
    changes: AtomicU64,
    /// By principal, with the number of changes when they were read.
    kept: Mutex<HashMap<String, (u64, Found)>>,
}

impl Known {
    /// Something was changed: what was read before counts no more.
    pub fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self, key: &str, now: u64) -> Option<Found> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(then, _)| *then == now).map(|(_, rights)| rights.clone())
    }

    fn keep(&self, key: String, then: u64, rights: Found) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, (then, rights));
    }
}

/// What `principal` may do; `None` for everything.
pub async fn of(gateway: &Gateway, principal: &Principal) -> Result<Found, Error> {
    let key = match principal {
        Principal::Root { .. } => return Ok(None),
        Principal::User { account, name, id, .. } => format!("user/{account}/{name}/{id}"),
        Principal::ExecutionRole { role_arn, .. } => format!("function/{role_arn}"),
        Principal::AssumedRole { role_arn, role_id, .. } => format!("role/{role_arn}/{role_id}"),
    };
    let known = &gateway.rights;
    let now = known.0.changes.load(Ordering::SeqCst);
    if let Some(rights) = known.get(&key, now) {
        return Ok(rights);
    }
    let rights = read(&gateway.options.store, principal).await?.map(Arc::new);
    known.keep(key, now, rights.clone());
    Ok(rights)
}

async fn read(store: &Store, principal: &Principal) -> Result<Option<Rights>, Error> {
    match principal {
        Principal::Root { .. } => Ok(None),
        // What was made anew under an old name is another one.
        Principal::User { account, name, id, .. } => {
            let user = USERS.get::<User>(store, &roles::key(account, name)).await?;
            Ok(Some(match user.filter(|user| user.value.id == *id) {
                Some(user) => of_user(store, user.value).await?,
                None => Rights::default(),
            }))
        }
        Principal::ExecutionRole { account, role_arn, .. } => {
            let Some(name) = roles::name_in_arn(role_arn, account) else { return Ok(None) };
            let key = roles::key(account, name);
            match ROLES.get::<Role>(store, &key).await? {
                Some(role) => of_role(store, role.value).await.map(Some),
                // A role that IAM never knew leaves its functions the account's rights; one that was deleted leaves none.
                None => Ok(FORMER_ROLES.get::<()>(store, &key).await?.map(|_| Rights::default())),
            }
        }
        Principal::AssumedRole { account, role_arn, role_id, .. } => {
            let name = roles::name_in_arn(role_arn, account).unwrap_or_default();
            let role = ROLES.get::<Role>(store, &roles::key(account, name)).await?;
            Ok(Some(match role.filter(|role| role.value.id == *role_id) {
                Some(role) => of_role(store, role.value).await?,
                None => Rights::default(),
            }))
        }
    }
}

async fn of_role(store: &Store, role: Role) -> Result<Rights, Error> {
    let mut rights = Rights { tags: role.tags, ..Rights::default() };
    rights.add(store, &role.account, role.inline.values(), role.attached.iter()).await?;
    rights.limit(store, &role.account, role.boundary).await?;
    Ok(rights)
}

async fn of_user(store: &Store, user: User) -> Result<Rights, Error> {
    let mut rights = Rights { tags: user.tags, ..Rights::default() };
    rights.add(store, &user.account, user.inline.values(), user.attached.iter()).await?;
    for name in &user.groups {
        if let Some(group) = GROUPS.get::<Group>(store, &roles::key(&user.account, name)).await? {
            let group = group.value;
            rights.add(store, &user.account, group.inline.values(), group.attached.iter()).await?;
        }
    }
    rights.limit(store, &user.account, user.boundary).await?;
    Ok(rights)
}

impl Rights {
    async fn add(
        &mut self,
        store: &Store,
        account: &AccountId,
        inline: impl Iterator<Item = &String>,
        attached: impl Iterator<Item = &String>,
    ) -> Result<(), Error> {
        self.policies.extend(inline.map(|text| parsed(text)));
        for arn in attached {
            self.policies.extend(managed(store, account, arn).await?);
        }
        Ok(())
    }

    async fn limit(&mut self, store: &Store, account: &AccountId, boundary: Option<String>) -> Result<(), Error> {
        if let Some(arn) = boundary {
            // One that is not known lets nothing through.
            self.boundary = Some(managed(store, account, &arn).await?.unwrap_or_default());
        }
        Ok(())
    }
}

/// The policy that a managed policy's default version is.
async fn managed(store: &Store, account: &AccountId, arn: &str) -> Result<Option<Policy>, Error> {
    if let Some(document) = managed::document(arn) {
        return Ok(Some(parsed(&document)));
    }
    let Some(name) = crate::identities::policy_in_arn(arn, account) else { return Ok(None) };
    let policy = POLICIES.get::<ManagedPolicy>(store, &roles::key(account, name)).await?;
    Ok(policy.filter(|policy| policy.value.arn() == arn).map(|policy| parsed(policy.value.document())))
}

/// A document that was checked when it was kept. One that an older server kept and that cannot be read now allows
/// nothing, and denies everything, so that no denial in it is lost.
fn parsed(text: &str) -> Policy {
    Policy::parse(text, Kind::Identity).unwrap_or_else(|error| {
        tracing::warn!(%error, "a policy that is kept cannot be read: it denies everything");
        Policy::denies_everything()
    })
}
