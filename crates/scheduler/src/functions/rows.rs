//! How functions lie in the store, and the one place that writes them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `functions` | `ACCOUNT/REGION/NAME` | [`Stored`] as JSON |
//! | `function_versions` | `ACCOUNT/REGION/NAME/` and the number, 20 digits | the published version's configuration as JSON |
//! | `function_totals` | `ACCOUNT/REGION` | [`Totals`] as JSON |
//! | `functions_provisioned` | `ACCOUNT/REGION/NAME` | nothing: the function has provisioned concurrency |
//! | `function_urls` | id of the URL | ARN of its function, as text |
//!
//! A function uses its packages as `ACCOUNT/REGION/NAME`, a version as `ACCOUNT/REGION/NAME/NUMBER` (see
//! `dayfly_store::shared`). A function, its versions, the totals and the uses of its code change in one commit, so they
//! cannot disagree. Each change of a version changes the function's row too, which is what caches look at.

use super::{Error, EventInvoke, Provisioned};
use bytes::Bytes;
use dayfly_store::{Batch, Error as StoreError, Precondition, Row, Store, shared};
use dayfly_types::{
    AccountId, CodeReference, FunctionArn, FunctionConfiguration, FunctionUrl, FunctionUrlId, Limits, Qualifier,
    Region, ResourcePolicy,
    function::{LastUpdate, State},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

const VERSIONS: &str = "function_versions";
const URLS: &str = "function_urls";
const PROVISIONED: &str = "functions_provisioned";
pub(super) const FUNCTIONS: &str = "functions";
/// Calls at a time that reservations leave to all other functions.
const UNRESERVED_MIN: u32 = 100;
const TOTALS: &str = "function_totals";
/// Times the totals are tried anew when another server changed them; this server's own writers take turns.
const TRIES: usize = 16;

/// A function as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Tells a function from an earlier one of the same name.
    pub id: Uuid,
    /// What calls run.
    pub function: FunctionConfiguration,
    /// What replaces `function` once its code is ready; shown to readers meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Box<FunctionConfiguration>>,
    /// Who may call it, and where.
    #[serde(default)]
    pub access: Access,
    /// The same of versions and aliases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub qualified_access: BTreeMap<Qualifier, Access>,
    /// What was published of it.
    #[serde(default)]
    pub published: Published,
    /// Its aliases by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, Alias>,
    /// Calls at a time that are kept for it, and that it has at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<u32>,
    /// Instances that are kept ready, by version or alias.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provisioned: BTreeMap<Qualifier, Provisioned>,
    /// What is asked for asynchronous events, by qualifier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub event_invokes: BTreeMap<Qualifier, EventInvoke>,
    /// It may trigger itself without end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loops: bool,
}

/// What is known of a function's versions without reading them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Published {
    /// The greatest number that was given; none is given twice.
    pub last: u64,
    /// Description of `$LATEST` when `last` was published, which may have got another.
    pub description: String,
    /// Bytes of code of all versions.
    pub code_bytes: u64,
    /// The longest timeout that a version ever had.
    pub timeout_s_max: u32,
}

/// A name for one version, or for two that share the calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// The version: a number, or `$LATEST`.
    pub version: Qualifier,
    /// Another version, and the part of the calls that it gets, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<(u64, f64)>,
    /// At most 256 characters.
    pub description: String,
    /// Changes with every update.
    pub revision_id: String,
}

/// A change of one published version, which is written together with its function.
pub(super) enum VersionChange<'a> {
    Made(&'a FunctionConfiguration),
    Gone(&'a FunctionConfiguration),
}

/// Ways to a function for others than its own account's identities.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Access {
    /// Who may call it.
    #[serde(default)]
    pub policy: ResourcePolicy,
    /// Its address, if it has one.
    #[serde(default)]
    pub url: Option<FunctionUrl>,
}

/// A function and the version of its row.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub stored: Stored,
    pub version: u64,
}

