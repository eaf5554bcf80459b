//! Trusted issuers: one partition of the table, which also keeps the names of deleted ones.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::codec::{self, Attribute, Attributes, MalformedItem, Map, Reader, n, s, seconds};
use super::commit::{Attempt, Expression};
use super::events::NewEvent;
use super::roles::{Precondition, first_version};
use super::schema::{self, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{
    ChangeRequest, EventType, FieldChange, IssuerId, IssuerKeys, IssuerName, IssuerUrl, SealEntry,
    SigningAlgorithm, TrustedIssuer,
};

/// The maximum number of trusted issuers. Admins who add issuers at the same moment can exceed
/// it: the limit only bounds the size of the list.
pub const MAX_ISSUERS: usize = 50;

/// A trusted issuer to register or change.
#[derive(Clone, Debug)]
pub struct NewIssuer {
    pub name: IssuerName,
    pub url: IssuerUrl,
    pub keys: IssuerKeys,
    pub algorithms: Vec<SigningAlgorithm>,
}

/// The result of putting an issuer.
#[derive(Debug)]
pub struct PutIssuer {
    pub issuer: TrustedIssuer,
    /// Whether the issuer was registered, and not only changed.
    pub created: bool,
}

/// What the table has under the name of an issuer.
enum StoredIssuer {
    Missing,
    /// The issuer was deleted. Its URL stays reserved for the name.
    Deleted {
        url: IssuerUrl,
        version: u64,
    },
    Registered(Box<TrustedIssuer>),
}

impl StoredIssuer {
    fn issuer(&self) -> Option<&TrustedIssuer> {
        match self {
            Self::Missing | Self::Deleted { .. } => None,
            Self::Registered(issuer) => Some(issuer),
        }
    }

    /// The only URL that the name can have, if it has one.
    fn url(&self) -> Option<&IssuerUrl> {
        match self {
            Self::Missing => None,
            Self::Deleted { url, .. } => Some(url),
            Self::Registered(issuer) => Some(&issuer.url),
        }
    }

    fn version(&self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Deleted { version, .. } => Some(*version),
            Self::Registered(issuer) => Some(issuer.version),
        }
    }

    /// The condition that the item has not changed since it was read.
    fn unchanged(&self) -> Expression {
        match self.version() {
            Some(version) => Expression::equal(attribute::VERSION, n(version)),
            None => Expression::absent(),
        }
    }
}

impl Store {
    /// Registers or changes a trusted issuer. `seal` makes the seal of the result. If nothing
    /// changes, writes nothing and records no event.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if `precondition` is not met, [`StoreError::IssuerUrlChanged`] if
    /// the name has another URL, even if its issuer was deleted, [`StoreError::IssuerLimit`] or
    /// [`StoreError::Contention`].
    pub async fn put_issuer(
        &self,
        new: &NewIssuer,
        precondition: Precondition,
        seal: &(dyn Fn(&TrustedIssuer) -> SealEntry + Sync),
        request: &ChangeRequest,
    ) -> Result<PutIssuer, StoreError> {
        let id = IssuerId::generate(&*self.entropy)?;
        self.retry(|| async {
            let stored = self.stored_issuer(&new.name).await?;
            let before = stored.issuer();
            precondition.check(before.is_some(), before.map(|issuer| issuer.version))?;
            if let Some(url) = stored.url().filter(|url| **url != new.url) {
                return Err(StoreError::IssuerUrlChanged(new.name.clone(), url.clone()));
            }
            if before.is_none() && self.list_issuers().await?.len() >= MAX_ISSUERS {
                return Err(StoreError::IssuerLimit);
            }
            let issuer = self.changed_issuer(new, &stored, id, request)?;
            let changes = changes(before, Some(&issuer));
            if let Some(before) = before.filter(|_| changes.is_empty()) {
                return Ok(Attempt::Done(PutIssuer { issuer: before.clone(), created: false }));
            }
            let created = before.is_none();
            let event_type = if created { EventType::IssuerCreated } else { EventType::IssuerUpdated };
            let event = NewEvent::issuer(event_type, &new.name, changes);
            let actions = vec![
                self.put(schema::issuer_key(&new.name), item(&issuer, &seal(&issuer)), stored.unchanged())?,
                self.record(event, request, issuer.updated_at)?,
            ];
            Ok(self.commit_unchanged(actions).await?.with(PutIssuer { issuer, created }))
        })
        .await
    }

