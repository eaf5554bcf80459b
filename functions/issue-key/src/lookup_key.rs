//! `POST /iam/v1/keys/lookup`: finds the account and the state of a key that an admin
//! has, such as a leaked key.

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use shared::api::{Key, KeyLookup, KeyState, LookupKeyRequest, ServiceAccount};
use shared::domain::{ApiKey, PastedCredential, Verifier};
use shared::http::{Failure, Reply, Request};
use shared::keyring::KeyringError;
use shared::policy::Reason;
use shared::store::KnownKey;

use crate::IssueKey;

/// Look up a key
///
/// Finds the service account of a key, such as a leaked one, and returns
/// whether the key still works. Text around the key is ignored, but the text
/// must contain exactly one key of this environment.
///
/// Nothing is changed, and the key is neither stored nor logged. The lookup does
/// not count as a use of the key.
#[utoipa::path(
    post,
    path = "/iam/v1/keys/lookup",
    operation_id = "lookupKey",
    tag = "Keys",
    request_body = LookupKeyRequest,
    responses(
        (status = 200, description = "The key is known. See `alive` and `reason` for its state.", body = KeyLookup),
        (status = 400, description = "malformed_json, malformed_request"),
        (status = 404, description = "key_not_found"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn lookup_key(function: &IssueKey, request: &Request) -> Result<Reply, Failure> {
    request.has_no_query()?;
    let pasted: LookupKeyRequest = request.json().map_err(without_quotes)?;
    let found = PastedCredential::find_in(pasted.key.expose_secret(), &function.environment);
    let key = match found.map_err(|error| Failure::invalid_field("/key", error))? {
        PastedCredential::Key(key) => key,
        PastedCredential::Token(_) => {
            return Err(Failure::invalid_field("/key", "contains a token, which expires within an hour"));
        }
    };
    let known = function.store.get_known_key(&key).await?;
    let secret_matches = secret_matches(function, &key, &known).await?;
    let now = function.clock.now();
    let reason = refusal_reason(&known, secret_matches, now);
    let KnownKey { account, key: live, retirement, .. } = known;
    let activity = function.store.grant_activity(key.account, key.id).await?;
    let live = live.map(|live| Key::new(&live, &activity, now));
    Ok(Reply::ok(&KeyLookup {
        alive: reason.is_none(),
        reason,
        secret_matches,
        service_account_id: key.account,
        service_account: account.map(|account| ServiceAccount::new(&account, now)),
        key_id: key.id,
        key: live
            .map(|live| if retirement.is_some() { Key { state: KeyState::Retired, ..live } } else { live }),
        retired_at: retirement.as_ref().map(|retirement| retirement.at),
        retired_by: retirement.and_then(|retirement| retirement.by),
    }))
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

/// The reason why the authorizer refuses the key, if any. The checks are in the
/// authorizer's order.
fn refusal_reason(known: &KnownKey, secret_matches: Option<bool>, now: Timestamp) -> Option<Reason> {
    if secret_matches == Some(false) {
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
    // Every live key has a verifier. Without one, the secret is unproven.
    (secret_matches != Some(true)).then_some(Reason::WrongSecret)
}
