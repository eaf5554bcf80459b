//! Queries of the directory. Each method makes one query, which reads at most 1 MB:
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::entry::{self, DISABLED, ENABLED};
use super::skip_malformed;
use crate::domain::{AccountId, GrantId, IdentityId, IssuerName, KeyEnd, KeyId, RetiredReason, RoleName};
use crate::store::accounts::account_id;
use crate::store::codec::{self, MalformedItem, Map, Reader, s, seconds};
use crate::store::list::{InvalidCursor, decode, encode};
use crate::store::schema::{self, attribute};
use crate::store::{Store, StoreError};

/// The maximum length of a position, in bytes. Sort keys have at most 1,024 bytes.
const MAX_POSITION_BYTES: usize = 1000;
/// Sorts before every sort key.
const FIRST: &str = "!";
/// Sorts after every sort key.
const LAST: &str = "~";

/// A list of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryList {
    /// All accounts, disabled accounts first.
    Search,
    /// Keys that were used after their end, the last use first.
    UsedAfterEnd,
    /// Accounts whose keys or federated identities expire soon.
    Expiring,
    /// Unused keys, those that are unused for longest first.
    Unused,
    /// Disabled accounts.
    Disabled,
}

impl DirectoryList {
    fn letter(self) -> char {
        match self {
            Self::Search => 's',
            Self::UsedAfterEnd => 'u',
            Self::Expiring => 'x',
            Self::Unused => 'n',
            Self::Disabled => 'd',
        }
    }
}

/// A position in a list of the directory: after a sort key, or after one of the grants of the
/// account with the sort key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryCursor {
    list: DirectoryList,
    sort_key: String,
    within: Option<GrantId>,
}

impl DirectoryCursor {
    /// Reads a cursor of `list`.
    ///
    /// # Errors
    /// The text is not a cursor of this list.
    pub fn decode(list: DirectoryList, text: &str) -> Result<Self, InvalidCursor> {
        let text = decode(list.letter(), text)?;
        let (sort_key, within) = match text.split_once('/') {
            Some((sort_key, key)) => (sort_key, Some(key.parse().map_err(|_| InvalidCursor)?)),
            None => (text.as_str(), None),
        };
        if sort_key.is_empty() || sort_key.len() > MAX_POSITION_BYTES {
            return Err(InvalidCursor);
        }
        Ok(Self { list, sort_key: sort_key.to_owned(), within })
    }

    /// The position after `grant` of the account before this position.
    #[must_use]
    pub fn within(&self, grant: GrantId) -> Self {
        Self { within: Some(grant), ..self.clone() }
    }

    /// The grant after which more grants of the same account follow.
    pub fn grant(&self) -> Option<GrantId> {
        self.within
    }

    /// The first sort key after this position.
    fn next(&self) -> String {
        // No sort key is the start of another one.
        if self.within.is_some() { self.sort_key.clone() } else { format!("{}{FIRST}", self.sort_key) }
    }
}

/// The first sort key after `cursor` in a list that starts at `start`. A forged cursor can be
/// before the start.
fn first_after(start: &str, cursor: Option<&DirectoryCursor>) -> String {
    cursor.map(DirectoryCursor::next).unwrap_or_default().max(start.to_owned())
}

impl fmt::Display for DirectoryCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, sort_key) = (self.list.letter(), &self.sort_key);
        match self.within {
            Some(grant) => encode(formatter, format_args!("{letter}{sort_key}/{grant}")),
            None => encode(formatter, format_args!("{letter}{sort_key}")),
        }
    }
}

/// The items that one query read.
#[derive(Debug)]
pub struct DirectoryPage<T> {
    /// The items, each with the position after it. Malformed items are left out.
    pub items: Vec<(T, DirectoryCursor)>,
    /// The position after the last item, if there can be more items.
    pub next: Option<DirectoryCursor>,
}

/// An account in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryAccount {
    pub id: AccountId,
    pub name: String,
    pub owner: String,
    pub tags: BTreeMap<String, String>,
    pub role: RoleName,
    pub enabled: bool,
    /// No grant of this account, and of the accounts after it, expires earlier.
    pub first_expiry: Timestamp,
    /// The keys, in the order in which they expire.
    pub keys: Vec<DirectoryKey>,
    /// The federated identities, in the order in which they expire. Those that never expire
    /// come last.
    pub identities: Vec<DirectoryIdentity>,
}

/// A key or federated identity in the directory.
pub(super) enum DirectoryGrant {
    Key(DirectoryKey),
    Identity(DirectoryIdentity),
}

