//! The console's own secret: the cookies' key and the client's secret.
//!
//! `{"clientSecret": "…", "cookieKey": "<random>"}`: the template writes the
//! first, `CloudFormation` generates the second.

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

/// The fewest characters of a cookie key: 190 bits, if they are letters and
/// digits.
const MIN_KEY_LENGTH: usize = 32;

/// How long what was read counts. So long after a change the old secret may still
/// be in use.
const KEPT_FOR: SignedDuration = SignedDuration::from_mins(5);

/// The secret cannot be had. The message holds nothing of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SecretUnavailable(String);

/// What the secret holds.
pub(crate) struct Keys {
    /// Encrypts cookies.
    pub(crate) cookies: Key,
    /// Makes the tokens of forms.
    pub(crate) forms: Hmac<Sha256>,
    /// What the console shows the issuer.
    pub(crate) client_secret: ClientSecret,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    client_secret: ClientSecret,
    cookie_key: Zeroizing<String>,
}

/// The secret, as it was read last.
pub(crate) struct OwnSecret {
    reader: SecretReader,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Arc<Keys>, Timestamp)>>,
}

impl OwnSecret {
    pub(crate) fn new(reader: SecretReader, clock: Arc<dyn Clock>) -> Self {
        Self { reader, clock, last: Mutex::default() }
    }

    /// What it holds, read anew every few minutes. Where that fails, what was
    /// read before counts on.
    pub(crate) async fn get(&self) -> Result<Arc<Keys>, SecretUnavailable> {
        // One at a time: the others then find what the first has read.
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        let before = last.clone();
        if let Some((keys, at)) = &before
            && now.duration_since(*at) < KEPT_FOR
        {
            return Ok(Arc::clone(keys));
        }
        let keys = match (self.read().await, before) {
            (Ok(keys), _) => Arc::new(keys),
            (Err(error), Some((keys, _))) => {
                tracing::warn!(cause = %error, "the console's secret could not be read anew");
                keys
            }
            (Err(error), None) => return Err(error),
        };
        *last = Some((Arc::clone(&keys), now));
        Ok(keys)
    }

    async fn read(&self) -> Result<Keys, SecretUnavailable> {
        let secret = self.reader.read().await.map_err(|error| SecretUnavailable(error.to_string()))?;
        parse(&secret)
    }
}

fn parse(secret: &str) -> Result<Keys, SecretUnavailable> {
    // serde_json's messages can quote the input: none of them is kept.
    let malformed = || SecretUnavailable("the console's secret is not as it should be".to_owned());
    let members: Members = serde_json::from_str(secret).map_err(|_| malformed())?;
    if members.cookie_key.len() < MIN_KEY_LENGTH {
        return Err(malformed());
    }
    // 64 bytes out of however many characters there are, of which the cookies'
    // encryption takes one half and leaves the other.
    let digest = Sha512::new().chain_update(members.cookie_key.as_bytes());
    // Another client is another console: nobody stays signed in.
    let digest = digest.chain_update([0]).chain_update(members.client_secret.secret());
    let cookies = Key::from(&digest.finalize());
    let forms = Hmac::new_from_slice(cookies.signing()).map_err(|_| malformed())?;
    Ok(Keys { cookies, forms, client_secret: members.client_secret })
}
