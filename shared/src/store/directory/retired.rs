//! Finds retired keys by their id or last four characters, and how a key ended.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::{KeyAt, READS_AT_A_TIME, skip_malformed};
use crate::domain::{Account, AccountId, IdentityId, KeyId, RetiredReason};
use crate::store::codec::{self, MalformedItem, Map, Reader, s};
use crate::store::retired::{is_account_deleted, retired_reason};
use crate::store::schema::{self, attribute};
use crate::store::{Store, StoreError};

/// A deleted account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedAccount {
    pub name: String,
    pub deleted_at: Timestamp,
}

/// A retired key that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRetiredKey {
    pub account: AccountId,
    pub id: KeyId,
    /// `None` in a record that an operator wrote by hand.
    pub name: Option<String>,
    /// The last four characters of the key.
    pub hint: Option<String>,
}

/// An ended federated identity that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEndedIdentity {
    pub account: AccountId,
    pub id: IdentityId,
    pub name: String,
    /// Whether the identity expired, and was not deleted.
    pub has_expired: bool,
}

/// A key that has ended, and its account.
#[derive(Clone, Debug)]
pub struct EndedKey {
    /// The account, or its record if it was deleted.
    pub account: Result<Account, DeletedAccount>,
    pub name: Option<String>,
    pub hint: Option<String>,
    /// Why the key ended. `None` if it ended with its account.
    pub reason: Option<RetiredReason>,
}

impl Store {
    /// Finds the retired keys whose last four characters are `hint`, at most `limit`. Keys
    /// that were retired by an earlier version of Keyward are not found.
    pub async fn retired_keys_by_hint(
        &self,
        hint: &str,
        limit: i32,
    ) -> Result<Vec<FoundRetiredKey>, StoreError> {
        let (index, names) = (schema::INDEX, schema::INDEX_PK);
        let partition = schema::hint_partition(hint);
        let mut found = self.query_retired(index, names, partition, limit, found_retired_key).await?;
        // This index has no hints, except in its partition keys.
        for key in &mut found {
            key.hint = Some(hint.to_owned());
        }
        Ok(found)
    }

    /// Finds a retired key by its id. Keys that were retired by an earlier version of Keyward
    /// are not found.
    pub async fn retired_key_by_id(&self, id: KeyId) -> Result<Option<FoundRetiredKey>, StoreError> {
        let (index, names) = (schema::DIRECTORY, schema::DIRECTORY_PK);
        let partition = schema::retired_key_partition(id.into());
        Ok(self.query_retired(index, names, partition, 1, found_retired_key).await?.pop())
    }

    /// Finds an ended federated identity by its id.
    pub async fn ended_identity_by_id(
        &self,
        id: IdentityId,
    ) -> Result<Option<FoundEndedIdentity>, StoreError> {
        let (index, names) = (schema::DIRECTORY, schema::DIRECTORY_PK);
        let partition = schema::retired_key_partition(id.into());
        let found = self.query_retired(index, names, partition, 1, found_ended_identity).await?.pop();
        let Some(mut found) = found else { return Ok(None) };
        // The index does not tell why the identity ended.
        let record = self.read(schema::retired_key(found.account, id), &[attribute::REASON]).await?;
        let reason = record.and_then(|record| retired_reason(&record).ok());
        found.has_expired = reason == Some(RetiredReason::Expired);
        Ok(Some(found))
    }