/// A live key in the directory. The key can have ended since the index was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryKey {
    pub id: KeyId,
    pub name: String,
    /// The last four characters of the key.
    pub hint: String,
    pub expires_at: Timestamp,
    /// The end of the grace period, if the key was rotated.
    pub retires_at: Option<Timestamp>,
}

impl DirectoryKey {
    /// The end of the key, if it has ended at `now`.
    pub fn ended(&self, now: Timestamp) -> Option<KeyEnd> {
        KeyEnd::find(self.expires_at, self.retires_at, now)
    }
}

/// A federated identity in the directory. The identity can have expired since the index was
/// written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryIdentity {
    pub id: IdentityId,
    pub name: String,
    pub issuer: IssuerName,
    pub expires_at: Option<Timestamp>,
}

impl DirectoryIdentity {
    /// The end of the identity, if it has expired at `now`.
    pub fn ended(&self, now: Timestamp) -> Option<KeyEnd> {
        let at = self.expires_at.filter(|at| now.as_second() >= at.as_second())?;
        Some(KeyEnd { reason: RetiredReason::Expired, at })
    }
}

/// A key to which something happened at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAt {
    pub account: AccountId,
    pub key: KeyId,
    pub at: Timestamp,
}

/// A range of a partition of the directory.
struct Range {
    list: DirectoryList,
    partition: &'static str,
    first: String,
    last: String,
    /// Only items that were written at this instant or later.
    written_since: Option<Timestamp>,
}

impl Store {
    /// Reads accounts after `cursor`, in a fixed order that differs from that of their names.
    pub async fn directory(
        &self,
        cursor: Option<&DirectoryCursor>,
    ) -> Result<DirectoryPage<DirectoryAccount>, StoreError> {
        let first = first_after(FIRST, cursor);
        self.directory_accounts(DirectoryList::Search, (first, LAST.to_owned()), None).await
    }

    /// Reads enabled accounts after `cursor` with grants that expire until `until`, in the
    /// order in which the first of their grants expires. An account without such grants can be
    /// among them.
    pub async fn expiring_accounts(
        &self,
        until: Timestamp,
        cursor: Option<&DirectoryCursor>,
        limit: Option<i32>,
    ) -> Result<DirectoryPage<DirectoryAccount>, StoreError> {
        let first = first_after(ENABLED, cursor);
        let last = format!("{ENABLED}{:010}#{LAST}", until.as_second());
        self.directory_accounts(DirectoryList::Expiring, (first, last), limit).await
    }

    /// Reads disabled accounts after `cursor`.
    pub async fn disabled_accounts(
        &self,
        cursor: Option<&DirectoryCursor>,
        limit: Option<i32>,
    ) -> Result<DirectoryPage<DirectoryAccount>, StoreError> {
        let first = first_after(DISABLED, cursor);
        let last = format!("{DISABLED}{LAST}");
        self.directory_accounts(DirectoryList::Disabled, (first, last), limit).await
    }

    async fn directory_accounts(
        &self,
        list: DirectoryList,
        (first, end): (String, String),
        limit: Option<i32>,
    ) -> Result<DirectoryPage<DirectoryAccount>, StoreError> {
        let partition = schema::DIRECTORY_ACCOUNTS;
        let range = Range { list, partition, first, last: end, written_since: None };
        self.query_directory(range, limit, account).await
    }

    /// Reads keys that were used after their end since `since`, and before `cursor`. The last
    /// use comes first.
    pub async fn keys_used_after_end(
        &self,
        since: Timestamp,
        cursor: Option<&DirectoryCursor>,
        limit: Option<i32>,
    ) -> Result<DirectoryPage<KeyAt>, StoreError> {
        let range = Range {
            list: DirectoryList::UsedAfterEnd,
            partition: schema::DIRECTORY_USED_AFTER_END,
            first: format!("{:010}", since.as_second()),
            last: cursor.map_or_else(|| LAST.to_owned(), |cursor| cursor.sort_key.clone()),
            written_since: None,
        };
        let mut page =
            self.query_directory(range, limit, |item| key_at(item, schema::partition::USAGE)).await?;
        // The range includes the position itself.
        page.items.retain(|(_, position)| Some(position) != cursor);
        Ok(page)
    }

    /// Reads keys after `cursor` that the sweep found unused at `written_since` or later. The
    /// keys that are unused for longest come first.
    pub async fn unused_keys(
        &self,
        written_since: Timestamp,
        cursor: Option<&DirectoryCursor>,
        limit: Option<i32>,
    ) -> Result<DirectoryPage<KeyAt>, StoreError> {
        let range = Range {
            list: DirectoryList::Unused,
            partition: schema::DIRECTORY_UNUSED,
            first: first_after(FIRST, cursor),
            last: LAST.to_owned(),
            written_since: Some(written_since),
        };
        self.query_directory(range, limit, |item| key_at(item, schema::partition::UNUSED)).await
    }

