//! `POST /iam/v1/keys/lookup`: finds the account and the state of a key or token that an
//! admin has, such as a leaked key.

use std::collections::HashSet;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use shared::api::{FederatedIdentity, Key, KeyLookup, KeyState, LookupKeyRequest, ServiceAccount};
use shared::domain::{
    AccountId, ApiKey, GrantId, IdentityId, KeyId, PastedCredential, SealedToken, Verifier,
};
use shared::http::{Failure, Reply, Request};
use shared::keyring::KeyringError;
use shared::policy::Reason;
use shared::store::{KnownIdentity, KnownKey, StoreError};

use crate::IssueKey;

/// Look up a key or token
///
/// Finds the service account of a key or token, such as a leaked one, and returns
/// whether it still works. Text around it is ignored, but the text must contain
/// exactly one key or token of this environment.
///
/// A token expires by itself, within an hour. To stop it at once, revoke the key or
/// delete the federated identity that it was made from. Whether a token is genuine is
/// not checked.
///
/// Nothing is changed, and the text is neither stored nor logged. The lookup does
/// not count as a use of the key.
#[utoipa::path(
    post,
    path = "/iam/v1/keys/lookup",
    operation_id = "lookupKey",
    tag = "Keys",
    request_body = LookupKeyRequest,
    responses(
        (status = 200, description = "The key, or the key or federated identity of the token, is known. See `alive` and `reason` for its state.", body = KeyLookup),
        (status = 400, description = "malformed_json, malformed_request"),
        (status = 404, description = "key_not_found, federated_identity_not_found"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn lookup_key(function: &IssueKey, request: &Request) -> Result<Reply, Failure> {
    request.has_no_query()?;
    let pasted: LookupKeyRequest = request.json().map_err(without_quotes)?;
    let found = PastedCredential::find_in(pasted.key.expose_secret(), &function.environment);
    let found = match found.map_err(|error| Failure::invalid_field("/key", error))? {
        PastedCredential::Key(key) => {
            let known = function.store.get_known_key(key.account, key.id).await?;
            let secret_matches = secret_matches(function, &key, &known).await?;
            let secret = match secret_matches {
                Some(true) => Secret::Matches,
                Some(false) => Secret::Differs,
                None => Secret::Unproven,
            };
            let reason = refusal_reason(&known, secret, function.clock.now());
            let found = found_key(function, (key.account, key.id), known, reason).await?;
            KeyLookup { secret_matches, ..found }
        }
        PastedCredential::Token(token) => found_token(function, &token).await?,
    };
    Ok(Reply::ok(&found))
}

/// What is known about a key, which is refused for this reason, if there is one.
async fn found_key(
    function: &IssueKey,
    (account_id, id): (AccountId, KeyId),
    known: KnownKey,
    reason: Option<Reason>,
) -> Result<KeyLookup, StoreError> {
    let KnownKey { account, key, retirement, .. } = known;
    let activity = function.store.grant_activity(account_id, id).await?;
    let now = function.clock.now();
    let key = key.map(|key| {
        let shown = Key::new(&key, &activity, now);
        if retirement.is_some() { Key { state: KeyState::Retired, ..shown } } else { shown }
    });
    Ok(KeyLookup {
        alive: reason.is_none(),
        reason,
        secret_matches: None,
        service_account_id: account_id,
        service_account: account.map(|account| ServiceAccount::new(&account, now)),
        token_expires_at: None,
        key_id: Some(id),
        key,
        identity_id: None,
        federated_identity: None,
        retired_at: retirement.as_ref().map(|retirement| retirement.at),
        retired_by: retirement.and_then(|retirement| retirement.by),
    })
}

/// What is known about the grant that a token names, and whether the token could work.
async fn found_token(function: &IssueKey, token: &SealedToken) -> Result<KeyLookup, StoreError> {
    let (account, grant) = token.named();
    let found = match grant {
        GrantId::Key(id) => {
            let known = function.store.get_known_key(account, id).await?;
            let reason = refusal_reason(&known, Secret::Absent, function.clock.now());
            found_key(function, (account, id), known, reason).await?
        }
        GrantId::Identity(id) => found_identity(function, account, id).await?,
    };
    let expires_at = token.named_expiry();
    let is_over = function.clock.now().as_second() >= expires_at.as_second();
    let reason = found.reason.or(is_over.then_some(Reason::Expired));
    Ok(KeyLookup { alive: reason.is_none(), reason, token_expires_at: Some(expires_at), ..found })
}

/// What is known about a federated identity.
async fn found_identity(
    function: &IssueKey,
    account_id: AccountId,
    id: IdentityId,
) -> Result<KeyLookup, StoreError> {
    let KnownIdentity { account, retirement } = function.store.get_known_identity(account_id, id).await?;
    let now = function.clock.now();
    let identity = account.iter().flat_map(|account| &account.identities).find(|own| own.id == id);
    let mut trusted = HashSet::new();
    if let Some(identity) = identity {
        match function.store.get_issuer(&identity.spec.issuer).await {
            Ok(issuer) => drop(trusted.insert(issuer.name)),
            Err(StoreError::IssuerNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let activity = function.store.grant_activity(account_id, id).await?;
    let shown = identity.map(|identity| FederatedIdentity::new(identity, &trusted, &activity, now));
    let reason = if let Some(retirement) = &retirement {
        Some(retirement.reason)
    } else if identity.is_some_and(|identity| identity.ended(now).is_some()) {
        Some(Reason::Expired)
    } else if account.as_ref().is_none_or(|account| !account.enabled) {
        Some(Reason::Disabled)
    } else {
        trusted.is_empty().then_some(Reason::Issuer)
    };
    Ok(KeyLookup {
        alive: reason.is_none(),
        reason,
        secret_matches: None,
        service_account_id: account_id,
        service_account: account.as_ref().map(|account| ServiceAccount::new(account, now)),
        token_expires_at: None,
        key_id: None,
        key: None,
        identity_id: Some(id),
        federated_identity: shown,
        retired_at: retirement.as_ref().map(|retirement| retirement.at),
        retired_by: retirement.and_then(|retirement| retirement.by),
    })
}

/// Replaces messages about members of the body, because they can quote the key.
fn without_quotes(failure: Failure) -> Failure {
    if let Failure::InvalidFields(_) = failure {
        Failure::invalid_field("/key", "must be a string and the only field of the body")
    } else {
        failure
    }
}

/// Whether the secret is the one that was issued. `None` if the verifier is no longer
/// stored.
async fn secret_matches(
    function: &IssueKey,
    key: &ApiKey,
    known: &KnownKey,
) -> Result<Option<bool>, Failure> {
    let (Some(live), Some(entry)) = (&known.key, &known.verifier) else {
        return Ok(None);
    };
    match function.keyring.get(&entry.pepper).await {
        Ok(pepper) => Ok(Some(Verifier::compute(&pepper, key, &live.spec).matches(&entry.verifier))),
        // Without the pepper, the authorizer refuses the key with `wrong_secret`.
        Err(KeyringError::UnknownVersion(..)) => Ok(Some(false)),
        Err(error) => Err(error.into()),
    }
}

/// What is known about the secret of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secret {
    Matches,
    Differs,
    /// No verifier is stored, so the secret is unproven.
    Unproven,
    /// A token was looked up, which contains no secret of the key.
    Absent,
}

/// The reason why the authorizer refuses the key, if any. The checks are in the
/// authorizer's order.
fn refusal_reason(known: &KnownKey, secret: Secret, now: Timestamp) -> Option<Reason> {
    if secret == Secret::Differs {
        return Some(Reason::WrongSecret);
    }
    if let Some(retirement) = &known.retirement {
        return Some(retirement.reason);
    }
    if let Some(end) = known.key.as_ref().and_then(|key| key.ended(now)) {
        return Some(end.reason.into());
    }
    if known.account.as_ref().is_none_or(|account| !account.enabled) {
        return Some(Reason::Disabled);
    }
    // Every live key has a verifier.
    (secret == Secret::Unproven).then_some(Reason::WrongSecret)
}
