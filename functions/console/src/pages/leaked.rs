//! `GET, POST /leaked`: whose is a key that was found where it should not be, and
//! does it still open anything?
//!
//! What was pasted is in no address and no log, and no page shows it again: not
//! even the one that says what is wrong with it.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;
use shared::http::representation::{KeyState, ServiceAccount};

use super::account::KeyRow;
use super::roles::{self, RoleChoice};
use crate::api::{ApiError, FoundKey, KeyLookup};
use crate::form::Faults;
use crate::page::{Page, Shown, with_status};
use crate::session::{Posted, Visit};
use crate::trouble::Trouble;
use crate::words::When;

/// What was pasted.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    key: FoundKey,
}

#[derive(Template)]
#[template(path = "leaked.html")]
struct Leaked {
    page: Page,
    faults: Faults,
}

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
    account_id: String,
    account: Option<ServiceAccount>,
    key_id: String,
    row: Option<KeyRow>,
    ended: Option<When>,
    ended_by: Option<String>,
    /// What it may do at most: its account's role, and its own if it has one.
    roles: Vec<(String, Option<RoleChoice>)>,
}

impl LeakedKey {
    /// Whether there is something to revoke.
    fn is_revocable(&self) -> bool {
        matches!(self.verdict, Verdict::Alive | Verdict::Paused)
    }
}

pub(super) async fn show(visit: Visit) -> Response {
    let page = Leaked { page: visit.page(), faults: Faults::default() };
    visit.show(Shown(page))
}

pub(super) async fn submit(Posted(visit, form): Posted<Form>) -> Result<Response, Trouble> {
    match visit.api().look_up_key(&form.key).await {
        Ok(found) => {
            let page = LeakedKey::of(found, &visit).await;
            Ok(visit.show(Shown(page)))
        }
        Err(error) => {
            let faults = faults(error)?;
            Ok(with_status(faults.status(), Leaked { page: visit.page(), faults }))
        }
    }
}

fn faults(error: ApiError) -> Result<Faults, Trouble> {
    match error {
        ApiError::Problem(problem) if problem.code == "key_not_found" => Ok(Faults::field(
            "key",
            "this has the form of a key of ours, and its checksum, but there is none of its id: it was never issued \
             here, or retired more than 400 days ago. It opens nothing",
        )),
        ApiError::Problem(problem) if !problem.errors.is_empty() => {
            let problems: Vec<_> = problem.errors.into_iter().map(|error| error.detail).collect();
            Ok(Faults::field("key", format!("what you pasted {}", problems.join(", "))))
        }
        // A look-up changes nothing: there is nothing that may have been done.
        ApiError::Unavailable { .. } => Err(error.into()),
        ApiError::NotPermitted | ApiError::Problem(_) => Faults::of(error),
    }
}

impl Verdict {
    fn of(found: &KeyLookup) -> Self {
        match found.reason.as_deref() {
            None if found.alive => Self::Alive,
            Some("revoked") => Self::Revoked,
            Some("expired") => Self::Expired,
            Some("retired") if found.service_account.is_some() => Self::Replaced,
            Some("retired") => Self::Deleted,
            Some("disabled") => Self::Paused,
            _ => Self::Forged,
        }
    }
}

impl LeakedKey {
    async fn of(found: KeyLookup, visit: &Visit) -> Self {
        let verdict = Verdict::of(&found);
        let is_enabled = found.service_account.as_ref().is_some_and(|account| account.enabled);
        let own_role = found.key.as_ref().and_then(|key| key.role.clone());
        let role = found.service_account.as_ref().map(|account| account.role.clone());
        let mut roles = Vec::new();
        for name in [role, own_role].into_iter().flatten() {
            // The key can be revoked whether or not its roles can be told.
            let role = roles::find(visit, &name).await.ok().flatten();
            roles.push((name, role));
        }
        let ends = found.retired_at.or_else(|| {
            let key = found.key.as_ref()?;
            let ended = matches!(key.state, KeyState::Expired | KeyState::Retired);
            ended.then(|| key.retires_at.clone().unwrap_or_else(|| key.expires_at.clone()))
        });
        Self {
            page: visit.page(),
            verdict,
            account_id: found.service_account_id,
            account: found.service_account,
            key_id: found.key_id,
            row: found.key.map(|key| KeyRow::of(key, is_enabled, visit)),
            ended: ends.map(|at| When::of(&at, visit.now())),
            ended_by: found.retired_by.map(|actor| actor.name),
            roles,
        }
    }
}
