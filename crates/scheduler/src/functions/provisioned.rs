//! Provisioned concurrency: instances of a version, or of what an alias names, that are kept ready. What is asked for is
//! in the function's row; the worker is told of all of it when something changes, and now and then.

use super::{
    Error, Functions,
    rows::{Alias, Stored, key},
};
use crate::call::InitLogs;
use dayfly_store::Error as StoreError;
use dayfly_types::{FunctionArn, FunctionConfiguration, Qualifier, Timestamp};
use dayfly_worker::{Provision, Provisioning};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

/// How often the worker is told again: a sandbox that has ended, or grown old, is replaced then.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    /// Instances, at least one.
    pub count: u32,
    /// When it was asked for.
    pub modified: Timestamp,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionedState {
    /// What is asked for.
    pub asked: Provisioned,
    /// Instances that wait for a call.
    pub ready: u32,
    /// All were ready since they were asked for.
    pub reached: bool,
    /// Why there are none.
    pub failure: Option<String>,
}

impl Functions {
    /// Keeps so many instances ready for calls of the ARN's version or alias; or none any more.
    pub async fn provision(&self, arn: &FunctionArn, count: Option<u32>) -> Result<(), Error> {
        let arn = arn.clone();
        self.detached(move |this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            let qualifier = this.provisionable(&read.stored, &arn).await?;
            let mut next = read.stored.clone();
            next.provisioned.remove(&qualifier);
            if let Some(count) = count {
                next.provisioned.insert(qualifier.clone(), Provisioned { count, modified: this.inner.clock.now() });
                check(&next, &qualifier)?;
            }
            this.write(&arn, Some(&read), Some(&next)).await?;
            this.tell_reserved(&arn).await
        })
        .await
    }

    /// What is kept ready for calls of the ARN's version or alias.
    pub async fn provisioned(&self, arn: &FunctionArn) -> Result<ProvisionedState, Error> {
        let stored = self.read(arn).await?.stored;
        let qualifier = self.provisionable(&stored, arn).await?;
        let asked = stored.provisioned.get(&qualifier).cloned().ok_or(Error::NotProvisioned)?;
        Ok(self.provisioned_state(&stored, arn, asked).await?)
    }

    /// The same for all versions and aliases of the function.
    pub async fn all_provisioned(&self, arn: &FunctionArn) -> Result<BTreeMap<Qualifier, ProvisionedState>, Error> {
        let stored = self.read(arn).await?.stored;
        let mut all = BTreeMap::new();
        for (qualifier, asked) in &stored.provisioned {
            let state = self.provisioned_state(&stored, &arn.qualified(qualifier.clone()), asked.clone()).await?;
            all.insert(qualifier.clone(), state);
        }
        Ok(all)
    }

    /// Begins to tell the worker. Ends with the last handle.
    pub(super) fn keep_provisioned(&self) {
        let (inner, changed): (Weak<_>, _) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.provisioning));
        tokio::spawn(async move {
            // Whether the worker keeps anything.
            let mut keeps = false;
            loop {
                let Some(inner) = inner.upgrade() else { return };
                match (Self { inner }).wanted().await {
                    Ok((functions, wanted)) if keeps || !wanted.is_empty() => {
                        keeps = !wanted.is_empty();
                        functions.inner.executor.provision(wanted);
                    }
                    Ok(_) => {}
                    Err(StoreError::Closed) => return,
                    Err(error) => tracing::warn!(%error, "provisioned concurrency stays as it was"),
                }
                tokio::select! {
                    () = changed.notified() => {}
                    () = tokio::time::sleep(TELL_EVERY), if keeps => {}
                }
            }
        });
    }

    /// All that is to be kept ready.
    async fn wanted(self) -> Result<(Self, Vec<Provision>), StoreError> {
        let mut wanted: BTreeMap<String, Provision> = BTreeMap::new();
        for stored in self.inner.rows.with_provisioned().await? {
            for (qualifier, asked) in &stored.provisioned {
                let arn = stored.function.arn.qualified(qualifier.clone());
                // This makes its code ready, too.
                let resolved = match self.resolve_all(&arn).await {
                    Ok(resolved) => resolved,
                    Err(error) => {
                        tracing::warn!(function = %arn, %error, "its provisioned instances wait");
                        continue;
                    }
                };
                let shares = shares(asked.count, resolved.other.as_ref().map(|(part, _)| *part));
                let functions = [Some(resolved.function), resolved.other.map(|(_, other)| other)];
                for (function, count) in functions.into_iter().flatten().zip(shares).filter(|(_, count)| *count > 0) {
                    let id = function.revision_id.clone();
                    let logs = || Arc::new(InitLogs::new(Arc::clone(&function), self.inner.meter.clone()));
                    wanted.entry(id).and_modify(|it| it.count += count).or_insert_with(|| Provision {
                        logs: logs(),
                        function: Arc::clone(&function),
                        count,
                    });
                }
            }
        }
        Ok((self, wanted.into_values().collect()))
    }

    async fn provisioned_state(
        &self,
        stored: &Stored,
        arn: &FunctionArn,
        asked: Provisioned,
    ) -> Result<ProvisionedState, StoreError> {
        let runs = self.runs(stored, arn).await?;
        let (function, other) = match runs {
            Some((function, other)) => (Some(function), other),
            None => (None, None),
        };
        let shares = shares(asked.count, other.as_ref().map(|(part, _)| *part));
        let functions: Vec<FunctionConfiguration> = function.into_iter().chain(other.map(|(_, other)| other)).collect();
        let mut state = ProvisionedState { asked, ready: 0, reached: true, failure: None };
        for (function, share) in functions.iter().zip(shares).filter(|(_, share)| *share > 0) {
            let Provisioning { ready, reached, failure } = self.inner.executor.provisioning(&function.revision_id);
            state.ready += ready.min(share);
            state.reached &= reached;
            state.failure = state.failure.or(failure);
        }
        Ok(state)
    }

    /// The published version, or alias, that the ARN names.
    async fn provisionable(&self, stored: &Stored, arn: &FunctionArn) -> Result<Qualifier, Error> {
        match &arn.qualifier {
            None | Some(Qualifier::Latest) => Err(unpublished()),
            Some(qualifier) => match (self.named(stored, arn).await?, qualifier) {
                (Some(_), _) => Ok(qualifier.clone()),
                (None, Qualifier::Alias(_)) => Err(Error::NoAlias(arn.clone())),
                (None, _) => Err(Error::NotFound(arn.clone())),
            },
        }
    }
}

