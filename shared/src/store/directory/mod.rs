//! The second index. It has the data of the overview and of searches: the directory of
//! accounts, the keys that were used after their end, unused keys, and retired keys by id.
//! Reads of it can lag behind the table.

mod entry;
mod read;
mod retired;
mod unused;

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _};

use super::{LastUse, Store, StoreError};
use crate::domain::{AccountId, GrantId};

pub(super) use entry::{ENTRY, Entry, StoredEntry};
pub(super) use read::key_at_sort_key;
pub use read::{
    DirectoryAccount, DirectoryCursor, DirectoryIdentity, DirectoryKey, DirectoryList, DirectoryPage, KeyAt,
};
pub use retired::{DeletedAccount, EndedKey, FoundEndedIdentity, FoundRetiredKey};
pub(super) use retired::{ended_identity_attributes, retired_key_attributes};
pub use unused::UnusedKey;

/// The maximum number of keys or accounts that are read in parallel.
const READS_AT_A_TIME: usize = 16;

impl Store {
    /// Reads when the grants of each account were last used, in the order of `accounts`, for a
    /// list that must be shown even if the use of an account's grants is malformed.
    pub async fn readable_last_uses(
        &self,
        accounts: &[AccountId],
    ) -> Result<Vec<HashMap<GrantId, LastUse>>, StoreError> {
        let read = async |account| skip_malformed(self.last_uses(account).await.map(Some));
        let accounts = futures::stream::iter(accounts.iter().copied());
        accounts.map(read).buffered(READS_AT_A_TIME).map_ok(Option::unwrap_or_default).try_collect().await
    }
}

/// Logs a malformed item and counts it as missing, so that it hides no other item of a list.
fn skip_malformed<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(cause @ StoreError::Corrupt { .. }) => {
            tracing::error!(%cause, "a malformed item is left out");
            Ok(None)
        }
        found => found,
    }
}
