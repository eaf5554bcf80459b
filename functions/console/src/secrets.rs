//! The console's own secret: the cookies' key and the client's secret.
//!
//! `{"clientSecret": "…", "cookieKey": "<random>"}`: the template writes the
//! first, `CloudFormation` generates the second.

use axum_extra::extract::cookie::Key;
use hmac::{Hmac, KeyInit as _};
use oauth2::ClientSecret;
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};
use shared::secret::SecretReader;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// The fewest characters of a cookie key: 190 bits, if they are letters and
/// digits.
const MIN_KEY_LENGTH: usize = 32;

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

/// The secret, read once.
pub(crate) struct OwnSecret {
    reader: SecretReader,
    keys: OnceCell<Keys>,
}

impl OwnSecret {
    pub(crate) fn new(reader: SecretReader) -> Self {
        Self { reader, keys: OnceCell::new() }
    }

    pub(crate) async fn get(&self) -> Result<&Keys, SecretUnavailable> {
        self.keys
            .get_or_try_init(|| async {
                let secret =
                    self.reader.read().await.map_err(|error| SecretUnavailable(error.to_string()))?;
                parse(&secret)
            })
            .await
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
    let cookies = Key::from(&Sha512::digest(members.cookie_key.as_bytes()));
    let forms = Hmac::new_from_slice(cookies.signing()).map_err(|_| malformed())?;
    Ok(Keys { cookies, forms, client_secret: members.client_secret })
}
