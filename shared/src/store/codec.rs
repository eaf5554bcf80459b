//! Converts table items to values and back. Reading is strict: an item with a
//! missing or malformed attribute is an error that names the attribute.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::StoreError;
use super::schema::attribute;
use crate::domain::{
    Account, AccountId, AccountName, Actor, AllowedCidrs, Audience, Description, EventIdentity, EventKey,
    FederatedIdentity, Fingerprint, GrantId, IdentityId, IdentityName, IdentitySpec, IssuerName, KeyId,
    KeyName, KeySpec, LiveKey, Owner, RequiredClaims, RoleName, Rotation, Seal, SealEntry, SealedVerifier,
    SecretVersion, Tags, Verifier, VerifierEntry,
};

/// The verifiers of an account's grants.
#[derive(Debug, Default)]
pub(super) struct Verifiers {
    pub(super) keys: HashMap<KeyId, VerifierEntry>,
    pub(super) identities: HashMap<IdentityId, SealedVerifier>,
}

/// An item, or a map in an item.
pub(super) type Map = HashMap<String, AttributeValue>;

/// The problem of a malformed item. The text names the attribute and quotes no value.
#[derive(Debug)]
pub(super) struct MalformedItem(String);

impl MalformedItem {
    fn new(attribute: &str, problem: &str) -> Self {
        Self(format!("`{attribute}` {problem}"))
    }

    pub(super) fn missing(attribute: &str) -> Self {
        Self::new(attribute, "is missing")
    }

    /// The store's error for this problem in `item`.
    pub(super) fn in_item(self, item: impl ToString) -> StoreError {
        StoreError::Corrupt { item: item.to_string(), problem: self.0 }
    }
}

/// A map of attributes: the SDK's, or a borrowed one of a fast read.
pub(super) trait Attributes {
    type Value: Attribute<Map = Self>;

    fn find(&self, name: &str) -> Option<&Self::Value>;
}

/// An attribute's value. Each method returns `None` for a value of another type.
pub(super) trait Attribute: Sized {
    type Map: Attributes<Value = Self>;

    fn text(&self) -> Option<&str>;
    /// A number's digits.
    fn number(&self) -> Option<&str>;
    fn bytes(&self) -> Option<&[u8]>;
    fn boolean(&self) -> Option<bool>;
    fn list(&self) -> Option<&[Self]>;
    fn map(&self) -> Option<&Self::Map>;
}

impl Attributes for Map {
    type Value = AttributeValue;

    fn find(&self, name: &str) -> Option<&AttributeValue> {
        self.get(name)
    }
}

impl Attribute for AttributeValue {
    type Map = Map;

    fn text(&self) -> Option<&str> {
        text(self)
    }

    fn number(&self) -> Option<&str> {
        self.as_n().ok().map(String::as_str)
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.as_b().ok().map(Blob::as_ref)
    }

    fn boolean(&self) -> Option<bool> {
        self.as_bool().ok().copied()
    }

    fn list(&self) -> Option<&[Self]> {
        self.as_l().ok().map(Vec::as_slice)
    }

    fn map(&self) -> Option<&Map> {
        self.as_m().ok()
    }
}

/// A strict reader of a map's attributes.
pub(super) struct Reader<'a, M = Map>(pub(super) &'a M);

impl<M> Clone for Reader<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Reader<'_, M> {}

