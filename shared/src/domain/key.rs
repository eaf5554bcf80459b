//! Keys and their format: `kwsa_<environment>_<account>_<key>_<secret><checksum>`.
//!
//! `<account>` and `<key>` are ids without their prefixes (16 base62 characters). The
//! secret is 43 base62 characters (256 bits). The checksum is the CRC-32 of everything
//! before it, as 6 base62 characters. It saves a database read for a mistyped key and
//! helps scanners avoid false alarms. It is not a security measure.

use std::fmt::{self, Display};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::random::{Entropy, EntropyError, base62, character};
use super::{AccountId, Actor, AllowedCidrs, Fingerprint, KeyId, KeyName, RoleName, named_enum};

/// The prefix of every key.
pub const KEY_PREFIX: &str = "kwsa_";

pub(super) const SECRET_LENGTH: usize = 43;
pub(super) const CHECKSUM_LENGTH: usize = 6;
/// The number of trailing characters of a key that the console shows.
const HINT_LENGTH: usize = 4;

/// The label of a deployment: 1 to 12 characters of `a-z0-9`. Each key contains its
/// environment's label, so a key from another environment is refused before any I/O.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Environment(String);

/// Text that is not an environment's label.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be 1 to 12 lowercase letters and digits")]
pub struct InvalidEnvironment;

impl Environment {
    /// Checks `label`.
    ///
    /// # Errors
    /// The label is not 1–12 characters of `a-z0-9`.
    pub fn parse(label: &str) -> Result<Self, InvalidEnvironment> {
        if Self::is_label(label) { Ok(Self(label.to_owned())) } else { Err(InvalidEnvironment) }
    }

    pub(super) fn is_label(text: &str) -> bool {
        (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The secret part of a key: 43 base62 characters, 256 bits.
///
/// It has no `Display` and no `Serialize`, its `Debug` shows nothing, and its
/// memory is cleared when it is dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; SECRET_LENGTH]);

assert_impl_all!(Secret: ZeroizeOnDrop);
assert_not_impl_any!(Secret: Clone, Display, Serialize, PartialEq);

impl Secret {
    /// The bytes, for the hash frame only.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// A presented key that is well-formed and from this environment. Nothing else has
/// been checked.
#[derive(Debug)]
pub struct ApiKey {
    /// The account that the key names.
    pub account: AccountId,
    /// The id that the key names.
    pub id: KeyId,
    /// The secret that proves it.
    pub secret: Secret,
}

/// Why a text is not a key of this environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text does not have the form of a key, or its checksum is wrong.
    #[error("the key is malformed")]
    Malformed,
    /// The key is well-formed but names another environment.
    #[error("the key belongs to another environment")]
    ForeignEnvironment,
}

impl ApiKey {
    /// Generates a key of `account`.
    ///
    /// # Errors
    /// The random source fails.
    pub fn generate(account: AccountId, id: KeyId, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { account, id, secret: Secret(base62(entropy)?) })
    }

    /// Parses `text`, which must be exactly one key. Each key has only one valid form.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed;
        let mut parts = text.strip_prefix(KEY_PREFIX).ok_or(malformed)?.split('_');
        let (Some(label), Some(account), Some(id), Some(tail), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        if !Environment::is_label(label) {
            return Err(malformed);
        }
        let (secret, check) = tail.split_at_checked(SECRET_LENGTH).ok_or(malformed)?;
        let secret: [u8; SECRET_LENGTH] = secret.as_bytes().try_into().map_err(|_| malformed)?;
        if !secret.iter().all(u8::is_ascii_alphanumeric) {
            return Err(malformed);
        }
        let covered = text.len().checked_sub(check.len()).and_then(|end| text.get(..end)).ok_or(malformed)?;
        if check.as_bytes() != checksum(covered.as_bytes()) {
            return Err(malformed);
        }
        let key = Self {
            account: AccountId::from_bare(account).map_err(|_| malformed)?,
            id: KeyId::from_bare(id).map_err(|_| malformed)?,
            secret: Secret(secret),
        };
        if label == environment.as_str() { Ok(key) } else { Err(KeyError::ForeignEnvironment) }
    }

    /// The whole key, for the response that issues it.
    pub fn display(&self, environment: &Environment) -> DisplayedKey {
        let secret = std::str::from_utf8(self.secret.expose()).unwrap_or_default();
        let parts =
            [KEY_PREFIX, environment.as_str(), "_", self.account.bare(), "_", self.id.bare(), "_", secret];
        // The exact length: a buffer that is reallocated leaves copies in memory.
        let length = parts.iter().map(|part| part.len()).sum::<usize>() + CHECKSUM_LENGTH;
        let mut text = String::with_capacity(length);
        text.extend(parts);
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        DisplayedKey(text.into())
    }
}

/// The CRC-32 (ISO-HDLC) of `bytes` in base62, most significant digit first.
pub(super) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(bytes);
    let mut text = [b'0'; CHECKSUM_LENGTH];
    for to in text.iter_mut().rev() {
        *to = character(rest);
        rest /= 62;
    }
    text
}

/// A whole key as text. It leaves the program in exactly one response, through
/// [`DisplayedKey::expose`].
#[derive(Debug)]
pub struct DisplayedKey(SecretString);

assert_not_impl_any!(DisplayedKey: Clone, Display, Serialize, PartialEq);

impl DisplayedKey {
    /// The text. Only the response that issues the key may contain it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The last four characters, by which people recognize the key.
    pub fn hint(&self) -> String {
        let text = self.expose();
        text.get(text.len().saturating_sub(HINT_LENGTH)..).unwrap_or_default().to_owned()
    }
}

/// The limits of a key: its expiry, role and networks. They are part of its verifier,
/// so write access to the table is not enough to change them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// The first second in which the key is refused.
    pub expires_at: Timestamp,
    /// The key's own role, if any. Both this role and the account's role must permit a
    /// request.
    pub role: Option<RoleName>,
    /// The networks from which the key can be used.
    pub cidrs: AllowedCidrs,
}

