//! Service accounts.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::{
    AccountId, AccountName, Actor, Description, FederatedIdentity, FieldChange, InvalidText, LiveKey, Owner,
    RoleName, TagKey, TagValue,
};

/// The maximum number of tags per account.
pub const MAX_TAGS: usize = 10;

/// The maximum number of grants (keys and federated identities) per account. One transaction
/// ends all of them: one action for the account, and two for each grant (its record and its
/// event). 40 grants need 81 actions, and `DynamoDB` accepts 100.
pub const MAX_GRANTS: usize = 40;

/// An account's tags, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tags(BTreeMap<TagKey, TagValue>);

impl Tags {
    /// Checks each key and value.
    ///
    /// # Errors
    /// There are more than [`MAX_TAGS`] tags, or a key or value is invalid. In the second
    /// case, the error contains the key.
    pub fn parse<'a>(
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, (Option<String>, InvalidText)> {
        Self::collect(tags, TagKey::parse, TagValue::parse)
    }

    /// Reads stored tags, which may contain a credential.
    ///
    /// # Errors
    /// The errors of [`Self::parse`], except [`InvalidText::Credential`].
    pub fn from_stored<'a>(
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, (Option<String>, InvalidText)> {
        Self::collect(tags, TagKey::from_stored, TagValue::from_stored)
    }

    fn collect<'a>(
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
        read_key: impl Fn(&str) -> Result<TagKey, InvalidText>,
        read_value: impl Fn(&str) -> Result<TagValue, InvalidText>,
    ) -> Result<Self, (Option<String>, InvalidText)> {
        let mut parsed = BTreeMap::new();
        for (key, value) in tags {
            let checked = read_key(key).and_then(|key| Ok((key, read_value(value)?)));
            let (tag, value) = checked.map_err(|invalid| (Some(key.to_owned()), invalid))?;
            parsed.insert(tag, value);
        }
        if parsed.len() > MAX_TAGS {
            return Err((None, InvalidText::TooMany(MAX_TAGS)));
        }
        Ok(Self(parsed))
    }

    /// The key and value of each tag.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// All tags on one line, for audit events.
impl fmt::Display for Tags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<_> = self.iter().map(|(key, value)| format!("{key}={value}")).collect();
        formatter.write_str(&tags.join(", "))
    }
}

/// A service account and its grants: its live keys and its federated identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// The unique name.
    pub name: AccountName,
    pub description: Description,
    /// The role that limits all grants of the account.
    pub role: RoleName,
    /// Whether the account is enabled. All grants of a disabled account are refused.
    pub enabled: bool,
    /// The team or person responsible for the account.
    pub owner: Owner,
    /// Labels that admins define.
    pub tags: Tags,
    /// The version, which increases with each change of the account or its grants.
    pub version: u64,
    pub created_at: Timestamp,
    pub created_by: Actor,
    /// When the account or one of its grants was last changed.
    pub updated_at: Timestamp,
    /// The admin who last changed the account or one of its grants.
    pub updated_by: Actor,
    /// The account's keys, oldest first. Keys that have ended stay in the list until they
    /// are pruned.
    pub keys: Vec<LiveKey>,
    /// The account's federated identities, oldest first. Expired identities stay in the list
    /// until they are pruned.
    pub identities: Vec<FederatedIdentity>,
}

/// An account to create.
#[derive(Clone, Debug)]
pub struct NewAccount {
    pub name: AccountName,
    pub description: Description,
    pub role: RoleName,
    pub owner: Owner,
    pub tags: Tags,
}

/// Changes to an account. Fields that are `None` stay as they are.
#[derive(Clone, Debug, Default)]
pub struct AccountChanges {
    pub name: Option<AccountName>,
    pub description: Option<Description>,
    pub role: Option<RoleName>,
    pub enabled: Option<bool>,
    pub owner: Option<Owner>,
    /// The new tags, which replace all existing tags.
    pub tags: Option<Tags>,
}

impl AccountChanges {
    /// The changes whose values differ from those of `account`, in a fixed order.
    pub fn effective(&self, account: &Account) -> Vec<FieldChange> {
        let candidates = [
            FieldChange::between("name", &account.name, self.name.as_ref()),
            FieldChange::between("description", &account.description, self.description.as_ref()),
            FieldChange::between("role", &account.role, self.role.as_ref()),
            FieldChange::between("enabled", &account.enabled, self.enabled.as_ref()),
            FieldChange::between("owner", &account.owner, self.owner.as_ref()),
            FieldChange::between("tags", &account.tags, self.tags.as_ref()),
        ];
        candidates.into_iter().flatten().collect()
    }
}
