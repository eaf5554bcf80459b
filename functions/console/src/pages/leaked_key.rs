//! `GET /leaked/key`: the account of a leaked key, and whether the key still works.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect};
use shared::api::{KeyState, RetiredKey, ServiceAccount, ServiceAccountWithKeys};
use shared::domain::{AccountId, RoleName};
use shared::policy::Reason;

use super::account::KeyRow;
use super::leaked::{FoundKey, LookupFailure, LookupQuery, Outcome, RecentLookups};
use super::retired_keys::RetiredRow;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::{KeyNames, KeyReference, TimeText};
use crate::view::impact::{Impact, Source};
use crate::view::layout::Page;
use crate::view::role_chooser::{self, RoleChoice};

/// The state of a looked-up key.
enum Verdict {
    /// The key works.
    Active,
    /// The key's account is disabled.
    Disabled,
    /// A key with this ID exists, but with another secret.
    Forged,
    Revoked,
    Expired,
    Rotated,
    /// The key's account was deleted.
    Deleted,
}

#[derive(Template)]
#[template(path = "leaked_key.html")]
struct LeakedKey {
    page: Page,
    verdict: Verdict,
    account_id: AccountId,
    account: Option<ServiceAccount>,
    key: KeyReference,
    /// The key, if it is not retired, and what its revocation stops.
    row: Option<(KeyRow, Impact)>,
    /// The key, if it is retired.
    retired: Option<RetiredRow>,
    ended: Option<TimeText>,
    ended_by: Option<String>,
    /// The account's role and, if the key has one, the key's role.
    roles: Vec<(RoleName, Option<RoleChoice>)>,
}

impl LeakedKey {
    /// Whether the key can be revoked.
    fn is_revocable(&self) -> bool {
        matches!(self.verdict, Verdict::Active | Verdict::Disabled)
    }
}

pub(super) async fn show(session: Session, Query(query): Query<LookupQuery>) -> PageResult {
    let Some(Outcome::Key(found)) = RecentLookups::read(&session).take(&query.found) else {
        return Ok(Redirect::to(&LookupFailure::Gone.path()).into_response());
    };
    // The current state: the key may have been revoked since the lookup.
    let read = match session.api().account(found.service_account_id).await {
        Ok(read) => Some(read),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let page = LeakedKey::new(found, read, &session).await;
    session.show(page)
}

impl LeakedKey {
    async fn new(found: FoundKey, read: Option<ServiceAccountWithKeys>, session: &Session) -> Self {
        let names = read.as_ref().map(|read| KeyNames::new(&read.keys, &read.retired_keys));
        let (account, keys, retired) =
            read.map(|read| (Some(read.account), read.keys, read.retired_keys)).unwrap_or_default();
        let key = keys.into_iter().find(|key| key.id == found.key_id);
        let retired = retired.into_iter().find(|key| key.id == found.key_id);
        let end = key.as_ref().and_then(|key| match key.state {
            KeyState::Active | KeyState::Retiring => None,
            KeyState::Expired => Some(key.expires_at),
            KeyState::Retired => key.retires_at,
        });
        let recorded = retired.as_ref().map(|key| key.retired_at);
        let own_role = key.as_ref().and_then(|key| key.role.clone());
        let own_role = own_role.or_else(|| retired.as_ref()?.role.clone());
        let mut roles = Vec::new();
        for name in account.as_ref().map(|account| account.role.clone()).into_iter().chain(own_role) {
            // The page works without the roles, so that the key can always be revoked.
            let role = role_chooser::find(session, name.as_str()).await.ok().flatten();
            roles.push((name, role));
        }
        let is_enabled = account.as_ref().is_some_and(|account| account.enabled);
        let by = retired.as_ref().and_then(|key| key.retired_by.clone()).or(found.retired_by);
        let verdict = if found.reason == Some(Reason::WrongSecret) {
            Verdict::Forged
        } else if account.is_none() {
            Verdict::Deleted
        } else if let Some(key) = &key {
            match key.state {
                KeyState::Expired => Verdict::Expired,
                KeyState::Retired => Verdict::Rotated,
                KeyState::Active | KeyState::Retiring if is_enabled => Verdict::Active,
                KeyState::Active | KeyState::Retiring => Verdict::Disabled,
            }
        } else {
            Verdict::from_record(retired.as_ref(), found.reason)
        };
        let row = match key.zip(account.as_ref()) {
            Some((key, account)) => {
                let impact = Impact::of_key(session, account, &key).await;
                Some((KeyRow::new(key, is_enabled, session), impact))
            }
            None => None,
        };
        Self {
            page: session.page(),
            verdict,
            account_id: found.service_account_id,
            account,
            key: names.unwrap_or_default().reference(found.service_account_id, found.key_id),
            row,
            retired: retired.map(|key| RetiredRow::new(key, session.now())),
            ended: end.or(recorded).or(found.retired_at).map(|at| TimeText::new(at, session.now())),
            ended_by: by.map(|actor| actor.name),
            roles,
        }
    }
}

impl Verdict {
    /// The state of a retired key by its record or, without a record, by the `reason` of
    /// the lookup.
    fn from_record(retired: Option<&RetiredKey>, reason: Option<Reason>) -> Self {
        let reason = retired.map(|key| key.reason.into()).or(reason);
        if reason == Some(Reason::Expired) {
            Self::Expired
        } else if reason == Some(Reason::Retired) {
            Self::Rotated
        } else {
            Self::Revoked
        }
    }
}
