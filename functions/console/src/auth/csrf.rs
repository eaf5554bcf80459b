//! The CSRF token in every form that changes something.
//!
//! The token is an HMAC of the access token under a key that only the console has. A page
//! of another origin can neither read nor create the token, and a token is valid in only
//! one session. In addition, [`crate::middleware`] checks the request's origin.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The token of the session with `access_token`.
pub(crate) fn token(key: &Hmac<Sha256>, access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(mac(key, access_token).finalize().into_bytes())
}

/// Whether `token` belongs to the session of `access_token`, in constant time.
pub(crate) fn is_valid(key: &Hmac<Sha256>, access_token: &str, token: &str) -> bool {
    URL_SAFE_NO_PAD.decode(token).is_ok_and(|bytes| mac(key, access_token).verify_slice(&bytes).is_ok())
}

fn mac(key: &Hmac<Sha256>, access_token: &str) -> Hmac<Sha256> {
    key.clone().chain_update(access_token)
}
