//! Finds the accounts and keys that use a role, before the role is deleted.
//!
//! The check reads the partition of all accounts in the index. Each check reads a
//! bounded part of the partition and returns the position at which it stopped. There is
//! no counter of a role's users, because every change of a key, even a revocation, would
//! contend for the counter.

use aws_sdk_dynamodb::types::Select;
use jiff::{SignedDuration, Timestamp};

use super::accounts::account_id;
use super::codec::{self, MalformedItem, Map, Reader, s};
use super::list::AccountCursor;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{AccountId, AccountName, KeyId, RoleName};

/// The maximum number of users that a refusal to delete a role names.
const MAX_NAMED_USERS: usize = 20;
/// The maximum number of queries for one check. Each reads up to 1 MB:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>
const MAX_QUERIES: usize = 100;
/// The time limit of a check. The last query can take another 2.4 s, and so can the
/// transaction, within the function's 15 s.
const MAX_TIME: SignedDuration = SignedDuration::from_secs(6);

/// An account that has a role, or a key that has the role as its own role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleUser {
    /// The account.
    pub account: AccountId,
    /// The account's name.
    pub account_name: AccountName,
    /// The key, if the user of the role is a key.
    pub key: Option<KeyId>,
}

/// The accounts and live keys that use a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleUsers {
    /// The first users, in the order of the accounts' names.
    pub first: Vec<RoleUser>,
    /// The number of users that were found.
    pub count: usize,
    /// The number of accounts that were checked.
    pub checked: usize,
    /// The last account that was checked, if there are more.
    pub stopped_at: Option<AccountCursor>,
}

impl RoleUsers {
    fn add(&mut self, user: RoleUser) {
        self.count += 1;
        if self.first.len() < MAX_NAMED_USERS {
            self.first.push(user);
        }
    }
}

impl Store {
    /// The time limit of a check that starts now.
    pub(super) fn end_of_check(&self) -> Timestamp {
        self.clock.now().saturating_add(MAX_TIME).unwrap_or(Timestamp::MAX)
    }

    /// Finds the accounts after `after` that have this role, and their live keys that
    /// have it as their own role. Stops at `until` or after [`MAX_QUERIES`] queries, but
    /// makes at least one query.
    pub(super) async fn users_of(
        &self,
        role: &RoleName,
        after: Option<&AccountCursor>,
        until: Timestamp,
    ) -> Result<RoleUsers, StoreError> {
        // Reads the whole map of keys, because an index cannot project a part of it.
        let (projection, mut names) =
            codec::projection(&[schema::PK, attribute::NAME, attribute::ROLE, attribute::KEYS]);
        names.insert("#partition".to_owned(), schema::INDEX_PK.to_owned());
        let mut start = after.map(AccountCursor::index_key);
        let mut users = RoleUsers::default();
        for _ in 0..MAX_QUERIES {
            let answer = self
                .client
                .query()
                .table_name(&*self.table)
                .index_name(schema::INDEX)
                .key_condition_expression("#partition = :pk")
                .select(Select::SpecificAttributes)
                .projection_expression(&projection)
                .set_expression_attribute_names(Some(names.clone()))
                .expression_attribute_values(":pk", s(schema::INDEX_ACCOUNTS))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(StoreError::from_sdk)?;
            let now = self.clock.now();
            for item in answer.items() {
                add_users(item, role, now, &mut users).map_err(|error| error.in_item("an account"))?;
            }
            start = answer.last_evaluated_key;
            if start.is_none() || now >= until {
                break;
            }
        }
        // A malformed position is an error: without a cursor, the check would look
        // complete.
        users.stopped_at = start.map(|key| AccountCursor::from_item(&key)).transpose()?;
        Ok(users)
    }
}

/// Adds an account to `users` if it has the role, and its live keys that have the role
/// as their own.
fn add_users(
    item: &Map,
    role: &RoleName,
    now: Timestamp,
    users: &mut RoleUsers,
) -> Result<(), MalformedItem> {
    let reader = Reader(item);
    let account = reader.parse(schema::PK, account_id)?;
    let account_name = reader.parse(attribute::NAME, AccountName::from_stored)?;
    users.checked += 1;
    if reader.parse(attribute::ROLE, RoleName::parse)? == *role {
        users.add(RoleUser { account, account_name: account_name.clone(), key: None });
    }
    for key in reader.keys()? {
        if key.spec.role.as_ref() == Some(role) && key.ended(now).is_none() {
            users.add(RoleUser { account, account_name: account_name.clone(), key: Some(key.id) });
        }
    }
    Ok(())
}
