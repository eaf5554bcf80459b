//! Peppers: what keys a stored verifier beside what the table holds.

use std::fmt::{self, Display};

use hmac::{Hmac, KeyInit};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::Sha256;
use static_assertions::assert_not_impl_any;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random::{Entropy, EntropyError, base62};

/// The fewest characters of a pepper.
pub const MIN_PEPPER_LENGTH: usize = 43;

/// Characters of a new pepper: letters and digits, 381 bits, and as many as
/// `CloudFormation` generates for the first one.
const LENGTH: usize = 64;

/// A version of the pepper, such as `v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PepperVersion {
    number: u32,
    name: String,
}

impl PepperVersion {
    /// Checks `text`: `v` and a number of at most nine digits without leading
    /// zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix('v')?;
        let form = (1..=9).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit())
            && !number.starts_with('0');
        form.then_some(())?;
        Some(Self { number: number.parse().ok()?, name: text.to_owned() })
    }

    /// The version's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The version after this one, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Self> {
        Self::parse(&format!("v{}", self.number.checked_add(1)?))
    }
}

/// A pepper, as an HMAC-SHA-256 that is ready to be fed (its key schedule is
/// done once). `Debug` shows nothing.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

assert_not_impl_any!(Pepper: Display, Serialize, PartialEq);

impl Pepper {
    /// The pepper of these bytes, or nothing if they are fewer than
    /// [`MIN_PEPPER_LENGTH`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < MIN_PEPPER_LENGTH {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// The HMAC, ready to be fed.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        self.0.clone()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pepper(…)")
    }
}

/// A pepper's characters, as the secret holds them: for reading and writing the
/// secret alone. `Debug` shows nothing, and the memory is cleared when it is
/// dropped.
#[derive(Debug)]
pub struct PepperText(SecretString);

assert_not_impl_any!(PepperText: Clone, Display, Serialize, PartialEq);

impl PepperText {
    /// These characters, with the pepper that they are, or nothing if they are
    /// fewer than [`MIN_PEPPER_LENGTH`].
    #[must_use]
    pub fn parse(text: SecretString) -> Option<(Self, Pepper)> {
        let pepper = Pepper::new(text.expose_secret().as_bytes())?;
        Some((Self(text), pepper))
    }

    /// A new one: 64 letters and digits, each with the same chance.
    ///
    /// # Errors
    /// When the random source fails: then no pepper is made.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let bytes = Zeroizing::new(base62::<LENGTH>(entropy)?);
        // The exact length: a buffer that grows or shrinks leaves copies behind.
        let mut text = String::with_capacity(LENGTH);
        text.extend(bytes.iter().copied().map(char::from));
        Ok(Self(text.into()))
    }

    /// Whether both are the same, in constant time for those of one length.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }

    /// The characters, for the secret alone.
    #[must_use]
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}
