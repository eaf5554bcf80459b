//! The one Bearer credential of a request (RFC 6750, section 2.1): a key or token.

use http::{HeaderMap, HeaderValue, header};
use secrecy::SecretString;
use shared::domain::{AccountId, ApiKey, Environment, GrantId, KEY_PREFIX, SealedToken, TOKEN_PREFIX};

use crate::refusal::Refusal;

/// How the names of variables start, in the configurations of clients and in shells.
const VARIABLES: [&str; 3] = ["$", "%", "{{"];

/// A key or token whose form is valid. Only `exchange-token` can tell whether the credential
/// itself is.
pub(crate) struct Credential {
    pub(crate) text: SecretString,
    /// The account and grant that the credential names, for the log. An attacker can choose
    /// both.
    pub(crate) named: (AccountId, GrantId),
}

/// Takes the credential off the request, so that nothing after this can log it or pass it on.
/// A refusal here costs no invocation.
pub(crate) fn take(headers: &mut HeaderMap, environment: &Environment) -> Result<Credential, Refusal> {
    let values: Vec<HeaderValue> = headers.get_all(header::AUTHORIZATION).iter().cloned().collect();
    headers.remove(header::AUTHORIZATION);
    let value = match values.as_slice() {
        [] => return Err(Refusal::NoCredential),
        [value] => value,
        [_, _, ..] => return Err(Refusal::SeveralCredentials),
    };
    let value = value.to_str().map_err(|_| Refusal::MalformedCredential)?;
    let value = value.trim();
    // The value of the variable is empty.
    if value.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::UnsetVariable);
    }
    let (scheme, text) = value.split_once(' ').ok_or(Refusal::MalformedCredential)?;
    let text = text.trim_start_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::MalformedCredential);
    }
    // HTTP APIs join the values of a repeated header with commas.
    if text.contains(',') {
        return Err(Refusal::SeveralCredentials);
    }
    if VARIABLES.iter().any(|start| text.starts_with(start)) {
        return Err(Refusal::UnsetVariable);
    }
    let named = named(text, environment).ok_or(Refusal::MalformedCredential)?;
    Ok(Credential { text: text.into(), named })
}

/// The account and grant that a key or token names, if its form is valid.
fn named(text: &str, environment: &Environment) -> Option<(AccountId, GrantId)> {
    if text.starts_with(KEY_PREFIX) {
        let key = ApiKey::parse(text, environment).ok()?;
        return Some((key.account, GrantId::Key(key.id)));
    }
    if text.starts_with(TOKEN_PREFIX) {
        return SealedToken::parse(text, environment).ok().map(|token| token.named());
    }
    None
}
