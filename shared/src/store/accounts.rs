//! Accounts: create, read, list, update, delete.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};

use super::codec::{self, Map, Reader, n, s, seconds};
use super::commit::{Expression, Outcome};
use super::events::Happened;
use super::keys::Retirement;
use super::list::{AccountFilter, Cursor, MAX_LIMIT, Page, PageRequest};
use super::schema::{self, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{
    Account, AccountChanges, AccountId, AccountName, ChangeRequest, EventType, Fingerprint, FoldedName,
    NewAccount,
};

/// What a management function reads of an account: all that people may see.
const READ: [&str; 13] = [
    attribute::NAME,
    attribute::DESCRIPTION,
    attribute::ROLE,
    attribute::ENABLED,
    attribute::OWNER,
    attribute::TAGS,
    attribute::VERSION,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::UPDATED_AT,
    attribute::UPDATED_BY,
    attribute::KEYS,
    schema::PK,
];

/// The outcome of a creation.
#[derive(Debug)]
pub struct Created {
    /// The account, as it is now.
    pub account: Account,
    /// Whether an earlier request under the same `Idempotency-Key` made it.
    pub replayed: bool,
}

impl Store {
    /// Creates an account.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`StoreError::UnknownRole`],
    /// [`StoreError::IdempotencyKeyReused`], [`StoreError::CreatedAndDeleted`],
    /// or the table cannot be reached.
    pub async fn create_account(
        &self,
        new: &NewAccount,
        fingerprint: Fingerprint,
        request: &ChangeRequest,
    ) -> Result<Created, StoreError> {
        let now = self.clock.now();
        let account = Account {
            id: request.new_account_id(&*self.entropy)?,
            name: new.name.clone(),
            description: new.description.clone(),
            role: new.role.clone(),
            enabled: true,
            owner: new.owner.clone(),
            tags: new.tags.clone(),
            version: 1,
            created_at: now,
            created_by: request.actor.clone(),
            updated_at: now,
            updated_by: request.actor.clone(),
            keys: Vec::new(),
        };
        let folded = account.name.folded();
        let mut backoff = self.backoff();
        loop {
            let mut actions = vec![
                self.put_new(schema::account_key(account.id), item(&account, &folded, fingerprint))?,
                self.check_absent(schema::retired_account_key(account.id))?,
                self.reserve(&folded, account.id)?,
                self.record(Happened::to(EventType::ServiceAccountCreated, &account), request, now)?,
            ];
            actions.extend(self.check_role(&account.role)?);
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(Created { account, replayed: false }),
                Outcome::Conflict => backoff.pause().await?,
                Outcome::Refused(failed) => match failed.first() {
                    Some(0) => match self.find_account_with_fingerprint(account.id).await? {
                        Some((made, first)) if first == fingerprint => {
                            return Ok(Created { account: made, replayed: true });
                        }
                        Some(_) => return Err(StoreError::IdempotencyKeyReused),
                        // Deleted since: the next attempt finds its record.
                        None => backoff.pause().await?,
                    },
                    Some(1) => {
                        let first =
                            self.fingerprint_of(schema::retired_account_key(account.id)).await?.flatten();
                        return Err(if first.is_none_or(|first| first == fingerprint) {
                            StoreError::CreatedAndDeleted(account.id)
                        } else {
                            StoreError::IdempotencyKeyReused
                        });
                    }
                    Some(2) => return Err(StoreError::NameTaken),
                    _ => return Err(StoreError::UnknownRole(account.role)),
                },
            }
        }
    }

    /// The account with its keys, read consistently.
    ///
    /// # Errors
    /// When the table cannot be reached, or the item is not well-formed.
    pub async fn find_account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let item = self.read(schema::account_key(id), &READ).await?;
        item.map(|item| Reader(&item).account(id).map_err(|problem| problem.in_item(id))).transpose()
    }

    /// The account with its keys, read consistently.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or as [`Store::find_account`].
    pub async fn get_account(&self, id: AccountId) -> Result<Account, StoreError> {
        self.find_account(id).await?.ok_or(StoreError::AccountNotFound(id))
    }

    /// The account and the fingerprint of the request that created it.
    async fn find_account_with_fingerprint(
        &self,
        id: AccountId,
    ) -> Result<Option<(Account, Fingerprint)>, StoreError> {
        let read = |reader: Reader<'_>| Ok((reader.account(id)?, reader.fingerprint()?));
        match self.get_account_with(id, &[attribute::FINGERPRINT], read).await {
            Err(StoreError::AccountNotFound(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// The account with its keys and their verifiers.
    pub(super) async fn get_account_with_verifiers(
        &self,
        id: AccountId,
    ) -> Result<(Account, Verifiers), StoreError> {
        let read = |reader: Reader<'_>| Ok((reader.account(id)?, reader.verifiers()?));
        self.get_account_with(id, &[attribute::VERIFIERS], read).await
    }

    /// What `read` makes of an account of which these attributes are wanted too.
    async fn get_account_with<T>(
        &self,
        id: AccountId,
        more: &[&'static str],
        read: impl FnOnce(Reader<'_>) -> Result<T, codec::Problem>,
    ) -> Result<T, StoreError> {
        let attributes = [&READ[..], more].concat();
        let item = self.read(schema::account_key(id), &attributes).await?;
        let item = item.ok_or(StoreError::AccountNotFound(id))?;
        read(Reader(&item)).map_err(|problem| problem.in_item(id))
    }

    /// Accounts in the order of their folded names. The list is for people: it
    /// reads the index, which may be a moment behind.
    ///
    /// # Errors
    /// When the table cannot be reached, or an item is not well-formed.
    pub async fn list_accounts(
        &self,
        filter: &AccountFilter,
        page: &PageRequest,
    ) -> Result<Page<Account>, StoreError> {
        let mut start = match &page.cursor {
            Some(Cursor::Account { id, name }) => Some(index_position(*id, name)),
            Some(Cursor::Event(_) | Cursor::AllEvents(_) | Cursor::Role(_)) | None => None,
        };
        let wanted = usize::try_from(page.limit).unwrap_or(0);
        let mut accounts = Vec::new();
        // Where that is not enough for a page of a filtered list, it is short and
        // names where to go on.
        for _ in 0..MAX_QUERIES {
            let answer = self.query_accounts(filter, page.limit, start).await?;
            for item in answer.items() {
                let id = Reader(item)
                    .parse(schema::PK, account_id)
                    .map_err(|problem| problem.in_item("an account"))?;
                accounts.push(Reader(item).account(id).map_err(|problem| problem.in_item(id))?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || accounts.len() > wanted {
                return Ok(Page::cut(accounts, page.limit, position));
            }
        }
        // A filter that few accounts pass: a short page, and where to go on.
        let next = start.and_then(|key| {
            let id = Reader(&key).parse(schema::PK, account_id).ok()?;
            let name = Reader(&key).text(schema::INDEX_SK).ok()?;
            Some(Cursor::Account { id, name: FoldedName::new(name) })
        });
        Ok(Page { items: accounts, next })
    }

    pub(super) async fn query_accounts(
        &self,
        filter: &AccountFilter,
        limit: i32,
        start: Option<Map>,
    ) -> Result<aws_sdk_dynamodb::operation::query::QueryOutput, StoreError> {
        let is_filtered = filter.role.is_some() || filter.enabled.is_some();
        let mut query = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(schema::INDEX)
            .expression_attribute_names("#pk", schema::INDEX_PK)
            .expression_attribute_values(":pk", s(schema::INDEX_ACCOUNTS))
            .limit(if is_filtered { i32::from(MAX_LIMIT) } else { limit.saturating_add(1) })
            .set_exclusive_start_key(start);
        let mut key_condition = "#pk = :pk".to_owned();
        if let Some(prefix) = filter.prefix.as_ref().filter(|prefix| !prefix.as_str().is_empty()) {
            key_condition.push_str(" AND begins_with(#sk, :prefix)");
            query = query
                .expression_attribute_names("#sk", schema::INDEX_SK)
                .expression_attribute_values(":prefix", s(prefix.as_str()));
        }
        let mut conditions = Vec::new();
        if let Some(role) = &filter.role {
            conditions.push("#role = :role");
            query = query
                .expression_attribute_names("#role", attribute::ROLE)
                .expression_attribute_values(":role", s(role));
        }
        if let Some(enabled) = filter.enabled {
            conditions.push("#enabled = :enabled");
            query = query
                .expression_attribute_names("#enabled", attribute::ENABLED)
                .expression_attribute_values(":enabled", AttributeValue::Bool(enabled));
        }
        if is_filtered {
            query = query.filter_expression(conditions.join(" AND "));
        }
        query.key_condition_expression(key_condition).send().await.map_err(StoreError::from_sdk)
    }

    /// Changes an account: all of `changes` or, where they come to nothing,
    /// nothing at all, without an event.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Stale`] if it is not of
    /// `version`, [`StoreError::NameTaken`], [`StoreError::UnknownRole`],
    /// [`StoreError::Contention`], or the table cannot be reached.
    pub async fn update_account(
        &self,
        id: AccountId,
        changes: &AccountChanges,
        version: Option<u64>,
        request: &ChangeRequest,
    ) -> Result<Account, StoreError> {
        let mut backoff = self.backoff();
        loop {
            let before = self.get_account(id).await?;
            if version.is_some_and(|version| version != before.version) {
                return Err(StoreError::Stale);
            }
            let effective = changes.effective(&before);
            if effective.is_empty() {
                return Ok(before);
            }
            let after = self.changed(&before, changes, request);
            let (old_name, new_name) = (before.name.folded(), after.name.folded());
            let renamed = old_name != new_name;
            let mut happened = Happened::to(EventType::ServiceAccountUpdated, &after);
            happened.changes = effective;
            let mut actions = vec![
                self.update(schema::account_key(id), change_expression(&before, &after))?,
                self.record(happened, request, after.updated_at)?,
            ];
            if renamed {
                actions.push(self.reserve(&new_name, id)?);
                actions.push(self.release(&old_name, id)?);
            }
            if before.role != after.role {
                actions.extend(self.check_role(&after.role)?);
            }
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(after),
                Outcome::Refused(failed) if failed.contains(&0) => backoff.pause().await?,
                Outcome::Refused(failed) if renamed && failed.contains(&2) => {
                    return Err(StoreError::NameTaken);
                }
                Outcome::Refused(failed) if renamed && failed.contains(&3) => backoff.pause().await?,
                Outcome::Refused(_) => return Err(StoreError::UnknownRole(after.role)),
                Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    fn changed(&self, before: &Account, changes: &AccountChanges, request: &ChangeRequest) -> Account {
        let mut after = before.clone();
        after.version += 1;
        after.updated_at = self.clock.now();
        after.updated_by = request.actor.clone();
        let AccountChanges { name, description, role, enabled, owner, tags } = changes.clone();
        after.name = name.unwrap_or(after.name);
        after.description = description.unwrap_or(after.description);
        after.role = role.unwrap_or(after.role);
        after.enabled = enabled.unwrap_or(after.enabled);
        after.owner = owner.unwrap_or(after.owner);
        after.tags = tags.unwrap_or(after.tags);
        after
    }

    /// Deletes an account and its name. Its keys move to their records, with
    /// their verifiers, and its events stay.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Stale`] if it is not of
    /// `version`, [`StoreError::Contention`], or the table cannot be reached.
    pub async fn delete_account(
        &self,
        id: AccountId,
        version: Option<u64>,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        let mut backoff = self.backoff();
        loop {
            let read =
                |reader: Reader<'_>| Ok((reader.account(id)?, reader.verifiers()?, reader.fingerprint()?));
            let more = [attribute::VERIFIERS, attribute::FINGERPRINT];
            let (account, verifiers, fingerprint) = self.get_account_with(id, &more, read).await?;
            if version.is_some_and(|version| version != account.version) {
                return Err(StoreError::Stale);
            }
            let mut unchanged = Expression::default();
            unchanged.require_equal(attribute::VERSION, n(account.version));
            let mut tombstone = Map::from([
                (attribute::NAME.to_owned(), s(&account.name)),
                (attribute::FINGERPRINT.to_owned(), codec::b(fingerprint.as_bytes())),
            ]);
            let now = self.clock.now();
            let retirement = Retirement::of_account(&request.actor, now);
            tombstone.extend(retirement.attributes());
            let mut actions = vec![
                self.delete(schema::account_key(id), unchanged)?,
                self.release(&account.name.folded(), id)?,
                self.put_new(schema::retired_account_key(id), tombstone)?,
                self.record(Happened::to(EventType::ServiceAccountDeleted, &account), request, now)?,
            ];
            for key in &account.keys {
                actions.push(self.retire(&account, key, verifiers.get(&key.id), &retirement)?);
            }
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(()),
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    /// The action that reserves a name.
    fn reserve(&self, name: &FoldedName, id: AccountId) -> Result<TransactWriteItem, StoreError> {
        self.put_new(schema::name_key(name), Map::from([(attribute::ACCOUNT.to_owned(), s(id))]))
    }

    /// The action that gives a name free.
    fn release(&self, name: &FoldedName, id: AccountId) -> Result<TransactWriteItem, StoreError> {
        let mut ours = Expression::default();
        ours.require_equal(attribute::ACCOUNT, s(id));
        self.delete(schema::name_key(name), ours)
    }
}

/// The verifiers of an account's keys.
pub(super) type Verifiers = HashMap<crate::domain::KeyId, crate::domain::VerifierEntry>;

fn change_expression(before: &Account, after: &Account) -> Expression {
    let mut expression = Expression::default();
    expression.require_equal(attribute::VERSION, n(before.version));
    expression.set(attribute::VERSION, n(after.version));
    expression.set(attribute::UPDATED_AT, seconds(after.updated_at));
    expression.set(attribute::UPDATED_BY, codec::actor(&after.updated_by));
    if before.name != after.name {
        expression.set(attribute::NAME, s(&after.name));
        expression.set(schema::INDEX_SK, s(after.name.folded().as_str()));
    }
    if before.description != after.description {
        expression.set(attribute::DESCRIPTION, s(&after.description));
    }
    if before.role != after.role {
        expression.set(attribute::ROLE, s(&after.role));
    }
    if before.enabled != after.enabled {
        expression.set(attribute::ENABLED, AttributeValue::Bool(after.enabled));
    }
    if before.owner != after.owner {
        expression.set(attribute::OWNER, s(&after.owner));
    }
    if before.tags != after.tags {
        expression.set(attribute::TAGS, codec::tags(&after.tags));
    }
    expression
}

/// A new account's item. Its keys and verifiers are two maps apart, so that no
/// index and no listing function ever carries a verifier.
fn item(account: &Account, folded: &FoldedName, fingerprint: Fingerprint) -> Map {
    let empty = || AttributeValue::M(HashMap::new());
    Map::from([
        (attribute::NAME.to_owned(), s(&account.name)),
        (attribute::DESCRIPTION.to_owned(), s(&account.description)),
        (attribute::ROLE.to_owned(), s(&account.role)),
        (attribute::ENABLED.to_owned(), AttributeValue::Bool(account.enabled)),
        (attribute::OWNER.to_owned(), s(&account.owner)),
        (attribute::TAGS.to_owned(), codec::tags(&account.tags)),
        (attribute::VERSION.to_owned(), n(account.version)),
        (attribute::CREATED_AT.to_owned(), seconds(account.created_at)),
        (attribute::CREATED_BY.to_owned(), codec::actor(&account.created_by)),
        (attribute::UPDATED_AT.to_owned(), seconds(account.updated_at)),
        (attribute::UPDATED_BY.to_owned(), codec::actor(&account.updated_by)),
        (attribute::FINGERPRINT.to_owned(), codec::b(fingerprint.as_bytes())),
        (attribute::KEYS.to_owned(), empty()),
        (attribute::VERIFIERS.to_owned(), empty()),
        (schema::INDEX_PK.to_owned(), s(schema::INDEX_ACCOUNTS)),
        (schema::INDEX_SK.to_owned(), s(folded.as_str())),
    ])
}

pub(super) fn account_id(partition: &str) -> Result<AccountId, crate::domain::InvalidId> {
    partition.strip_prefix(schema::partition::ACCOUNT).unwrap_or_default().parse()
}

fn position(account: &Account) -> Cursor {
    Cursor::Account { id: account.id, name: AccountName::folded(&account.name) }
}

pub(super) fn index_position(id: AccountId, name: &FoldedName) -> Map {
    let mut position = schema::account_key(id);
    position.insert(schema::INDEX_PK.to_owned(), s(schema::INDEX_ACCOUNTS));
    position.insert(schema::INDEX_SK.to_owned(), s(name.as_str()));
    position
}