    /// The issuer that results from putting `new` in place of `stored`. A new registration has
    /// the id `id`.
    fn changed_issuer(
        &self,
        new: &NewIssuer,
        stored: &StoredIssuer,
        id: IssuerId,
        request: &ChangeRequest,
    ) -> Result<TrustedIssuer, StoreError> {
        let now = self.clock.now();
        let before = stored.issuer();
        Ok(TrustedIssuer {
            name: new.name.clone(),
            id: before.map_or(id, |before| before.id),
            url: new.url.clone(),
            keys: new.keys.clone(),
            algorithms: new.algorithms.clone(),
            version: match stored.version() {
                Some(version) => version.saturating_add(1),
                None => first_version(&*self.entropy)?,
            },
            created_at: before.map_or(now, |before| before.created_at),
            created_by: before.map_or(&request.actor, |before| &before.created_by).clone(),
            updated_at: now,
            updated_by: request.actor.clone(),
        })
    }

    /// Reads a trusted issuer consistently.
    ///
    /// # Errors
    /// [`StoreError::IssuerNotFound`].
    pub async fn get_issuer(&self, name: &IssuerName) -> Result<TrustedIssuer, StoreError> {
        self.find_issuer(name).await?.ok_or_else(|| StoreError::IssuerNotFound(name.clone()))
    }

    /// Finds a trusted issuer with a consistent read.
    pub async fn find_issuer(&self, name: &IssuerName) -> Result<Option<TrustedIssuer>, StoreError> {
        Ok(match self.stored_issuer(name).await? {
            StoredIssuer::Registered(issuer) => Some(*issuer),
            StoredIssuer::Missing | StoredIssuer::Deleted { .. } => None,
        })
    }

    async fn stored_issuer(&self, name: &IssuerName) -> Result<StoredIssuer, StoreError> {
        let Some(item) = self.read(schema::issuer_key(name), &READ).await? else {
            return Ok(StoredIssuer::Missing);
        };
        stored_issuer(name, &item).map_err(|error| error.in_item(name))
    }

    /// Lists all trusted issuers in the byte order of their names, with a consistent read. A
    /// malformed item is logged and left out, so that it hides no other issuer.
    pub async fn list_issuers(&self) -> Result<Vec<TrustedIssuer>, StoreError> {
        let items = self.read_partition(schema::issuers_partition(), &READ, MAX_QUERIES).await?;
        let mut issuers = Vec::new();
        for item in &items {
            let read = || stored_issuer(&Reader(item).parse(schema::SK, str::parse)?, item);
            match read() {
                Ok(StoredIssuer::Registered(issuer)) => issuers.push(*issuer),
                Ok(StoredIssuer::Missing | StoredIssuer::Deleted { .. }) => {}
                Err(error) => {
                    let cause = error.in_item("a trusted issuer");
                    tracing::error!(%cause, "a malformed item is left out");
                }
            }
        }
        Ok(issuers)
    }

    /// Reads the names of all trusted issuers, consistently.
    pub async fn trusted_issuer_names(&self) -> Result<HashSet<IssuerName>, StoreError> {
        let attributes = [schema::SK, attribute::ID];
        let items = self.read_partition(schema::issuers_partition(), &attributes, MAX_QUERIES).await?;
        let registered = items.iter().filter(|item| item.contains_key(attribute::ID));
        Ok(registered.filter_map(|item| Reader(item).parse(schema::SK, str::parse).ok()).collect())
    }

    /// Deletes a trusted issuer. From then on, no token works that was obtained through the
    /// issuer. The name keeps its URL.
    ///
    /// # Errors
    /// [`StoreError::IssuerNotFound`], [`StoreError::Stale`] if the issuer does not have
    /// `version`, or [`StoreError::Contention`].
    pub async fn delete_issuer(
        &self,
        name: &IssuerName,
        version: Option<u64>,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        self.retry(|| async {
            let stored = self.stored_issuer(name).await?;
            let before = stored.issuer().ok_or_else(|| StoreError::IssuerNotFound(name.clone()))?;
            if version.is_some_and(|version| version != before.version) {
                return Err(StoreError::Stale);
            }
            let now = self.clock.now();
            let event = NewEvent::issuer(EventType::IssuerDeleted, name, changes(Some(before), None));
            self.commit_unchanged(vec![
                self.put(schema::issuer_key(name), tombstone(before, request, now), stored.unchanged())?,
                self.record(event, request, now)?,
            ])
            .await
        })
        .await
    }
}

/// The attributes of an issuer, except its seal.
const READ: [&str; 11] = [
    schema::SK,
    attribute::ID,
    attribute::ISSUER,
    attribute::JWKS_URI,
    attribute::JWKS,
    attribute::ALGORITHMS,
    attribute::VERSION,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::UPDATED_AT,
    attribute::UPDATED_BY,
];

