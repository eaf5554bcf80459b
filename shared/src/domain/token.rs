//! Tokens and their format:
//! `kwst_<environment>_<account>_<grant>_<contents><checksum>`.
//!
//! A token is a short-lived credential of an account, made from one of its grants: a key or
//! a federated identity. `<account>` and `<grant>` are ids without their prefixes.
//! `<contents>` is base62 and ends with two tags:
//!
//! - The *inner tag* is an HMAC with the grant's stored verifier, so a token ends with its
//!   grant. It also covers the grant's own role, expiry and networks as the table has them, so
//!   that write access to the table cannot widen a live token, and the id of the issuer, if there
//!   is one.
//! - The *outer tag* is an HMAC with the token key. It is checked before any I/O, so a
//!   forged token costs no read.
//!
//! Making a token therefore takes both the token key and the verifier. The checksum is that of a
//! key.

use std::borrow::Cow;
use std::fmt::{self, Display};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::{Digest, Sha256};
use static_assertions::assert_not_impl_any;
use subtle::ConstantTimeEq;

use super::frame::update_frame;
use super::key::{CHECKSUM_LENGTH, checksum};
use super::random::{decode_base62, encode_base62};
use super::{
    AccountId, Environment, GrantId, IdentityId, IssuerId, IssuerName, KeyError, KeyId, KeySpec, Pepper,
    RoleName, SecretVersion, TokenId, Verifier,
};

/// The prefix of every token.
pub const TOKEN_PREFIX: &str = "kwst_";

/// The lifetime of a token if the request names none, in seconds.
pub const DEFAULT_TOKEN_SECONDS: u16 = 900;

/// The maximum lifetime of a token, in seconds.
pub const MAX_TOKEN_SECONDS: u16 = 3600;

/// The lifetime of a request token, in seconds.
pub const REQUEST_TOKEN_SECONDS: u16 = 60;

/// The maximum number of roles that narrow a token.
pub const MAX_TOKEN_ROLES: usize = 2;

/// The maximum number of tokens in a chain: a token, its parent, and so on. A request token can be
/// made from the last token of such a chain.
pub const MAX_TOKEN_DEPTH: usize = 4;

/// The first fields of the hash frames, which separate these uses of the keys from others.
const OUTER_DOMAIN: &[u8] = b"keyward-token-v1";
const INNER_DOMAIN: &[u8] = b"keyward-token-grant-v1";
const REQUEST_DOMAIN: &[u8] = b"keyward-token-request-v1";

/// The first byte of the contents: this format, and flags.
const FORMAT: u8 = 0b0100_0000;
const IS_IDENTITY: u8 = 0b0000_0001;
const IS_REQUEST: u8 = 0b0000_0010;

const TAG_LENGTH: usize = 32;

/// The bound request of a request token: the hash of its API, its method and its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundRequest([u8; 32]);

impl BoundRequest {
    /// The request `method` `path` to the API with this id in API Gateway, all as in the ARN that
    /// API Gateway invokes.
    ///
    /// The path is percent-decoded once, because HTTP APIs decode the paths of their ARNs, and
    /// REST APIs may not. `policy::Target` refuses paths that decoding could change further, so
    /// two different requests that are allowed have different hashes.
    pub fn new(api: &str, method: &str, path: &str) -> Self {
        let path = Cow::from(percent_decode_str(path));
        let mut hash = Sha256::new();
        update_frame(&mut hash, &[&[REQUEST_DOMAIN], &[api.as_bytes()], &[method.as_bytes()], &[&path]]);
        Self(hash.finalize().into())
    }
}

/// The grant that a token was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenGrant {
    Key(KeyId),
    /// A federated identity and the name of its issuer.
    Identity(IdentityId, IssuerName),
}

impl TokenGrant {
    /// The grant's id.
    pub fn id(&self) -> GrantId {
        match self {
            Self::Key(id) => GrantId::Key(*id),
            Self::Identity(id, _) => GrantId::Identity(*id),
        }
    }

    /// The grant's id without its prefix.
    pub fn bare(&self) -> &str {
        match self {
            Self::Key(id) => id.bare(),
            Self::Identity(id, _) => id.bare(),
        }
    }

    /// The name of the issuer, if the grant is a federated identity.
    pub fn issuer(&self) -> Option<&IssuerName> {
        match self {
            Self::Key(_) => None,
            Self::Identity(_, issuer) => Some(issuer),
        }
    }
}

/// What the inner tag of a grant's tokens depends on: the grant's verifier and its limits.
#[derive(Clone, Debug)]
pub struct GrantBinding {
    verifier: Verifier,
    /// The id of the issuer of a federated identity.
    issuer: Option<IssuerId>,
    role: Option<RoleName>,
    expires_at: Option<Timestamp>,
    /// The canonical text of the networks.
    networks: String,
}