    /// Makes one query. A malformed item is logged and left out, so that it hides no other
    /// item.
    async fn query_directory<T>(
        &self,
        range: Range,
        limit: Option<i32>,
        read: impl Fn(&Map) -> Result<T, MalformedItem>,
    ) -> Result<DirectoryPage<T>, StoreError> {
        // DynamoDB refuses an empty range. Only a forged cursor causes one.
        if range.first > range.last {
            return Ok(DirectoryPage { items: Vec::new(), next: None });
        }
        let mut query = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(schema::DIRECTORY)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :first AND :last")
            .expression_attribute_names("#pk", schema::DIRECTORY_PK)
            .expression_attribute_names("#sk", schema::DIRECTORY_SK)
            .expression_attribute_values(":pk", s(range.partition))
            .expression_attribute_values(":first", s(&range.first))
            .expression_attribute_values(":last", s(&range.last))
            .scan_index_forward(range.list != DirectoryList::UsedAfterEnd)
            .set_limit(limit);
        if let Some(since) = range.written_since {
            query = query
                .filter_expression("#at >= :since")
                .expression_attribute_names("#at", attribute::AT)
                .expression_attribute_values(":since", seconds(since));
        }
        let answer = query.send().await.map_err(StoreError::from_sdk)?;
        let position = |item: &Map| {
            let sort_key = Reader(item).text(schema::DIRECTORY_SK)?.to_owned();
            Ok(DirectoryCursor { list: range.list, sort_key, within: None })
        };
        let mut items = Vec::new();
        for item in answer.items() {
            match read(item).and_then(|value| Ok((value, position(item)?))) {
                Ok(item) => items.push(item),
                Err(error) => {
                    let item = Reader(item).text(schema::PK).unwrap_or("the directory");
                    skip_malformed::<T>(Err(error.in_item(item)))?;
                }
            }
        }
        let next = answer.last_evaluated_key().map(position).transpose();
        Ok(DirectoryPage {
            items,
            next: next.map_err(|error: MalformedItem| error.in_item("the directory"))?,
        })
    }
}

fn account(item: &Map) -> Result<DirectoryAccount, MalformedItem> {
    let reader = Reader(item);
    let text = |name| reader.text(name).map(str::to_owned);
    let (mut keys, mut identities) = (Vec::new(), Vec::new());
    for (id, label) in reader.get(attribute::LABELS, |value| value.as_m().ok())? {
        match reader.get(attribute::LABELS, |_| entry::parse_label(id, codec::text(label)?))? {
            DirectoryGrant::Key(key) => keys.push(key),
            DirectoryGrant::Identity(identity) => identities.push(identity),
        }
    }
    keys.sort_by_key(|key| (key.expires_at, key.id));
    identities.sort_by_key(|identity| (identity.expires_at.is_none(), identity.expires_at, identity.id));
    Ok(DirectoryAccount {
        id: reader.parse(schema::PK, account_id)?,
        name: text(attribute::NAME)?,
        owner: text(attribute::OWNER)?,
        tags: reader.get(attribute::TAGS, |value| {
            let tags = value.as_m().ok()?.iter();
            tags.map(|(name, value)| Some((name.clone(), codec::text(value)?.to_owned()))).collect()
        })?,
        role: reader.parse(attribute::ROLE, RoleName::parse)?,
        enabled: reader.text(schema::DIRECTORY_SK)?.starts_with(ENABLED),
        first_expiry: reader.get(schema::DIRECTORY_SK, |value| {
            let seconds = codec::text(value)?.split('#').nth(1)?;
            Timestamp::from_second(seconds.parse().ok()?).ok()
        })?,
        keys,
        identities,
    })
}

/// The key in an item whose partition is `prefix` and an account's id. Its sort key in the
/// directory starts with the instant.
fn key_at(item: &Map, prefix: &str) -> Result<KeyAt, MalformedItem> {
    let reader = Reader(item);
    Ok(KeyAt {
        account: reader.get(schema::PK, |value| codec::text(value)?.strip_prefix(prefix)?.parse().ok())?,
        key: reader.parse(schema::SK, str::parse)?,
        at: reader.get(schema::DIRECTORY_SK, |value| {
            let (seconds, _) = codec::text(value)?.split_once('#')?;
            Timestamp::from_second(seconds.parse().ok()?).ok()
        })?,
    })
}

/// The sort key in the directory of a key to which something happened at `at`.
pub(in crate::store) fn key_at_sort_key(at: Timestamp, key: KeyId) -> AttributeValue {
    s(format_args!("{:010}#{key}", at.as_second()))
}
