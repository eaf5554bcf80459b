//! The secret's value: `{"current": "v1", "v1": "<random>"}`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::domain::{Pepper, PepperText, PepperVersion};

/// The longest value of a secret, in bytes.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const MAX_BYTES: usize = 65_536;

/// What is wrong with a secret that holds bytes in place of a text.
pub(super) const NO_TEXT: &str = "it has no string value";

const CURRENT: &str = "current";

/// A keyring as the secret holds it. `Debug` shows no pepper.
pub(super) struct Document {
    /// The version that new verifiers are made with: one of `peppers`.
    pub(super) current: PepperVersion,
    pub(super) peppers: BTreeMap<PepperVersion, (PepperText, Pepper)>,
}

impl Document {
    /// Reads the secret's value.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub(super) fn parse(secret: &str) -> Result<Self, &'static str> {
        // serde_json's messages can quote the input: none of them is kept.
        let members: HashMap<String, SecretString> =
            serde_json::from_str(secret).map_err(|_| "it is not a JSON object of strings")?;
        let mut current = None;
        let mut peppers = BTreeMap::new();
        for (name, value) in members {
            if name == CURRENT {
                current = PepperVersion::parse(value.expose_secret());
            } else {
                let version =
                    PepperVersion::parse(&name).ok_or("a member is neither `current` nor a version")?;
                peppers.insert(version, PepperText::parse(value).ok_or("a pepper is too short")?);
            }
        }
        let current = current.filter(|current| peppers.contains_key(current));
        Ok(Self { current: current.ok_or("`current` names no version that it holds")?, peppers })
    }

    /// The secret's value with one more pepper, which is the current one in it,
    /// and that one's version.
    ///
    /// # Errors
    /// When no more fit, and why.
    pub(super) fn with(&self, new: &PepperText) -> Result<(Zeroizing<String>, PepperVersion), &'static str> {
        let newest = self.peppers.last_key_value().map(|(version, _)| version);
        let version = newest.and_then(PepperVersion::next).ok_or("there is no version after its newest")?;
        let own = self.peppers.iter().map(|(version, (text, _))| (version.as_str(), text.expose()));
        let members: BTreeMap<&str, &str> =
            own.chain([(version.as_str(), new.expose()), (CURRENT, version.as_str())]).collect();
        // Large enough from the start: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        serde_json::to_writer(&mut *bytes, &members).map_err(|_| "it cannot be written")?;
        if bytes.len() > MAX_BYTES {
            return Err("it is full: take out versions that no verifier names any more");
        }
        let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|_| "it cannot be written")?;
        Ok((Zeroizing::new(text), version))
    }

    /// Whether it is the same keyring as `other`.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.current == other.current && self.peppers.len() == other.peppers.len() && self.holds(other)
    }

    /// Whether it may take the place of `current`: it has all that this one has,
    /// unchanged, and one version more, which is its current one.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn succeeds(&self, current: &Self) -> Result<(), &'static str> {
        if !self.holds(current) {
            return Err("it lacks or alters a version of the current keyring: keys would stop working");
        }
        let has_one_more = self.peppers.len() == current.peppers.len().saturating_add(1);
        if !has_one_more || current.peppers.contains_key(&self.current) {
            return Err("it is not the current keyring with one new version, which is its current one");
        }
        Ok(())
    }

    /// Whether it has each version of `other`, unchanged.
    fn holds(&self, other: &Self) -> bool {
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
