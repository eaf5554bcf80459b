//! Service accounts.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    AccountId, AccountName, Actor, Description, FieldChange, InvalidText, LiveKey, Owner, RoleName, TagKey,
    TagValue,
};

/// The most tags an account can have.
pub const MAX_TAGS: usize = 10;

/// An account's tags, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tags(BTreeMap<TagKey, TagValue>);

impl Tags {
    /// Checks each key and value.
    ///
    /// # Errors
    /// When there are more than [`MAX_TAGS`], or a key or value is not acceptable
    /// (then with that key).
    pub fn parse<'a>(
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, (Option<String>, InvalidText)> {
        Self::collect(tags, TagKey::parse, TagValue::parse)
    }

    /// Reads stored tags, which may contain a credential.
    ///
    /// # Errors
    /// As [`Self::parse`], except for credentials.
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

    /// Each tag.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// A service account and its live keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its unique name.
    pub name: AccountName,
    /// What it is for.
    pub description: Description,
    /// What its keys may do at most.
    pub role: RoleName,
    /// Whether its keys work at all.
    pub enabled: bool,
    /// Who answers for it.
    pub owner: Owner,
    /// Labels of the admin's own.
    pub tags: Tags,
    /// Grows with every change of the account or its keys.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it.
    pub created_by: Actor,
    /// When it was last changed, its keys included.
    pub updated_at: Timestamp,
    /// Who last changed it.
    pub updated_by: Actor,
    /// Its keys, oldest first, those that are over among them until they are
    /// pruned.
    pub keys: Vec<LiveKey>,
}

/// What a new account is made of.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its unique name.
    pub name: AccountName,
    /// What it is for.
    pub description: Description,
    /// What its keys may do at most.
    pub role: RoleName,
    /// Who answers for it.
    pub owner: Owner,
    /// Labels of the admin's own.
    pub tags: Tags,
}

/// What to change of an account. Absent: leave it.
#[derive(Clone, Debug, Default)]
pub struct AccountChanges {
    /// A new name.
    pub name: Option<AccountName>,
    /// A new description.
    pub description: Option<Description>,
    /// Another role.
    pub role: Option<RoleName>,
    /// Enable or disable.
    pub enabled: Option<bool>,
    /// Another owner.
    pub owner: Option<Owner>,
    /// Other tags: the whole set.
    pub tags: Option<Tags>,
}

impl AccountChanges {
    /// Those changes that would change `account`, in a fixed order.
    #[must_use]
    pub fn effective(&self, account: &Account) -> Vec<FieldChange> {
        let enabled = |enabled: bool| enabled.to_string();
        let candidates = [
            FieldChange::between("name", account.name.as_str(), self.name.as_ref().map(AccountName::as_str)),
            FieldChange::between(
                "description",
                account.description.as_str(),
                self.description.as_ref().map(Description::as_str),
            ),
            FieldChange::between("role", account.role.as_str(), self.role.as_ref().map(RoleName::as_str)),
            FieldChange::between("enabled", &enabled(account.enabled), self.enabled.map(enabled).as_deref()),
            FieldChange::between("owner", account.owner.as_str(), self.owner.as_ref().map(Owner::as_str)),
            FieldChange::between(
                "tags",
                &account.tags.summary(),
                self.tags.as_ref().map(Tags::summary).as_deref(),
            ),
        ];
        candidates.into_iter().flatten().collect()
    }
}

impl Tags {
    /// All of them on one line, for audit events.
    fn summary(&self) -> String {
        self.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
    }
}