/// Whether what is kept for `qualifier` may be, if anything is.
pub(super) fn check(stored: &Stored, qualifier: &Qualifier) -> Result<(), Error> {
    if !stored.provisioned.contains_key(qualifier) {
        return Ok(());
    }
    let conflict = |text: &str| Err(Error::Conflict(text.to_owned()));
    let names = |alias: &Alias, version: &Qualifier| {
        alias.version == *version || alias.other.is_some_and(|(number, _)| *version == Qualifier::Version(number))
    };
    match qualifier {
        Qualifier::Alias(name) => {
            let Some(alias) = stored.aliases.get(name) else { return Ok(()) };
            if alias.version == Qualifier::Latest {
                return Err(unpublished());
            }
            if stored.provisioned.keys().any(|other| names(alias, other)) {
                return conflict(
                    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
                );
            }
        }
        version => {
            let provisioned = |name: &String| stored.provisioned.contains_key(&Qualifier::Alias(name.clone()));
            if stored.aliases.iter().any(|(name, alias)| provisioned(name) && names(alias, version)) {
                return conflict("Version is pointed by a Provisioned Concurrency alias");
            }
        }
    }
    if stored.reserved.is_some_and(|reserved| stored.all_provisioned() > reserved) {
        return Err(Error::Invalid(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
                .to_owned(),
        ));
    }
    Ok(())
}

fn unpublished() -> Error {
    Error::Invalid("Provisioned Concurrency Configs cannot be applied to unpublished function versions.".to_owned())
}

/// What the first and the other version of an alias get of `count`.
fn shares(count: u32, other: Option<f64>) -> [u32; 2] {
    let others = other.map_or(0, |part| (f64::from(count) * part).round() as u32).min(count);
    [count - others, others]
}
