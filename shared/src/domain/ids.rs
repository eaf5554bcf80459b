//! Ids. Each kind of id has its own type, so that the compiler finds mix-ups.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use ulid::Ulid;

use super::random::{Entropy, EntropyError, base62};

/// The number of characters after an id's prefix: 95 bits.
pub(super) const ID_LENGTH: usize = 16;

/// Text that is not an id of the expected kind. Contains the expected form.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be {0}")]
pub struct InvalidId(&'static str);

/// Serializes a type as its text form.
macro_rules! serde_as_text {
    ($name:ident) => {
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

macro_rules! base62_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; ID_LENGTH]);

        impl $name {
            /// The prefix, which is not part of the bare id.
            pub const PREFIX: &'static str = $prefix;
            /// The number of characters of a bare id.
            pub const BARE_LENGTH: usize = ID_LENGTH;

            /// Generates a random id.
            ///
            /// # Errors
            /// The random source fails.
            pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                base62(entropy).map(Self)
            }

            /// Parses an id without its prefix.
            ///
            /// # Errors
            /// The text is not 16 letters and digits.
            pub fn from_bare(bare: &str) -> Result<Self, InvalidId> {
                bare.as_bytes()
                    .try_into()
                    .ok()
                    .filter(|bytes: &[u8; ID_LENGTH]| bytes.iter().all(u8::is_ascii_alphanumeric))
                    .map(Self)
                    .ok_or(InvalidId(concat!("`", $prefix, "` followed by 16 letters and digits")))
            }

            /// The id without its prefix, as in a key.
            pub fn bare(&self) -> &str {
                // All constructors allow only ASCII letters and digits.
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
                formatter.write_str($prefix)?;
                formatter.write_str(self.bare())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        serde_as_text!($name);
    };
}

pub(super) use serde_as_text;

/// Deserializes a value from its text form.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

base62_id!(
    /// The id of a service account: `sa_` and 16 letters and digits.
    AccountId, "sa_"
);
base62_id!(
    /// The id of a key: `key_` and 16 letters and digits. It is not secret.
    KeyId, "key_"
);

base62_id!(
    /// The id of a federated identity: `fid_` and 16 letters and digits. It is not secret.
    IdentityId, "fid_"
);
base62_id!(
    /// The id of a token: `tok_` and 16 letters and digits. It is not secret.
    TokenId, "tok_"
);
base62_id!(
    /// The id of a trusted issuer: `iss_` and 16 letters and digits. An issuer that is
    /// deleted and registered again gets another id.
    IssuerId, "iss_"
);
base62_id!(
    /// The id of a build: the tools and the document of a protected API, as one registration
    /// stored them. A build never changes.
    BuildId, "bld_"
);

/// The id of a grant: a key or a federated identity of an account.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GrantId {
    Key(KeyId),
    Identity(IdentityId),
}

impl GrantId {
    /// The id without its prefix, as in a key or token.
    pub fn bare(&self) -> &str {
        match self {
            Self::Key(id) => id.bare(),
            Self::Identity(id) => id.bare(),
        }
    }

    /// The id of the key, if the grant is a key.
    pub fn key(self) -> Option<KeyId> {
        match self {
            Self::Key(id) => Some(id),
            Self::Identity(_) => None,
        }
    }

    /// The id of the federated identity, if the grant is one.
    pub fn identity(self) -> Option<IdentityId> {
        match self {
            Self::Key(_) => None,
            Self::Identity(id) => Some(id),
        }
    }
}

impl From<KeyId> for GrantId {
    fn from(id: KeyId) -> Self {
        Self::Key(id)
    }
}

impl From<IdentityId> for GrantId {
    fn from(id: IdentityId) -> Self {
        Self::Identity(id)
    }
}

impl std::str::FromStr for GrantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let key = text.parse().map(Self::Key);
        let invalid = InvalidId("`key_` or `fid_` followed by 16 letters and digits");
        key.or_else(|_| text.parse().map(Self::Identity).map_err(|_| invalid))
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => fmt::Display::fmt(id, formatter),
            Self::Identity(id) => fmt::Display::fmt(id, formatter),
        }
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

serde_as_text!(GrantId);

base62_id!(
    /// The id of an access review: `rev_` and 16 letters and digits.
    ReviewId, "rev_"
);

/// The id of an audit event: a ULID, so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EventId(Ulid);

impl EventId {
    /// Generates an id for an event at `at`.
    ///
    /// # Errors
    /// The random source fails.
    pub fn generate(at: Timestamp, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut random = [0; 16];
        entropy.fill(&mut random)?;
        Ok(Self(Ulid::from_parts(milliseconds(at), u128::from_be_bytes(random))))
    }

    /// The lowest possible id of an event at `at` or later.
    pub fn first_at(at: Timestamp) -> Self {
        // Events have whole milliseconds, so the first event can be at the next whole
        // millisecond.
        let is_whole = at.subsec_nanosecond() % 1_000_000 == 0;
        Self(Ulid::from_parts(milliseconds(at).saturating_add(u64::from(!is_whole)), 0))
    }

    /// The highest id below this one.
    pub fn previous(self) -> Option<Self> {
        u128::from(self.0).checked_sub(1).map(|id| Self(Ulid::from(id)))
    }

    /// The time of the event, to the millisecond.
    pub fn at(self) -> Timestamp {
        let milliseconds = i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }
}

/// Milliseconds since the Unix epoch. Events are never older than the epoch.
fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

impl std::str::FromStr for EventId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("a ULID in upper case");
        let id = Ulid::from_string(text).map_err(|_| invalid)?;
        // The library also accepts lower case, but each id has only one valid form.
        if id.to_string() == text { Ok(Self(id)) } else { Err(invalid) }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

serde_as_text!(EventId);
