//! The access token of the admin who is signed in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use zeroize::Zeroizing;

/// A session expires this long before its token, so that the token does not expire during a
/// call.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// An admin's access token.
#[derive(Clone)]
pub(crate) struct AccessToken(Zeroizing<String>);

impl AccessToken {
    pub(crate) fn new(token: Zeroizing<String>) -> Self {
        Self(token)
    }

    /// The token itself, for the header or cookie that contains it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The token's claims, without verification: the token comes from the issuer itself
    /// or from a cookie that only the console can create. The authorizer verifies the
    /// token at each call.
    pub(crate) fn claims(&self) -> Option<Claims> {
        let payload = URL_SAFE_NO_PAD.decode(self.0.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&Zeroizing::new(payload)).ok()
    }
}

/// The claims that the console reads.
#[derive(Deserialize)]
pub(crate) struct Claims {
    exp: i64,
    sub: String,
    email: Option<String>,
    username: Option<String>,
}

impl Claims {
    /// Seconds until the session expires.
    pub(crate) fn seconds_left(&self, now: Timestamp) -> i64 {
        self.exp.saturating_sub(now.as_second()).saturating_sub(MARGIN.as_secs()).max(0)
    }

    /// The admin's name, as in audit events.
    pub(crate) fn name(self) -> String {
        let named = [self.email, self.username].into_iter().flatten().find(|name| !name.is_empty());
        named.unwrap_or(self.sub)
    }
}
