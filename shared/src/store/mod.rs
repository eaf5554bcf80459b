//! Accounts, keys, events and roles in one DynamoDB table.
//!
//! Only this module uses `aws_sdk_dynamodb`. The store has no trait and no fake: its
//! rules are condition expressions, so tests run on a real engine. An account and
//! its grants are one item, so every rule about them is one condition on one write,
//! and an authorization is one read. A change and its audit event are one
//! transaction.

mod accounts;
mod activity;
mod apis;
mod authorization;
mod codec;
mod commit;
mod directory;
mod error;
mod events;
mod exchange;
mod fast_read;
mod get_item;
mod grants;
mod identities;
mod issuers;
mod keys;
mod list;
mod lookup;
mod retired;
mod reviews;
mod role_users;
mod roles;
mod rotation;
pub mod schema;
mod sweep;

use std::collections::HashMap;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Select};

use crate::domain::{Clock, Entropy};
use codec::{Attributes, MalformedItem, Map, Reader};
use fast_read::FastRead;
use get_item::{FromItem, GetItem};
use schema::Key;

pub use accounts::CreatedAccount;
pub use activity::{AccountActivity, ActivityRecorder, ActivityWrite, LastUse, Ledger, Observation, Tally};
pub use apis::{ApiChoices, ApiContent, ApiWithTools, MAX_APIS, NewApi, PutApi, StoredApi};
pub use authorization::{
    CredentialLookup, IssuerRegistration, RetiredCredential, RetiredVerifier, StoredIdentity, StoredKey,
};
pub use directory::{
    DeletedAccount, DirectoryAccount, DirectoryCursor, DirectoryIdentity, DirectoryKey, DirectoryList,
    DirectoryPage, EndedKey, FoundEndedIdentity, FoundRetiredKey, KeyAt, UnusedKey,
};
pub use error::StoreError;
pub use exchange::{SealedIdentity, SealedIssuer};
pub use fast_read::{FAST_READ_LIMIT, FastReads};
pub use grants::EndedIds;
pub use identities::NewIdentity;
pub use issuers::{MAX_ISSUERS, NewIssuer, PutIssuer};
pub use keys::NewKey;
pub use list::{
    AccountCursor, AccountFilter, AccountPage, AllEventsCursor, DEFAULT_LIMIT, EventCursor, EventFilter,
    EventScope, InvalidCursor, ListOrder, MAX_LIMIT, Page, PageRequest, RoleCursor, TagFilter,
};
pub use lookup::{KnownIdentity, KnownKey, Retirement};
pub use retired::{EndedIdentity, MAX_RETIRED_KEYS, RetiredGrants, RetiredKey};
pub use reviews::ReviewedAccount;
pub use role_users::{RoleUser, RoleUserPage, RoleUsers};
pub use roles::{CustomRole, ListedRole, NewRole, Precondition, PutRole, Roles};
pub use rotation::{NewRotation, RotatedKey};
pub use sweep::{AccountToSweep, CompletedSweep, ListedEntries, SweepPage, SweepState};

/// The maximum number of queries for one response.
const MAX_QUERIES: usize = 10;

/// The table. Clones share one client.
#[derive(Clone)]
pub struct Store {
    client: Client,
    /// `None` if all reads go through the SDK.
    fast_read: Option<Arc<FastRead>>,
    table: Arc<str>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Store {
    /// A store in `table`. This opens no connection yet.
    #[must_use]
    pub fn connect(
        config: &SdkConfig,
        table: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { client: Client::new(config), fast_read: None, table: table.into(), clock, entropy }
    }

    /// This store, but reads of one credential or role do not use the SDK unless they
    /// have to.
    #[must_use]
    pub fn with_fast_reads(self, config: &SdkConfig, reads: FastReads) -> Self {
        let fast_read = FastRead::new(config, reads, Arc::clone(&self.clock));
        Self { fast_read: fast_read.map(Arc::new), ..self }
    }

    /// Reads `attributes` of the item at `key` consistently, so that every earlier
    /// successful write is seen. Include the primary key if all other attributes are
    /// optional: an item without any of `attributes` looks like a missing item.
    async fn read(&self, key: Key, attributes: &[&str]) -> Result<Option<Map>, StoreError> {
        let (projection, names) = codec::projection(attributes);
        let answer = self
            .client
            .get_item()
            .table_name(&*self.table)
            .set_key(Some(key))
            .consistent_read(true)
            .projection_expression(projection)
            .set_expression_attribute_names(Some(names))
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        Ok(answer.item)
    }

    /// Reads `attributes` of a partition's items consistently, or all attributes if
    /// `attributes` is empty. Stops after `most` queries of 1 MB each.
    async fn read_partition(
        &self,
        partition: AttributeValue,
        attributes: &[&str],
        most: usize,
    ) -> Result<Vec<Map>, StoreError> {
        self.read_partition_from(partition, None, attributes, most).await
    }

    /// Reads a partition like [`read_partition`](Self::read_partition), but only the items
    /// whose sort key is at least `first`.
    async fn read_partition_from(
        &self,
        partition: AttributeValue,
        first: Option<&str>,
        attributes: &[&str],
        most: usize,
    ) -> Result<Vec<Map>, StoreError> {
        let (projection, mut names) = codec::projection(attributes);
        names.insert("#pk".to_owned(), schema::PK.to_owned());
        let mut values = HashMap::from([(":pk".to_owned(), partition)]);
        let condition = if let Some(first) = first {
            names.insert("#sk".to_owned(), schema::SK.to_owned());
            values.insert(":first".to_owned(), codec::s(first));
            "#pk = :pk AND #sk >= :first"
        } else {
            "#pk = :pk"
        };
        let projection = Some(projection).filter(|names| !names.is_empty());
        let mut items = Vec::new();
        let mut start = None;
        for _ in 0..most {
            let page = self
                .client
                .query()
                .table_name(&*self.table)
                .key_condition_expression(condition)
                .set_expression_attribute_names(Some(names.clone()))
                .set_expression_attribute_values(Some(values.clone()))
                // Required by the IAM policies, although the projection implies it.
                .set_select(projection.as_ref().map(|_| Select::SpecificAttributes))
                .set_projection_expression(projection.clone())
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(StoreError::from_sdk)?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// Opens the connection with a signed read of an item that cannot exist, so that
    /// the first event does not wait for the connection. A failure is only logged:
    /// the next read tries again.
    pub async fn warm(&self) {
        self.warm_in(schema::WARM_PARTITION).await;
    }

    /// Does the same as [`warm`](Self::warm), for a function that can read only protected APIs.
    pub async fn warm_apis(&self) {
        self.warm_in(schema::WARM_API_PARTITION).await;
    }

    async fn warm_in(&self, pk: &str) {
        let request = GetItem {
            table: &self.table,
            pk,
            sk: schema::ACCOUNT,
            projection: "#pk",
            names: &[("#pk", schema::PK)],
        };
        if let Err(error) = self.get_item::<Nothing, _>(&request, (), "no item").await {
            tracing::warn!(cause = %error, "the table could not be reached at start-up");
        }
    }
}

/// The value of an item that is only read to open a connection.
struct Nothing;

impl FromItem<()> for Nothing {
    fn from_item<M: Attributes>(_: Reader<'_, M>, (): ()) -> Result<Self, MalformedItem> {
        Ok(Self)
    }
}
