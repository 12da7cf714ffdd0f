//! Transactions, and the tokens by which one that is sent again is not done again.

use crate::{
    Error, Table, Tables, Write, Written, invalid,
    items::Change,
    rows::{TOKENS, place},
};
use dayfly_store::{Batch, Error as StoreError, Precondition};
use dayfly_types::AccountId;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Most items of a transaction, and most bytes of them, AWS's.
const ITEMS_MAX: usize = 100;
const BYTES_MAX: usize = 4 << 20;
/// How long a token is remembered, AWS's.
const TOKEN_KEPT: Duration = Duration::from_secs(600);

/// What makes a transaction sent again the same.
#[derive(Debug, Clone)]
pub struct Token {
    /// Whose it is.
    pub account: AccountId,
    /// The client's word.
    pub text: String,
    /// SHA-256 of the request without its token.
    pub request: [u8; 32],
}

impl Tables {
    /// Changes and checks items of any tables, all or none. One that was done before is not done again.
    pub async fn transact(&self, writes: &[(Arc<Table>, Write)], token: Option<&Token>) -> Result<(), Error> {
        if writes.len() > ITEMS_MAX {
            return Err(invalid(format!("Member must have length less than or equal to {ITEMS_MAX}")));
        }
        self.distinct(writes, "Transaction request cannot include multiple operations on one item").await?;
        if writes.iter().map(|(_, write)| crate::item_size(write.change.item())).sum::<usize>() > BYTES_MAX {
            return Err(invalid("Transaction request size limit exceeded: Collection size has exceeded 4 MB"));
        }
        let Some(token) = token else { return self.write_all(writes, Batch::new()).await.map(drop) };
        let key = [token.account.to_string().as_bytes(), b"/", &Sha256::digest(&token.text)[..]].concat();
        let now = self.inner.clock.now();
        let known = self.inner.store.tables.get(TOKENS, &key).await?;
        if let Some(row) = &known
            && let Some((until, request)) = row.value.split_first_chunk::<8>()
            && i64::from_be_bytes(*until) > now.as_microsecond()
        {
            return if request == token.request { Ok(()) } else { Err(Error::OtherTransaction) };
        }
        let until = (now + TOKEN_KEPT).as_microsecond();
        let value = [&until.to_be_bytes()[..], &token.request].concat();
        let precondition = known.map_or(Precondition::Absent, |row| Precondition::Version(row.version));
        match self.write_all(writes, Batch::new().write(TOKENS, key, Some(value.into()), precondition)).await {
            // The same transaction at the same time.
            Err(Error::Store(StoreError::Conflict { table })) if table == TOKENS => Err(Error::Conflict),
            result => result.map(drop),
        }
    }

    /// Changes items of any tables. As one transaction, which nobody has to rely on.
    pub async fn write_batch(&self, writes: &[(Arc<Table>, Write)]) -> Result<Vec<Written>, Error> {
        self.distinct(writes, "Provided list of item keys contains duplicates").await?;
        match self.write_all(writes, Batch::new()).await {
            Err(Error::Cancelled(reasons)) => Err(reasons.into_iter().flatten().next().unwrap_or(Error::Conflict)),
            result => result,
        }
    }

    /// Refuses two writes of one item.
    async fn distinct(&self, writes: &[(Arc<Table>, Write)], message: &str) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for (table, write) in writes {
            let definition = table.definition().await?;
            let item = match &write.change {
                Change::Put(item) => definition.key.of(item),
                other => other.item().clone(),
            };
            if !seen.insert((definition.id, place(&definition.key, &item))) {
                return Err(invalid(message));
            }
        }
        Ok(())
    }
}
