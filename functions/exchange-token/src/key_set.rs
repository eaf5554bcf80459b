//! Sets of public keys (RFC 7517).

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::domain::{MAX_ISSUER_KEYS, SigningAlgorithm};

/// The public keys of an issuer.
pub(crate) struct KeySet(Vec<PublicKey>);

struct PublicKey {
    id: Option<String>,
    algorithm: SigningAlgorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Parses a JWK set. Keys that cannot verify signatures of a known algorithm are left out.
    ///
    /// # Errors
    /// The problem with the set.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }

        let set: Set<'_> = serde_json::from_slice(json).map_err(|_| "it is not a JWK set")?;
        if set.keys.len() > MAX_ISSUER_KEYS {
            return Err("it has too many keys");
        }
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_str(key.get()).ok());
        Ok(Self(keys.filter_map(|key| public_key(&key)).collect()))
    }

    /// The key with this id for signatures of `algorithm`. A JWT without a key id matches only
    /// a set of one key. `None` if there is no such key or more than one.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: SigningAlgorithm) -> Option<&DecodingKey> {
        let is_candidate = |key: &&PublicKey| match id {
            Some(id) => key.id.as_deref() == Some(id) && key.algorithm == algorithm,
            None => self.0.len() == 1 && key.algorithm == algorithm,
        };
        let mut candidates = self.0.iter().filter(is_candidate);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Some(&only.key),
            (_, _) => None,
        }
    }
}

/// The key, if it can verify signatures.
fn public_key(key: &Jwk) -> Option<PublicKey> {
    let algorithm = algorithm(&key.algorithm)?;
    let name = match algorithm {
        SigningAlgorithm::Rs256 => KeyAlgorithm::RS256,
        SigningAlgorithm::Es256 => KeyAlgorithm::ES256,
        SigningAlgorithm::Es384 => KeyAlgorithm::ES384,
        SigningAlgorithm::EdDsa => KeyAlgorithm::EdDSA,
    };
    let common = &key.common;
    let is_for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let can_verify =
        common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let is_for_algorithm = common.key_algorithm.is_none_or(|own| own == name);
    if !(is_for_signatures && can_verify && is_for_algorithm) {
        return None;
    }
    Some(PublicKey { id: common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(key).ok()? })
}

/// The algorithm of signatures that a key with these parameters can verify.
fn algorithm(parameters: &AlgorithmParameters) -> Option<SigningAlgorithm> {
    if let AlgorithmParameters::RSA(_) = parameters {
        return Some(SigningAlgorithm::Rs256);
    }
    if let AlgorithmParameters::EllipticCurve(key) = parameters {
        let is_p384 = key.curve == EllipticCurve::P384;
        return (key.curve == EllipticCurve::P256)
            .then_some(SigningAlgorithm::Es256)
            .or_else(|| is_p384.then_some(SigningAlgorithm::Es384));
    }
    let AlgorithmParameters::OctetKeyPair(key) = parameters else { return None };
    (key.curve == EllipticCurve::Ed25519).then_some(SigningAlgorithm::EdDsa)
}
