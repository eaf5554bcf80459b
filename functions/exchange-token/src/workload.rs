//! Checks the JWTs of workloads.

use jiff::{SignedDuration, Timestamp};
use shared::domain::{AccountId, GrantBinding, IdentityId, IssuerName, RequiredClaims, Seal, TokenGrant};
use shared::keyring::KeyringError;
use shared::policy::{ExchangeReason, Reason, check_identity_use};
use shared::store::{CredentialLookup, SealedIdentity, SealedIssuer};

use crate::ExchangeToken;
use crate::jwt::Jwt;
use crate::log::Trace;
use crate::refusal::Refusal;
use crate::single_use::SingleUse;
use crate::token::Parent;

/// The maximum age of any accepted JWT: no identity permits more.
const MAX_JWT_AGE: SignedDuration = SignedDuration::from_hours(24);

impl ExchangeToken {
    /// Checks a JWT against a federated identity of an account. This takes two consistent reads,
    /// one after the other: of the account, and of the identity's issuer.
    ///
    /// # Errors
    /// The JWT is refused, or a dependency or the issuer failed.
    pub(crate) async fn check_jwt(
        &self,
        jwt: &str,
        account: AccountId,
        identity: IdentityId,
        trace: &mut Trace,
    ) -> Result<(Parent, Option<SingleUse>), Refusal> {
        let jwt = Jwt::parse(jwt)?;
        let found = self.store.find_sealed_identity(account, identity).await?;
        let Some(CredentialLookup { enabled, grant: Some(found), .. }) = found else {
            return Err(ExchangeReason::Unknown.into());
        };
        let SealedIdentity { spec, sealed } = found;
        let pepper = self.keyring.get(&sealed.seal.pepper).await.map_err(unknown_pepper)?;
        let own = Seal::of_identity(&pepper, account, identity, &sealed.verifier, &spec);
        if !own.matches(&sealed.seal.seal) {
            return Err(ExchangeReason::Seal.into());
        }
        trace.issuer = Some(spec.issuer.clone());
        let issuer = self.trusted_issuer(&spec.issuer).await?;
        self.check_signature(&jwt, &issuer).await?;
        trace.subject = jwt.text("sub").map(ToOwned::to_owned);
        if !jwt.is_only_for(&spec.audience) {
            return Err(ExchangeReason::Audience.into());
        }
        let now = self.clock.now();
        let validity = jwt.check_times(now, spec.max_age_seconds)?;
        check_claims(&spec.claims, &jwt, trace)?;
        check_identity_use(spec.expires_at, enabled, now).map_err(|reason| {
            if reason == Reason::Expired { ExchangeReason::IdentityExpired } else { reason.into() }
        })?;
        let ends_at = accepted_until(validity.issued_at, validity.expires_at, now);
        let single_use = spec.single_use.then(|| SingleUse::new(jwt.hash(), ends_at));
        let parent = Parent {
            account,
            grant: TokenGrant::Identity(identity, spec.issuer),
            binding: GrantBinding::of_identity(sealed.verifier, issuer.id, spec.role, spec.expires_at),
            ends_at: spec.expires_at,
            roles: Vec::new(),
            ancestors: Vec::new(),
        };
        Ok((parent, single_use))
    }

    /// Reads a trusted issuer and checks its seal.
    async fn trusted_issuer(&self, name: &IssuerName) -> Result<SealedIssuer, Refusal> {
        let found = self.store.find_sealed_issuer(name).await?;
        let issuer = found.ok_or(ExchangeReason::IssuerUnknown)?;
        let pepper = self.keyring.get(&issuer.seal.pepper).await.map_err(unknown_pepper)?;
        let SealedIssuer { id, url, keys, algorithms, seal } = &issuer;
        let is_genuine = Seal::of_issuer(&pepper, name, *id, url, keys, algorithms).matches(&seal.seal);
        if is_genuine { Ok(issuer) } else { Err(ExchangeReason::Seal.into()) }
    }

    /// Checks that `issuer` signed the JWT. A JWT that names another issuer or an algorithm that
    /// this issuer does not use causes no fetch.
    async fn check_signature(&self, jwt: &Jwt<'_>, issuer: &SealedIssuer) -> Result<(), Refusal> {
        if jwt.text("iss") != Some(issuer.url.as_str()) {
            return Err(ExchangeReason::Issuer.into());
        }
        if !issuer.algorithms.contains(&jwt.algorithm) {
            return Err(ExchangeReason::Algorithm.into());
        }
        let key = self.issuer_keys.find(issuer, jwt.key_id.as_deref(), jwt.algorithm).await?;
        let key = key.ok_or(ExchangeReason::SigningKey)?;
        if jwt.is_signed_with(&key) { Ok(()) } else { Err(ExchangeReason::Signature.into()) }
    }
}

fn check_claims(required: &RequiredClaims, jwt: &Jwt<'_>, trace: &mut Trace) -> Result<(), ExchangeReason> {
    required.check(jwt.claims()).map_err(|claim| {
        trace.claim = Some(claim.to_owned());
        ExchangeReason::Claim
    })
}

/// A seal with an unknown version of the pepper cannot be right. A retry would not help.
fn unknown_pepper(error: KeyringError) -> Refusal {
    match error {
        KeyringError::UnknownVersion(..) => ExchangeReason::Seal.into(),
        KeyringError::Unavailable(..) | KeyringError::Malformed(..) => error.into(),
    }
}

/// When no identity accepts the JWT any more.
fn accepted_until(issued_at: i64, expires_at: i64, now: Timestamp) -> Timestamp {
    let oldest = issued_at.saturating_add(MAX_JWT_AGE.as_secs());
    Timestamp::from_second(expires_at.min(oldest)).unwrap_or(now)
}
