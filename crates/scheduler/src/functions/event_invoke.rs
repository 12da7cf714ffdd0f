//! What a function asks for its asynchronous events, by qualifier; and whether it may trigger itself.

use super::{Error, Functions, rows::key};
use dayfly_types::{FunctionArn, InvokeError, Qualifier, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often and how long events are tried, and who is told how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInvoke {
    /// `MaximumRetryAttempts`, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_max: Option<u32>,
    /// `MaximumEventAgeInSeconds`, 60 to 21,600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_age_s_max: Option<u32>,
    /// ARN of who is told of an event that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// ARN of who is told of one that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// When it was changed.
    pub modified: Timestamp,
}

impl Functions {
    /// What is set, by qualifier.
    pub async fn event_invokes(&self, arn: &FunctionArn) -> Result<BTreeMap<Qualifier, EventInvoke>, Error> {
        Ok(self.read(arn).await?.stored.event_invokes)
    }

    /// Sets or removes (`None`) what is set for the ARN's qualifier; gives what it is then.
    pub async fn change_event_invoke(
        &self,
        arn: &FunctionArn,
        change: impl FnOnce(Option<EventInvoke>) -> Option<EventInvoke> + Send + 'static,
    ) -> Result<Option<EventInvoke>, Error> {
        let arn = arn.clone();
        self.detached(|this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            this.named(&read.stored, &arn).await?.ok_or_else(|| Error::NotFound(arn.clone()))?;
            let qualifier = arn.qualifier.clone().unwrap_or(Qualifier::Latest);
            let mut next = read.stored.clone();
            let changed = change(next.event_invokes.remove(&qualifier));
            if let Some(changed) = &changed {
                next.event_invokes.insert(qualifier, changed.clone());
            }
            this.write(&arn, Some(&read), Some(&next)).await?;
            Ok(changed)
        })
        .await
    }

    /// Whether the function may trigger itself without end, as it is in the store.
    pub async fn loops(&self, arn: &FunctionArn) -> Result<bool, Error> {
        Ok(self.read(arn).await?.stored.loops)
    }

    /// The same as calls see it.
    pub async fn loops_of_call(&self, arn: &FunctionArn) -> Result<bool, InvokeError> {
        Ok(self.resolve(arn).await?.loops)
    }

    /// Says whether the function may.
    pub async fn let_loop(&self, arn: &FunctionArn, loops: bool) -> Result<(), Error> {
        let arn = arn.clone();
        self.detached(move |this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            let mut next = read.stored.clone();
            next.loops = loops;
            this.write(&arn, Some(&read), Some(&next)).await
        })
        .await
    }
}