impl GrantBinding {
    /// The binding of the tokens of a key.
    pub fn of_key(verifier: Verifier, spec: &KeySpec) -> Self {
        Self {
            verifier,
            issuer: None,
            role: spec.role.clone(),
            expires_at: Some(spec.expires_at),
            networks: spec.cidrs.canonical(),
        }
    }

    /// The binding of the tokens of a federated identity, which has no networks.
    pub fn of_identity(
        verifier: Verifier,
        issuer: IssuerId,
        role: Option<RoleName>,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { verifier, issuer: Some(issuer), role, expires_at, networks: String::new() }
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    pub account: AccountId,
    pub grant: TokenGrant,
    pub id: TokenId,
    /// When the token was made, in whole seconds.
    pub issued_at: Timestamp,
    /// The lifetime in seconds, at most [`MAX_TOKEN_SECONDS`].
    pub lifetime_seconds: u16,
    /// The roles that narrow the token, at most [`MAX_TOKEN_ROLES`]. Each must permit a
    /// request, and so must the account's role and the grant's own role.
    pub roles: Vec<RoleName>,
    /// The tokens that this token was made from, oldest first: at most
    /// [`MAX_TOKEN_DEPTH`] − 1, or [`MAX_TOKEN_DEPTH`] for a request token. Empty for a token
    /// that was made from its grant directly.
    pub parents: Vec<TokenId>,
    /// The only request that the token permits, in a request token. The networks of the
    /// grant were checked when the token was made, and do not apply to its use.
    pub request: Option<BoundRequest>,
}

impl TokenClaims {
    /// The first second in which the token is refused.
    pub fn expires_at(&self) -> Timestamp {
        let lifetime = jiff::SignedDuration::from_secs(self.lifetime_seconds.into());
        self.issued_at.saturating_add(lifetime).unwrap_or(self.issued_at)
    }

    /// Makes the token with the token key and the binding of its grant. `None` if the claims
    /// exceed a limit.
    pub fn seal(
        &self,
        environment: &Environment,
        (version, key): (&SecretVersion, &TokenKey),
        binding: &GrantBinding,
    ) -> Option<DisplayedToken> {
        let body = self.encode(version)?;
        let inner = inner_tag(environment, self, &body, binding);
        let outer = outer_tag(environment, self, &body, &inner, key);
        let contents = [&*body, &inner, &outer].concat();
        let prefix =
            [TOKEN_PREFIX, environment.as_str(), "_", self.account.bare(), "_", self.grant.bare(), "_"];
        // Large enough: a buffer that is reallocated leaves copies in memory.
        let mut text = String::with_capacity(MAX_LENGTH);
        text.extend(prefix);
        encode_base62(&contents, &mut text);
        text.extend(checksum(text.as_bytes()).map(char::from));
        Some(DisplayedToken(text.into()))
    }

    /// The contents without the tags.
    fn encode(&self, version: &SecretVersion) -> Option<Vec<u8>> {
        let max_parents = if self.request.is_some() { MAX_TOKEN_DEPTH } else { MAX_TOKEN_DEPTH - 1 };
        let is_within_limits = self.roles.len() <= MAX_TOKEN_ROLES
            && self.parents.len() <= max_parents
            && (1..=MAX_TOKEN_SECONDS).contains(&self.lifetime_seconds);
        if !is_within_limits {
            return None;
        }
        let identity = if self.grant.issuer().is_some() { IS_IDENTITY } else { 0 };
        let request = if self.request.is_some() { IS_REQUEST } else { 0 };
        let mut body = vec![FORMAT | identity | request];
        body.extend_from_slice(&version.number().to_be_bytes());
        body.extend_from_slice(&u32::try_from(self.issued_at.as_second()).ok()?.to_be_bytes());
        body.extend_from_slice(&self.lifetime_seconds.to_be_bytes());
        body.extend_from_slice(self.id.bare().as_bytes());
        if let Some(issuer) = self.grant.issuer() {
            push_short(&mut body, issuer.as_str())?;
        }
        body.push(u8::try_from(self.roles.len()).ok()?);
        for role in &self.roles {
            push_short(&mut body, role.as_str())?;
        }
        body.push(u8::try_from(self.parents.len()).ok()?);
        for parent in &self.parents {
            body.extend_from_slice(parent.bare().as_bytes());
        }
        if let Some(BoundRequest(hash)) = &self.request {
            body.extend_from_slice(hash);
        }
        Some(body)
    }
}

/// The maximum length of a token, in characters.
pub(super) const MAX_LENGTH: usize = 5 + 12 + 1 + 16 + 1 + 16 + 1 + MAX_CONTENTS_LENGTH + CHECKSUM_LENGTH;

/// The maximum length of the contents, in characters: 352 bytes, in chunks of 8 bytes
/// and 11 characters.
const MAX_CONTENTS_LENGTH: usize = 352 / 8 * 11;

/// A key with which outer tags are made. `Debug` does not show the key.
#[derive(Clone, Debug)]
pub struct TokenKey(Pepper);

assert_not_impl_any!(TokenKey: Display, Serialize, PartialEq);

impl TokenKey {
    /// A new HMAC with this key.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        self.0.mac()
    }
}

