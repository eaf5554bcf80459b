//! `GET /accounts/{id}`: an account with its keys.

use askama::Template;
use axum::extract::Path;
use axum::response::{Redirect, Response};
use shared::api::{Key, KeyState, SHOWN_DAYS, ServiceAccount};
use shared::domain::{AccountId, KeyId};

use super::request::id;
use super::retired_keys::RetiredRow;
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::formatting::{KeyNames, Told, When};
use crate::view::layout::{Page, Shown};
use crate::view::role_chooser::{self as roles, RoleChoice};
use crate::view::usage::Uses;

/// So many events are shown here. All are on a page of their own.
const RECENT: u8 = 5;
/// So many retired keys are shown here, those that are still presented first.
const RETIRED: usize = 5;

/// A key, as it is shown.
pub(super) struct KeyRow {
    pub(super) key: Key,
    pub(super) created: When,
    /// When it ends: it expires, or its grace after a rotation is over.
    pub(super) ends: When,
    /// The class of its state, and its word.
    pub(super) state: (&'static str, &'static str),
    /// Whether it opens nothing, be it for now or for good.
    is_refused: bool,
    pub(super) uses: Uses,
}

impl KeyRow {
    pub(super) fn of(key: Key, is_enabled: bool, visit: &Visit) -> Self {
        let ends = key.retires_at.unwrap_or(key.expires_at);
        Self {
            created: When::of(key.created_at, visit.now()),
            ends: When::of(ends, visit.now()),
            state: match key.state {
                KeyState::Expired => ("bad", "Expired"),
                KeyState::Retired => ("bad", "Rotated"),
                KeyState::Active | KeyState::Retiring if !is_enabled => ("bad", "Disabled"),
                KeyState::Retiring => ("warn", "Grace period"),
                KeyState::Active => ("good", "Active"),
            },
            is_refused: !is_enabled || matches!(key.state, KeyState::Expired | KeyState::Retired),
            uses: Uses::of(&key.usage, visit.now()),
            key,
        }
    }

    /// What its revocation stops: how much that weighs, as a class, and in words.
    pub(super) fn stops(&self) -> (&'static str, String) {
        let Some(last) = &self.uses.last else {
            return ("notice", "The key was never used. Revoking it should affect no program.".to_owned());
        };
        let last = &last.words;
        if self.is_refused {
            let text = format!(
                "The key was last used {last}, and is already refused. Revoking it affects no program."
            );
            return ("notice", text);
        }
        if self.uses.total == 0 {
            let text = format!(
                "The key was last used {last}, and not in the last {SHOWN_DAYS} days. A program that uses it rarely \
                 will be refused."
            );
            return ("alert warn", text);
        }
        let total = self.uses.total_in_words();
        ("alert", format!("The key was last used {last} ({total}). Programs that use it will be refused."))
    }

    fn is_active(&self) -> bool {
        matches!(self.key.state, KeyState::Active)
    }

    /// It still works, and the key that replaces it.
    pub(super) fn successor(&self) -> Option<KeyId> {
        self.key.replaced_by.filter(|_| matches!(self.key.state, KeyState::Retiring))
    }
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    page: Page,
    account: ServiceAccount,
    created: When,
    updated: When,
    role: Option<RoleChoice>,
    /// Whether there is such a role, or there is none for certain.
    is_role_known: bool,
    /// The newest first.
    keys: Vec<KeyRow>,
    retired: Vec<RetiredRow>,
    /// How many retired keys there are.
    all_retired: usize,
    /// How many of them are still presented.
    presented: usize,
    events: Vec<Told>,
    has_more_events: bool,
}

impl AccountPage {
    /// Whether the key `id` has a row here.
    fn has_row(&self, id: &KeyId) -> bool {
        self.keys.iter().any(|row| row.key.id == *id) || self.retired.iter().any(|row| row.key.id == *id)
    }
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, PageError> {
    let account_id: AccountId = id(&account)?;
    let (read, events) =
        tokio::join!(visit.api().account(account_id), visit.api().events(account_id, "", RECENT));
    let read = read?;
    // Whoever is here to stop something needs neither its history nor its role.
    let (events, more) = events.map_or((Vec::new(), None), |list| (list.items, list.next_cursor));
    let now = visit.now();
    let account = read.account.account;
    let is_enabled = account.enabled;
    let names = KeyNames::of(&read.account.keys, &read.account.retired_keys);
    let keys = read.account.keys.into_iter().rev().map(|key| KeyRow::of(key, is_enabled, &visit));
    let mut retired: Vec<_> =
        read.account.retired_keys.into_iter().map(|key| RetiredRow::of(key, now)).collect();
    let all_retired = retired.len();
    let presented = retired.iter().filter(|row| row.uses.presented.is_some()).count();
    retired.sort_by_key(|row| row.uses.presented.is_none());
    retired.truncate(RETIRED);
    let role = roles::find(&visit, account.role.as_str()).await;
    let page = AccountPage {
        page: visit.page(),
        created: When::of(account.created_at, now),
        updated: When::of(account.updated_at, now),
        is_role_known: role.is_ok(),
        role: role.ok().flatten(),
        keys: keys.collect(),
        retired,
        all_retired,
        presented,
        events: events.into_iter().map(|event| Told::of(event, &names, now)).collect(),
        has_more_events: more.is_some(),
        account,
    };
    Ok(visit.show(Shown(page)))
}

/// Where a form was sent to, there is a page to come back to.
pub(super) async fn go(Path(account): Path<String>) -> Result<Redirect, PageError> {
    let account: AccountId = id(&account)?;
    Ok(Redirect::to(&format!("/accounts/{account}")))
}
