//! The public keys of trusted issuers: inline, or fetched and cached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use shared::domain::{Clock, IssuerId, IssuerKeys, IssuerUrl, SigningAlgorithm, UrlHosts};
use shared::issuer_http::{FetchError, fetch};
use shared::policy::ExchangeReason;
use shared::store::SealedIssuer;
use tokio::sync::Mutex as AsyncMutex;

use crate::key_set::KeySet;

/// The least time between two fetches from one issuer, whatever JWTs arrive.
const FETCH_INTERVAL: Duration = Duration::from_secs(10);

/// The age at which keys must be fetched again, so that a key that the issuer has withdrawn is
/// not trusted forever.
const MAX_AGE: Duration = Duration::from_hours(1);

/// The time limit for fetching an issuer's metadata and keys.
const FETCH_LIMIT: Duration = Duration::from_millis(2500);

/// The maximum number of issuers in the cache. There are at most 50 issuers, but an issuer that is registered again gets a new entry.
const MAX_ISSUERS: usize = 64;

/// The path of an issuer's metadata (`OpenID` Connect Discovery 1.0, section 4).
const METADATA_PATH: &str = "/.well-known/openid-configuration";

/// Why an issuer's keys are not available.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the keys of the issuer are not available: {cause}")]
pub(crate) struct KeysUnavailable {
    pub(crate) reason: ExchangeReason,
    pub(crate) cause: String,
}

impl KeysUnavailable {
    fn new(reason: ExchangeReason, cause: impl ToString) -> Self {
        Self { reason, cause: cause.to_string() }
    }
}

impl From<FetchError> for KeysUnavailable {
    fn from(error: FetchError) -> Self {
        let reason = match error {
            FetchError::Url | FetchError::Address(_) => ExchangeReason::IssuerAddress,
            FetchError::Unreachable(_) => ExchangeReason::IssuerUnreachable,
            FetchError::Redirect(_) => ExchangeReason::IssuerRedirect,
            FetchError::Response(_) => ExchangeReason::IssuerResponse,
            FetchError::TooLarge => ExchangeReason::IssuerTooLarge,
        };
        Self::new(reason, error)
    }
}

/// Where the keys of an issuer come from, as the key of the cache.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Source {
    issuer: IssuerId,
    /// `None` if the issuer's metadata name the URI.
    uri: Option<IssuerUrl>,
}

/// The fetched keys of one issuer.
#[derive(Default)]
struct CachedKeys {
    keys: Option<KeySet>,
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    /// The error of the last attempt, if it failed.
    failed: Option<KeysUnavailable>,
}

/// The keys of all issuers.
pub(crate) struct AllIssuerKeys {
    clock: Arc<dyn Clock>,
    hosts: UrlHosts,
    cache: Mutex<HashMap<Source, Arc<AsyncMutex<CachedKeys>>>>,
}

impl AllIssuerKeys {
    pub(crate) fn new(clock: Arc<dyn Clock>, hosts: UrlHosts) -> Self {
        Self { clock, hosts, cache: Mutex::default() }
    }

    /// The key of `issuer` for a JWT with this key id and algorithm. `None` if the issuer has
    /// no such key.
    ///
    /// # Errors
    /// The issuer's keys are not available.
    pub(crate) async fn find(
        &self,
        issuer: &SealedIssuer,
        id: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> Result<Option<DecodingKey>, KeysUnavailable> {
        let uri = match &issuer.keys {
            IssuerKeys::Inline(keys) => {
                return Ok(parse(keys.as_bytes())?.find(id, algorithm).cloned());
            }
            IssuerKeys::Uri(uri) => Some(uri.clone()),
            IssuerKeys::Discovery => None,
        };
        let entry = self.entry(Source { issuer: issuer.id, uri: uri.clone() });
        let mut entry = entry.lock().await;
        let now = self.clock.now();
        let is_within = |at: Option<Timestamp>, limit: Duration| {
            at.is_some_and(|at| now.duration_since(at).unsigned_abs() < limit)
        };
        if is_within(entry.fetched_at, MAX_AGE)
            && let Some(key) = entry.keys.as_ref().and_then(|keys| keys.find(id, algorithm))
        {
            return Ok(Some(key.clone()));
        }
        if is_within(entry.tried_at, FETCH_INTERVAL) {
            return entry.failed.clone().map_or(Ok(None), Err);
        }
        entry.tried_at = Some(now);
        // If this future is dropped, the next attempt must still wait.
        entry.failed =
            Some(KeysUnavailable::new(ExchangeReason::IssuerTimeout, "the last attempt took too long"));
        match self.fetch(&issuer.url, uri).await {
            Ok(keys) => {
                entry.failed = None;
                entry.fetched_at = Some(now);
                Ok(entry.keys.insert(keys).find(id, algorithm).cloned())
            }
            Err(error) => {
                entry.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn entry(&self, source: Source) -> Arc<AsyncMutex<CachedKeys>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_ISSUERS && !cache.contains_key(&source) {
            cache.clear();
        }
        Arc::clone(cache.entry(source).or_default())
    }

    async fn fetch(&self, issuer: &IssuerUrl, uri: Option<IssuerUrl>) -> Result<KeySet, KeysUnavailable> {
        let fetching = async {
            let uri = match uri {
                Some(uri) => uri,
                None => self.discover(issuer).await?,
            };
            parse(&fetch(&uri, self.hosts).await?)
        };
        tokio::time::timeout(FETCH_LIMIT, fetching).await.unwrap_or_else(|_| {
            let cause = format!("the issuer took longer than {} ms", FETCH_LIMIT.as_millis());
            Err(KeysUnavailable::new(ExchangeReason::IssuerTimeout, cause))
        })
    }

    /// The URI of the keys in the issuer's metadata.
    async fn discover(&self, issuer: &IssuerUrl) -> Result<IssuerUrl, KeysUnavailable> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }

        let malformed = |cause: &str| KeysUnavailable::new(ExchangeReason::IssuerMetadata, cause);
        let url = [issuer.as_str().strip_suffix('/').unwrap_or(issuer.as_str()), METADATA_PATH].concat();
        let url = IssuerUrl::parse(&url, self.hosts).map_err(|_| FetchError::Url)?;
        let metadata: Metadata = serde_json::from_slice(&fetch(&url, self.hosts).await?)
            .map_err(|_| malformed("the metadata are not the JSON of an issuer"))?;
        if metadata.issuer != issuer.as_str() {
            return Err(malformed("the metadata are those of another issuer"));
        }
        IssuerUrl::parse(&metadata.jwks_uri, self.hosts)
            .map_err(|error| malformed(&format!("the `jwks_uri` {error}")))
    }
}

fn parse(keys: &[u8]) -> Result<KeySet, KeysUnavailable> {
    KeySet::parse(keys).map_err(|problem| {
        KeysUnavailable::new(ExchangeReason::IssuerKeys, format!("the key set cannot be used: {problem}"))
    })
}
