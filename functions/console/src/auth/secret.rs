//! The console's own secret: the cookie key and the OAuth client secret.
//!
//! The secret is `{"clientSecret": "…", "cookieKey": "<random>"}`. The template writes
//! `clientSecret`, and `CloudFormation` generates `cookieKey`.

use std::sync::Arc;

use axum_extra::extract::cookie::Key;
use hmac::{Hmac, KeyInit as _};
use jiff::{SignedDuration, Timestamp};
use oauth2::ClientSecret;
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};
use shared::domain::Clock;
use shared::secret::SecretReader;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// The minimum length of a cookie key: 190 bits, if it has letters and digits.
const MIN_KEY_LENGTH: usize = 32;

/// How long the secret is cached. After a change, the console can use the old secret for
/// this long.
const CACHE_LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// The secret could not be read. The message contains no part of the secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SecretUnavailable(String);

/// The parsed secret.
pub(crate) struct Keys {
    /// Encrypts cookies.
    pub(crate) cookies: Key,
    /// Signs CSRF tokens.
    pub(crate) forms: Hmac<Sha256>,
    /// Authenticates the console to the issuer.
    pub(crate) client_secret: ClientSecret,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    client_secret: ClientSecret,
    cookie_key: Zeroizing<String>,
}

/// The console's secret, with a cache.
pub(crate) struct ConsoleSecret {
    reader: SecretReader,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Arc<Keys>, Timestamp)>>,
}

impl ConsoleSecret {
    pub(crate) fn new(reader: SecretReader, clock: Arc<dyn Clock>) -> Self {
        Self { reader, clock, last: Mutex::default() }
    }

    /// The secret, read again every few minutes. If reading fails, the cached secret
    /// stays in use.
    pub(crate) async fn get(&self) -> Result<Arc<Keys>, SecretUnavailable> {
        // Concurrent callers wait for one read.
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        let cached = last.clone();
        if let Some((keys, at)) = &cached
            && now.duration_since(*at) < CACHE_LIFETIME
        {
            return Ok(Arc::clone(keys));
        }
        let keys = match (self.read().await, cached) {
            (Ok(keys), _) => Arc::new(keys),
            (Err(error), Some((keys, _))) => {
                tracing::warn!(cause = %error, "the console's secret could not be read again, the cached secret stays in use");
                keys
            }
            (Err(error), None) => return Err(error),
        };
        *last = Some((Arc::clone(&keys), now));
        Ok(keys)
    }

    async fn read(&self) -> Result<Keys, SecretUnavailable> {
        parse(&self.reader.read().await.map_err(|error| SecretUnavailable(error.to_string()))?)
    }
}

fn parse(secret: &str) -> Result<Keys, SecretUnavailable> {
    // serde_json's messages can quote the secret.
    let malformed = || SecretUnavailable("the console's secret is malformed".to_owned());
    let members: Members = serde_json::from_str(secret).map_err(|_| malformed())?;
    if members.cookie_key.len() < MIN_KEY_LENGTH {
        return Err(malformed());
    }
    // 64 bytes: one half encrypts cookies, and the other half signs CSRF tokens.
    let digest = Sha512::new().chain_update(members.cookie_key.as_bytes());
    // A new client secret ends all sessions.
    let digest = digest.chain_update([0]).chain_update(members.client_secret.secret());
    let cookies = Key::from(&digest.finalize());
    let forms = Hmac::new_from_slice(cookies.signing()).map_err(|_| malformed())?;
    Ok(Keys { cookies, forms, client_secret: members.client_secret })
}
