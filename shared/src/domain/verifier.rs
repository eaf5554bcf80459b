//! Verifiers: the hashes that the table stores instead of secrets.

use std::fmt::{self, Display};

use hmac::Mac;
use serde::Serialize;
use sha2::{Digest, Sha256};
use static_assertions::assert_not_impl_any;
use subtle::ConstantTimeEq;

use super::frame::update_frame;
use super::random::{Entropy, EntropyError};
use super::{
    AccountId, ApiKey, IdentityId, IdentitySpec, IssuerId, IssuerKeys, IssuerName, IssuerUrl, KeySpec,
    Pepper, RoleName, SecretVersion, SigningAlgorithm,
};

/// The first fields of the hash frames, which separate the uses of the pepper.
const KEY_DOMAIN: &[u8] = b"keyward-key-v1";
const IDENTITY_DOMAIN: &[u8] = b"keyward-identity-v1";
const ISSUER_DOMAIN: &[u8] = b"keyward-issuer-v1";

/// What a credential of a grant is checked against. For a key, this is
/// `HMAC-SHA-256(pepper, frame(domain, account id, key id, secret, expiry, key
/// role, allowed networks))`. For a federated identity, which has no secret of its own,
/// it is random.
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
        Self(frame_mac(
            pepper,
            &[
                &[KEY_DOMAIN],
                &[AccountId::PREFIX.as_bytes(), key.account.bare().as_bytes()],
                &[super::KeyId::PREFIX.as_bytes(), key.id.bare().as_bytes()],
                &[key.secret.expose()],
                &[spec.expires_at.as_second().to_string().as_bytes()],
                &[spec.role.as_ref().map_or("", RoleName::as_str).as_bytes()],
                &[spec.cidrs.canonical().as_bytes()],
            ],
        ))
    }

    /// Generates the verifier of a federated identity.
    ///
    /// # Errors
    /// The random source fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes)?;
        Ok(Self(bytes))
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

/// The HMAC of a frame.
fn frame_mac(pepper: &Pepper, fields: &[&[&[u8]]]) -> [u8; 32] {
    let mut mac = pepper.mac();
    update_frame(&mut mac, fields);
    mac.finalize().into_bytes().into()
}

/// A verifier and the version of its pepper.
#[derive(Clone, Debug)]
pub struct VerifierEntry {
    pub verifier: Verifier,
    pub pepper: SecretVersion,
}

/// The HMAC under the pepper of a federated identity or a trusted issuer. It proves that
/// Keyward wrote the item, so write access to the table is not enough to make or change
/// one.
///
/// It has no `PartialEq`, because [`Seal::matches`] compares in constant time.
#[derive(Clone)]
pub struct Seal([u8; 32]);

assert_not_impl_any!(Seal: Display, Serialize, PartialEq);

impl Seal {
    /// The seal of a federated identity: `HMAC-SHA-256(pepper, frame(domain, account id,
    /// identity id, verifier, issuer name, audience, claims, role, expiry, single use, maximum
    /// age))`.
    ///
    /// The claims are canonical JSON. An absent role or expiry has length 0.
    pub fn of_identity(
        pepper: &Pepper,
        account: AccountId,
        id: IdentityId,
        verifier: &Verifier,
        spec: &IdentitySpec,
    ) -> Self {
        let expiry = spec.expires_at.map(|at| at.as_second().to_string()).unwrap_or_default();
        Self(frame_mac(
            pepper,
            &[
                &[IDENTITY_DOMAIN],
                &[AccountId::PREFIX.as_bytes(), account.bare().as_bytes()],
                &[IdentityId::PREFIX.as_bytes(), id.bare().as_bytes()],
                &[verifier.as_bytes()],
                &[spec.issuer.as_str().as_bytes()],
                &[spec.audience.as_str().as_bytes()],
                &[spec.claims.to_json().as_bytes()],
                &[spec.role.as_ref().map_or("", RoleName::as_str).as_bytes()],
                &[expiry.as_bytes()],
                &[if spec.single_use { b"1" } else { b"0" }],
                &[spec.max_age_seconds.to_string().as_bytes()],
            ],
        ))
    }

    /// The seal of a trusted issuer: `HMAC-SHA-256(pepper, frame(domain, name, issuer id, URL,
    /// URI of the keys, inline keys, algorithms))`.
    ///
    /// Absent keys have length 0, and commas separate the algorithms.
    pub fn of_issuer(
        pepper: &Pepper,
        name: &IssuerName,
        id: IssuerId,
        url: &IssuerUrl,
        keys: &IssuerKeys,
        algorithms: &[SigningAlgorithm],
    ) -> Self {
        let (uri, inline) = match keys {
            IssuerKeys::Discovery => ("", ""),
            IssuerKeys::Uri(uri) => (uri.as_str(), ""),
            IssuerKeys::Inline(keys) => ("", keys.as_str()),
        };
        let algorithms: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        Self(frame_mac(
            pepper,
            &[
                &[ISSUER_DOMAIN],
                &[name.as_str().as_bytes()],
                &[IssuerId::PREFIX.as_bytes(), id.bare().as_bytes()],
                &[url.as_str().as_bytes()],
                &[uri.as_bytes()],
                &[inline.as_bytes()],
                &[algorithms.join(",").as_bytes()],
            ],
        ))
    }

    /// Reads a seal from its bytes. `None` if there are not exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both seals are equal. Takes constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seal(…)")
    }
}

/// A seal and the version of its pepper.
#[derive(Clone, Debug)]
pub struct SealEntry {
    pub seal: Seal,
    pub pepper: SecretVersion,
}

/// The verifier of a federated identity, with its seal.
#[derive(Clone, Debug)]
pub struct SealedVerifier {
    pub verifier: Verifier,
    pub seal: SealEntry,
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
