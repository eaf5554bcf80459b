//! `GET /leaked/key`: the account of a leaked key, and whether the key still works.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect, Response};
use shared::api::{KeyState, RetiredKey, ServiceAccount, ServiceAccountWithKeys};
use shared::domain::{AccountId, KeyId, RoleName};
use shared::policy::Reason;

use super::account::KeyRow;
use super::leaked::{About, FoundKey, Kept, Outcome, WhyNot};
use super::retired_keys::RetiredRow;
use crate::api::ApiError;
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::formatting::When;
use crate::view::layout::{Page, Shown};
use crate::view::role_chooser::{self as roles, RoleChoice};

/// What became of a key.
enum Verdict {
    Alive,
    /// Its account is disabled.
    Paused,
    /// It bears the id of a key of ours, and is not that one.
    Forged,
    Revoked,
    Expired,
    Replaced,
    /// It went with its account.
    Deleted,
}

#[derive(Template)]
#[template(path = "leaked_key.html")]
struct LeakedKey {
    page: Page,
    verdict: Verdict,
    account_id: AccountId,
    account: Option<ServiceAccount>,
    key_id: KeyId,
    /// It is one of the account's, be it good or not.
    row: Option<KeyRow>,
    /// Or it is on record.
    retired: Option<RetiredRow>,
    ended: Option<When>,
    ended_by: Option<String>,
    /// What it may do at most: its account's role, and its own if it has one.
    roles: Vec<(RoleName, Option<RoleChoice>)>,
}

impl LeakedKey {
    /// Whether there is something to revoke.
    fn is_revocable(&self) -> bool {
        matches!(self.verdict, Verdict::Alive | Verdict::Paused)
    }
}

pub(super) async fn show(visit: Visit, Query(about): Query<About>) -> Result<Response, PageError> {
    let Some(Outcome::Key(found)) = Kept::of(&visit).take(&about.found) else {
        return Ok(Redirect::to(&WhyNot::Gone.path()).into_response());
    };
    // As it is now: it may have been revoked since.
    let read = match visit.api().account(found.service_account_id).await {
        Ok(read) => Some(read.account),
        Err(ApiError::Problem(problem)) if problem.status == 404 => None,
        Err(error) => return Err(error.into()),
    };
    let page = LeakedKey::of(found, read, &visit).await;
    Ok(visit.show(Shown(page)))
}

impl LeakedKey {
    async fn of(found: FoundKey, read: Option<ServiceAccountWithKeys>, visit: &Visit) -> Self {
        let (account, keys, retired) = match read {
            Some(read) => (Some(read.account), read.keys, read.retired_keys),
            None => (None, Vec::new(), Vec::new()),
        };
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
            // The key can be revoked whether or not its roles can be told.
            let role = roles::find(visit, name.as_str()).await.ok().flatten();
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
                KeyState::Retired => Verdict::Replaced,
                KeyState::Active | KeyState::Retiring if is_enabled => Verdict::Alive,
                KeyState::Active | KeyState::Retiring => Verdict::Paused,
            }
        } else {
            Verdict::of_retired(retired.as_ref(), found.reason)
        };
        Self {
            page: visit.page(),
            verdict,
            account_id: found.service_account_id,
            account,
            key_id: found.key_id,
            row: key.map(|key| KeyRow::of(key, is_enabled, visit)),
            retired: retired.map(|key| RetiredRow::of(key, visit.now())),
            ended: end.or(recorded).or(found.retired_at).map(|at| When::of(at, visit.now())),
            ended_by: by.map(|actor| actor.name),
            roles,
        }
    }
}

impl Verdict {
    /// What became of a key that is none of its account's any more: as its
    /// record says, or else `reason` when it was looked up.
    fn of_retired(retired: Option<&RetiredKey>, reason: Option<Reason>) -> Self {
        let reason = retired.map(|key| key.reason.into()).or(reason);
        if reason == Some(Reason::Expired) {
            Self::Expired
        } else if reason == Some(Reason::Retired) {
            Self::Replaced
        } else {
            Self::Revoked
        }
    }
}
