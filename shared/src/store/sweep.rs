//! The data of the daily sweep: the accounts, page by page, and the published notices.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::accounts::listed_account;
use super::codec::{self, Reader, s, seconds};
use super::list::{AccountCursor, AccountFilter, MAX_LIMIT};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{Account, AccountId};

/// Days after a key's expiry for which the mark of a published notice is kept. Long
/// before, the key itself has become a retired key.
const MARK_KEPT_DAYS: i64 = 60;
/// The number of marks written in one transaction.
const MARKS_AT_ONCE: usize = 25;

/// A page of accounts, in the order of their folded names.
#[derive(Debug)]
pub struct SweepPage {
    /// The accounts.
    pub accounts: Vec<AccountToSweep>,
    /// The end of this page, if there are more accounts.
    pub next: Option<AccountCursor>,
}

/// An account to sweep. A malformed account does not stop the sweep of the others.
#[derive(Debug)]
pub struct AccountToSweep {
    /// The account's position, unless its key in the index is malformed.
    pub position: Option<AccountCursor>,
    /// The account, as the index has it.
    pub account: Result<Account, StoreError>,
}

impl Store {
    /// Returns the position at which the last sweep ran out of time. `None` if that
    /// sweep reached the last account, or if the stored position is malformed.
    pub async fn sweep_position(&self) -> Result<Option<AccountCursor>, StoreError> {
        let item = self.read(schema::sweep_key(), &[attribute::POSITION]).await?;
        let position = item.as_ref().and_then(|item| Reader(item).text(attribute::POSITION).ok());
        Ok(position.and_then(|position| AccountCursor::decode(position, None).ok()))
    }

    /// Stores the position from which the next sweep continues. `None` is the first
    /// account.
    pub async fn save_sweep_position(&self, position: Option<&AccountCursor>) -> Result<(), StoreError> {
        let position = position.map(ToString::to_string).unwrap_or_default();
        let item = codec::map([(attribute::POSITION, s(position))]);
        self.put_all(vec![(schema::sweep_key(), item)]).await
    }

    /// Lists the accounts after `position`, with their keys. This reads the index,
    /// which can lag behind the table: read an account consistently before you change
    /// it.
    pub async fn accounts_to_sweep(&self, position: Option<&AccountCursor>) -> Result<SweepPage, StoreError> {
        let start = position.map(AccountCursor::index_key);
        let answer = self.query_accounts(&AccountFilter::default(), Some(MAX_LIMIT.into()), start).await?;
        let accounts = answer.items().iter().map(|item| AccountToSweep {
            position: AccountCursor::from_item(item).ok(),
            account: listed_account(item),
        });
        Ok(SweepPage {
            accounts: accounts.collect(),
            next: answer.last_evaluated_key().map(AccountCursor::from_item).transpose()?,
        })
    }

    /// Returns the ids of the notices that were published for an account's keys.
    pub async fn published_notices(&self, account: AccountId) -> Result<HashSet<String>, StoreError> {
        let items = self.read_partition(schema::notices_partition(account), &[], usize::MAX).await?;
        Ok(items.iter().filter_map(|item| Reader(item).text(schema::SK).map(str::to_owned).ok()).collect())
    }

    /// Marks notices as published. Each is an id and the expiry of the notice's key.
    pub async fn mark_published(
        &self,
        account: AccountId,
        notices: &[(String, Timestamp)],
    ) -> Result<(), StoreError> {
        for notices in notices.chunks(MARKS_AT_ONCE) {
            let marks = notices.iter().map(|(id, expires_at)| {
                let kept = SignedDuration::from_hours(24 * MARK_KEPT_DAYS);
                let until = expires_at.max(&self.clock.now()).saturating_add(kept).unwrap_or(Timestamp::MAX);
                (schema::notice_key(account, id), codec::map([(schema::TTL, seconds(until))]))
            });
            self.put_all(marks.collect()).await?;
        }
        Ok(())
    }
}