impl<'a, M: Attributes> Reader<'a, M> {
    pub(super) fn find(self, name: &str) -> Option<&'a M::Value> {
        self.0.find(name)
    }

    /// Reads a required attribute. `read` returns `None` if the value is malformed.
    pub(super) fn get<T>(
        self,
        name: &str,
        read: impl FnOnce(&'a M::Value) -> Option<T>,
    ) -> Result<T, MalformedItem> {
        let value = self.find(name).ok_or_else(|| MalformedItem::missing(name))?;
        read(value).ok_or_else(|| MalformedItem::new(name, "is malformed"))
    }

    /// Reads an optional attribute.
    pub(super) fn get_optional<T>(
        self,
        name: &str,
        read: impl FnOnce(&'a M::Value) -> Option<T>,
    ) -> Result<Option<T>, MalformedItem> {
        self.optional(name, |reader, name| reader.get(name, read))
    }

    /// Reads an optional attribute with a method that requires it.
    pub(super) fn optional<T>(
        self,
        name: &str,
        read: impl FnOnce(Self, &str) -> Result<T, MalformedItem>,
    ) -> Result<Option<T>, MalformedItem> {
        self.find(name).map(|_| read(self, name)).transpose()
    }

    pub(super) fn text(self, name: &str) -> Result<&'a str, MalformedItem> {
        self.get(name, Attribute::text)
    }

    pub(super) fn parse<T, E>(
        self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, MalformedItem> {
        self.get(name, |value| parse(value.text()?).ok())
    }

    pub(super) fn boolean(self, name: &str) -> Result<bool, MalformedItem> {
        self.get(name, Attribute::boolean)
    }

    pub(super) fn seconds(self, name: &str) -> Result<Timestamp, MalformedItem> {
        self.get(name, |value| Timestamp::from_second(value.number()?.parse().ok()?).ok())
    }

    /// A key's expiry, role and networks. The verifier covers them.
    pub(super) fn key_spec(self) -> Result<KeySpec, MalformedItem> {
        Ok(KeySpec {
            expires_at: self.seconds(attribute::EXPIRES_AT)?,
            role: self.role_of_key()?,
            cidrs: self.cidrs()?,
        })
    }

    /// A grant's own role.
    pub(super) fn role_of_key(self) -> Result<Option<RoleName>, MalformedItem> {
        self.get_optional(attribute::ROLE, |value| RoleName::parse(value.text()?).ok())
    }

    /// The networks from which a key may be used.
    pub(super) fn cidrs(self) -> Result<AllowedCidrs, MalformedItem> {
        let cidrs = self.get_optional(attribute::CIDRS, |value| {
            let texts = value.list()?.iter().map(Attribute::text).collect::<Option<Vec<_>>>()?;
            AllowedCidrs::parse(&texts).ok()
        })?;
        Ok(cidrs.unwrap_or_default())
    }

    /// A key's rotation. If only one of its two attributes exists, this is an error,
    /// so that an operator notices.
    pub(super) fn rotation(self) -> Result<Option<Rotation>, MalformedItem> {
        if self.find(attribute::RETIRES_AT).is_none() && self.find(attribute::REPLACED_BY).is_none() {
            return Ok(None);
        }
        Ok(Some(Rotation {
            retires_at: self.seconds(attribute::RETIRES_AT)?,
            replaced_by: self.parse(attribute::REPLACED_BY, str::parse)?,
        }))
    }

    pub(super) fn verifier(self) -> Result<VerifierEntry, MalformedItem> {
        Ok(VerifierEntry {
            verifier: self.get(attribute::VERIFIER, |value| Verifier::from_bytes(value.bytes()?))?,
            pepper: self.pepper()?,
        })
    }

    /// The seal of a federated identity or a trusted issuer.
    pub(super) fn seal(self) -> Result<SealEntry, MalformedItem> {
        Ok(SealEntry {
            seal: self.get(attribute::SEAL, |value| Seal::from_bytes(value.bytes()?))?,
            pepper: self.pepper()?,
        })
    }

    /// The verifier of a federated identity and its seal.
    pub(super) fn sealed_verifier(self) -> Result<SealedVerifier, MalformedItem> {
        let VerifierEntry { verifier, .. } = self.verifier()?;
        Ok(SealedVerifier { verifier, seal: self.seal()? })
    }

    fn pepper(self) -> Result<SecretVersion, MalformedItem> {
        self.get(attribute::PEPPER, |value| SecretVersion::parse(value.text()?))
    }

    /// What a federated identity accepts, and what its tokens can do. The seal covers it.
    pub(super) fn identity_spec(self) -> Result<IdentitySpec, MalformedItem> {
        Ok(IdentitySpec {
            issuer: self.parse(attribute::ISSUER, IssuerName::parse)?,
            audience: self.parse(attribute::AUDIENCE, Audience::parse)?,
            claims: self.get(attribute::CLAIMS, |value| {
                RequiredClaims::from_stored(serde_json::from_str(value.text()?).ok()?).ok()
            })?,
            role: self.role_of_key()?,
            expires_at: self.optional(attribute::EXPIRES_AT, Self::seconds)?,
            single_use: self.boolean(attribute::SINGLE_USE)?,
            max_age_seconds: self.get(attribute::MAX_AGE, |value| value.number()?.parse().ok())?,
        })
    }
}

impl<'a> Reader<'a> {
    pub(super) fn milliseconds(self, name: &str) -> Result<Timestamp, MalformedItem> {
        self.get(name, |value| Timestamp::from_millisecond(number(value)?).ok())
    }

    pub(super) fn map(self, name: &str) -> Result<Reader<'a>, MalformedItem> {
        self.get(name, |value| value.as_m().ok().map(Reader))
    }

    pub(super) fn actor(self, name: &str) -> Result<Actor, MalformedItem> {
        let actor = self.map(name)?;
        Ok(Actor { id: actor.text(attribute::ID)?.to_owned(), name: actor.text(attribute::NAME)?.to_owned() })
    }

    pub(super) fn version(self) -> Result<u64, MalformedItem> {
        self.get(attribute::VERSION, |value| value.as_n().ok()?.parse().ok())
    }

    pub(super) fn fingerprint(self) -> Result<Fingerprint, MalformedItem> {
        self.get(attribute::FINGERPRINT, |value| Fingerprint::from_bytes(value.as_b().ok()?.as_ref()))
    }

    pub(super) fn live_key(self, id: KeyId) -> Result<LiveKey, MalformedItem> {
        Ok(LiveKey {
            id,
            name: self.parse(attribute::NAME, KeyName::from_stored)?,
            hint: self.text(attribute::HINT)?.to_owned(),
            spec: self.key_spec()?,
            created_at: self.seconds(attribute::CREATED_AT)?,
            created_by: self.actor(attribute::CREATED_BY)?,
            fingerprint: self.fingerprint()?,
            rotation: self.rotation()?,
        })
    }

    pub(super) fn federated_identity(self, id: IdentityId) -> Result<FederatedIdentity, MalformedItem> {
        Ok(FederatedIdentity {
            id,
            name: self.parse(attribute::NAME, IdentityName::from_stored)?,
            spec: self.identity_spec()?,
            created_at: self.seconds(attribute::CREATED_AT)?,
            created_by: self.actor(attribute::CREATED_BY)?,
            fingerprint: self.fingerprint()?,
        })
    }

    /// An account's keys and federated identities, each oldest first.
    pub(super) fn grants(self) -> Result<(Vec<LiveKey>, Vec<FederatedIdentity>), MalformedItem> {
        let (mut keys, mut identities) = (Vec::new(), Vec::new());
        self.each_grant(attribute::KEYS, |grant, id| {
            match id {
                GrantId::Key(id) => keys.push(grant.live_key(id)?),
                GrantId::Identity(id) => identities.push(grant.federated_identity(id)?),
            }
            Ok(())
        })?;
        keys.sort_by_key(|key| (key.created_at, key.id));
        identities.sort_by_key(|identity| (identity.created_at, identity.id));
        Ok((keys, identities))
    }

    /// The keys that an event names, in the order of their ids, and the federated identity.
    pub(super) fn event_grants(
        self,
        name: &str,
    ) -> Result<(Vec<EventKey>, Option<EventIdentity>), MalformedItem> {
        let (mut keys, mut identity) = (Vec::new(), None);
        self.each_grant(name, |grant, id| {
            let name = grant.text(attribute::NAME)?.to_owned();
            match id {
                GrantId::Key(id) => {
                    keys.push(EventKey { id, name, hint: grant.text(attribute::HINT)?.to_owned() });
                }
                GrantId::Identity(id) => identity = Some(EventIdentity { id, name }),
            }
            Ok(())
        })?;
        keys.sort_by_key(|key| key.id);
        Ok((keys, identity))
    }

    /// The verifiers of an account's grants.
    pub(super) fn verifiers(self) -> Result<Verifiers, MalformedItem> {
        let mut verifiers = Verifiers::default();
        self.each_grant(attribute::VERIFIERS, |entry, id| {
            match id {
                GrantId::Key(id) => drop(verifiers.keys.insert(id, entry.verifier()?)),
                GrantId::Identity(id) => drop(verifiers.identities.insert(id, entry.sealed_verifier()?)),
            }
            Ok(())
        })?;
        Ok(verifiers)
    }

    /// Reads a map of keys and federated identities with `read`.
    fn each_grant(
        self,
        name: &str,
        mut read: impl FnMut(Reader<'a>, GrantId) -> Result<(), MalformedItem>,
    ) -> Result<(), MalformedItem> {
        for (id, entry) in self.map(name)?.0 {
            let id = id.parse().map_err(|_| {
                MalformedItem::new(
                    name,
                    "has a member whose name is neither the id of a key nor of a federated identity",
                )
            })?;
            let entry =
                entry.as_m().map_err(|_| MalformedItem::new(name, "has a member that is not a map"))?;
            read(Reader(entry), id)?;
        }
        Ok(())
    }

    pub(super) fn account(self, id: AccountId) -> Result<Account, MalformedItem> {
        let (keys, identities) = self.grants()?;
        Ok(Account {
            id,
            name: self.parse(attribute::NAME, AccountName::from_stored)?,
            description: self.parse(attribute::DESCRIPTION, Description::from_stored)?,
            role: self.parse(attribute::ROLE, RoleName::parse)?,
            enabled: self.boolean(attribute::ENABLED)?,
            owner: self.parse(attribute::OWNER, Owner::from_stored)?,
            tags: self.get(attribute::TAGS, |value| {
                let tags = value.as_m().ok()?;
                let tags = tags.iter().map(|(key, value)| Some((key.as_str(), text(value)?)));
                Tags::from_stored(tags.collect::<Option<Vec<_>>>()?).ok()
            })?,
            version: self.version()?,
            created_at: self.seconds(attribute::CREATED_AT)?,
            created_by: self.actor(attribute::CREATED_BY)?,
            updated_at: self.seconds(attribute::UPDATED_AT)?,
            updated_by: self.actor(attribute::UPDATED_BY)?,
            keys,
            identities,
        })
    }
}

pub(super) fn text(value: &AttributeValue) -> Option<&str> {
    value.as_s().ok().map(String::as_str)
}

pub(super) fn number(value: &AttributeValue) -> Option<i64> {
    value.as_n().ok()?.parse().ok()
}

/// A text attribute.
pub(super) fn s(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// A number attribute.
pub(super) fn n(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A binary attribute.
pub(super) fn b(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// An instant, in epoch seconds.
pub(super) fn seconds(at: Timestamp) -> AttributeValue {
    n(at.as_second())
}

/// An item, or a map in an item, with these members.
pub(super) fn map<const N: usize>(members: [(&str, AttributeValue); N]) -> Map {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn actor(actor: &Actor) -> AttributeValue {
    AttributeValue::M(map([(attribute::ID, s(&actor.id)), (attribute::NAME, s(&actor.name))]))
}

pub(super) fn tags(tags: &Tags) -> AttributeValue {
    AttributeValue::M(tags.iter().map(|(key, value)| (key.to_owned(), s(value))).collect())
}

/// A key's entry in its account, without the verifier.
pub(super) fn live_key(key: &LiveKey) -> Map {
    let mut entry = map([
        (attribute::NAME, s(&key.name)),
        (attribute::HINT, s(&key.hint)),
        (attribute::CREATED_AT, seconds(key.created_at)),
        (attribute::CREATED_BY, actor(&key.created_by)),
        (attribute::EXPIRES_AT, seconds(key.spec.expires_at)),
        (attribute::FINGERPRINT, b(key.fingerprint.as_bytes())),
    ]);
    if let Some(role) = &key.spec.role {
        entry.insert(attribute::ROLE.to_owned(), s(role));
    }
    if !key.spec.cidrs.is_empty() {
        entry.insert(attribute::CIDRS.to_owned(), AttributeValue::L(key.spec.cidrs.iter().map(s).collect()));
    }
    if let Some(rotation) = &key.rotation {
        entry.insert(attribute::RETIRES_AT.to_owned(), seconds(rotation.retires_at));
        entry.insert(attribute::REPLACED_BY.to_owned(), s(rotation.replaced_by));
    }
    entry
}

/// A federated identity's entry in its account, without the verifier.
pub(super) fn federated_identity(identity: &FederatedIdentity) -> Map {
    let spec = &identity.spec;
    let mut entry = map([
        (attribute::NAME, s(&identity.name)),
        (attribute::ISSUER, s(&spec.issuer)),
        (attribute::AUDIENCE, s(&spec.audience)),
        (attribute::CLAIMS, s(spec.claims.to_json())),
        (attribute::SINGLE_USE, AttributeValue::Bool(spec.single_use)),
        (attribute::MAX_AGE, n(spec.max_age_seconds)),
        (attribute::CREATED_AT, seconds(identity.created_at)),
        (attribute::CREATED_BY, actor(&identity.created_by)),
        (attribute::FINGERPRINT, b(identity.fingerprint.as_bytes())),
    ]);
    entry.extend(spec.role.as_ref().map(|role| (attribute::ROLE.to_owned(), s(role))));
    entry.extend(spec.expires_at.map(|at| (attribute::EXPIRES_AT.to_owned(), seconds(at))));
    entry
}

/// The verifier and seal of a federated identity, as an entry in its account.
pub(super) fn sealed_verifier(entry: &SealedVerifier) -> Map {
    let mut verifier = seal(&entry.seal);
    verifier.insert(attribute::VERIFIER.to_owned(), b(entry.verifier.as_bytes()));
    verifier
}

/// A seal and the version of its pepper.
pub(super) fn seal(entry: &SealEntry) -> Map {
    map([(attribute::SEAL, b(entry.seal.as_bytes())), (attribute::PEPPER, s(entry.pepper.as_str()))])
}

/// A verifier, as an entry in its account or as part of a retired key's record.
pub(super) fn verifier(entry: &VerifierEntry) -> Map {
    map([(attribute::VERIFIER, b(entry.verifier.as_bytes())), (attribute::PEPPER, s(entry.pepper.as_str()))])
}

/// A projection expression for `attributes`, and its placeholders.
pub(super) fn projection(attributes: &[&str]) -> (String, HashMap<String, String>) {
    let names: HashMap<String, String> =
        attributes.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect();
    let expression = names.keys().cloned().collect::<Vec<_>>().join(",");
    (expression, names)
}