impl From<Pepper> for TokenKey {
    /// Uses an HMAC key from the secret of the token keys. Never pass the pepper.
    fn from(key: Pepper) -> Self {
        Self(key)
    }
}

/// A presented token that is well-formed and from this environment. Nothing else has been
/// checked, so only the version of the token key can be read from it. `Debug` does not show
/// the tags.
pub struct SealedToken {
    claims: TokenClaims,
    version: SecretVersion,
    body: Vec<u8>,
    inner: [u8; TAG_LENGTH],
    outer: [u8; TAG_LENGTH],
    environment: Environment,
}

impl fmt::Debug for SealedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SealedToken").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl SealedToken {
    /// Parses `text`, which must be exactly one token. Each token has only one valid form.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed;
        if text.len() > MAX_LENGTH {
            return Err(malformed);
        }
        let mut parts = text.strip_prefix(TOKEN_PREFIX).ok_or(malformed)?.split('_');
        let (Some(label), Some(account), Some(grant), Some(tail), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        if !Environment::is_label(label) {
            return Err(malformed);
        }
        let at = tail.len().checked_sub(CHECKSUM_LENGTH).ok_or(malformed)?;
        let (contents, check) = tail.split_at_checked(at).ok_or(malformed)?;
        let covered = text.len().checked_sub(check.len()).and_then(|end| text.get(..end)).ok_or(malformed)?;
        if check.as_bytes() != checksum(covered.as_bytes()) {
            return Err(malformed);
        }
        let mut contents = decode_base62(contents.as_bytes()).ok_or(malformed)?;
        let outer = split_tag(&mut contents).ok_or(malformed)?;
        let inner = split_tag(&mut contents).ok_or(malformed)?;
        let account = AccountId::from_bare(account).map_err(|_| malformed)?;
        let (claims, version) = decode(account, grant, &contents).ok_or(malformed)?;
        if label != environment.as_str() {
            return Err(KeyError::ForeignEnvironment);
        }
        Ok(Self { claims, version, body: contents, inner, outer, environment: environment.clone() })
    }

    /// The version of the token key.
    pub fn key_version(&self) -> &SecretVersion {
        &self.version
    }

    /// The first second in which the token is refused, as the token says, for people. An
    /// attacker can choose it.
    pub fn named_expiry(&self) -> Timestamp {
        self.claims.expires_at()
    }

    /// The account and the grant that the token names, for the log. An attacker can choose
    /// both.
    pub fn named(&self) -> (AccountId, GrantId) {
        (self.claims.account, self.claims.grant.id())
    }

    /// The id of the token, for the log. An attacker can choose it.
    pub fn named_id(&self) -> TokenId {
        self.claims.id
    }

    /// Checks the outer tag with the token key of [`Self::key_version`]. `None` if the tag is
    /// wrong. Takes constant time.
    pub fn open(self, key: &TokenKey) -> Option<Token> {
        let outer = outer_tag(&self.environment, &self.claims, &self.body, &self.inner, key);
        let is_genuine: bool = outer.ct_eq(&self.outer).into();
        is_genuine.then_some(Token(self))
    }
}

/// A token whose outer tag is right: this deployment made the token. Whether its grant is
/// still valid has not been checked.
#[derive(Debug)]
pub struct Token(SealedToken);

impl Token {
    /// What the token says.
    pub fn claims(&self) -> &TokenClaims {
        &self.0.claims
    }

    /// What the token says, without the tags.
    pub fn into_claims(self) -> TokenClaims {
        self.0.claims
    }

    /// Whether the inner tag is right: the token was made from a grant with this binding. Takes
    /// constant time.
    #[must_use]
    pub fn matches(&self, binding: &GrantBinding) -> bool {
        let SealedToken { claims, body, inner, environment, .. } = &self.0;
        inner_tag(environment, claims, body, binding).ct_eq(inner).into()
    }
}

fn split_tag(contents: &mut Vec<u8>) -> Option<[u8; TAG_LENGTH]> {
    let at = contents.len().checked_sub(TAG_LENGTH)?;
    contents.split_off(at).try_into().ok()
}

