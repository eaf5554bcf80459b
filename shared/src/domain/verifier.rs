//! Verifiers: the hashes that the table stores instead of secrets.

use std::fmt::{self, Display};

use hmac::Mac;
use serde::Serialize;
use sha2::{Digest, Sha256};
use static_assertions::assert_not_impl_any;
use subtle::ConstantTimeEq;

use super::{ApiKey, KeySpec, Pepper, SecretVersion};

/// The first field of the hash frame, which separates this use of the pepper from
/// others.
const DOMAIN: &[u8] = b"keyward-key-v1";

/// `HMAC-SHA-256(pepper, frame(domain, account id, key id, secret, expiry, key
/// role, allowed networks))`.
///
/// It has no `PartialEq`, because [`Verifier::matches`] compares in constant time.
#[derive(Clone)]
pub struct Verifier([u8; 32]);

assert_not_impl_any!(Verifier: Display, Serialize, PartialEq);

impl Verifier {
    /// Computes the verifier of `key` with `spec` and `pepper`.
    ///
    /// Each field of the frame is its length (4 bytes, big-endian) and its bytes. Ids have
    /// their prefixes, the expiry is in decimal epoch seconds, and an absent role and an
    /// empty list of networks have length 0.
    pub fn compute(pepper: &Pepper, key: &ApiKey, spec: &KeySpec) -> Self {
        let mut mac = pepper.mac();
        let mut field = |parts: &[&[u8]]| {
            let length: usize = parts.iter().map(|part| part.len()).sum();
            mac.update(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            for part in parts {
                mac.update(part);
            }
        };
        field(&[DOMAIN]);
        field(&[super::AccountId::PREFIX.as_bytes(), key.account.bare().as_bytes()]);
        field(&[super::KeyId::PREFIX.as_bytes(), key.id.bare().as_bytes()]);
        field(&[key.secret.expose()]);
        field(&[spec.expires_at.as_second().to_string().as_bytes()]);
        field(&[spec.role.as_ref().map_or("", super::RoleName::as_str).as_bytes()]);
        field(&[spec.cidrs.canonical().as_bytes()]);
        Self(mac.finalize().into_bytes().into())
    }

    /// Reads a verifier from its bytes. `None` if there are not exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, which only the table may contain.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both verifiers are equal. Takes constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier(…)")
    }
}

/// A verifier and the version of its pepper.
#[derive(Clone, Debug)]
pub struct VerifierEntry {
    pub verifier: Verifier,
    pub pepper: SecretVersion,
}

/// The fingerprint of a request body: the first 16 bytes of the SHA-256 of the
/// serialized body. It distinguishes a retry from another request with the same
/// `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of a request's body.
    pub fn new(request: &impl serde::Serialize) -> Self {
        // Our request types always serialize, and always to the same text.
        let hash = Sha256::digest(serde_json::to_vec(request).unwrap_or_default());
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(hash) {
            *to = from;
        }
        Self(bytes)
    }

    /// Reads a fingerprint from its bytes. `None` if there are not exactly 16.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
