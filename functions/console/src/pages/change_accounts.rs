//! `GET, POST /accounts/change`: disables the selected accounts, or revokes all of their keys,
//! after a confirmation.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::RawQuery;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::api::{IdentityState, KeyState, ServiceAccountWithKeys};
use shared::domain::AccountId;

use super::changed_accounts;
use crate::api::{AdminApi, MAX_PAGE_SIZE};
use crate::auth::session::{Posted, Session};
use crate::error::{PageError, PageResult};
use crate::view::formatting::{TimeText, count};
use crate::view::layout::{Page, with_status};

/// The largest number of accounts in one change: those of the largest page of the list.
const MAX_ACCOUNTS: usize = MAX_PAGE_SIZE as usize;
/// How many accounts are read at the same time.
const CALLS_AT_A_TIME: usize = 8;

/// The change of the selected accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// Disables the accounts.
    Disable,
    /// Revokes all keys of the accounts.
    Revoke,
}

impl Action {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Revoke => "revoke",
        }
    }
}

/// The selected accounts.
#[derive(Deserialize)]
pub(super) struct Selection {
    pub(super) action: Action,
    #[serde(default)]
    pub(super) account: Vec<AccountId>,
    /// The name of each account, in the same order. Only the form of the confirmation has
    /// names.
    #[serde(default)]
    pub(super) name: Vec<String>,
}

/// What stops if the change is made to an account.
struct Row {
    id: AccountId,
    /// `None` if the account could not be read.
    known: Option<Impact>,
}

struct Impact {
    name: String,
    is_enabled: bool,
    /// The number of keys that are not revoked, expired or rotated.
    keys: usize,
    /// The number of federated identities that give access.
    identities: usize,
    /// The requests that these keys and identities made in the last 24 hours, without refused
    /// requests.
    requests: u64,
    last_used_at: Option<Timestamp>,
}

impl Impact {
    fn new(read: ServiceAccountWithKeys) -> Self {
        let is_live = |state| matches!(state, KeyState::Active | KeyState::Retiring);
        let keys: Vec<_> = read.keys.iter().filter(|key| is_live(key.state)).collect();
        let identities = read.federated_identities.iter();
        let identities: Vec<_> =
            identities.filter(|identity| matches!(identity.state, IdentityState::Active)).collect();
        let usages =
            keys.iter().map(|key| &key.usage).chain(identities.iter().map(|identity| &identity.usage));
        Self {
            keys: keys.len(),
            identities: identities.len(),
            requests: usages.clone().map(|usage| usage.recent.last_24_hours.allowed).sum(),
            last_used_at: usages.filter_map(|usage| usage.last_use.last_used_at).max(),
            name: read.account.name,
            is_enabled: read.account.enabled,
        }
    }
}

#[derive(Template)]
#[template(path = "change_accounts.html")]
struct ChangeAccounts {
    page: Page,
    action: Action,
    rows: Vec<Row>,
    /// Why the selection cannot be changed.
    problem: Option<&'static str>,
}

impl ChangeAccounts {
    fn known(&self) -> impl Iterator<Item = &Impact> {
        self.rows.iter().filter_map(|row| row.known.as_ref())
    }

    /// For example, `3 accounts`.
    fn accounts(&self) -> String {
        count(u64::try_from(self.rows.len()).unwrap_or(u64::MAX), "account")
    }

    /// For example, `5 active keys` or `5 active keys and 1 federated identity`.
    fn grants(&self) -> String {
        let sum = |number: fn(&Impact) -> usize| {
            self.known().map(|impact| u64::try_from(number(impact)).unwrap_or(u64::MAX)).sum()
        };
        let keys = count(sum(|impact| impact.keys), "active key");
        match sum(|impact| impact.identities) {
            0 => keys,
            1 => format!("{keys} and 1 federated identity"),
            identities => format!("{keys} and {identities} federated identities"),
        }
    }

    /// The allowed requests of the last 24 hours.
    fn requests(&self) -> u64 {
        self.known().map(|impact| impact.requests).sum()
    }

    fn last_used(&self) -> Option<TimeText> {
        let at = self.known().filter_map(|impact| impact.last_used_at).max();
        at.map(|at| self.page.time(&at))
    }

    fn has_unknown(&self) -> bool {
        self.rows.iter().any(|row| row.known.is_none())
    }
}

pub(super) async fn show(session: Session, RawQuery(query): RawQuery) -> PageResult {
    let selection = serde_html_form::from_str::<Selection>(&query.unwrap_or_default());
    let Selection { action, account, .. } = selection.map_err(|_| PageError::PageNotFound)?;
    let problem = problem(&account);
    let rows = if problem.is_some() { Vec::new() } else { read(session.api(), unique(account)).await? };
    let page = ChangeAccounts { page: session.page(), action, rows, problem };
    if problem.is_some() { with_status(422, page) } else { session.show(page) }
}

pub(super) async fn submit(Posted(session, selection): Posted<Selection>) -> PageResult {
    if problem(&selection.account).is_some() {
        return Err(PageError::Malformed);
    }
    changed_accounts::show(session, selection).await
}

fn problem(selected: &[AccountId]) -> Option<&'static str> {
    if selected.is_empty() {
        Some("Select at least one account.")
    } else if selected.len() > MAX_ACCOUNTS {
        Some("Select at most 100 accounts.")
    } else {
        None
    }
}

/// The accounts in the order of the selection, each once.
fn unique(mut accounts: Vec<AccountId>) -> Vec<AccountId> {
    let mut seen = BTreeSet::new();
    accounts.retain(|id| seen.insert(*id));
    accounts
}

/// Reads what stops. An account that cannot be read can still be changed.
async fn read(api: AdminApi<'_>, accounts: Vec<AccountId>) -> PageResult<Vec<Row>> {
    let read = async |id| (id, api.account(id).await);
    let mut reads = futures::stream::iter(accounts).map(read).buffered(CALLS_AT_A_TIME);
    let mut rows = Vec::new();
    while let Some((id, read)) = reads.next().await {
        match read {
            Ok(read) => rows.push(Row { id, known: Some(Impact::new(read)) }),
            Err(error) if error.is_not_permitted() => return Err(error.into()),
            // The account was deleted after it was listed.
            Err(error) if error.is_not_found() => {}
            Err(_) => rows.push(Row { id, known: None }),
        }
    }
    Ok(rows)
}