/// A key of an account that has not been revoked. Its lifetime or grace period can have
/// ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKey {
    pub id: KeyId,
    /// A name for people.
    pub name: KeyName,
    /// The last four characters of the key.
    pub hint: String,
    pub spec: KeySpec,
    pub created_at: Timestamp,
    pub created_by: Actor,
    /// The fingerprint of the request that issued it.
    pub fingerprint: Fingerprint,
    /// The rotation, if another key replaces this key.
    pub rotation: Option<Rotation>,
}

/// The rotation of a key. A successor replaces the key, which works until its grace
/// period ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The first second in which the key is refused. Never later than its expiry.
    pub retires_at: Timestamp,
    /// The successor.
    pub replaced_by: KeyId,
}

named_enum! {
    /// Why a key or a federated identity is retired.
    pub enum RetiredReason {
        /// An admin revoked the key, or deleted the federated identity.
        Revoked = "revoked",
        Expired = "expired",
        /// The key was rotated, and its grace period has ended.
        Rotated = "rotated",
    }
}

/// The end of a key that expired or was rotated out, or of a federated identity that expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEnd {
    pub reason: RetiredReason,
    /// The first second in which the key or identity is refused.
    pub at: Timestamp,
}

impl LiveKey {
    /// The end of the key, if it has ended at `now`. An ended key can still be in its
    /// account's list of keys.
    pub fn ended(&self, now: Timestamp) -> Option<KeyEnd> {
        self.spec.ended(self.rotation.as_ref(), now)
    }
}

impl KeySpec {
    /// The end of a key with this spec and `rotation`, if it has ended at `now`.
    pub fn ended(&self, rotation: Option<&Rotation>, now: Timestamp) -> Option<KeyEnd> {
        KeyEnd::find(self.expires_at, rotation.map(|rotation| rotation.retires_at), now)
    }
}

impl KeyEnd {
    /// The end, past or future, of a key with this expiry and end of its grace period: the
    /// earlier of both.
    pub fn new(expires_at: Timestamp, retires_at: Option<Timestamp>) -> Self {
        let expiry = Self { reason: RetiredReason::Expired, at: expires_at };
        retires_at
            .map(|at| Self { reason: RetiredReason::Rotated, at })
            .filter(|retirement| retirement.at.as_second() < expiry.at.as_second())
            .unwrap_or(expiry)
    }

    /// The end of a key with this expiry and end of its grace period, if it has ended at
    /// `now`. The reason is the earlier of both, even if both are in the past.
    pub fn find(expires_at: Timestamp, retires_at: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        let end = Self::new(expires_at, retires_at);
        (now.as_second() >= end.at.as_second()).then_some(end)
    }
}
