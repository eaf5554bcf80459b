//! `GET /leaked/token`: the account and the grant of a leaked token, and how to stop the token.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect};
use shared::api::{ServiceAccount, ServiceAccountWithKeys};
use shared::domain::AccountId;
use shared::policy::Reason;

use super::leaked::{FoundToken, LookupFailure, LookupQuery, Outcome, RecentLookups};
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::{IdentityReference, KeyNames, KeyReference, TimeText};
use crate::view::layout::Page;
use crate::view::refusal;

/// The state of a looked-up token.
enum Verdict {
    /// The token works if it is genuine.
    Active,
    /// The token works again if its account is enabled in time.
    Disabled,
    Expired,
    /// The token gives no access. The text is the reason.
    Ended(&'static str),
}

/// What a token was made from.
enum Grant {
    Key(KeyReference),
    Identity(IdentityReference),
    /// The token names no grant that is known.
    Unknown,
}

#[derive(Template)]
#[template(path = "leaked_token.html")]
struct LeakedToken {
    page: Page,
    verdict: Verdict,
    account_id: AccountId,
    account: Option<ServiceAccount>,
    grant: Grant,
    /// Whether the key can be revoked, or the federated identity ended.
    is_live: bool,
    expires: TimeText,
}

pub(super) async fn show(session: Session, Query(query): Query<LookupQuery>) -> PageResult {
    let Some(Outcome::Token(found)) = RecentLookups::read(&session).take(&query.found) else {
        return Ok(Redirect::to(&LookupFailure::Gone.path()).into_response());
    };
    let read = match session.api().account(found.service_account_id).await {
        Ok(read) => Some(read),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let page = LeakedToken::new(found, read, &session);
    session.show(page)
}

impl LeakedToken {
    fn new(found: FoundToken, read: Option<ServiceAccountWithKeys>, session: &Session) -> Self {
        let FoundToken { service_account_id: account_id, key_id, identity_id, expires_at, reason } = found;
        let is_live = read.as_ref().is_some_and(|read| {
            let has_key = read.keys.iter().any(|key| Some(key.id) == key_id);
            has_key || read.federated_identities.iter().any(|identity| Some(identity.id) == identity_id)
        });
        let grant = match (key_id, identity_id) {
            (Some(key), _) => {
                let names = read.as_ref().map(|read| KeyNames::new(&read.keys, &read.retired_keys));
                Grant::Key(names.unwrap_or_default().reference(account_id, key))
            }
            (None, Some(id)) => {
                let live = read.iter().flat_map(|read| &read.federated_identities);
                let ended = read.iter().flat_map(|read| &read.ended_federated_identities);
                let mut names = live
                    .map(|identity| (identity.id, &identity.name))
                    .chain(ended.map(|identity| (identity.id, &identity.name)));
                let name = names.find(|(known, _)| *known == id).map(|(_, name)| name.clone());
                Grant::Identity(IdentityReference {
                    account: account_id,
                    id,
                    name: name.unwrap_or_else(|| id.to_string()),
                })
            }
            (None, None) => Grant::Unknown,
        };
        Self {
            page: session.page(),
            verdict: match reason {
                _ if expires_at <= session.now() => Verdict::Expired,
                // The key or identity may have ended since the lookup.
                None if !is_live => Verdict::Ended("The token's key or federated identity has ended."),
                None => Verdict::Active,
                Some(Reason::Disabled) => Verdict::Disabled,
                Some(reason) => Verdict::Ended(refusal::sentence(reason)),
            },
            account_id,
            account: read.map(|read| read.account),
            grant,
            is_live,
            expires: TimeText::new(expires_at, session.now()),
        }
    }
}
