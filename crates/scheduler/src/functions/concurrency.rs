//! Reserved concurrency: how many calls at a time are kept for a function.

use super::{Error, Functions, rows::key};
use dayfly_types::{AccountId, FunctionArn, Region};

impl Functions {
    /// Calls at a time that are kept for the function.
    pub async fn reserved(&self, arn: &FunctionArn) -> Result<Option<u32>, Error> {
        Ok(self.read(arn).await?.stored.reserved)
    }

    /// Keeps so many calls at a time for the function, which are then the most that it has; or none any more.
    pub async fn reserve(&self, arn: &FunctionArn, reserved: Option<u32>) -> Result<(), Error> {
        let arn = arn.clone();
        self.detached(move |this| async move {
            let _alone = this.inner.changing.write(&key(&arn)).await;
            let read = this.read(&arn).await?;
            let mut next = read.stored.clone();
            next.reserved = reserved;
            let provisioned = next.all_provisioned();
            if reserved.is_some_and(|reserved| reserved < provisioned) {
                return Err(Error::Invalid(format!(
                    "ReservedConcurrentExecutions {} should not be lower than function's total provisioned concurrency \
                     [{provisioned}].",
                    reserved.unwrap_or_default()
                )));
            }
            this.write(&arn, Some(&read), Some(&next)).await?;
            this.tell_reserved(&arn).await
        })
        .await
    }

    /// Calls at a time that are kept for single functions of a region, all together.
    pub async fn all_reserved(&self, account: &AccountId, region: &Region) -> Result<u32, Error> {
        Ok(self.inner.rows.totals(account, region).await?.reserved)
    }

    /// Tells admission what is reserved in the region of a function.
    pub(super) async fn tell_reserved(&self, arn: &FunctionArn) -> Result<(), Error> {
        let reserved = self.all_reserved(&arn.account, &arn.region).await?;
        self.inner.admission.set_reserved(&arn.account, &arn.region, reserved);
        Ok(())
    }
}
