//! Credentials in texts: a leaked key or token in text that an admin pasted, and credentials
//! in places where they must not be, such as descriptions and log lines.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::key::{KEY_PREFIX, SECRET_LENGTH};
use super::token::{MAX_LENGTH as MAX_TOKEN_LENGTH, TOKEN_PREFIX};
use super::{ApiKey, Environment, KeyError, SealedToken};

/// The regular expression that finds keys of every environment, for secret scanners
/// (`infra/scanning/`), which cannot check the checksum.
pub const KEY_PATTERN: &str = r"kwsa_[a-z0-9]{1,12}_[0-9A-Za-z]{16}_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\b";

/// The regular expression that finds tokens of every environment, like [`KEY_PATTERN`].
pub const TOKEN_PATTERN: &str = r"kwst_[a-z0-9]{1,12}_[0-9A-Za-z]{16}_[0-9A-Za-z]{16}_[0-9A-Za-z]{134,490}\b";

/// The maximum length of a key, in characters.
const MAX_KEY_LENGTH: usize = 5 + 12 + 1 + 16 + 1 + 16 + 1 + 49;

/// The only key or token in a text that an admin pasted.
#[derive(Debug)]
pub enum PastedCredential {
    Key(ApiKey),
    Token(Box<SealedToken>),
}

/// Why a text does not contain exactly one key or token of this environment. No message
/// quotes the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindCredentialError {
    /// The text does not contain the prefix of a key or token.
    #[error(
        "contains no key and no token: a key starts with `{KEY_PREFIX}`, and a token with `{TOKEN_PREFIX}`"
    )]
    Nothing,
    /// A prefix is there, but the rest is malformed or the checksum is wrong.
    #[error("contains no valid key or token: a part is missing, too long or mistyped")]
    Incomplete,
    /// All well-formed keys and tokens in the text belong to other environments.
    #[error("contains a key or token of the `{}` environment, but this is the `{}` environment: look it up there", .there.as_str(), .here.as_str())]
    ForeignEnvironment {
        /// The environment of the first key or, without a key, of the first token.
        there: Environment,
        /// This environment.
        here: Environment,
    },
    /// The text contains more than one key or token of this environment.
    #[error("contains several keys or tokens: look them up one at a time")]
    Several,
}

impl PastedCredential {
    /// Finds the only key or token of `environment` in `text`. The text around the credential,
    /// such as a header's name, quotes or the rest of a line, is ignored.
    ///
    /// # Errors
    /// See [`FindCredentialError`].
    pub fn find_in(text: &str, environment: &Environment) -> Result<Self, FindCredentialError> {
        let keys = candidates(text, KEY_PREFIX, MAX_KEY_LENGTH)
            .map(|text| (text, ApiKey::parse(text, environment).map(Self::Key)));
        let tokens = candidates(text, TOKEN_PREFIX, MAX_TOKEN_LENGTH).map(|text| {
            (text, SealedToken::parse(text, environment).map(|token| Self::Token(Box::new(token))))
        });
        let mut found: Option<(&str, Self)> = None;
        let mut error = FindCredentialError::Nothing;
        for (candidate, parsed) in keys.chain(tokens) {
            match parsed {
                Ok(credential) => match &found {
                    Some((other, _)) if *other != candidate => return Err(FindCredentialError::Several),
                    _ => found = Some((candidate, credential)),
                },
                Err(KeyError::ForeignEnvironment) => {
                    let label = candidate.split('_').nth(1).unwrap_or_default();
                    if let (Ok(there), FindCredentialError::Nothing | FindCredentialError::Incomplete) =
                        (Environment::parse(label), &error)
                    {
                        error = FindCredentialError::ForeignEnvironment { there, here: environment.clone() };
                    }
                }
                Err(KeyError::Malformed) => {
                    if error == FindCredentialError::Nothing {
                        error = FindCredentialError::Incomplete;
                    }
                }
            }
        }
        found.map(|(_, credential)| credential).ok_or(error)
    }
}

/// The parts of a text that start with this prefix and continue with characters of a key or
/// token, each cut off after `max_length` and one more character, which is enough to find that
/// the part is too long.
fn candidates<'a>(text: &'a str, prefix: &'a str, max_length: usize) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(start, _)| {
        let rest = text.get(start..).unwrap_or_default();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = rest.bytes().take(max_length.saturating_add(1)).take_while(is_part).count();
        rest.get(..length).unwrap_or_default()
    })
}

/// The maximum number of characters after a key's prefix that are not secret:
/// environment, account and key, each with a separator.
const PUBLIC_LENGTH: usize = 12 + 1 + 16 + 1 + 16 + 1;

/// The minimum number of characters after a token's prefix. Shorter texts are only
/// mentions of tokens.
const MIN_TOKEN_LENGTH: usize = 32;

/// The maximum number of positions in one part of a text at which a JWT header is
/// decoded. It limits the cost of a hostile text.
const MAX_HEADERS: usize = 16;

/// The text that replaces a credential.
const REDACTED: &str = "[redacted]";

