//! The issuer's public keys, cached.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use shared::domain::Clock;
use shared::http_client::HttpClient;
use tokio::sync::Mutex;

/// The least time between two fetches, whatever tokens arrive.
const FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// The age at which keys must be fetched again, so that a key that the issuer has
/// withdrawn is not trusted forever.
const MAX_AGE: Duration = Duration::from_hours(1);
/// The time limit of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest document that is accepted, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// The keys at one URI.
pub(crate) struct Jwks {
    uri: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: HashMap<String, DecodingKey>,
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
}

/// The keys could not be fetched or read.
#[derive(Debug, thiserror::Error)]
#[error("the issuer's keys are unavailable: {0}")]
pub(crate) struct JwksUnavailable(String);

impl Jwks {
    pub(crate) fn new(uri: String, clock: Arc<dyn Clock>) -> Self {
        Self { uri, clock, state: Mutex::default() }
    }

    /// The key `id`, if the issuer has it. Concurrent callers share one fetch.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<DecodingKey>, JwksUnavailable> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let within = |at: Option<Timestamp>, limit: Duration| {
            at.is_some_and(|at| now.duration_since(at).unsigned_abs() < limit)
        };
        let is_fresh = within(state.fetched_at, MAX_AGE);
        if is_fresh && let Some(key) = state.keys.get(id) {
            return Ok(Some(key.clone()));
        }
        if within(state.tried_at, FETCH_INTERVAL) {
            return if is_fresh {
                Ok(None)
            } else {
                Err(JwksUnavailable("the last attempt failed less than 10 s ago".to_owned()))
            };
        }
        state.tried_at = Some(now);
        state.keys = fetch(&self.uri).await?;
        state.fetched_at = Some(now);
        Ok(state.keys.get(id).cloned())
    }
}

async fn fetch(uri: &str) -> Result<HashMap<String, DecodingKey>, JwksUnavailable> {
    let unavailable = |error: &dyn std::error::Error| JwksUnavailable(error.to_string());
    // A client for one fetch: its start must not slow down the function's, and its
    // connection would not live until the next fetch.
    let client = HttpClient::new(FETCH_TIMEOUT, MAX_BYTES);
    let request = http::Request::get(uri).body(Vec::new()).map_err(|error| unavailable(&error))?;
    let response = client.send(request).await.map_err(|error| unavailable(&error))?;
    if !response.status().is_success() {
        return Err(JwksUnavailable(format!("the response has status {}", response.status().as_u16())));
    }
    let set: JwkSet = serde_json::from_slice(response.body()).map_err(|error| unavailable(&error))?;
    Ok(set.keys.iter().filter(|key| is_usable(key)).filter_map(decoding_key).collect())
}

/// Whether a key is for RS256 signatures.
fn is_usable(key: &Jwk) -> bool {
    matches!(key.algorithm, AlgorithmParameters::RSA(_))
        && matches!(key.common.key_algorithm, None | Some(KeyAlgorithm::RS256))
        && matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature))
}

fn decoding_key(key: &Jwk) -> Option<(String, DecodingKey)> {
    Some((key.common.key_id.clone()?, DecodingKey::from_jwk(key).ok()?))
}
