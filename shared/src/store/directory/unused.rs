//! The unused keys, which the sweep finds because only time makes a key unused.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};

use super::read::key_at_sort_key;
use super::{KeyAt, READS_AT_A_TIME, skip_malformed};
use crate::domain::{Account, AccountId, KeyId, LiveKey, unused_since};
use crate::store::codec::{self, s, seconds};
use crate::store::schema::{self, attribute};
use crate::store::{Store, StoreError};

/// Days for which an unused key that the sweep no longer finds is kept. Deleted later by
/// DynamoDB, so reads must not rely on it.
const KEPT_DAYS: i64 = 3;
/// The number of keys written in one transaction.
const KEYS_AT_ONCE: usize = 25;

/// A live key that is unused.
#[derive(Clone, Debug)]
pub struct UnusedKey {
    pub account: Account,
    pub key: LiveKey,
    /// Since when the key has counted as unused.
    pub since: Timestamp,
    /// When the key was last used, if ever.
    pub last_used_at: Option<Timestamp>,
}

impl Store {
    /// Checks which of these keys are unused now, in the order of `keys`.
    pub async fn find_unused_keys(&self, keys: &[KeyAt]) -> Result<Vec<Option<UnusedKey>>, StoreError> {
        let read = |key: KeyAt| self.find_unused_key(key.account, key.key);
        let keys = futures::stream::iter(keys.iter().copied());
        keys.map(read).buffered(READS_AT_A_TIME).try_collect().await
    }

    /// Checks with consistent reads that a key of an enabled account is unused now. Returns
    /// `None` if it is not. A malformed item is logged, and counts as missing.
    async fn find_unused_key(&self, id: AccountId, key: KeyId) -> Result<Option<UnusedKey>, StoreError> {
        let read = tokio::try_join!(self.find_account(id), self.last_uses(id));
        let Some((account, last_uses)) = skip_malformed(read.map(Some))? else { return Ok(None) };
        let Some(account) = account.filter(|account| account.enabled) else { return Ok(None) };
        let Some(key) = account.keys.iter().find(|live| live.id == key).cloned() else { return Ok(None) };
        let last_used_at = last_uses.get(&key.id.into()).and_then(|last_use| last_use.last_used_at);
        let since = unused_since(&key, last_used_at, self.clock.now());
        Ok(since.map(|since| UnusedKey { account, key, since, last_used_at }))
    }

    /// Stores the keys of an account that are unused now. Each has the instant since which
    /// the key counts as unused.
    pub async fn mark_unused(
        &self,
        account: AccountId,
        keys: &[(KeyId, Timestamp)],
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let kept = now.saturating_add(SignedDuration::from_hours(24 * KEPT_DAYS)).unwrap_or(Timestamp::MAX);
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let items = keys.iter().map(|(key, since)| {
                let item = codec::map([
                    (schema::DIRECTORY_PK, s(schema::DIRECTORY_UNUSED)),
                    (schema::DIRECTORY_SK, key_at_sort_key(*since, *key)),
                    (attribute::AT, seconds(now)),
                    (schema::TTL, seconds(kept)),
                ]);
                (schema::unused_key(account, *key), item)
            });
            self.put_all(items.collect()).await?;
        }
        Ok(())
    }
}
