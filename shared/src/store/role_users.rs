//! Finds the accounts and grants that use a role: for a list, and before the role is
//! deleted.
//!
//! Both read the partition of all accounts in the index. Each call reads a bounded part
//! of the partition and returns the position at which it stopped. There is no counter of
//! a role's users, because every change of a grant, even its end, would contend for
//! the counter.

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::Select;
use jiff::{SignedDuration, Timestamp};

use super::accounts::account_id;
use super::codec::{self, MalformedItem, Map, Reader, s};
use super::list::{AccountCursor, PageRequest};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{AccountId, AccountName, FederatedIdentity, LiveKey, RoleName};

/// The maximum number of users that a refusal to delete a role names.
const MAX_NAMED_USERS: usize = 20;
/// The maximum number of queries for one check. Each reads up to 1 MB:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>
const MAX_QUERIES: usize = 100;
/// The time limit of a check. The last query can take another 2.4 s, and so can the
/// transaction, within the function's 15 s.
const MAX_TIME: SignedDuration = SignedDuration::from_secs(6);

/// An account that has a role, or a grant that has the role as its own role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleUser {
    /// The account.
    pub account: AccountId,
    /// The account's name.
    pub account_name: AccountName,
    /// Whether the account is enabled.
    pub is_enabled: bool,
    /// The live keys that the role limits: all live keys of an account that has the role,
    /// or only the key that has the role as its own.
    pub keys: Vec<LiveKey>,
    /// The federated identities that the role limits, like `keys`.
    pub identities: Vec<FederatedIdentity>,
    /// Whether the user of the role is the one grant in `keys` or `identities`, and not the
    /// account.
    pub is_grant: bool,
}

impl RoleUser {
    /// The position of the account in the list of accounts.
    fn cursor(&self) -> AccountCursor {
        AccountCursor { id: self.account, name: self.account_name.folded() }
    }

    /// The key, if the user of the role is a key.
    pub fn key(&self) -> Option<&LiveKey> {
        self.keys.first().filter(|_| self.is_grant)
    }

    /// The federated identity, if the user of the role is one.
    pub fn identity(&self) -> Option<&FederatedIdentity> {
        self.identities.first().filter(|_| self.is_grant)
    }
}

/// A page of the users of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleUserPage {
    /// The users, in the order of the accounts' names.
    pub users: Vec<RoleUser>,
    /// The number of accounts that were checked for this page.
    pub checked: usize,
    /// The last account that was checked, if there can be more.
    pub next: Option<AccountCursor>,
}

/// The accounts and live grants that use a role.
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

    /// Finds the accounts after `after` that have this role, and their live grants that
    /// have it as their own role. Stops at `until` or after [`MAX_QUERIES`] queries, but
    /// makes at least one query.
    pub(super) async fn users_of(
        &self,
        role: &RoleName,
        after: Option<&AccountCursor>,
        until: Timestamp,
    ) -> Result<RoleUsers, StoreError> {
        let mut start = after.map(AccountCursor::index_key);
        let mut users = RoleUsers::default();
        for _ in 0..MAX_QUERIES {
            let answer = self.query_grants_of_accounts(start).await?;
            let now = self.clock.now();
            for item in answer.items() {
                users.checked += 1;
                users_in(item, role, now)
                    .map_err(|error| error.in_item("an account"))?
                    .into_iter()
                    .for_each(|user| users.add(user));
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
    /// Lists the accounts that have this role, and the live grants that have it as their own
    /// role. An account and its grants are on the same page, so a page can have more users
    /// than its limit. The list reads the index, which can lag behind the table.
    ///
    /// Stops after six seconds or [`MAX_QUERIES`] queries. A page can be empty although
    /// there are more.
    pub async fn list_role_users(
        &self,
        role: &RoleName,
        page: &PageRequest<AccountCursor>,
    ) -> Result<RoleUserPage, StoreError> {
        let (until, limit) = (self.end_of_check(), usize::try_from(page.limit).unwrap_or(0));
        let mut start = page.cursor.as_ref().map(AccountCursor::index_key);
        let (mut users, mut checked) = (Vec::new(), 0);
        for _ in 0..MAX_QUERIES {
            let answer = self.query_grants_of_accounts(start).await?;
            let now = self.clock.now();
            for item in answer.items() {
                checked += 1;
                users.extend(users_in(item, role, now).map_err(|error| error.in_item("an account"))?);
                if users.len() >= limit {
                    let next = users.last().map(RoleUser::cursor);
                    return Ok(RoleUserPage { users, checked, next });
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() || now >= until {
                break;
            }
        }
        let next = start.map(|key| AccountCursor::from_item(&key)).transpose()?;
        Ok(RoleUserPage { users, checked, next })
    }

    /// Queries the accounts after `start` with their roles and grants, up to 1 MB.
    async fn query_grants_of_accounts(&self, start: Option<Map>) -> Result<QueryOutput, StoreError> {
        // Reads the whole map of grants, because an index cannot project a part of it.
        let read = [schema::PK, attribute::NAME, attribute::ROLE, attribute::ENABLED, attribute::KEYS];
        let (projection, mut names) = codec::projection(&read);
        names.insert("#partition".to_owned(), schema::INDEX_PK.to_owned());
        let query = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(schema::INDEX)
            .key_condition_expression("#partition = :pk")
            .select(Select::SpecificAttributes)
            .projection_expression(projection)
            .set_expression_attribute_names(Some(names))
            .expression_attribute_values(":pk", s(schema::INDEX_ACCOUNTS))
            .set_exclusive_start_key(start);
        query.send().await.map_err(StoreError::from_sdk)
    }
}

/// The users of the role in the item of an account: the account, if it has the role, and
/// its live grants that have the role as their own.
fn users_in(item: &Map, role: &RoleName, now: Timestamp) -> Result<Vec<RoleUser>, MalformedItem> {
    let reader = Reader(item);
    let user = |is_grant, keys, identities| -> Result<RoleUser, MalformedItem> {
        Ok(RoleUser {
            account: reader.parse(schema::PK, account_id)?,
            account_name: reader.parse(attribute::NAME, AccountName::from_stored)?,
            is_enabled: reader.boolean(attribute::ENABLED)?,
            keys,
            identities,
            is_grant,
        })
    };
    let (mut keys, mut identities) = reader.grants()?;
    keys.retain(|key| key.ended(now).is_none());
    identities.retain(|identity| identity.ended(now).is_none());
    let own_keys: Vec<_> = keys.iter().filter(|key| key.spec.role.as_ref() == Some(role)).cloned().collect();
    let own_identities: Vec<_> =
        identities.iter().filter(|identity| identity.spec.role.as_ref() == Some(role)).cloned().collect();
    let has_role = reader.parse(attribute::ROLE, RoleName::parse)? == *role;
    let account = has_role.then(|| user(false, keys, identities)).into_iter();
    account
        .chain(own_keys.into_iter().map(|key| user(true, vec![key], Vec::new())))
        .chain(own_identities.into_iter().map(|identity| user(true, Vec::new(), vec![identity])))
        .collect()
}
