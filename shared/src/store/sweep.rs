//! What the daily sweep needs: every account in turn, which notices were given
//! already, and when keys were last used.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::accounts::{account_id, index_position};
use super::codec::{Map, Reader, s, seconds};
use super::list::{AccountFilter, Cursor, MAX_LIMIT};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{Account, AccountId, FoldedName, KeyId};

/// Days behind a key's expiry for which the mark stays that a notice of it was
/// given: until then the key itself has long gone to its record.
const MARK_KEPT_DAYS: i64 = 60;
/// Marks that one transaction makes.
const MARKS_AT_ONCE: usize = 25;

/// Some accounts, in the order of their folded names.
#[derive(Debug)]
pub struct SweepPage {
    /// Each with where the sweep goes on behind it. One that is not well-formed
    /// keeps nobody from the others.
    pub accounts: Vec<(Option<Cursor>, Result<Account, StoreError>)>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl Store {
    /// Where the last sweep stopped because its time was over. Nowhere, if it
    /// came to its end, or if what stands there is no position.
    ///
    /// # Errors
    /// When the table cannot be reached.
    pub async fn sweep_position(&self) -> Result<Option<Cursor>, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(&*self.table)
            .set_key(Some(schema::sweep_key()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        let position =
            answer.item.and_then(|item| Reader(&item).text(attribute::POSITION).map(str::to_owned).ok());
        Ok(position.and_then(|position| Cursor::decode_account(&position, None).ok()))
    }

    /// Says where the next sweep is to begin: nowhere means at the beginning.
    ///
    /// # Errors
    /// When the table cannot be reached.
    pub async fn save_sweep_position(&self, position: Option<&Cursor>) -> Result<(), StoreError> {
        let position = position.map(Cursor::encode).unwrap_or_default();
        self.put_all(vec![(schema::sweep_key(), Map::from([(attribute::POSITION.to_owned(), s(position))]))])
            .await
    }

    /// The next accounts behind `position`, with their keys. It reads the index,
    /// which may be a moment behind: whatever is done is decided again on a
    /// consistent read.
    ///
    /// # Errors
    /// When the table cannot be reached.
    pub async fn accounts_to_sweep(&self, position: Option<&Cursor>) -> Result<SweepPage, StoreError> {
        let start = position.and_then(|position| match position {
            Cursor::Account { id, name } => Some(index_position(*id, name)),
            Cursor::Event(_) | Cursor::AllEvents(_) | Cursor::Role(_) => None,
        });
        let answer = self.query_accounts(&AccountFilter::default(), i32::from(MAX_LIMIT), start).await?;
        let accounts = answer.items().iter().map(|item| (place(item), account(item))).collect();
        Ok(SweepPage { accounts, next: answer.last_evaluated_key().and_then(place) })
    }

    /// The ids of the notices of an account's keys that were given already.
    ///
    /// # Errors
    /// When the table cannot be reached.
    pub async fn given_notices(&self, account: AccountId) -> Result<HashSet<String>, StoreError> {
        let items = self.read_partition(schema::notices_partition(account), &[], usize::MAX).await?;
        Ok(items.iter().filter_map(|item| Reader(item).text(schema::SK).map(str::to_owned).ok()).collect())
    }

    /// Remembers that notices were given, each of a key that expires then.
    ///
    /// # Errors
    /// When the table cannot be reached.
    pub async fn mark_given(
        &self,
        account: AccountId,
        notices: &[(String, Timestamp)],
    ) -> Result<(), StoreError> {
        for some in notices.chunks(MARKS_AT_ONCE) {
            let marks = some.iter().map(|(id, expires_at)| {
                let kept = SignedDuration::from_hours(24 * MARK_KEPT_DAYS);
                let until = expires_at.max(&self.clock.now()).saturating_add(kept).unwrap_or(Timestamp::MAX);
                (schema::notice_key(account, id), Map::from([(schema::TTL.to_owned(), seconds(until))]))
            });
            self.put_all(marks.collect()).await?;
        }
        Ok(())
    }

    /// When each key of an account was last used, for those that ever were.
    ///
    /// # Errors
    /// When the table cannot be reached, or an item is not well-formed.
    pub async fn last_uses(&self, account: AccountId) -> Result<HashMap<KeyId, Timestamp>, StoreError> {
        let usage = self.list_usage(account).await?;
        Ok(usage.into_iter().filter_map(|(key, usage)| Some((key, usage.last_used_at?))).collect())
    }
}

fn account(item: &Map) -> Result<Account, StoreError> {
    let id = Reader(item).parse(schema::PK, account_id).map_err(|problem| problem.in_item("an account"))?;
    Reader(item).account(id).map_err(|problem| problem.in_item(id))
}

/// An item's place in the index of accounts.
pub(super) fn place(item: &Map) -> Option<Cursor> {
    let id = Reader(item).parse(schema::PK, account_id).ok()?;
    let name = Reader(item).text(schema::INDEX_SK).ok()?;
    Some(Cursor::Account { id, name: FoldedName::new(name) })
}
