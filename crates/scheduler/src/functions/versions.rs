//! Published versions, which never change, and aliases, which name them.

use super::{
    Error, Functions,
    rows::{Alias, Stored, VersionChange, key},
};
use dayfly_store::Error as StoreError;
use dayfly_types::{
    FunctionArn, FunctionConfiguration, Qualifier,
    function::{LastUpdate, State},
};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// Most aliases of a function.
const ALIASES_MAX: usize = 1000;
/// How often it is looked whether the code is ready that is to be published.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often at most: code may take 15 minutes.
const LOOKS_MAX: u32 = 15 * 60 * 10;

/// What PublishVersion is given.
#[derive(Debug, Clone, Default)]
pub struct Publish {
    /// The hash that the code of `$LATEST` must have, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// The revision that `$LATEST` must have.
    pub revision_id: Option<String>,
    /// Of the version, instead of that of `$LATEST`.
    pub description: Option<String>,
}

/// What UpdateAlias is given; what is not given stays.
#[derive(Debug, Clone, Default)]
pub struct AliasChange {
    /// The revision that the alias must have.
    pub revision_id: Option<String>,
    /// The version that it names.
    pub version: Option<Qualifier>,
    /// Another one, and its part of the calls; or none any more.
    pub other: Option<Option<(u64, f64)>>,
    /// Its description.
    pub description: Option<String>,
}