    async fn query_retired<T>(
        &self,
        index: &str,
        partition_name: &str,
        partition: aws_sdk_dynamodb::types::AttributeValue,
        limit: i32,
        read: fn(&Map) -> Result<T, MalformedItem>,
    ) -> Result<Vec<T>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(index)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", partition_name)
            .expression_attribute_values(":pk", partition)
            .limit(limit);
        let answer = query.send().await.map_err(StoreError::from_sdk)?;
        let found = answer
            .items()
            .iter()
            .map(|item| skip_malformed(read(item).map(Some).map_err(|error| error.in_item("a retired key"))));
        found.filter_map(Result::transpose).collect()
    }

    /// Finds a deleted account with a consistent read.
    pub async fn find_deleted_account(&self, id: AccountId) -> Result<Option<DeletedAccount>, StoreError> {
        let record =
            self.read(schema::retired_account_key(id), &[attribute::NAME, attribute::RETIRED_AT]).await?;
        let read = |record: Map| {
            let reader = Reader(&record);
            Ok(DeletedAccount {
                name: reader.text(attribute::NAME)?.to_owned(),
                deleted_at: reader.seconds(attribute::RETIRED_AT)?,
            })
        };
        record.map(|record| read(record).map_err(|error: MalformedItem| error.in_item(id))).transpose()
    }

    /// Reads the names of accounts, even of deleted ones, in the order of `ids`.
    pub async fn account_names(&self, ids: Vec<AccountId>) -> Result<Vec<Option<String>>, StoreError> {
        let read = |id| async move {
            if let Some(account) = skip_malformed(self.find_account(id).await)? {
                return Ok(Some(account.name.to_string()));
            }
            let deleted = skip_malformed(self.find_deleted_account(id).await)?;
            Ok(deleted.map(|deleted| deleted.name))
        };
        futures::stream::iter(ids).map(read).buffered(READS_AT_A_TIME).try_collect().await
    }

    /// Finds how each of these keys ended, in the order of `keys`.
    pub async fn find_ended_keys(&self, keys: &[KeyAt]) -> Result<Vec<Option<EndedKey>>, StoreError> {
        let read = |key: KeyAt| self.find_ended_key(key.account, key.key);
        let keys = futures::stream::iter(keys.iter().copied());
        keys.map(read).buffered(READS_AT_A_TIME).try_collect().await
    }

    /// Finds how a key ended, with consistent reads. Returns `None` if the key has not ended,
    /// or if nothing is known about the key.
    /// A malformed item is logged, and counts as missing.
    async fn find_ended_key(&self, id: AccountId, key: KeyId) -> Result<Option<EndedKey>, StoreError> {
        skip_malformed(self.read_ended_key(id, key).await)
    }

    async fn read_ended_key(&self, id: AccountId, key: KeyId) -> Result<Option<EndedKey>, StoreError> {
        let attributes = [schema::PK, attribute::HINT, attribute::NAME, attribute::REASON];
        let (account, record) =
            tokio::try_join!(self.find_account(id), self.read(schema::retired_key(id, key), &attributes),)?;
        if let Some(account) = account {
            // A key that was restored from a backup can be live in spite of its record.
            if let Some(live) = account.keys.iter().find(|live| live.id == key) {
                let ended = live.ended(self.clock.now()).map(|end| EndedKey {
                    name: Some(live.name.to_string()),
                    hint: Some(live.hint.clone()),
                    reason: Some(end.reason),
                    account: Ok(account.clone()),
                });
                return Ok(ended);
            }
            let ended = record.map(|record| ended_key(&record, Ok(account)));
            return ended.transpose().map_err(|error| error.in_item(key));
        }
        let Some(record) = record else { return Ok(None) };
        let Some(deleted) = self.find_deleted_account(id).await? else { return Ok(None) };
        ended_key(&record, Err(deleted)).map(Some).map_err(|error| error.in_item(key))
    }
}

fn ended_key(record: &Map, account: Result<Account, DeletedAccount>) -> Result<EndedKey, MalformedItem> {
    let reader = Reader(record);
    let text = |name| reader.optional(name, |reader, name| reader.text(name).map(str::to_owned));
    let reason = if is_account_deleted(record) { None } else { Some(retired_reason(record)?) };
    Ok(EndedKey { account, name: text(attribute::NAME)?, hint: text(attribute::HINT)?, reason })
}

fn found_retired_key(item: &Map) -> Result<FoundRetiredKey, MalformedItem> {
    let reader = Reader(item);
    let text = |name| reader.optional(name, |reader, name| reader.text(name).map(str::to_owned));
    Ok(FoundRetiredKey {
        account: account_of_record(reader)?,
        id: reader.parse(schema::SK, str::parse)?,
        name: text(attribute::NAME)?,
        hint: text(attribute::HINT)?,
    })
}

fn found_ended_identity(item: &Map) -> Result<FoundEndedIdentity, MalformedItem> {
    let reader = Reader(item);
    Ok(FoundEndedIdentity {
        account: account_of_record(reader)?,
        id: reader.parse(schema::SK, str::parse)?,
        name: reader.text(attribute::NAME)?.to_owned(),
        has_expired: false,
    })
}

fn account_of_record(reader: Reader<'_>) -> Result<AccountId, MalformedItem> {
    reader.get(schema::PK, |value| codec::text(value)?.strip_prefix(schema::partition::RETIRED)?.parse().ok())
}

/// The attributes with which a retired key's record is found.
pub(in crate::store) fn retired_key_attributes(hint: &str, id: KeyId) -> Map {
    codec::map([
        (schema::INDEX_PK, schema::hint_partition(hint)),
        (schema::INDEX_SK, s(id)),
        (schema::DIRECTORY_PK, schema::retired_key_partition(id.into())),
        (schema::DIRECTORY_SK, s(schema::DIRECTORY_ONLY)),
    ])
}

/// The attributes with which an ended federated identity's record is found.
pub(in crate::store) fn ended_identity_attributes(id: IdentityId) -> Map {
    codec::map([
        (schema::DIRECTORY_PK, schema::retired_key_partition(id.into())),
        (schema::DIRECTORY_SK, s(schema::DIRECTORY_ONLY)),
    ])
}
