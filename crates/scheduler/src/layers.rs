//! The registry of layers: numbered versions that never change. Called by the gateway.
//!
//! | table | key | value |
//! |---|---|---|
//! | `layers` | `ACCOUNT/REGION/NAME/VERSION` (20 digits) | [`LayerVersion`] as JSON |
//! | `layer_counters` | `ACCOUNT/REGION/NAME` | the last version's number; it stays when versions go |
//!
//! A layer version uses its zip as a function uses its package, and a function uses the zips of its layers itself: it goes
//! on when the layer version is deleted.

use crate::environments::{self, Environments};
use bytes::Bytes;
use dayfly_store::{Batch, Error as StoreError, Precondition, Store, shared};
use dayfly_types::{
    AccountId, Clock, CodeReference, Layer, LayerContent, LayerName, LayerVersion, LayerVersionArn, Limits, Region,
    Timestamp,
};
use dayfly_worker::code;
use std::{io::Cursor, sync::Arc};

const LAYERS: &str = "layers";
const COUNTERS: &str = "layer_counters";
/// Versions read at a time.
const PAGE: usize = 200;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Layers {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    environments: Environments,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// One publication at a time: numbers follow each other.
    turn: tokio::sync::Mutex<()>,
}

/// Why the registry refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such layer version.
    #[error("Layer version {0} does not exist.")]
    NotFound(LayerVersionArn),
    /// The function may not have these layers.
    #[error("{0}")]
    Refused(String),
    /// The zip is bad.
    #[error(transparent)]
    Code(#[from] code::Error),
    /// The environment is not there, or cannot be a layer.
    #[error(transparent)]
    Environment(#[from] environments::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a new layer version says of itself.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// At most 256 characters.
    pub text: String,
    /// Licence.
    pub license: Option<String>,
    /// Runtimes that it is meant for.
    pub runtimes: Vec<String>,
    /// Architectures that it is meant for.
    pub architectures: Vec<String>,
}

impl Layers {
    /// The layers of a store.
    pub fn new(store: Store, environments: Environments, clock: Arc<dyn Clock>, limits: &Limits) -> Self {
        let turn = tokio::sync::Mutex::default();
        Self { inner: Arc::new(Inner { store, environments, clock, limits: limits.clone(), turn }) }
    }

    /// Checks the zip, stores it, and gives it the next number.
    ///
    /// # Errors
    /// `Code` for a zip that cannot be unpacked or is too large.
    pub async fn publish(
        &self,
        account: &AccountId,
        region: &Region,
        name: &LayerName,
        description: Description,
        zip: Bytes,
    ) -> Result<LayerVersion, Error> {
        let limits = self.inner.limits.clone();
        let measured = zip.clone();
        let measure = move || code::unpack::measure(Cursor::new(measured), &limits);
        let unzipped_bytes = tokio::task::spawn_blocking(measure)
            .await
            .map_err(|error| StoreError::Engine(format!("a layer's zip could not be looked at: {error}")))??;
        let limit_bytes = self.inner.limits.layers_unzipped_bytes;
        if unzipped_bytes > limit_bytes {
            return Err(code::Error::TooLarge { limit_bytes }.into());
        }
        let size_bytes = zip.len() as u64;
        let held = self.inner.store.shared.put(zip).await?;
        let sha256 = held.sha256.clone();
        let code = CodeReference { sha256: sha256.clone(), size_bytes };
        let content = LayerContent::Zip { code, unzipped_bytes };
        let published = self.add(account, region, name, description, content).await;
        drop(held);
        if published.is_err() {
            self.sweep(&sha256).await;
        }
        published
    }

    /// Makes a layer of an environment. The layer keeps the exact versions of its packages.
    ///
    /// # Errors
    /// `Environment` when it is not there, or has modules.
    pub async fn publish_environment(
        &self,
        account: &AccountId,
        region: &Region,
        name: &LayerName,
        description: Description,
        environment: &str,
    ) -> Result<LayerVersion, Error> {
        let (source, built) = self.inner.environments.pin(environment).await?;
        let content = LayerContent::Environment { source, bytes: built.bytes };
        self.add(account, region, name, description, content).await
    }

    async fn add(
        &self,
        account: &AccountId,
        region: &Region,
        name: &LayerName,
        description: Description,
        content: LayerContent,
    ) -> Result<LayerVersion, Error> {
        let inner = &self.inner;
        let _turn = inner.turn.lock().await;
        let counter = format!("{account}/{region}/{name}");
        let row = inner.store.tables.get(COUNTERS, counter.as_bytes()).await?;
        let last: u64 = match &row {
            Some(row) => serde_json::from_slice(&row.value).map_err(unreadable)?,
            None => 0,
        };
        let arn =
            LayerVersionArn { region: region.clone(), account: account.clone(), name: name.clone(), version: last + 1 };
        let version = LayerVersion {
            arn,
            description: description.text,
            license: description.license,
            runtimes: description.runtimes,
            architectures: description.architectures,
            created: inner.clock.now(),
            content,
        };
        let key = key(&version.arn);
        let before = row.map_or(Precondition::Absent, |row| Precondition::Version(row.version));
        let mut batch = Batch::new().write(COUNTERS, counter, Some(to_json(&(last + 1))), before).write(
            LAYERS,
            key.clone(),
            Some(to_json(&version)),
            Precondition::Absent,
        );
        if let Some(code) = version.content.zip() {
            batch = shared::used(batch, &code.sha256, &user(&key));
        }
        inner.store.tables.commit(batch).await?;
        Ok(version)
    }

    /// A layer version.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, arn: &LayerVersionArn) -> Result<LayerVersion, Error> {
        let row = self.inner.store.tables.get(LAYERS, key(arn).as_bytes()).await?;
        let row = row.ok_or_else(|| Error::NotFound(arn.clone()))?;
        Ok(serde_json::from_slice(&row.value).map_err(unreadable)?)
    }

    /// Removes a layer version; no error when there is none. Functions that use it keep its content.
    ///
    /// # Errors
    /// Of the store.
    pub async fn delete(&self, arn: &LayerVersionArn) -> Result<(), Error> {
        let version = match self.get(arn).await {
            Err(Error::NotFound(_)) => return Ok(()),
            version => version?,
        };
        let key = key(arn);
        let mut batch = Batch::new().delete(LAYERS, key.clone());
        if let Some(code) = version.content.zip() {
            batch = shared::unused(batch, &code.sha256, &user(&key));
        }
        self.inner.store.tables.commit(batch).await?;
        if let Some(CodeReference { sha256, .. }) = version.content.zip() {
            self.sweep(sha256).await;
        }
        Ok(())
    }

    /// At most `limit` versions of a layer, newest first, older than `before`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn versions(
        &self,
        account: &AccountId,
        region: &Region,
        name: &LayerName,
        before: Option<u64>,
        limit: usize,
        wanted: impl Fn(&LayerVersion) -> bool,
    ) -> Result<Vec<LayerVersion>, Error> {
        let from = format!("{account}/{region}/{name}/");
        let mut to = match before {
            Some(version) => format!("{from}{version:020}"),
            None => format!("{account}/{region}/{name}0"), // '0' follows '/'
        };
        let mut found = Vec::new();
        loop {
            let rows = self.inner.store.tables.scan(LAYERS, from.as_bytes(), to.as_bytes(), PAGE, true).await?;
            for row in &rows {
                let version: LayerVersion = serde_json::from_slice(&row.value).map_err(unreadable)?;
                if wanted(&version) && found.len() < limit {
                    found.push(version);
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE && found.len() < limit => {
                    to = String::from_utf8_lossy(&last.key).into_owned();
                }
                _ => return Ok(found),
            }
        }
    }

    /// The newest wanted version of at most `limit` layers, in order of name, after the name `after`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list(
        &self,
        account: &AccountId,
        region: &Region,
        after: Option<&LayerName>,
        limit: usize,
        wanted: impl Fn(&LayerVersion) -> bool,
    ) -> Result<Vec<LayerVersion>, Error> {
        let mut from = match after {
            Some(name) => format!("{account}/{region}/{name}\0"),
            None => format!("{account}/{region}/"),
        };
        let to = format!("{account}/{region}0");
        let mut found = Vec::new();
        while found.len() < limit {
            let rows = self.inner.store.tables.scan(COUNTERS, from.as_bytes(), to.as_bytes(), PAGE, false).await?;
            for row in &rows {
                let name = String::from_utf8_lossy(&row.key).rsplit('/').next().unwrap_or_default().to_owned();
                let name: LayerName = name.parse().map_err(|error| StoreError::Engine(format!("{error}")))?;
                found.extend(self.versions(account, region, &name, None, 1, &wanted).await?);
                if found.len() == limit {
                    break;
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => from = format!("{}\0", String::from_utf8_lossy(&last.key)),
                _ => break,
            }
        }
        Ok(found)
    }

    /// The layers that a function names, within the limits.
    ///
    /// # Errors
    /// `NotFound` and `Refused`.
    pub async fn resolve(&self, arns: &[LayerVersionArn]) -> Result<Vec<Layer>, Error> {
        let limits = &self.inner.limits;
        if arns.len() > limits.layers {
            return Err(Error::Refused(format!("Cannot reference more than {} layers.", limits.layers)));
        }
        let mut layers: Vec<Layer> = Vec::new();
        for arn in arns {
            if let Some(other) = layers.iter().find(|layer| layer.arn.layer() == arn.layer()) {
                return Err(Error::Refused(format!(
                    "Two different versions of the same layer are not allowed to be referenced in the same function. \
                     {} and {arn} are versions of the same layer.",
                    other.arn
                )));
            }
            layers.push(Layer { arn: arn.clone(), content: self.get(arn).await?.content });
        }
        let unzipped = |layer: &Layer| match &layer.content {
            LayerContent::Zip { unzipped_bytes, .. } => *unzipped_bytes,
            LayerContent::Environment { .. } => 0,
        };
        let (total, limit) = (layers.iter().map(unzipped).sum::<u64>(), limits.layers_unzipped_bytes);
        if total > limit {
            return Err(Error::Refused(format!("Layers consume more than the available size of {limit} bytes")));
        }
        Ok(layers)
    }

    async fn sweep(&self, sha256: &str) {
        if let Err(error) = self.inner.store.shared.sweep(sha256).await {
            tracing::warn!(sha256, %error, "a layer's zip stays until the next start");
        }
    }
}

/// When a version was published, as AWS writes it.
pub fn created(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

fn key(arn: &LayerVersionArn) -> String {
    format!("{}/{}/{}/{:020}", arn.account, arn.region, arn.name, arn.version)
}

/// How a layer version is called among the users of a zip.
fn user(key: &str) -> String {
    format!("layer/{key}")
}

fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::Engine(format!("unreadable row of {LAYERS}: {error}"))
}

fn to_json(value: &impl serde::Serialize) -> Bytes {
    // Plain structs with text keys: there is nothing in them that JSON cannot hold.
    serde_json::to_vec(value).expect("a row is JSON").into()
}
