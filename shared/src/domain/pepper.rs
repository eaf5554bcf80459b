//! Peppers: the HMAC keys of stored verifiers. Peppers are never stored in the table.

use std::fmt::{self, Display};

use hmac::{Hmac, KeyInit};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::Sha256;
use static_assertions::assert_not_impl_any;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random::{Entropy, EntropyError, base62};

/// The minimum length of a pepper, in characters.
pub const MIN_PEPPER_LENGTH: usize = 43;

/// The number of characters of a new pepper: 381 bits, and the same length as the first
/// pepper, which `CloudFormation` generates.
const LENGTH: usize = 64;

/// A version of a secret, such as `v1`: the pepper and the token key have several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretVersion {
    number: u32,
    name: String,
}

impl SecretVersion {
    /// Parses `v` and a number of at most nine digits without leading zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('v')?;
        // `v0`, `v01` and `v+1` are not names of versions.
        let is_name = (1..=9).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| is_name)?;
        Some(Self { number, name: text.to_owned() })
    }

    /// The version with this number. `None` for zero and for a number of more than nine
    /// digits.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::parse(&format!("v{number}"))
    }

    /// The version's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The version's name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The version after this one, if there is one.
    pub fn next(&self) -> Option<Self> {
        Self::parse(&format!("v{}", self.number.checked_add(1)?))
    }
}

/// A pepper, as an HMAC-SHA-256 whose key schedule is computed once. `Debug` does not
/// show the pepper.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

assert_not_impl_any!(Pepper: Display, Serialize, PartialEq);

impl Pepper {
    /// The pepper with these bytes. `None` if there are fewer than
    /// [`MIN_PEPPER_LENGTH`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < MIN_PEPPER_LENGTH {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// A new HMAC with this key.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        self.0.clone()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pepper(…)")
    }
}

/// The characters of a pepper, only for reading and writing the secret that stores it.
/// `Debug` does not show the characters, and the memory is cleared on drop.
#[derive(Debug)]
pub struct PepperText(SecretString);

assert_not_impl_any!(PepperText: Clone, Display, Serialize, PartialEq);

impl PepperText {
    /// The text and its pepper. `None` if the text has fewer than
    /// [`MIN_PEPPER_LENGTH`] bytes.
    pub fn parse(text: SecretString) -> Option<(Self, Pepper)> {
        let pepper = Pepper::new(text.expose_secret().as_bytes())?;
        Some((Self(text), pepper))
    }

    /// Generates 64 letters and digits, each with the same probability.
    ///
    /// # Errors
    /// The random source fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let bytes = Zeroizing::new(base62::<LENGTH>(entropy)?);
        // The exact length: a buffer that is reallocated leaves copies in memory.
        let mut text = String::with_capacity(LENGTH);
        text.extend(bytes.iter().copied().map(char::from));
        Ok(Self(text.into()))
    }

    /// Whether both peppers are equal. Takes constant time for texts of equal length.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }

    /// The characters, only for the secret that stores them.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}