/// Whether a text contains a credential or a part of its secret: a key of any
/// environment, even with a wrong checksum or a few missing characters, a token, or a
/// compact JWT (RFC 7515, section 3.1). A mention of a key, a bare prefix and the ids of
/// accounts and keys do not count.
pub fn contains_credential(text: &str) -> bool {
    text.split(|c| !is_part(c)).any(|part| find_credential(part).is_some())
}

/// Whether a text that is searched for can be a credential or a part of one: besides what
/// [`contains_credential`] finds, the secret part of a key without its start.
pub fn may_contain_credential(text: &str) -> bool {
    let mut runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    contains_credential(text) || runs.any(|run| run.len() >= SECRET_LENGTH)
}

/// Replaces each credential, and the characters that directly follow it, with
/// `[redacted]`. See [`contains_credential`].
pub fn redact_credentials(text: &str) -> Cow<'_, str> {
    if !contains_credential(text) {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_part(c)) {
        let part = piece.trim_end_matches(|c| !is_part(c));
        match find_credential(part) {
            Some(at) => {
                let before = part.get(..at).unwrap_or_default();
                let after = piece.strip_prefix(part).unwrap_or_default();
                redacted.extend([before, REDACTED, after]);
            }
            None => redacted.push_str(piece),
        }
    }
    Cow::Owned(redacted)
}

/// Whether a character can be part of a credential. This includes `%`, because a path
/// can contain `%5F` for `_`.
fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '%')
}

/// The position of the first credential in a part.
fn find_credential(part: &str) -> Option<usize> {
    let found = find_key_or_token(part).into_iter().chain(find_jwt(part)).min();
    found.or_else(|| hides_credential(part).then_some(0))
}

/// Whether a part contains a credential after percent-decoding. Some encoders escape
/// `.` and `-`, and any character can be escaped (RFC 3986, section 2.1).
fn hides_credential(part: &str) -> bool {
    if !part.contains('%') {
        return false;
    }
    let decoded = percent_decode_str(part).decode_utf8_lossy();
    let find = |part: &str| find_key_or_token(part).or_else(|| find_jwt(part));
    decoded.split(|c| !is_part(c)).any(|part| find(part).is_some())
}

/// The position of the first key or token in a part.
fn find_key_or_token(part: &str) -> Option<usize> {
    let mut starts = part.match_indices(['k', 'K']).map(|(at, _)| at);
    starts.find(|at| is_key_or_token(part.get(*at..).unwrap_or_default()))
}

/// Whether the text starts with a key or token.
fn is_key_or_token(text: &str) -> bool {
    if let Some(rest) = strip_prefix(text, KEY_PREFIX) {
        return has_length(rest, PUBLIC_LENGTH + 1, |c| c.is_ascii_alphanumeric());
    }
    strip_prefix(text, TOKEN_PREFIX).is_some_and(|rest| {
        has_length(rest, MIN_TOKEN_LENGTH, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
    })
}

/// The text after `prefix`, which is a word and `_`. Case is ignored.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let word = prefix.strip_suffix('_')?;
    let (start, rest) = text.split_at_checked(word.len())?;
    if start.eq_ignore_ascii_case(word) { strip_underscore(rest) } else { None }
}

/// The text after `_` or, in a path, `%5F`.
fn strip_underscore(text: &str) -> Option<&str> {
    text.strip_prefix('_').or_else(|| text.strip_prefix("%5F")).or_else(|| text.strip_prefix("%5f"))
}

/// Whether a text starts with at least `length` characters that are `_` or that `is_wanted`
/// accepts. Reads no more of them, so that the cost of a long text does not grow with its square.
fn has_length(text: &str, length: usize, is_wanted: impl Fn(char) -> bool) -> bool {
    let mut rest = text;
    (0..length).all(|_| {
        let next = strip_underscore(rest).or_else(|| rest.strip_prefix(&is_wanted));
        rest = next.unwrap_or_default();
        next.is_some()
    })
}

/// The position of the first compact JWT in a part.
fn find_jwt(part: &str) -> Option<usize> {
    if part.bytes().filter(|byte| *byte == b'.').count() < 2 {
        return None;
    }
    let mut start = 0;
    let members: Vec<(usize, &str)> = part
        .split('.')
        .map(|member| {
            let at = start;
            start += member.len() + 1;
            (at, member)
        })
        .collect();
    members.windows(3).find_map(|window| {
        let [(start, header), (_, payload), _] = window else { return None };
        let is_payload = payload.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        find_header(header).filter(|_| is_payload).map(|at| start + at)
    })
}

/// The position of the JWT header that extends to the end of a text. Other characters,
/// such as `token_`, can precede the header.
fn find_header(text: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "alg")]
        _algorithm: IgnoredAny,
    }
    // `{` and the character after it, in base64.
    let starts = text.match_indices(['e']).map(|(at, _)| at).filter(|at| {
        let second = text.get(at + 1..).and_then(|rest| rest.chars().next());
        matches!(second, Some('y' | 'w'))
    });
    starts.take(MAX_HEADERS).find(|at| {
        let header = text.get(*at..).and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
        header.is_some_and(|header| serde_json::from_slice::<Header>(&header).is_ok())
    })
}
