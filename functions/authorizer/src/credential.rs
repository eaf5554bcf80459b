//! The one Bearer credential of a request (RFC 6750, section 2.1).

use shared::domain::{ApiKey, Environment, KEY_PREFIX, KeyError, SealedToken, TOKEN_PREFIX};

use crate::Reason;
use crate::event::Authorization;

/// The longest credential that is read, in bytes. API Gateway accepts 10,240
/// bytes of headers in total.
const MAX_LENGTH: usize = 10_240;

/// A credential whose form is valid.
pub(crate) enum Credential<'a> {
    /// A service account's key.
    Key(ApiKey),
    /// A token of a service account. Boxed, because a token is large and most credentials are
    /// keys.
    Token(Box<SealedToken>),
    /// Text in the form of a JWT, which may be an admin user's token.
    AdminToken(&'a str),
}

/// Reads the credential without any I/O, so refusing one here costs nothing.
pub(crate) fn read<'a>(
    authorization: &'a Authorization<'_>,
    environment: &Environment,
) -> Result<Credential<'a>, Reason> {
    let header = match authorization {
        Authorization::Absent => return Err(Reason::Missing),
        Authorization::One(header) if header.len() <= MAX_LENGTH => header,
        Authorization::One(_) | Authorization::Repeated => return Err(Reason::Malformed),
    };
    let (scheme, credential) = header.split_once(' ').ok_or(Reason::Malformed)?;
    let credential = credential.trim_start_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() {
        return Err(Reason::Malformed);
    }
    if credential.starts_with(KEY_PREFIX) {
        return ApiKey::parse(credential, environment).map(Credential::Key).map_err(reason);
    }
    if credential.starts_with(TOKEN_PREFIX) {
        let token = SealedToken::parse(credential, environment).map_err(reason)?;
        return Ok(Credential::Token(Box::new(token)));
    }
    // The compact form of a JWS (RFC 7515, section 7.1). It contains no comma, so
    // two headers that were joined into one are refused.
    let is_compact = credential.split('.').count() == 3
        && credential.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if is_compact { Ok(Credential::AdminToken(credential)) } else { Err(Reason::Malformed) }
}

fn reason(error: KeyError) -> Reason {
    match error {
        KeyError::Malformed => Reason::Malformed,
        KeyError::ForeignEnvironment => Reason::ForeignEnvironment,
    }
}
