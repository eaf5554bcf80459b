//! The data of the daily sweep: its state, the accounts, page by page, and the published
//! notices.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};

use super::accounts::{account_id, listed_account};
use super::codec::{self, Reader, s, seconds};
use super::directory::Entry;
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

/// The state of the sweep between two runs of its function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepState {
    /// The position at which a sweep ran out of time. `None` if that sweep reached the last
    /// account.
    pub position: Option<AccountCursor>,
    /// When the sweep that stopped at `position` began with the first account.
    pub started_at: Option<Timestamp>,
    /// The last sweep that reached the last account.
    pub completed: Option<CompletedSweep>,
}

/// A sweep of all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedSweep {
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

/// The entries of all accounts in the directory, as hashes, because there can be many.
#[derive(Debug, Default)]
pub struct ListedEntries(HashMap<AccountId, u64>);

impl ListedEntries {
    /// Whether the directory has the entry that `account` must have.
    pub fn contains(&self, account: &Account) -> bool {
        self.0.get(&account.id) == Some(&hash(&Entry::new(account)))
    }
}

fn hash(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    hasher.finish()
}

impl Store {
    /// Reads the state of the sweep. A malformed position counts as none.
    pub async fn sweep_state(&self) -> Result<SweepState, StoreError> {
        let attributes =
            [attribute::POSITION, attribute::STARTED_AT, attribute::COMPLETED_FROM, attribute::COMPLETED_AT];
        let item = self.read(schema::sweep_key(), &attributes).await?.unwrap_or_default();
        let reader = Reader(&item);
        let position = reader.text(attribute::POSITION).ok();
        let seconds = |name| reader.seconds(name).ok();
        let completed = seconds(attribute::COMPLETED_FROM).zip(seconds(attribute::COMPLETED_AT));
        Ok(SweepState {
            position: position.and_then(|position| AccountCursor::decode(position, None).ok()),
            started_at: seconds(attribute::STARTED_AT),
            completed: completed.map(|(started_at, ended_at)| CompletedSweep { started_at, ended_at }),
        })
    }

    /// Stores the state of the sweep.
    pub async fn save_sweep_state(&self, state: &SweepState) -> Result<(), StoreError> {
        let position = state.position.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut item = codec::map([(attribute::POSITION, s(position))]);
        for (name, at) in [
            (attribute::STARTED_AT, state.started_at),
            (attribute::COMPLETED_FROM, state.completed.map(|completed| completed.started_at)),
            (attribute::COMPLETED_AT, state.completed.map(|completed| completed.ended_at)),
        ] {
            item.extend(at.map(|at| (name.to_owned(), seconds(at))));
        }
        self.put_all(vec![(schema::sweep_key(), item)]).await
    }

    /// Reads the entries of all accounts in the directory.
    pub async fn listed_entries(&self) -> Result<ListedEntries, StoreError> {
        let mut entries = ListedEntries::default();
        let mut start = None;
        loop {
            let query = self
                .client
                .query()
                .table_name(&*self.table)
                .index_name(schema::DIRECTORY)
                .key_condition_expression("#pk = :pk")
                .expression_attribute_names("#pk", schema::DIRECTORY_PK)
                .expression_attribute_values(":pk", s(schema::DIRECTORY_ACCOUNTS))
                .set_exclusive_start_key(start);
            let answer = query.send().await.map_err(StoreError::from_sdk)?;
            entries.0.extend(answer.items().iter().filter_map(|item| {
                let account = account_id(Reader(item).text(schema::PK).ok()?).ok()?;
                Some((account, hash(&Entry::read(item)?)))
            }));
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(entries);
            }
        }
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