/// Reads the contents without the tags.
fn decode(account: AccountId, grant: &str, contents: &[u8]) -> Option<(TokenClaims, SecretVersion)> {
    let mut rest = contents;
    let flags = take::<1>(&mut rest)?[0] ^ FORMAT;
    if flags & !(IS_IDENTITY | IS_REQUEST) != 0 {
        return None;
    }
    let version = SecretVersion::from_number(u32::from_be_bytes(take(&mut rest)?))?;
    let issued_at = Timestamp::from_second(u32::from_be_bytes(take(&mut rest)?).into()).ok()?;
    let lifetime_seconds = u16::from_be_bytes(take(&mut rest)?);
    let id = token_id(&mut rest)?;
    let grant = if flags & IS_IDENTITY == 0 {
        TokenGrant::Key(KeyId::from_bare(grant).ok()?)
    } else {
        let issuer = IssuerName::parse(short_text(&mut rest)?).ok()?;
        TokenGrant::Identity(IdentityId::from_bare(grant).ok()?, issuer)
    };
    let roles = (0..take::<1>(&mut rest)?[0]).map(|_| RoleName::parse(short_text(&mut rest)?).ok());
    let roles = roles.collect::<Option<Vec<_>>>()?;
    let parents = (0..take::<1>(&mut rest)?[0]).map(|_| token_id(&mut rest));
    let parents = parents.collect::<Option<Vec<_>>>()?;
    let request = if flags & IS_REQUEST == 0 { None } else { Some(BoundRequest(take(&mut rest)?)) };
    let claims = TokenClaims { account, grant, id, issued_at, lifetime_seconds, roles, parents, request };
    // Refuses lengths above the limits, and bytes that no encoding has.
    let is_canonical = rest.is_empty() && claims.encode(&version).as_deref() == Some(contents);
    is_canonical.then_some((claims, version))
}

/// Appends a text of at most 255 bytes, after its length.
fn push_short(body: &mut Vec<u8>, text: &str) -> Option<()> {
    body.push(u8::try_from(text.len()).ok()?);
    body.extend_from_slice(text.as_bytes());
    Some(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn token_id(rest: &mut &[u8]) -> Option<TokenId> {
    let id = take::<{ TokenId::BARE_LENGTH }>(rest)?;
    TokenId::from_bare(std::str::from_utf8(&id).ok()?).ok()
}

fn short_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take(rest)?;
    let (text, left) = rest.split_at_checked(length.into())?;
    *rest = left;
    std::str::from_utf8(text).ok()
}

fn outer_tag(
    environment: &Environment,
    claims: &TokenClaims,
    body: &[u8],
    inner: &[u8],
    key: &TokenKey,
) -> [u8; TAG_LENGTH] {
    let (account, grant) = (claims.account.bare().as_bytes(), claims.grant.bare().as_bytes());
    tag(
        key.mac(),
        &[&[OUTER_DOMAIN], &[environment.as_str().as_bytes()], &[account], &[grant], &[body], &[inner]],
    )
}

fn inner_tag(
    environment: &Environment,
    claims: &TokenClaims,
    body: &[u8],
    binding: &GrantBinding,
) -> [u8; TAG_LENGTH] {
    let GrantBinding { verifier, issuer, role, expires_at, networks } = binding;
    let expiry = expires_at.map(|at| at.as_second().to_string()).unwrap_or_default();
    // HMAC takes a key of any length, so this does not fail.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(verifier.as_bytes()) else {
        return [0; TAG_LENGTH];
    };
    tag(
        mac,
        &[
            &[INNER_DOMAIN],
            &[environment.as_str().as_bytes()],
            &[claims.account.bare().as_bytes()],
            &[claims.grant.bare().as_bytes()],
            &[issuer.as_ref().map_or("", IssuerId::bare).as_bytes()],
            &[role.as_ref().map_or("", RoleName::as_str).as_bytes()],
            &[expiry.as_bytes()],
            &[networks.as_bytes()],
            &[body],
        ],
    )
}

/// The HMAC of a frame.
fn tag(mut mac: Hmac<Sha256>, fields: &[&[&[u8]]]) -> [u8; TAG_LENGTH] {
    update_frame(&mut mac, fields);
    mac.finalize().into_bytes().into()
}

/// A whole token as text. It leaves the program only in the response that issues it.
#[derive(Debug)]
pub struct DisplayedToken(SecretString);

assert_not_impl_any!(DisplayedToken: Clone, Display, Serialize, PartialEq);

impl DisplayedToken {
    /// The text. Only the response that issues the token may contain it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The text, for an answer to another function.
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

impl fmt::Display for TokenGrant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.id(), formatter)
    }
}