fn stored_issuer(name: &IssuerName, item: &Map) -> Result<StoredIssuer, MalformedItem> {
    let reader = Reader(item);
    if reader.find(attribute::ID).is_none() {
        let url = reader.parse(attribute::ISSUER, IssuerUrl::from_stored)?;
        return Ok(StoredIssuer::Deleted { url, version: reader.version()? });
    }
    Ok(StoredIssuer::Registered(Box::new(TrustedIssuer {
        name: name.clone(),
        id: reader.parse(attribute::ID, str::parse)?,
        url: reader.parse(attribute::ISSUER, IssuerUrl::from_stored)?,
        keys: issuer_keys(reader)?,
        algorithms: algorithms(reader)?,
        version: reader.version()?,
        created_at: reader.seconds(attribute::CREATED_AT)?,
        created_by: reader.actor(attribute::CREATED_BY)?,
        updated_at: reader.seconds(attribute::UPDATED_AT)?,
        updated_by: reader.actor(attribute::UPDATED_BY)?,
    })))
}

/// Where an issuer's keys come from.
pub(super) fn issuer_keys<M: Attributes>(reader: Reader<'_, M>) -> Result<IssuerKeys, MalformedItem> {
    let uri =
        reader.optional(attribute::JWKS_URI, |reader, name| reader.parse(name, IssuerUrl::from_stored))?;
    let inline = reader.optional(attribute::JWKS, |reader, name| reader.text(name).map(str::to_owned))?;
    match (uri, inline) {
        (None, None) => Ok(IssuerKeys::Discovery),
        (Some(uri), None) => Ok(IssuerKeys::Uri(uri)),
        (None, Some(keys)) => Ok(IssuerKeys::Inline(keys)),
        (Some(_), Some(_)) => reader.get(attribute::JWKS, |_| None),
    }
}

/// The algorithms with which an issuer can sign, at least one.
pub(super) fn algorithms<M: Attributes>(
    reader: Reader<'_, M>,
) -> Result<Vec<SigningAlgorithm>, MalformedItem> {
    reader.get(attribute::ALGORITHMS, |value| {
        let names = value.list()?.iter();
        let algorithms =
            names.map(|name| SigningAlgorithm::parse(name.text()?)).collect::<Option<Vec<_>>>()?;
        Some(algorithms).filter(|algorithms| !algorithms.is_empty())
    })
}

fn item(issuer: &TrustedIssuer, seal: &SealEntry) -> Map {
    let algorithms = issuer.algorithms.iter().map(|algorithm| s(algorithm.name())).collect();
    let mut item = codec::map([
        (attribute::ID, s(issuer.id)),
        (attribute::ISSUER, s(&issuer.url)),
        (attribute::ALGORITHMS, AttributeValue::L(algorithms)),
        (attribute::VERSION, n(issuer.version)),
        (attribute::CREATED_AT, seconds(issuer.created_at)),
        (attribute::CREATED_BY, codec::actor(&issuer.created_by)),
        (attribute::UPDATED_AT, seconds(issuer.updated_at)),
        (attribute::UPDATED_BY, codec::actor(&issuer.updated_by)),
    ]);
    match &issuer.keys {
        IssuerKeys::Discovery => {}
        IssuerKeys::Uri(uri) => drop(item.insert(attribute::JWKS_URI.to_owned(), s(uri))),
        IssuerKeys::Inline(keys) => drop(item.insert(attribute::JWKS.to_owned(), s(keys))),
    }
    item.extend(codec::seal(seal));
    item
}

/// What stays of a deleted issuer.
fn tombstone(issuer: &TrustedIssuer, request: &ChangeRequest, now: Timestamp) -> Map {
    codec::map([
        (attribute::ISSUER, s(&issuer.url)),
        (attribute::VERSION, n(issuer.version.saturating_add(1))),
        (attribute::DELETED_AT, seconds(now)),
        (attribute::DELETED_BY, codec::actor(&request.actor)),
    ])
}

/// The changed fields of an issuer. `None` is an issuer that is not registered.
fn changes(before: Option<&TrustedIssuer>, after: Option<&TrustedIssuer>) -> Vec<FieldChange> {
    let fields = |issuer: Option<&TrustedIssuer>| {
        let Some(issuer) = issuer else { return [const { String::new() }; 4] };
        let algorithms: Vec<_> = issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let (uri, inline) = match &issuer.keys {
            IssuerKeys::Discovery => (String::new(), String::new()),
            IssuerKeys::Uri(uri) => (uri.to_string(), String::new()),
            IssuerKeys::Inline(keys) => (String::new(), digest(keys)),
        };
        [issuer.url.to_string(), uri, inline, algorithms.join(", ")]
    };
    let names = [attribute::ISSUER, attribute::JWKS_URI, attribute::JWKS, attribute::ALGORITHMS];
    let values = fields(before).into_iter().zip(fields(after));
    let changes = names.into_iter().zip(values);
    changes.filter_map(|(name, (from, to))| FieldChange::between(name, &from, Some(&to))).collect()
}

/// A short stand-in for inline keys, which can be too long for an event.
fn digest(keys: &str) -> String {
    format!("SHA-256 {}", URL_SAFE_NO_PAD.encode(Sha256::digest(keys)))
}