impl Functions {
    /// Makes a version of `$LATEST`; the last one again when nothing has changed since.
    pub async fn publish_version(&self, arn: &FunctionArn, asked: Publish) -> Result<FunctionConfiguration, Error> {
        let arn = arn.unqualified();
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read_for_change(&arn, asked.revision_id.as_deref()).await?;
            let latest = &read.stored.function;
            if asked.sha256.is_some_and(|sha256| sha256 != latest.code.sha256) {
                return Err(Error::Invalid(
                    "CodeSHA256 is different from current CodeSHA256 in $LATEST. Please try again with the CodeSHA256 \
                     in $LATEST."
                        .to_owned(),
                ));
            }
            if latest.state != State::Active {
                return Err(Error::Conflict(
                    "The operation cannot be performed at this time. The function is currently in the following \
                     state: Failed"
                        .to_owned(),
                ));
            }
            let published = &read.stored.published;
            let before = this.inner.rows.version(&arn, published.last).await?;
            if let Some(before) = before
                && published.description == latest.description
                && same(&before, latest)
            {
                return Ok(before);
            }
            let version = FunctionConfiguration {
                arn: arn.qualified(Qualifier::Version(published.last + 1)),
                description: asked.description.unwrap_or_else(|| latest.description.clone()),
                revision_id: Uuid::new_v4().to_string(),
                last_modified: this.inner.clock.now(),
                last_update: LastUpdate::Successful,
                tags: BTreeMap::new(),
                ..latest.clone()
            };
            let mut next = read.stored.clone();
            next.published.last += 1;
            next.published.description = latest.description.clone();
            next.published.code_bytes += version.code.size_bytes;
            next.published.timeout_s_max = next.published.timeout_s_max.max(version.timeout_s);
            this.write_with(&arn, Some(&read), Some(&next), &[VersionChange::Made(&version)]).await?;
            Ok(version)
        })
        .await
    }

    /// Makes a version of what CreateFunction or UpdateFunctionCode has just made, once its code is ready.
    pub async fn publish_made(&self, made: FunctionConfiguration) -> Result<FunctionConfiguration, Error> {
        self.detached(|this| async move {
            let asked = Publish { revision_id: Some(made.revision_id.clone()), ..Publish::default() };
            for _ in 0..LOOKS_MAX {
                match this.publish_version(&made.arn, asked.clone()).await {
                    Err(Error::UpdateInProgress(_)) => tokio::time::sleep(LOOK_EVERY).await,
                    result => return result,
                }
            }
            Err(Error::UpdateInProgress(made.arn))
        })
        .await
    }

    /// At most `limit` published versions from the number `from` on.
    pub async fn versions(
        &self,
        arn: &FunctionArn,
        from: u64,
        limit: usize,
    ) -> Result<Vec<FunctionConfiguration>, Error> {
        self.read(arn).await?;
        Ok(self.inner.rows.versions(arn, from, limit).await?)
    }

    /// Deletes one version, unless an alias names it.
    pub async fn delete_version(&self, arn: &FunctionArn, number: u64) -> Result<(), Error> {
        let arn = arn.clone();
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            let version = this.inner.rows.version(&arn, number).await?;
            let version = version.ok_or_else(|| Error::NotFound(arn.clone()))?;
            let qualifier = Qualifier::Version(number);
            let names = |alias: &Alias| alias.version == qualifier || alias.other.is_some_and(|(it, _)| it == number);
            if let Some((name, _)) = read.stored.aliases.iter().find(|(_, alias)| names(alias)) {
                return Err(Error::Conflict(format!(
                    "Version {number} cannot be deleted while it is referenced by alias: {name}"
                )));
            }
            let mut next = read.stored.clone();
            next.qualified_access.remove(&qualifier);
            next.event_invokes.remove(&qualifier);
            next.provisioned.remove(&qualifier);
            next.published.code_bytes = next.published.code_bytes.saturating_sub(version.code.size_bytes);
            this.write_with(&arn, Some(&read), Some(&next), &[VersionChange::Gone(&version)]).await?;
            this.tell_reserved(&arn).await?;
            this.inner.executor.retire(&version.revision_id);
            this.sweep_versions(std::slice::from_ref(&version)).await;
            Ok(())
        })
        .await
    }

    /// Makes an alias: `arn` has its name.
    pub async fn create_alias(&self, arn: &FunctionArn, mut alias: Alias) -> Result<Alias, Error> {
        alias.revision_id = Uuid::new_v4().to_string();
        self.change_aliases(arn, move |stored, arn, name| {
            if stored.aliases.contains_key(name) {
                return Err(Error::Conflict(format!("Alias already exists: {arn}")));
            }
            if stored.aliases.len() >= ALIASES_MAX {
                return Err(Error::Invalid(format!("a function has at most {ALIASES_MAX} aliases")));
            }
            stored.aliases.insert(name.to_owned(), alias.clone());
            Ok(Some(alias))
        })
        .await?
        .ok_or_else(|| Error::NoAlias(arn.clone()))
    }

    /// Changes an alias.
    pub async fn update_alias(&self, arn: &FunctionArn, change: AliasChange) -> Result<Alias, Error> {
        self.change_aliases(arn, move |stored, arn, name| {
            let alias = stored.aliases.get_mut(name).ok_or_else(|| Error::NoAlias(arn.clone()))?;
            if change.revision_id.is_some_and(|expected| expected != alias.revision_id) {
                return Err(Error::RevisionMismatch);
            }
            alias.version = change.version.unwrap_or(alias.version.clone());
            alias.other = change.other.unwrap_or(alias.other);
            alias.description = change.description.unwrap_or(std::mem::take(&mut alias.description));
            alias.revision_id = Uuid::new_v4().to_string();
            Ok(Some(alias.clone()))
        })
        .await?
        .ok_or_else(|| Error::NoAlias(arn.clone()))
    }

    /// Deletes an alias, its permissions and its URL; nothing when there is none.
    pub async fn delete_alias(&self, arn: &FunctionArn) -> Result<(), Error> {
        let deleted = self.change_aliases(arn, |stored, _, name| {
            let qualifier = Qualifier::Alias(name.to_owned());
            stored.qualified_access.remove(&qualifier);
            stored.event_invokes.remove(&qualifier);
            stored.provisioned.remove(&qualifier);
            Ok(stored.aliases.remove(name))
        });
        deleted.await.map(drop)
    }

    /// The alias that the ARN names.
    pub async fn alias(&self, arn: &FunctionArn) -> Result<Alias, Error> {
        let mut aliases = self.aliases(arn).await?;
        let Some(Qualifier::Alias(name)) = &arn.qualifier else { return Err(Error::NoAlias(arn.clone())) };
        aliases.remove(name).ok_or_else(|| Error::NoAlias(arn.clone()))
    }

    /// All aliases of the function by their names.
    pub async fn aliases(&self, arn: &FunctionArn) -> Result<BTreeMap<String, Alias>, Error> {
        Ok(self.read(arn).await?.stored.aliases)
    }

    /// The configuration that `arn` names; an alias's first one.
    pub(super) async fn named(
        &self,
        stored: &Stored,
        arn: &FunctionArn,
    ) -> Result<Option<FunctionConfiguration>, StoreError> {
        match &arn.qualifier {
            None | Some(Qualifier::Latest) => Ok(Some(stored.visible().clone())),
            _ => Ok(self.runs(stored, arn).await?.map(|(function, _)| function)),
        }
    }

    /// What calls of `arn` run; and what some of them run instead, with their part.
    pub(super) async fn runs(
        &self,
        stored: &Stored,
        arn: &FunctionArn,
    ) -> Result<Option<(FunctionConfiguration, Option<(f64, FunctionConfiguration)>)>, StoreError> {
        let alias = match &arn.qualifier {
            Some(Qualifier::Alias(name)) => match stored.aliases.get(name) {
                Some(alias) => Some(alias),
                None => return Ok(None),
            },
            _ => None,
        };
        let qualifier = alias.map(|alias| &alias.version).or(arn.qualifier.as_ref());
        let function = match qualifier {
            Some(Qualifier::Version(number)) => self.inner.rows.version(arn, *number).await?,
            _ => Some(stored.function.clone()),
        };
        let Some(function) = function else { return Ok(None) };
        let other = match alias.and_then(|alias| alias.other) {
            Some((number, part)) => self.inner.rows.version(arn, number).await?.map(|other| (part, other)),
            None => None,
        };
        // Records of versions are billed to the function, whose tags are kept in one place.
        let tagged = |function| FunctionConfiguration { tags: stored.function.tags.clone(), ..function };
        Ok(Some((tagged(function), other.map(|(part, other)| (part, tagged(other))))))
    }

    async fn change_aliases(
        &self,
        arn: &FunctionArn,
        change: impl FnOnce(&mut Stored, &FunctionArn, &str) -> Result<Option<Alias>, Error> + Send + 'static,
    ) -> Result<Option<Alias>, Error> {
        let arn = arn.clone();
        self.detached(|this| async move {
            let Some(Qualifier::Alias(name)) = &arn.qualifier else { return Err(Error::NoAlias(arn)) };
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn.unqualified()).await?;
            let mut next = read.stored.clone();
            let alias = change(&mut next, &arn, name)?;
            if let Some(alias) = &alias {
                let other = alias.other.map(|(number, _)| Qualifier::Version(number));
                for version in [Some(alias.version.clone()), other].into_iter().flatten() {
                    let version = arn.qualified(version);
                    if next.aliases.contains_key(name) && this.named(&next, &version).await?.is_none() {
                        return Err(Error::NotFound(version));
                    }
                }
            }
            if alias.is_some() {
                super::provisioned::check(&next, &Qualifier::Alias(name.clone()))?;
            }
            this.write(&arn, Some(&read), Some(&next)).await?;
            if next.provisioned.len() != read.stored.provisioned.len() {
                this.tell_reserved(&arn).await?;
            }
            Ok(alias)
        })
        .await
    }
}

/// Whether a version is what `latest` is now. Its description may be its own.
fn same(version: &FunctionConfiguration, latest: &FunctionConfiguration) -> bool {
    let latest = FunctionConfiguration {
        arn: version.arn.clone(),
        description: version.description.clone(),
        revision_id: version.revision_id.clone(),
        last_modified: version.last_modified,
        last_update: version.last_update.clone(),
        tags: version.tags.clone(),
        ..latest.clone()
    };
    *version == latest
}
