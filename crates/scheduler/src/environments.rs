//! Environments that clients ask for, and when they go. Called by the gateway; the worker's builder does the work.

use bytes::Bytes;
use dayfly_types::EnvironmentSource;
use dayfly_worker::builder::Builder;
pub use dayfly_worker::builder::{Built, Error, Progress, Step, platform};
use std::time::{Duration, SystemTime};

/// How often it is looked for environments that nobody needs.
const TRIM: Duration = Duration::from_secs(3600);

/// The environments. Cheap to clone.
#[derive(Clone)]
pub struct Environments {
    builder: Builder,
}

impl Environments {
    /// Takes over the worker's builder, and removes what nobody needs from time to time.
    pub fn start(builder: Builder) -> Self {
        let environments = Self { builder };
        let trimmed = environments.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TRIM).await;
                match trimmed.trim().await {
                    Ok(removed) if removed.is_empty() => {}
                    Ok(removed) => tracing::info!(count = removed.len(), "environments that nobody needs were removed"),
                    Err(error) => tracing::warn!(%error, "environments could not be trimmed"),
                }
            }
        });
        environments
    }

    /// Whether there could be such an environment on this server.
    ///
    /// # Errors
    /// `IncompatiblePython`.
    pub fn check(&self, source: &EnvironmentSource) -> Result<(), Error> {
        self.builder.check(source)
    }

    /// Builds the environment, unless it is there; see [`Builder::build`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn build(
        &self,
        source: &EnvironmentSource,
        modules: Option<Bytes>,
        progress: Progress,
    ) -> Result<Built, Error> {
        self.builder.build(source, modules, progress).await
    }

    /// The environment with exactly the packages of `id`, and what it is made from.
    ///
    /// # Errors
    /// `Invalid` when there is none, or when it has modules.
    pub async fn pin(&self, id: &str) -> Result<(EnvironmentSource, Built), Error> {
        self.builder.pin(id).await
    }

    /// An environment and when it was used last.
    pub fn get(&self, id: &str) -> Option<(Built, SystemTime)> {
        self.builder.get(id)
    }

    /// All environments and when each was used last, by id.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn list(&self) -> Result<Vec<(Built, SystemTime)>, Error> {
        let builder = self.builder.clone();
        let listed = tokio::task::spawn_blocking(move || builder.list()).await;
        let mut found = listed.map_err(std::io::Error::other)??;
        found.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        Ok(found)
    }

    /// Removes an environment.
    ///
    /// # Errors
    /// `InUse` while a job runs in it.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        self.builder.remove(id).await
    }

    /// Removes what nobody needs.
    async fn trim(&self) -> Result<Vec<String>, Error> {
        self.builder.trim(|_| false).await
    }
}