/// Counts of an account's functions in one region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    pub functions: u64,
    pub code_bytes: u64,
    /// Calls at a time that are kept for single functions, all together.
    #[serde(default)]
    pub reserved: u32,
}

impl Stored {
    /// A function that has nothing beside its configuration.
    pub(super) fn new(function: FunctionConfiguration) -> Self {
        Self {
            id: Uuid::new_v4(),
            function,
            update: None,
            access: Access::default(),
            qualified_access: BTreeMap::new(),
            published: Published::default(),
            aliases: BTreeMap::new(),
            reserved: None,
            provisioned: BTreeMap::new(),
            event_invokes: BTreeMap::new(),
            loops: false,
        }
    }

    /// Who may call what `qualifier` names, and where.
    pub(super) fn access(&self, qualifier: Option<&Qualifier>) -> Access {
        match qualifier {
            None | Some(Qualifier::Latest) => self.access.clone(),
            Some(qualifier) => self.qualified_access.get(qualifier).cloned().unwrap_or_default(),
        }
    }

    /// Where that is kept.
    pub(super) fn access_mut(&mut self, qualifier: Option<&Qualifier>) -> &mut Access {
        match qualifier {
            None | Some(Qualifier::Latest) => &mut self.access,
            Some(qualifier) => self.qualified_access.entry(qualifier.clone()).or_default(),
        }
    }

    /// What is asked for asynchronous events that are sent to `qualifier`.
    pub(super) fn event_invoke(&self, qualifier: Option<&Qualifier>) -> Option<&EventInvoke> {
        self.event_invokes.get(qualifier.unwrap_or(&Qualifier::Latest))
    }

    /// The instances that are kept ready for calls of `qualifier`.
    pub(super) fn provisioned(&self, qualifier: Option<&Qualifier>) -> Option<(Qualifier, u32)> {
        let (qualifier, provisioned) = self.provisioned.get_key_value(qualifier?)?;
        Some((qualifier.clone(), provisioned.count))
    }

    /// All instances that are kept ready.
    pub(super) fn all_provisioned(&self) -> u32 {
        self.provisioned.values().fold(0, |sum, provisioned| sum.saturating_add(provisioned.count))
    }

    /// Calls at a time that others cannot have.
    fn kept(&self) -> u32 {
        self.reserved.unwrap_or_else(|| self.all_provisioned())
    }

    /// The URLs: their ids, and what they call.
    fn urls(&self) -> BTreeMap<FunctionUrlId, FunctionArn> {
        let arn = self.function.arn.unqualified();
        let all = self.qualified_access.iter().map(|(qualifier, access)| (arn.qualified(qualifier.clone()), access));
        let all = all.chain([(arn.clone(), &self.access)]);
        all.filter_map(|(arn, access)| access.url.as_ref().map(|url| (url.id.clone(), arn))).collect()
    }

    /// What readers see.
    pub(super) fn visible(&self) -> &FunctionConfiguration {
        self.update.as_deref().unwrap_or(&self.function)
    }

    /// Whether its code is being made ready.
    pub(super) fn is_settling(&self) -> bool {
        self.function.state == State::Pending || self.update.is_some()
    }

    /// The configuration whose code is being made ready.
    pub(super) fn settling(&self) -> Option<&FunctionConfiguration> {
        self.is_settling().then(|| self.visible())
    }

    /// The end of settling: the code is ready (`Ok`), or not (`Err` with reason and code).
    pub(super) fn settle(&mut self, outcome: Result<(), (String, String)>) {
        match (self.update.take(), outcome) {
            (None, Ok(())) => self.function.state = State::Active,
            (None, Err((reason, code))) => self.function.state = State::Failed { reason, code },
            (Some(update), Ok(())) => {
                self.function =
                    FunctionConfiguration { state: State::Active, last_update: LastUpdate::Successful, ..*update };
            }
            (Some(_), Err((reason, code))) => self.function.last_update = LastUpdate::Failed { reason, code },
        }
    }

