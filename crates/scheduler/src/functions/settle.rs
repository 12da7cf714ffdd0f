//! Code that takes long to unpack: the request is answered, the rest happens here.

use super::{Error, Functions, PATIENCE, rows::Stored};
use dayfly_types::FunctionConfiguration;
use dayfly_worker::code;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// Unpacking and compiling under way.
pub(super) type Publishing = JoinHandle<Result<(), code::Error>>;

/// Longest time that code may take to be ready.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

impl Functions {
    /// Makes the code of `function` ready. `None`: it is. `Some`: it still takes a while.
    pub(super) async fn publish_patiently(
        &self,
        function: &FunctionConfiguration,
    ) -> Result<Option<Publishing>, Error> {
        let mut publishing = self.publish(function).await?;
        let clock = &self.inner.clock;
        tokio::select! {
            biased;
            result = &mut publishing => ended(result).map(|()| None).map_err(Error::from),
            () = clock.sleep_until(clock.now() + PATIENCE) => Ok(Some(publishing)),
        }
    }

    /// Ends the settling of `stored` in the background; begins with the code when nobody has yet.
    pub(super) fn settle_later(&self, stored: &Stored, publishing: Option<Publishing>) {
        let Some(function) = stored.settling().cloned() else { return };
        let this = self.clone();
        tokio::spawn(async move {
            let outcome = this.wait(&function, publishing).await;
            if let Err(error) = this.settle(&function, outcome).await {
                tracing::error!(function = %function.arn, %error, "the function stays in progress until the next start");
            }
        });
    }

    pub(super) async fn publish(&self, function: &FunctionConfiguration) -> Result<Publishing, Error> {
        let zip = self.inner.packages.path(&function.code.sha256).await?;
        let (executor, sha256, runtime) =
            (Arc::clone(&self.inner.executor), function.code.sha256.clone(), function.runtime);
        let mut layers = Vec::new();
        for layer in &function.layers {
            let zip = match layer.content.zip() {
                Some(code) => Some(self.inner.packages.path(&code.sha256).await?),
                None => None,
            };
            layers.push((layer.content.clone(), zip));
        }
        Ok(tokio::spawn(async move {
            executor.publish(&sha256, zip, runtime).await?;
            executor.publish_layers(&layers, runtime).await
        }))
    }

    /// `Err` is reason and code of a failure, in AWS's words.
    async fn wait(
        &self,
        function: &FunctionConfiguration,
        publishing: Option<Publishing>,
    ) -> Result<(), (String, String)> {
        let clock = &self.inner.clock;
        let publishing = match publishing {
            Some(publishing) => Ok(publishing),
            None => self.publish(function).await,
        };
        let result = match publishing {
            Err(error) => Err(error.to_string()),
            Ok(publishing) => tokio::select! {
                result = publishing => match ended(result) {
                    Ok(()) => return Ok(()),
                    Err(error @ (code::Error::Invalid(_) | code::Error::TooLarge { .. })) => {
                        return Err((error.to_string(), "InvalidZipFileException".to_owned()));
                    }
                    Err(error) => Err(error.to_string()),
                },
                () = clock.sleep_until(clock.now() + DEADLINE) => {
                    Err(format!("the code was not ready after {} minutes", DEADLINE.as_secs() / 60))
                }
            },
        };
        result.map_err(|reason| {
            tracing::warn!(function = %function.arn, reason, "code could not be made ready");
            (reason, "InternalError".to_owned())
        })
    }

    async fn settle(
        &self,
        function: &FunctionConfiguration,
        outcome: Result<(), (String, String)>,
    ) -> Result<(), Error> {
        let arn = &function.arn;
        let _alone = self.inner.changing.write(&super::key(arn)).await;
        let Some(read) = self.inner.rows.read(arn).await? else { return Ok(()) };
        // Deleted and made again, or settled by another server, in the meantime.
        if read.stored.settling().map(|settling| &settling.revision_id) != Some(&function.revision_id) {
            return Ok(());
        }
        let mut next = read.stored.clone();
        next.settle(outcome);
        self.write(arn, Some(&read), Some(&next)).await?;
        let was = &read.stored;
        if was.function.revision_id != next.function.revision_id {
            self.inner.executor.retire(&was.function.revision_id);
        }
        self.sweep_unused(was, Some(&next)).await;
        Ok(())
    }
}

pub(super) fn ended(result: Result<Result<(), code::Error>, tokio::task::JoinError>) -> Result<(), code::Error> {
    result.unwrap_or_else(|error| Err(std::io::Error::other(format!("unpacking ended early: {error}")).into()))
}
