//! Creates, reads, lists, updates and deletes accounts.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};

use super::codec::{self, Map, Reader, Verifiers, n, s, seconds};
use super::commit::{Attempt, Expression, Outcome};
use super::directory::{ENTRY, Entry, StoredEntry};
use super::events::NewEvent;
use super::grants::{RecordFingerprint, RetirementDetails};
use super::list::{AccountCursor, AccountFilter, AccountPage, ListOrder, MAX_LIMIT, Page, PageRequest};
use super::schema::{self, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{
    Account, AccountChanges, AccountId, ChangeRequest, EventType, Fingerprint, FoldedName, NewAccount,
};

/// The attributes of an account that admins may see.
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

/// A created account.
#[derive(Debug)]
pub struct CreatedAccount {
    /// The current state of the account.
    pub account: Account,
    /// Whether an earlier request with the same `Idempotency-Key` created it.
    pub replayed: bool,
}

/// The conditions of a creation, in order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CreateCondition {
    AccountIsNew,
    AccountNotDeleted,
    NameIsFree,
    RoleExists,
    EventIsNew,
}

/// The conditions of an update, in order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UpdateCondition {
    AccountUnchanged,
    NewNameIsFree,
    OldNameUnchanged,
    RoleExists,
    EventIsNew,
}

impl Store {
    /// Creates an account.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`StoreError::UnknownRole`],
    /// [`StoreError::IdempotencyKeyReused`] or [`StoreError::CreatedAndDeleted`].
    pub async fn create_account(
        &self,
        new: &NewAccount,
        fingerprint: Fingerprint,
        request: &ChangeRequest,
    ) -> Result<CreatedAccount, StoreError> {
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
            identities: Vec::new(),
        };
        let id = account.id;
        let folded = account.name.folded();
        self.retry(|| async {
            let event = NewEvent::account(EventType::ServiceAccountCreated, &account);
            let mut actions = vec![
                (
                    CreateCondition::AccountIsNew,
                    self.put_new(schema::account_key(id), item(&account, &folded, fingerprint))?,
                ),
                (CreateCondition::AccountNotDeleted, self.check_absent(schema::retired_account_key(id))?),
                (CreateCondition::NameIsFree, self.reserve(&folded, id)?),
                (CreateCondition::EventIsNew, self.record(event, request, now)?),
            ];
            let role_check = self.check_role(&account.role)?;
            actions.extend(role_check.map(|check| (CreateCondition::RoleExists, check)));
            match self.commit(actions).await? {
                Outcome::Committed => {
                    Ok(Attempt::Done(CreatedAccount { account: account.clone(), replayed: false }))
                }
                Outcome::Refused(CreateCondition::AccountIsNew) => {
                    let read = |reader: Reader<'_>| Ok((reader.account(id)?, reader.fingerprint()?));
                    match self.find_account_with(id, &[attribute::FINGERPRINT], read).await? {
                        Some((account, first)) if first == fingerprint => {
                            Ok(Attempt::Done(CreatedAccount { account, replayed: true }))
                        }
                        Some(_) => Err(StoreError::IdempotencyKeyReused),
                        // The account has been deleted since. The next attempt finds its
                        // record.
                        None => Ok(Attempt::Again),
                    }
                }
                Outcome::Refused(CreateCondition::AccountNotDeleted) => {
                    let record = self.record_fingerprint(schema::retired_account_key(id)).await?;
                    let is_other_request =
                        matches!(record, RecordFingerprint::Known(first) if first != fingerprint);
                    Err(if is_other_request {
                        StoreError::IdempotencyKeyReused
                    } else {
                        StoreError::CreatedAndDeleted(id)
                    })
                }
                Outcome::Refused(CreateCondition::NameIsFree) => Err(StoreError::NameTaken),
                Outcome::Refused(CreateCondition::RoleExists) => {
                    Err(StoreError::UnknownRole(account.role.clone()))
                }
                Outcome::Refused(CreateCondition::EventIsNew) | Outcome::Conflict => Ok(Attempt::Again),
            }
        })
        .await
    }

    /// Finds an account and its grants with a consistent read.
    pub async fn find_account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.find_account_with(id, &[], |reader| reader.account(id)).await
    }

    /// Reads an account and its grants consistently.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`].
    pub async fn get_account(&self, id: AccountId) -> Result<Account, StoreError> {
        self.find_account(id).await?.ok_or(StoreError::AccountNotFound(id))
    }

    /// Finds an account, its grants and their verifiers with a consistent read.
    pub(super) async fn find_account_with_verifiers(
        &self,
        id: AccountId,
    ) -> Result<Option<(Account, Verifiers)>, StoreError> {
        let read = |reader: Reader<'_>| Ok((reader.account(id)?, reader.verifiers()?));
        self.find_account_with(id, &[attribute::VERIFIERS], read).await
    }

    /// Reads what a change of an account's grants needs, consistently.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`].
    pub(super) async fn get_account_to_change(&self, id: AccountId) -> Result<AccountToChange, StoreError> {
        self.find_account_to_change(id).await?.ok_or(StoreError::AccountNotFound(id))
    }

    /// Finds what a change of an account's grants needs, with a consistent read.
    pub(super) async fn find_account_to_change(
        &self,
        id: AccountId,
    ) -> Result<Option<AccountToChange>, StoreError> {
        let read = |reader: Reader<'_>| {
            Ok(AccountToChange {
                account: reader.account(id)?,
                verifiers: reader.verifiers()?,
                entry: StoredEntry::read(reader.0),
            })
        };
        let [sort_key, labels] = ENTRY;
        self.find_account_with(id, &[attribute::VERIFIERS, sort_key, labels], read).await
    }

    /// Corrects an account's entry in the directory, if it is wrong. Returns whether it was.
    /// This does not change the account's version.
    ///
    /// # Errors
    /// [`StoreError::Contention`].
    pub async fn correct_entry(&self, id: AccountId) -> Result<bool, StoreError> {
        self.retry(|| async {
            let read = |reader: Reader<'_>| Ok((reader.account(id)?, StoredEntry::read(reader.0)));
            let Some((account, stored)) = self.find_account_with(id, &ENTRY, read).await? else {
                return Ok(Attempt::Done(false));
            };
            let entry = Entry::new(&account);
            if stored.is(&entry) {
                return Ok(Attempt::Done(false));
            }
            let mut expression = Expression::equal(attribute::VERSION, n(account.version));
            entry.write(&mut expression);
            let update = self.update(schema::account_key(id), expression)?;
            Ok(self.commit_unchanged(vec![update]).await?.with(true))
        })
        .await
    }

    /// Finds an account with the attributes `more`, and decodes it with `read`.
    async fn find_account_with<T>(
        &self,
        id: AccountId,
        more: &[&'static str],
        read: impl FnOnce(Reader<'_>) -> Result<T, codec::MalformedItem>,
    ) -> Result<Option<T>, StoreError> {
        let attributes = [&READ[..], more].concat();
        let item = self.read(schema::account_key(id), &attributes).await?;
        item.map(|item| read(Reader(&item)).map_err(|error| error.in_item(id))).transpose()
    }

    /// Lists accounts in the order of their folded names. This reads the index,
    /// which can lag behind the table.
    pub async fn list_accounts(
        &self,
        filter: &AccountFilter,
        page: &PageRequest<AccountCursor>,
    ) -> Result<AccountPage, StoreError> {
        let mut start = page.cursor.as_ref().map(AccountCursor::index_key);
        let wanted = usize::try_from(page.limit).unwrap_or(0);
        let mut accounts = Vec::new();
        let mut searched = 0;
        // The first query reads few accounts, which is enough if most of them pass the filters.
        // The other queries read 1 MB each.
        let mut limit = Some(if filter.is_selective() { MAX_LIMIT.into() } else { page.limit + 1 });
        for _ in 0..MAX_QUERIES {
            let answer = self.query_accounts(filter, limit, start).await?;
            searched += usize::try_from(answer.scanned_count()).unwrap_or(0);
            for item in answer.items() {
                let account = listed_account(item)?;
                if filter.owner.as_ref().is_none_or(|owner| is_owned_by(&account, owner)) {
                    accounts.push(account);
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() || accounts.len() > wanted {
                let page = Page::cut(accounts, page.limit, AccountCursor::after);
                return Ok(AccountPage { page, searched: None });
            }
            limit = None;
        }
        // Few accounts pass the filters: return a short page with a cursor.
        let next = start.map(|key| AccountCursor::from_item(&key)).transpose()?;
        Ok(AccountPage { page: Page { items: accounts, next }, searched: Some(searched) })
    }

    /// Queries the accounts that match a filter, except for its owner. Reads at most `limit`
    /// accounts or, without a limit, 1 MB.
    pub(super) async fn query_accounts(
        &self,
        filter: &AccountFilter,
        limit: Option<i32>,
        start: Option<Map>,
    ) -> Result<aws_sdk_dynamodb::operation::query::QueryOutput, StoreError> {
        let mut query = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(schema::INDEX)
            .expression_attribute_names("#pk", schema::INDEX_PK)
            .expression_attribute_values(":pk", s(schema::INDEX_ACCOUNTS))
            .scan_index_forward(filter.order == ListOrder::Ascending)
            .set_limit(limit)
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
        if let Some(tag) = &filter.tag {
            query = query
                .expression_attribute_names("#tags", attribute::TAGS)
                .expression_attribute_names("#tag", tag.name.as_str());
            conditions.push(match &tag.value {
                Some(value) => {
                    query = query.expression_attribute_values(":tag", s(value));
                    "#tags.#tag = :tag"
                }
                None => "attribute_exists(#tags.#tag)",
            });
        }
        if !conditions.is_empty() {
            query = query.filter_expression(conditions.join(" AND "));
        }
        query.key_condition_expression(key_condition).send().await.map_err(StoreError::from_sdk)
    }

    /// Applies `changes` to an account. If they have no effect, writes nothing and
    /// records no event.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Stale`] if the account does
    /// not have `version`, [`StoreError::NameTaken`], [`StoreError::UnknownRole`]
    /// or [`StoreError::Contention`].
    pub async fn update_account(
        &self,
        id: AccountId,
        changes: &AccountChanges,
        version: Option<u64>,
        request: &ChangeRequest,
    ) -> Result<Account, StoreError> {
        self.retry(|| async {
            let before = self.get_account(id).await?;
            if version.is_some_and(|version| version != before.version) {
                return Err(StoreError::Stale);
            }
            let effective = changes.effective(&before);
            if effective.is_empty() {
                return Ok(Attempt::Done(before));
            }
            let after = self.changed(&before, changes, request);
            let mut event = NewEvent::account(EventType::ServiceAccountUpdated, &after);
            event.changes = effective;
            let mut actions = vec![
                (
                    UpdateCondition::AccountUnchanged,
                    self.update(schema::account_key(id), change_expression(&before, &after))?,
                ),
                (UpdateCondition::EventIsNew, self.record(event, request, after.updated_at)?),
            ];
            let (old_name, new_name) = (before.name.folded(), after.name.folded());
            if old_name != new_name {
                actions.push((UpdateCondition::NewNameIsFree, self.reserve(&new_name, id)?));
                actions.push((UpdateCondition::OldNameUnchanged, self.release(&old_name, id)?));
            }
            if before.role != after.role {
                let role_check = self.check_role(&after.role)?;
                actions.extend(role_check.map(|check| (UpdateCondition::RoleExists, check)));
            }
            match self.commit(actions).await? {
                Outcome::Committed => Ok(Attempt::Done(after)),
                Outcome::Refused(UpdateCondition::NewNameIsFree) => Err(StoreError::NameTaken),
                Outcome::Refused(UpdateCondition::RoleExists) => Err(StoreError::UnknownRole(after.role)),
                Outcome::Refused(
                    UpdateCondition::AccountUnchanged
                    | UpdateCondition::OldNameUnchanged
                    | UpdateCondition::EventIsNew,
                )
                | Outcome::Conflict => Ok(Attempt::Again),
            }
        })
        .await
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

    /// Deletes an account and releases its name. Its keys become retired keys and
    /// keep their verifiers, and its federated identities end. Its events stay.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Stale`] if the account does
    /// not have `version`, or [`StoreError::Contention`].
    pub async fn delete_account(
        &self,
        id: AccountId,
        version: Option<u64>,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        self.retry(|| async {
            let read =
                |reader: Reader<'_>| Ok((reader.account(id)?, reader.verifiers()?, reader.fingerprint()?));
            let more = [attribute::VERIFIERS, attribute::FINGERPRINT];
            let found = self.find_account_with(id, &more, read).await?;
            let (account, verifiers, fingerprint) = found.ok_or(StoreError::AccountNotFound(id))?;
            if version.is_some_and(|version| version != account.version) {
                return Err(StoreError::Stale);
            }
            let unchanged = Expression::equal(attribute::VERSION, n(account.version));
            let mut record = codec::map([
                (attribute::NAME, s(&account.name)),
                (attribute::FINGERPRINT, codec::b(fingerprint.as_bytes())),
            ]);
            let now = self.clock.now();
            let retirement = RetirementDetails::account_deleted(&request.actor, now);
            record.extend(retirement.attributes());
            let event = NewEvent::account(EventType::ServiceAccountDeleted, &account);
            let mut actions = vec![
                self.delete(schema::account_key(id), unchanged)?,
                self.release(&account.name.folded(), id)?,
                self.put_new(schema::retired_account_key(id), record)?,
                self.record(event, request, now)?,
            ];
            actions.extend(self.retire_all(&account, &verifiers, &retirement)?);
            self.commit_unchanged(actions).await
        })
        .await
    }

    /// The action that reserves a name.
    fn reserve(&self, name: &FoldedName, id: AccountId) -> Result<TransactWriteItem, StoreError> {
        self.put_new(schema::name_key(name), codec::map([(attribute::ACCOUNT, s(id))]))
    }

    /// The action that releases a name.
    fn release(&self, name: &FoldedName, id: AccountId) -> Result<TransactWriteItem, StoreError> {
        self.delete(schema::name_key(name), Expression::equal(attribute::ACCOUNT, s(id)))
    }
}

/// What a change of an account's grants needs.
pub(super) struct AccountToChange {
    pub(super) account: Account,
    pub(super) verifiers: Verifiers,
    /// The entry in the directory.
    pub(super) entry: StoredEntry,
}

fn change_expression(before: &Account, after: &Account) -> Expression {
    let mut expression = Expression::equal(attribute::VERSION, n(before.version));
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
    Entry::new(after).write(&mut expression);
    expression
}

/// A new account's item. Keys and verifiers are in separate maps, so that the index
/// and the functions that list accounts never get a verifier.
fn item(account: &Account, folded: &FoldedName, fingerprint: Fingerprint) -> Map {
    let empty = || AttributeValue::M(HashMap::new());
    let mut item = codec::map([
        (attribute::NAME, s(&account.name)),
        (attribute::DESCRIPTION, s(&account.description)),
        (attribute::ROLE, s(&account.role)),
        (attribute::ENABLED, AttributeValue::Bool(account.enabled)),
        (attribute::OWNER, s(&account.owner)),
        (attribute::TAGS, codec::tags(&account.tags)),
        (attribute::VERSION, n(account.version)),
        (attribute::CREATED_AT, seconds(account.created_at)),
        (attribute::CREATED_BY, codec::actor(&account.created_by)),
        (attribute::UPDATED_AT, seconds(account.updated_at)),
        (attribute::UPDATED_BY, codec::actor(&account.updated_by)),
        (attribute::FINGERPRINT, codec::b(fingerprint.as_bytes())),
        (attribute::KEYS, empty()),
        (attribute::VERIFIERS, empty()),
        (schema::INDEX_PK, s(schema::INDEX_ACCOUNTS)),
        (schema::INDEX_SK, s(folded.as_str())),
    ]);
    let entry = Entry::new(account).attributes();
    item.extend(entry.map(|(name, value)| (name.to_owned(), value)));
    item
}

pub(super) fn account_id(partition: &str) -> Result<AccountId, crate::domain::InvalidId> {
    partition.strip_prefix(schema::partition::ACCOUNT).unwrap_or_default().parse()
}

/// The account in an item of the index.
pub(super) fn listed_account(item: &Map) -> Result<Account, StoreError> {
    let reader = Reader(item);
    let id = reader.parse(schema::PK, account_id).map_err(|error| error.in_item("an account"))?;
    reader.account(id).map_err(|error| error.in_item(id))
}

/// Whether the owner of `account` contains the text `owner`, ignoring case.
fn is_owned_by(account: &Account, owner: &FoldedName) -> bool {
    FoldedName::new(account.owner.as_str()).as_str().contains(owner.as_str())
}

impl AccountFilter {
    /// Whether the filter can leave out accounts that a query reads.
    fn is_selective(&self) -> bool {
        let Self { prefix: _, role, enabled, owner, tag, order: _ } = self;
        role.is_some() || enabled.is_some() || owner.is_some() || tag.is_some()
    }
}

impl AccountCursor {
    /// The position of an account.
    pub(super) fn after(account: &Account) -> Self {
        Self { id: account.id, name: account.name.folded() }
    }

    /// The position of an item of the index.
    pub(super) fn from_item(item: &Map) -> Result<Self, StoreError> {
        let reader = Reader(item);
        let read = || {
            Ok(Self {
                id: reader.parse(schema::PK, account_id)?,
                name: FoldedName::new(reader.text(schema::INDEX_SK)?),
            })
        };
        read().map_err(|error: codec::MalformedItem| error.in_item("an account"))
    }

    /// The key in the index from which a query continues.
    pub(super) fn index_key(&self) -> Map {
        let mut key = schema::account_key(self.id);
        key.insert(schema::INDEX_PK.to_owned(), s(schema::INDEX_ACCOUNTS));
        key.insert(schema::INDEX_SK.to_owned(), s(self.name.as_str()));
        key
    }
}