    /// Hashes of the zips that it needs.
    pub(super) fn packages(&self) -> BTreeSet<&str> {
        let functions = [Some(&self.function), self.update.as_deref()].into_iter().flatten();
        functions.flat_map(packages_of).map(|code| code.sha256.as_str()).collect()
    }
}

/// The zips that a function needs: its code, and its layers.
pub(super) fn packages_of(function: &FunctionConfiguration) -> impl Iterator<Item = &CodeReference> {
    std::iter::once(&function.code).chain(function.layers.iter().filter_map(|layer| layer.content.zip()))
}

/// `ACCOUNT/REGION/NAME`; no part can hold a slash.
pub(super) fn key(arn: &FunctionArn) -> String {
    format!("{}/{}/{}", arn.account, arn.region, arn.name)
}

/// The same with the number, so that versions lie in their order.
fn version_key(arn: &FunctionArn, number: u64) -> String {
    format!("{}/{number:020}", key(arn))
}

impl VersionChange<'_> {
    fn add_to(&self, batch: Batch) -> Batch {
        let (Self::Made(version) | Self::Gone(version)) = self;
        let Qualifier::Version(number) = version.version() else { return batch };
        let (row, user) = (version_key(&version.arn, number), format!("{}/{number}", key(&version.arn)));
        let packages: BTreeSet<&str> = packages_of(version).map(|code| code.sha256.as_str()).collect();
        match self {
            Self::Made(version) => {
                let batch = batch.write(VERSIONS, row, Some(to_json(version)), Precondition::Absent);
                packages.into_iter().fold(batch, |batch, sha256| shared::used(batch, sha256, &user))
            }
            Self::Gone(_) => packages
                .into_iter()
                .fold(batch.delete(VERSIONS, row), |batch, sha256| shared::unused(batch, sha256, &user)),
        }
    }
}

/// The rows. Cheap to clone.
#[derive(Clone)]
pub(super) struct Rows {
    store: Store,
    limit: u64,
    concurrency: u32,
    /// Writers take turns, so that the totals conflict only with another server's.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Rows {
    /// Rows of `store`, at most as many functions per account as `limits` says.
    pub(super) fn new(store: Store, limits: &Limits) -> Self {
        Self { store, limit: limits.functions, concurrency: limits.concurrency, turn: Arc::default() }
    }

    pub(super) async fn read(&self, arn: &FunctionArn) -> Result<Option<Read>, StoreError> {
        let key = key(arn);
        self.store.tables.get(FUNCTIONS, key.as_bytes()).await?.map(|row| parse(&row)).transpose()
    }

    /// A published version.
    pub(super) async fn version(
        &self,
        arn: &FunctionArn,
        number: u64,
    ) -> Result<Option<FunctionConfiguration>, StoreError> {
        let key = version_key(arn, number);
        let row = self.store.tables.get(VERSIONS, key.as_bytes()).await?;
        row.map(|row| from_json(VERSIONS, &row.value)).transpose()
    }

    /// At most `limit` versions of a function from the number `from` on.
    pub(super) async fn versions(
        &self,
        arn: &FunctionArn,
        from: u64,
        limit: usize,
    ) -> Result<Vec<FunctionConfiguration>, StoreError> {
        let (from, to) = (version_key(arn, from), format!("{}0", key(arn))); // '0' follows '/'
        let rows = self.store.tables.scan(VERSIONS, from.as_bytes(), to.as_bytes(), limit, false).await?;
        rows.iter().map(|row| from_json(VERSIONS, &row.value)).collect()
    }

