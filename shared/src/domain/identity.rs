//! Federated identities: which workloads of a trusted issuer act as an account, without a
//! key of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Actor, Fingerprint, IdentityId, InvalidText, IssuerName, KeyEnd, RetiredReason, RoleName, is_control,
    is_invisible,
};

/// The maximum number of claims that an identity requires.
pub const MAX_CLAIMS: usize = 10;

/// The maximum number of values that an identity accepts for a claim.
pub const MAX_CLAIM_VALUES: usize = 10;

/// The maximum length of a claim's path and of a value, in characters.
pub const MAX_CLAIM_CHARS: usize = 256;

/// The maximum length of all required claims together, in bytes of JSON. It bounds the size of
/// an account with [`MAX_GRANTS`](super::MAX_GRANTS) identities.
pub const MAX_CLAIMS_BYTES: usize = 512;

/// The range of the maximum age of a JWT, in seconds.
pub const AGE_SECONDS: std::ops::RangeInclusive<u32> = 60..=86_400;

/// A value that a claim can have. Values of different types are different: `"1"` is not `1`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum ClaimValue {
    Boolean(bool),
    Number(i64),
    Text(String),
}

impl ClaimValue {
    /// The text, if the value is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Boolean(_) | Self::Number(_) => None,
            Self::Text(text) => Some(text),
        }
    }

    /// Whether `value` is exactly this value, of the same type.
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Boolean(own) => value.as_bool() == Some(*own),
            Self::Number(own) => value.as_i64() == Some(*own),
            Self::Text(own) => value.as_str() == Some(own),
        }
    }
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(formatter),
            Self::Number(value) => value.fmt(formatter),
            Self::Text(value) => formatter.write_str(value),
        }
    }
}

/// The claims that an identity requires: each claim's path and the values that it can have.
///
/// A path is the name of a claim or, if it starts with `/`, a JSON pointer (RFC 6901) into the
/// claims.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RequiredClaims(BTreeMap<String, Vec<ClaimValue>>);

/// Why required claims are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaims {
    #[error("must name at least one claim: otherwise every workload of the issuer would match")]
    None,
    #[error("must name at most {MAX_CLAIMS} claims")]
    TooMany,
    #[error("must be at most {MAX_CLAIMS_BYTES} bytes of JSON in total")]
    TooLong,
    #[error("must be the name of a claim or a JSON pointer")]
    Path,
    #[error("must have 1 to {MAX_CLAIM_VALUES} values")]
    Values,
    #[error("{0}")]
    Text(InvalidText),
    #[error("must not be listed: Keyward always checks this claim")]
    Reserved,
}

/// The claims that the exchange itself checks.
const RESERVED: [&str; 6] = ["iss", "aud", "exp", "iat", "nbf", "jti"];

impl RequiredClaims {
    /// Checks `claims`.
    ///
    /// # Errors
    /// What is wrong, with the path of the claim if one is.
    pub fn parse(claims: BTreeMap<String, Vec<ClaimValue>>) -> Result<Self, (Option<String>, InvalidClaims)> {
        for (path, values) in &claims {
            let texts = values.iter().filter_map(ClaimValue::text);
            if texts.chain([path.as_str()]).any(super::contains_credential) {
                return Err((Some(path.clone()), InvalidClaims::Text(InvalidText::Credential)));
            }
        }
        Self::new(claims)
    }

    /// Reads stored claims.
    ///
    /// # Errors
    /// There are no claims.
    pub fn from_stored(
        claims: BTreeMap<String, Vec<ClaimValue>>,
    ) -> Result<Self, (Option<String>, InvalidClaims)> {
        // The seal shows that Keyward wrote the claims. An account whose claims would be refused
        // today must still be readable, so that an admin can end its identities.
        if claims.is_empty() { Err((None, InvalidClaims::None)) } else { Ok(Self(claims)) }
    }

    fn new(claims: BTreeMap<String, Vec<ClaimValue>>) -> Result<Self, (Option<String>, InvalidClaims)> {
        if claims.is_empty() {
            return Err((None, InvalidClaims::None));
        }
        if claims.len() > MAX_CLAIMS {
            return Err((None, InvalidClaims::TooMany));
        }
        for (path, values) in &claims {
            check(path, values).map_err(|error| (Some(path.clone()), error))?;
        }
        let claims = Self(claims);
        if claims.to_json().len() > MAX_CLAIMS_BYTES {
            return Err((None, InvalidClaims::TooLong));
        }
        Ok(claims)
    }

