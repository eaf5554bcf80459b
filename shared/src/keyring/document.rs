//! The value of the pepper secret and of the token key secret:
//! `{"current": "v1", "v1": "<random>"}`. A rotated token key also has
//! `"since": "<epoch seconds>"`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::domain::{Pepper, PepperText, SecretVersion};

/// The maximum size of a secret's value, in bytes.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const MAX_BYTES: usize = 65_536;

/// The problem of a secret with a binary value.
pub(super) const NO_TEXT: &str = "it has no string value";

const CURRENT: &str = "current";

/// The member with the time at which a rotated token key's rotation began.
const SINCE: &str = "since";

/// The maximum number of versions of the token key.
const MAX_TOKEN_KEYS: usize = 2;

/// What a secret contains, which decides how long its versions stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// The peppers. A rotation keeps all versions, because verifiers name their version.
    Pepper,
    /// The token keys. A rotation keeps only the version that was current, because tokens
    /// live an hour at most.
    TokenKey,
}

impl fmt::Display for SecretKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pepper => "pepper",
            Self::TokenKey => "token key",
        })
    }
}

/// The versions in the secret's value. `Debug` does not show them.
pub(super) struct Document {
    kind: SecretKind,
    /// The version for new verifiers or tokens. Always one of `versions`.
    pub(super) current: SecretVersion,
    /// When the last rotation of the token key began. Always set if there are two token
    /// keys, and never for peppers.
    pub(super) since: Option<Timestamp>,
    pub(super) versions: BTreeMap<SecretVersion, (PepperText, Pepper)>,
}

impl Document {
    /// Parses the secret's value. The error quotes no part of the value.
    pub(super) fn parse(secret: &str, kind: SecretKind) -> Result<Self, &'static str> {
        // serde_json's messages can quote the input, so they are dropped.
        let members: HashMap<String, SecretString> =
            serde_json::from_str(secret).map_err(|_| "it is not a JSON object of strings")?;
        let (mut current, mut since) = (None, None);
        let mut versions = BTreeMap::new();
        for (name, value) in members {
            if name == CURRENT {
                current = SecretVersion::parse(value.expose_secret());
            } else if name == SINCE && kind == SecretKind::TokenKey {
                let seconds = value.expose_secret().parse().map_err(|_| "`since` is not a time")?;
                since = Some(Timestamp::from_second(seconds).map_err(|_| "`since` is not a time")?);
            } else {
                let version =
                    SecretVersion::parse(&name).ok_or("a member is neither `current` nor a version")?;
                versions.insert(version, PepperText::parse(value).ok_or("a version is too short")?);
            }
        }
        if kind == SecretKind::TokenKey {
            if versions.len() > MAX_TOKEN_KEYS {
                return Err("it has more than two versions");
            }
            // Without the time, the older version would stay valid for ever.
            if versions.len() == MAX_TOKEN_KEYS && since.is_none() {
                return Err("it has two versions and no `since`");
            }
        }
        let current = current.filter(|current| versions.contains_key(current));
        Ok(Self {
            kind,
            current: current.ok_or("`current` does not name one of its versions")?,
            since,
            versions,
        })
    }

    /// Returns the secret's value after a rotation that begins at `now`: with `new` as the
    /// current version, and the other versions that stay. Fails if the value has no room for
    /// another version.
    pub(super) fn with(&self, new: &PepperText, now: Timestamp) -> Result<Zeroizing<String>, &'static str> {
        let newest = self.versions.last_key_value().map(|(version, _)| version);
        let version = newest.and_then(SecretVersion::next).ok_or("no version follows its newest version")?;
        let since = now.as_second().to_string();
        let kept = self.kept().map(|(version, text)| (version.as_str(), text.expose()));
        let members = kept.chain([(version.as_str(), new.expose()), (CURRENT, version.as_str())]);
        let members: BTreeMap<&str, &str> = match self.kind {
            SecretKind::Pepper => members.collect(),
            SecretKind::TokenKey => members.chain([(SINCE, since.as_str())]).collect(),
        };
        // A growing buffer would leave copies of secrets in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        serde_json::to_writer(&mut *bytes, &members).map_err(|_| "it cannot be written")?;
        if bytes.len() > MAX_BYTES {
            return Err("it is full: remove versions that no verifier uses");
        }
        let text = String::from_utf8(std::mem::take(&mut *bytes));
        text.map(Zeroizing::new).map_err(|_| "it cannot be written")
    }

    /// Whether this document has the same versions as `other`.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.current == other.current
            && self.versions.len() == other.versions.len()
            && self.contains(other.versions.iter().map(|(version, (text, _))| (version, text)))
    }

    /// Checks that this document may replace `current`: it has all versions of `current` that
    /// a rotation keeps, unchanged, and exactly one new version, which is its current version.
    /// The error says what is wrong.
    pub(super) fn succeeds(&self, current: &Self) -> Result<(), &'static str> {
        if !self.contains(current.kept()) {
            return Err("it lacks or changes a version of the current value that must stay");
        }
        let has_one_more = self.versions.len() == current.kept().count().saturating_add(1);
        if !has_one_more || current.versions.contains_key(&self.current) {
            return Err("it must have exactly one new version, and that version must be its current one");
        }
        if self.since < current.since {
            return Err("its `since` is earlier than that of the current value");
        }
        Ok(())
    }

    /// The versions that a rotation keeps.
    fn kept(&self) -> impl Iterator<Item = (&SecretVersion, &PepperText)> {
        let is_kept = |version: &SecretVersion| match self.kind {
            SecretKind::Pepper => true,
            SecretKind::TokenKey => *version == self.current,
        };
        let versions = self.versions.iter().filter(move |(version, _)| is_kept(version));
        versions.map(|(version, (text, _))| (version, text))
    }

    /// Whether this document has each of these versions, unchanged.
    fn contains<'a>(&self, versions: impl Iterator<Item = (&'a SecretVersion, &'a PepperText)>) -> bool {
        let mut versions = versions;
        versions.all(|(version, text)| self.versions.get(version).is_some_and(|(own, _)| own.matches(text)))
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Document").field(CURRENT, &self.current).finish_non_exhaustive()
    }
}
