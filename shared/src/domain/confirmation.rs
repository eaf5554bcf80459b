//! Confirmations: before an agent's request is sent, the person who uses the agent can be asked to
//! confirm it.
//!
//! The question and the answer pass through the client. A sealed state shows that the answer is
//! to a question of this deployment. The seal is an HMAC with the token key over the grant, a
//! digest of all that is confirmed, and an expiry.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::frame::update_frame;
use super::ids::{from_text, serde_as_text};
use super::random::{Entropy, EntropyError};
use super::{AccountId, Environment, GrantId, SecretVersion, TokenKey};

/// How long a person can take to confirm a request, in seconds.
pub const CONFIRMATION_SECONDS: i64 = 300;

/// The first field of the hash frames, which separates this use of the token key from others.
const DOMAIN: &[u8] = b"keyward-confirm-v1";

/// The first field of the hash frame of a digest.
const DIGEST_DOMAIN: &[u8] = b"keyward-confirmed-v1";

/// The first byte of a state: this format.
const FORMAT: u8 = 1;

const NONCE_LENGTH: usize = 16;
const TAG_LENGTH: usize = 32;

/// The length of a state: format, version of the token key, expiry, nonce and tag.
const LENGTH: usize = 1 + 4 + 4 + NONCE_LENGTH + TAG_LENGTH;

/// The SHA-256 of all that is confirmed, in base64url as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmationDigest([u8; 32]);

impl ConfirmationDigest {
    /// The digest of these fields.
    pub fn new(fields: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        update_frame(&mut hash, &[&[DIGEST_DOMAIN]]);
        for field in fields {
            update_frame(&mut hash, &[&[field]]);
        }
        Self(hash.finalize().into())
    }
}

/// Text that is not a SHA-256 in base64url.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be a SHA-256 in base64url")]
pub struct InvalidDigest;

impl FromStr for ConfirmationDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidDigest)?;
        bytes.try_into().map(Self).map_err(|_| InvalidDigest)
    }
}

impl fmt::Display for ConfirmationDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

serde_as_text!(ConfirmationDigest);

/// What is confirmed, and for which grant. It is the grant and not the token, because a client can
/// get a new token while it waits for the person.
#[derive(Clone, Copy, Debug)]
pub struct ConfirmedRequest<'a> {
    pub environment: &'a Environment,
    pub account: AccountId,
    pub grant: GrantId,
    pub digest: ConfirmationDigest,
}

/// The state of a confirmation, which the client returns with the answer.
#[derive(Clone, Debug)]
pub struct ConfirmationState {
    version: SecretVersion,
    expires_at: Timestamp,
    /// Makes each state different, so that each can be used once.
    nonce: [u8; NONCE_LENGTH],
    tag: [u8; TAG_LENGTH],
}

impl ConfirmationState {
    /// Asks for a confirmation at `now`.
    ///
    /// # Errors
    /// The random source fails.
    pub fn new(
        request: &ConfirmedRequest<'_>,
        now: Timestamp,
        entropy: &dyn Entropy,
        (version, key): (&SecretVersion, &TokenKey),
    ) -> Result<Self, EntropyError> {
        let mut nonce = [0; NONCE_LENGTH];
        entropy.fill(&mut nonce)?;
        let expires_at = now.saturating_add(SignedDuration::from_secs(CONFIRMATION_SECONDS)).unwrap_or(now);
        let mut state = Self { version: version.clone(), expires_at, nonce, tag: [0; TAG_LENGTH] };
        state.tag = state.compute_tag(request, key);
        Ok(state)
    }

    /// Parses `text`, which must be exactly one state. Each state has only one valid text.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; LENGTH] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (format, rest) = bytes.split_first()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (expiry, rest) = rest.split_first_chunk()?;
        let (nonce, tag) = rest.split_first_chunk()?;
        let state = Self {
            version: SecretVersion::from_number(u32::from_be_bytes(*version))?,
            expires_at: Timestamp::from_second(u32::from_be_bytes(*expiry).into()).ok()?,
            nonce: *nonce,
            tag: tag.try_into().ok()?,
        };
        (*format == FORMAT).then_some(state)
    }

    /// The version of the token key. An attacker can choose it.
    pub fn key_version(&self) -> &SecretVersion {
        &self.version
    }

    /// The first second in which the state is refused.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The hash that identifies this state.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        update_frame(&mut hash, &[&[DOMAIN], &[&self.nonce], &[&self.tag]]);
        hash.finalize().into()
    }

    /// Whether this state was made with `key` for `request`. Takes constant time.
    #[must_use]
    pub fn matches(&self, request: &ConfirmedRequest<'_>, key: &TokenKey) -> bool {
        self.compute_tag(request, key).ct_eq(&self.tag).into()
    }

    fn compute_tag(&self, request: &ConfirmedRequest<'_>, key: &TokenKey) -> [u8; TAG_LENGTH] {
        let ConfirmedRequest { environment, account, grant, digest } = request;
        let mut mac = key.mac();
        update_frame(
            &mut mac,
            &[
                &[DOMAIN],
                &[environment.as_str().as_bytes()],
                &[account.to_string().as_bytes()],
                &[grant.to_string().as_bytes()],
                &[&digest.0],
                &[&self.expiry()],
                &[&self.nonce],
            ],
        );
        mac.finalize().into_bytes().into()
    }

    /// The expiry in epoch seconds, big-endian.
    fn expiry(&self) -> [u8; 4] {
        u32::try_from(self.expires_at.as_second()).unwrap_or_default().to_be_bytes()
    }
}

impl fmt::Display for ConfirmationState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.number().to_be_bytes();
        let bytes = [&[FORMAT][..], &version, &self.expiry(), &self.nonce, &self.tag].concat();
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}