    /// At most `limit` functions of a region after the name `after`.
    pub(super) async fn list(
        &self,
        account: &AccountId,
        region: &Region,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Read>, StoreError> {
        let from = match after {
            Some(name) => format!("{account}/{region}/{name}\0"),
            None => format!("{account}/{region}/"),
        };
        let to = format!("{account}/{region}0"); // '0' follows '/'
        let rows = self.store.tables.scan(FUNCTIONS, from.as_bytes(), to.as_bytes(), limit, false).await?;
        rows.iter().map(parse).collect()
    }

    /// Every function whose code was being made ready.
    pub(super) async fn settling(&self) -> Result<Vec<Stored>, StoreError> {
        let mut found = Vec::new();
        let mut pages = self.store.tables.pages(FUNCTIONS, [], [0xff]);
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let Read { stored, .. } = parse(row)?;
                if stored.is_settling() {
                    found.push(stored);
                }
            }
        }
        Ok(found)
    }

    /// The function whose URL has this id.
    pub(super) async fn by_url(&self, id: &FunctionUrlId) -> Result<Option<FunctionArn>, StoreError> {
        let Some(row) = self.store.tables.get(URLS, id.as_str().as_bytes()).await? else { return Ok(None) };
        let arn = std::str::from_utf8(&row.value).ok().and_then(|text| text.parse().ok());
        arn.map(Some).ok_or_else(|| StoreError::Engine(format!("unreadable row of {URLS}: {id}")))
    }

    pub(super) async fn totals(&self, account: &AccountId, region: &Region) -> Result<Totals, StoreError> {
        let row = self.store.tables.get(TOTALS, format!("{account}/{region}").as_bytes()).await?;
        row.map_or(Ok(Totals::default()), |row| from_json(TOTALS, &row.value))
    }

    /// Replaces `old` (`None`: no such function) by `new` (`None`: delete). `StoreError::Conflict` when the row is not
    /// `old` any more. Packages that lose a use are marked; the caller sweeps them.
    pub(super) async fn write(
        &self,
        arn: &FunctionArn,
        old: Option<&Read>,
        new: Option<&Stored>,
        versions: &[VersionChange<'_>],
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let key = key(arn);
        let before = old.map(|old| old.stored.packages()).unwrap_or_default();
        let after = new.map(Stored::packages).unwrap_or_default();
        let mut function = Batch::new().write(
            FUNCTIONS,
            key.clone(),
            new.map(to_json),
            old.map_or(Precondition::Absent, |old| Precondition::Version(old.version)),
        );
        for sha256 in after.difference(&before) {
            function = shared::used(function, sha256, &key);
        }
        for sha256 in before.difference(&after) {
            function = shared::unused(function, sha256, &key);
        }
        for version in versions {
            function = version.add_to(function);
        }
        let had = old.map(|old| old.stored.urls()).unwrap_or_default();
        let has = new.map(Stored::urls).unwrap_or_default();
        for id in had.keys().filter(|id| !has.contains_key(id)) {
            function = function.delete(URLS, String::from(id.clone()));
        }
        for (id, arn) in has.iter().filter(|(id, _)| !had.contains_key(id)) {
            function = function.put(URLS, String::from(id.clone()), arn.to_string());
        }
        match (old.is_some_and(|old| !old.stored.provisioned.is_empty()), new) {
            (false, Some(new)) if !new.provisioned.is_empty() => {
                function = function.put(PROVISIONED, key, Bytes::new())
            }
            (true, None) => function = function.delete(PROVISIONED, key),
            (true, Some(new)) if new.provisioned.is_empty() => function = function.delete(PROVISIONED, key),
            _ => {}
        }
        for _ in 0..TRIES {
            let batch = self.count(function.clone(), arn, old.map(|old| &old.stored), new).await?;
            match self.store.tables.commit(batch).await {
                Err(StoreError::Conflict { table }) if table == TOTALS => {}
                result => return Ok(result?),
            }
        }
        Err(StoreError::Conflict { table: TOTALS.to_owned() }.into())
    }

    /// Adds to `batch` what the change does to the totals.
    async fn count(
        &self,
        batch: Batch,
        arn: &FunctionArn,
        old: Option<&Stored>,
        new: Option<&Stored>,
    ) -> Result<Batch, Error> {
        let bytes = |stored: Option<&Stored>| {
            stored.map_or(0, |stored| stored.visible().code.size_bytes + stored.published.code_bytes)
        };
        let reserved = |stored: Option<&Stored>| stored.map_or(0, Stored::kept);
        if old.is_some() == new.is_some() && bytes(old) == bytes(new) && reserved(old) == reserved(new) {
            return Ok(batch);
        }
        let key = format!("{}/{}", arn.account, arn.region);
        let row = self.store.tables.get(TOTALS, key.as_bytes()).await?;
        let (mut totals, precondition) = match &row {
            Some(row) => (from_json(TOTALS, &row.value)?, Precondition::Version(row.version)),
            None => (Totals::default(), Precondition::Absent),
        };
        if old.is_none() && self.functions(&arn.account).await? >= self.limit {
            return Err(Error::Limit(format!("the account has {} functions, which is its limit", self.limit)));
        }
        totals.functions = (totals.functions + u64::from(new.is_some())).saturating_sub(u64::from(old.is_some()));
        totals.code_bytes = (totals.code_bytes + bytes(new)).saturating_sub(bytes(old));
        totals.reserved = totals.reserved.saturating_sub(reserved(old)).saturating_add(reserved(new));
        let least = self.concurrency.min(UNRESERVED_MIN);
        if reserved(new) > reserved(old) && self.concurrency.saturating_sub(totals.reserved) < least {
            let is_reserved = new.is_some_and(|new| new.reserved.is_some());
            let name = if is_reserved { "ReservedConcurrentExecutions" } else { "ConcurrentExecutions" };
            return Err(Error::Invalid(format!(
                "Specified {name} for function decreases account's UnreservedConcurrentExecution below its minimum \
                 value of [{least}]."
            )));
        }
        Ok(batch.write(TOTALS, key, Some(to_json(&totals)), precondition))
    }

    /// Every function that has provisioned concurrency.
    pub(super) async fn with_provisioned(&self) -> Result<Vec<Stored>, StoreError> {
        let mut found = Vec::new();
        let mut pages = self.store.tables.pages(PROVISIONED, [], [0xff]);
        while let Some(rows) = pages.next().await? {
            for row in rows {
                if let Some(row) = self.store.tables.get(FUNCTIONS, &row.key).await? {
                    found.push(parse(&row)?.stored);
                }
            }
        }
        Ok(found)
    }

    /// What is reserved in each account and region.
    pub(super) async fn all_reserved(&self) -> Result<Vec<(AccountId, Region, u32)>, StoreError> {
        let mut all = Vec::new();
        let mut pages = self.store.tables.pages(TOTALS, [], [0xff]);
        while let Some(rows) = pages.next().await? {
            for row in rows {
                let totals: Totals = from_json(TOTALS, &row.value)?;
                let key = std::str::from_utf8(&row.key).unwrap_or_default();
                if let Some((account, region)) = key.split_once('/')
                    && let (Ok(account), Ok(region)) = (account.parse(), region.parse())
                {
                    all.push((account, region, totals.reserved));
                }
            }
        }
        Ok(all)
    }

    /// Functions of the account in all regions. Another region's count is not guarded by the commit: two servers that
    /// create in two regions at the same time can pass the limit by one.
    async fn functions(&self, account: &AccountId) -> Result<u64, StoreError> {
        let (from, to) = (format!("{account}/"), format!("{account}0"));
        let rows = self.store.tables.scan(TOTALS, from.as_bytes(), to.as_bytes(), 10_000, false).await?;
        rows.iter().map(|row| from_json::<Totals>(TOTALS, &row.value).map(|totals| totals.functions)).sum()
    }
}

fn parse(row: &Row) -> Result<Read, StoreError> {
    Ok(Read { stored: from_json(FUNCTIONS, &row.value)?, version: row.version })
}

fn from_json<T: DeserializeOwned>(table: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Engine(format!("unreadable row of {table}: {error}")))
}

fn to_json<T: Serialize>(value: &T) -> Bytes {
    // Plain structs with text keys: there is nothing in them that JSON cannot hold.
    serde_json::to_vec(value).expect("a row is JSON").into()
}
