//! The secret's value: `{"current": "v1", "v1": "<random>"}`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::domain::{Pepper, PepperText, SecretVersion};

/// The maximum size of a secret's value, in bytes.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const MAX_BYTES: usize = 65_536;

/// The problem of a secret with a binary value.
pub(super) const NO_TEXT: &str = "it has no string value";

const CURRENT: &str = "current";

/// The keyring in the secret's value. `Debug` does not show the peppers.
pub(super) struct Document {
    /// The version for new verifiers. Always one of `peppers`.
    pub(super) current: SecretVersion,
    pub(super) peppers: BTreeMap<SecretVersion, (PepperText, Pepper)>,
}

impl Document {
    /// Parses the secret's value. The error quotes no part of the value.
    pub(super) fn parse(secret: &str) -> Result<Self, &'static str> {
        // serde_json's messages can quote the input, so they are dropped.
        let members: HashMap<String, SecretString> =
            serde_json::from_str(secret).map_err(|_| "it is not a JSON object of strings")?;
        let mut current = None;
        let mut peppers = BTreeMap::new();
        for (name, value) in members {
            if name == CURRENT {
                current = SecretVersion::parse(value.expose_secret());
            } else {
                let version =
                    SecretVersion::parse(&name).ok_or("a member is neither `current` nor a version")?;
                peppers.insert(version, PepperText::parse(value).ok_or("a pepper is too short")?);
            }
        }
        let current = current.filter(|current| peppers.contains_key(current));
        Ok(Self { current: current.ok_or("`current` does not name one of its versions")?, peppers })
    }

    /// Returns the secret's value with `new` as its current pepper. Fails if the value has
    /// no room for another pepper.
    pub(super) fn with(&self, new: &PepperText) -> Result<Zeroizing<String>, &'static str> {
        let newest = self.peppers.last_key_value().map(|(version, _)| version);
        let version = newest.and_then(SecretVersion::next).ok_or("no version follows its newest version")?;
        let own = self.peppers.iter().map(|(version, (text, _))| (version.as_str(), text.expose()));
        let members: BTreeMap<&str, &str> =
            own.chain([(version.as_str(), new.expose()), (CURRENT, version.as_str())]).collect();
        // A growing buffer would leave copies of secrets in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        serde_json::to_writer(&mut *bytes, &members).map_err(|_| "it cannot be written")?;
        if bytes.len() > MAX_BYTES {
            return Err("it is full: remove versions that no verifier uses");
        }
        let text = String::from_utf8(std::mem::take(&mut *bytes));
        text.map(Zeroizing::new).map_err(|_| "it cannot be written")
    }

    /// Whether this keyring equals `other`.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.current == other.current && self.peppers.len() == other.peppers.len() && self.contains(other)
    }

    /// Checks that this keyring may replace `current`: it has all versions of
    /// `current`, unchanged, and exactly one new version, which is its current
    /// version. The error says what is wrong.
    pub(super) fn succeeds(&self, current: &Self) -> Result<(), &'static str> {
        if !self.contains(current) {
            return Err("it lacks or changes a version of the current keyring, so keys would stop working");
        }
        let has_one_more = self.peppers.len() == current.peppers.len().saturating_add(1);
        if !has_one_more || current.peppers.contains_key(&self.current) {
            return Err("it must have exactly one new version, and that version must be its current one");
        }
        Ok(())
    }

    /// Whether this keyring has each version of `other`, unchanged.
    fn contains(&self, other: &Self) -> bool {
        other
            .peppers
            .iter()
            .all(|(version, (text, _))| self.peppers.get(version).is_some_and(|(own, _)| own.matches(text)))
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Document").field(CURRENT, &self.current).finish_non_exhaustive()
    }
}
