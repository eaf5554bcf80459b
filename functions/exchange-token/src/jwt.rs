//! JWTs of workloads (RFC 7519), parsed and checked as RFC 8725 advises: the algorithm comes
//! from the issuer's registration, and never from the JWT alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared::domain::{Audience, SigningAlgorithm};
use shared::policy::ExchangeReason;

use crate::strict_json;

/// The maximum length of a JWT, in characters.
const MAX_LENGTH: usize = 16 * 1024;

/// The maximum number of seconds by which the issuer's clock can be ahead of this one.
const MAX_SKEW_SECONDS: i64 = 60;

/// A presented JWT. Only its form has been checked.
pub(crate) struct Jwt<'a> {
    signing_input: &'a str,
    signature: &'a str,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) key_id: Option<String>,
    claims: Map<String, Value>,
}

/// When a JWT is valid, in epoch seconds.
#[derive(Clone, Copy)]
pub(crate) struct Validity {
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
    not_before: i64,
}

impl<'a> Jwt<'a> {
    /// Parses a JWT in compact form (RFC 7515, section 3.1).
    ///
    /// # Errors
    /// [`ExchangeReason::Malformed`], or [`ExchangeReason::Algorithm`] if no issuer can have
    /// the JWT's algorithm.
    pub(crate) fn parse(text: &'a str) -> Result<Self, ExchangeReason> {
        let malformed = ExchangeReason::Malformed;
        if text.len() > MAX_LENGTH {
            return Err(malformed);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signing_input.split_once('.').ok_or(malformed)?;
        let decode = |part: &str| strict_json::parse_object(&URL_SAFE_NO_PAD.decode(part).ok()?);
        let header = decode(header).ok_or(malformed)?;
        let claims = decode(claims).ok_or(malformed)?;
        // No critical extension is supported (RFC 7515, section 4.1.11).
        if header.contains_key("crit") {
            return Err(malformed);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(malformed)?;
        let algorithm = SigningAlgorithm::parse(algorithm).ok_or(ExchangeReason::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(malformed)?.to_owned()),
        };
        Ok(Self { signing_input, signature, algorithm, key_id, claims })
    }

    /// Whether the signature was made with `key`.
    pub(crate) fn is_signed_with(&self, key: &DecodingKey) -> bool {
        let algorithm = match self.algorithm {
            SigningAlgorithm::Rs256 => Algorithm::RS256,
            SigningAlgorithm::Es256 => Algorithm::ES256,
            SigningAlgorithm::Es384 => Algorithm::ES384,
            SigningAlgorithm::EdDsa => Algorithm::EdDSA,
        };
        let signed = self.signing_input.as_bytes();
        jsonwebtoken::crypto::verify(self.signature, signed, key, algorithm).unwrap_or(false)
    }

    /// All claims. They are only true if the signature is right.
    pub(crate) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The text of a claim.
    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    /// Whether the JWT is for `audience` and for no other.
    pub(crate) fn is_only_for(&self, audience: &Audience) -> bool {
        let only = match self.claims.get("aud") {
            Some(Value::Array(audiences)) => match audiences.as_slice() {
                [only] => only.as_str(),
                _ => None,
            },
            other => other.and_then(Value::as_str),
        };
        only == Some(audience.as_str())
    }

    /// Checks that the JWT can be used at `now`, and is at most `max_age_seconds` old.
    ///
    /// # Errors
    /// The reason why it cannot be used. A time must be a whole number of seconds.
    pub(crate) fn check_times(
        &self,
        now: Timestamp,
        max_age_seconds: u32,
    ) -> Result<Validity, ExchangeReason> {
        let time = |claim| self.claims.get(claim).map(|at| at.as_i64().ok_or(ExchangeReason::Malformed));
        let required = |claim| time(claim).unwrap_or(Err(ExchangeReason::Malformed));
        let (issued_at, expires_at) = (required("iat")?, required("exp")?);
        let not_before = time("nbf").transpose()?.unwrap_or(issued_at);
        let validity = Validity { issued_at, expires_at, not_before };
        let now = now.as_second();
        if now >= validity.expires_at {
            return Err(ExchangeReason::Expired);
        }
        if validity.issued_at.max(validity.not_before) > now.saturating_add(MAX_SKEW_SECONDS) {
            return Err(ExchangeReason::NotYetValid);
        }
        if now.saturating_sub(validity.issued_at) > i64::from(max_age_seconds) {
            return Err(ExchangeReason::TooOld);
        }
        Ok(validity)
    }

    /// The hash of what the issuer signed. The signature is not part of it, because anyone can
    /// change an ECDSA signature to another valid one.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.signing_input).into()
    }
}
