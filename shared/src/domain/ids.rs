//! Identifiers. Each is its own type, so that none can stand in for another.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use ulid::Ulid;

use super::random::{Entropy, EntropyError, base62};

/// Characters of an id behind its prefix: 95 bits.
pub(super) const ID_LENGTH: usize = 16;

/// Text that is no id of the wanted kind.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an id of this kind is `{prefix}` and {length} letters and digits")]
pub struct InvalidId {
    prefix: &'static str,
    length: usize,
}

macro_rules! base62_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; ID_LENGTH]);

        impl $name {
            /// What stands before the bare part.
            pub const PREFIX: &'static str = $prefix;
            /// Characters of the bare part.
            pub const BARE_LENGTH: usize = ID_LENGTH;

            /// A new id.
            ///
            /// # Errors
            /// When the random source fails.
            pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                base62(entropy).map(Self)
            }

            /// The id whose part behind the prefix is `bare`.
            ///
            /// # Errors
            /// When it is not 16 letters and digits.
            pub fn from_bare(bare: &str) -> Result<Self, InvalidId> {
                bare.as_bytes()
                    .try_into()
                    .ok()
                    .filter(|bytes: &[u8; ID_LENGTH]| bytes.iter().all(u8::is_ascii_alphanumeric))
                    .map(Self)
                    .ok_or(InvalidId { prefix: $prefix, length: ID_LENGTH })
            }

            /// The part behind the prefix, as it stands in a key.
            #[must_use]
            pub fn bare(&self) -> &str {
                // Every constructor takes ASCII letters and digits only.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bare = text.strip_prefix($prefix).unwrap_or_default();
                Self::from_bare(bare)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}{}", $prefix, self.bare())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }
    };
}

/// Deserializes a value by parsing its text.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

base62_id!(
    /// A service account's id: `sa_` and 16 letters and digits.
    AccountId, "sa_"
);
base62_id!(
    /// A key's id: `key_` and 16 letters and digits. It is no secret.
    KeyId, "key_"
);

/// An audit event's id: a ULID, so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EventId(Ulid);

impl EventId {
    /// A new id of an event at `at`.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn generate(at: Timestamp, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut random = [0; 16];
        entropy.fill(&mut random)?;
        Ok(Self(Ulid::from_parts(milliseconds(at), u128::from_be_bytes(random))))
    }

    /// The least id of all events that happened at `at` or later.
    #[must_use]
    pub fn first_at(at: Timestamp) -> Self {
        // An event's instant is a whole millisecond: one at `at` or later is at
        // the next whole one or later.
        let is_whole = at.subsec_nanosecond() % 1_000_000 == 0;
        Self(Ulid::from_parts(milliseconds(at).saturating_add(u64::from(!is_whole)), 0))
    }

    /// The greatest id below this one.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        u128::from(self.0).checked_sub(1).map(|id| Self(Ulid::from(id)))
    }

    /// When an event of this id happened, to the millisecond.
    #[must_use]
    pub fn at(self) -> Timestamp {
        let milliseconds = i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }
}

/// Since the epoch. No event is older.
fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

impl std::str::FromStr for EventId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { prefix: "", length: ulid::ULID_LEN };
        let id = Ulid::from_string(text).map_err(|_| invalid)?;
        // One spelling an id: the library also reads lower case.
        if id.to_string() == text { Ok(Self(id)) } else { Err(invalid) }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}