    /// The claims as canonical JSON: an object with sorted members. Equal claims have equal
    /// texts.
    pub fn to_json(&self) -> String {
        // Maps of texts and scalars always serialize.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Each claim's path and its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[ClaimValue])> {
        self.0.iter().map(|(path, values)| (path.as_str(), values.as_slice()))
    }

    /// The values that the claim at `path` can have, if it is required.
    pub fn get(&self, path: &str) -> Option<&[ClaimValue]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// Whether `claims` have all required values. The error is the path of a claim that does
    /// not.
    pub fn check(&self, claims: &Map<String, Value>) -> Result<(), &str> {
        for (path, accepted) in self.iter() {
            let value = match path.strip_prefix('/') {
                None => claims.get(path),
                Some(_) => pointed_to(claims, path),
            };
            if !value.is_some_and(|value| accepted.iter().any(|accepted| accepted.is(value))) {
                return Err(path);
            }
        }
        Ok(())
    }
}

/// The name of the claim that `path` is in.
pub(super) fn claim_of(path: &str) -> Cow<'_, str> {
    let Some(pointer) = path.strip_prefix('/') else {
        return path.into();
    };
    let part = pointer.split('/').next().unwrap_or_default();
    // The escapes of a JSON pointer (RFC 6901, section 4).
    if part.contains('~') { part.replace("~1", "/").replace("~0", "~").into() } else { part.into() }
}

/// The value that a JSON pointer points to.
fn pointed_to<'a>(claims: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let value = claims.get(&*claim_of(pointer))?;
    // The pointer within the claim. An empty pointer is the claim itself.
    let within = pointer.match_indices('/').nth(1).and_then(|(at, _)| pointer.get(at..));
    value.pointer(within.unwrap_or_default())
}

fn check(path: &str, values: &[ClaimValue]) -> Result<(), InvalidClaims> {
    let name = claim_of(path);
    if name.is_empty() {
        return Err(InvalidClaims::Path);
    }
    check_text(path)?;
    if RESERVED.contains(&&*name) {
        return Err(InvalidClaims::Reserved);
    }
    if !(1..=MAX_CLAIM_VALUES).contains(&values.len()) {
        return Err(InvalidClaims::Values);
    }
    for value in values {
        if let ClaimValue::Text(text) = value {
            check_text(text)?;
        }
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), InvalidClaims> {
    let invalid = if text.is_empty() {
        InvalidText::Empty
    } else if text.chars().count() > MAX_CLAIM_CHARS {
        InvalidText::TooLong(MAX_CLAIM_CHARS)
    } else if text.chars().any(is_control) {
        InvalidText::ControlCharacter
    } else if text.chars().any(is_invisible) {
        InvalidText::Invisible
    } else {
        return Ok(());
    };
    Err(InvalidClaims::Text(invalid))
}

/// The audience that a workload's JWT must have: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Audience(String);

/// Text that is not a valid audience.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be 1 to {} visible ASCII characters without spaces", Audience::MAX_CHARS)]
pub struct InvalidAudience;

impl Audience {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not 1–255 visible ASCII characters.
    pub fn parse(text: &str) -> Result<Self, InvalidAudience> {
        let is_valid =
            (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidAudience) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What an identity accepts, and what its tokens can do. A seal covers it, so write access to
/// the table is not enough to change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySpec {
    pub issuer: IssuerName,
    pub audience: Audience,
    pub claims: RequiredClaims,
    /// The identity's own role, if any. Both this role and the account's role must permit a
    /// request.
    pub role: Option<RoleName>,
    /// The first second in which the identity is refused. `None` if it never expires.
    pub expires_at: Option<Timestamp>,
    /// Whether each JWT is accepted only once.
    pub single_use: bool,
    /// The maximum age of a JWT since its `iat`, in seconds, within [`AGE_SECONDS`].
    pub max_age_seconds: u32,
}

/// A federated identity of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedIdentity {
    pub id: IdentityId,
    /// A name for people.
    pub name: super::IdentityName,
    pub spec: IdentitySpec,
    pub created_at: Timestamp,
    pub created_by: Actor,
    /// The fingerprint of the request that added it.
    pub fingerprint: Fingerprint,
}

impl FederatedIdentity {
    /// The end of the identity, if it has expired at `now`. An expired identity can still be
    /// in its account's list of identities.
    pub fn ended(&self, now: Timestamp) -> Option<KeyEnd> {
        self.spec.ended(now)
    }
}

impl IdentitySpec {
    /// The end of an identity with this spec, if it has expired at `now`.
    pub fn ended(&self, now: Timestamp) -> Option<KeyEnd> {
        let at = self.expires_at.filter(|at| now.as_second() >= at.as_second())?;
        Some(KeyEnd { reason: RetiredReason::Expired, at })
    }
}
