//! `GET /accounts/{id}`: an account with its keys and federated identities.

use askama::Template;
use axum::extract::Path;
use axum::response::Redirect;
use shared::api::{Key, KeyState, ServiceAccount, ServiceAccountWithKeys, UnverifiedCounts};
use shared::domain::{AccountId, KeyId};

use super::identity::{EndedRow, IdentityRow};
use super::retired_keys::RetiredRow;
use super::role_usage;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::excerpt::Excerpt;
use crate::view::formatting::{HistoryEntry, KeyNames, TimeText};
use crate::view::layout::Page;
use crate::view::role_chooser::{self, RoleChoice};
use crate::view::usage::KeyUsage;

/// How many recent events are shown.
const RECENT: u8 = 5;
/// How many retired keys are shown. Those that are still used come first.
const RETIRED: usize = 5;

/// A key in a list.
pub(super) struct KeyRow {
    pub(super) key: Key,
    /// When the key stops working: its expiry, or the end of its grace period.
    pub(super) ends: TimeText,
    /// The CSS class and the label of the key's state.
    pub(super) state: (&'static str, &'static str),
    pub(super) uses: KeyUsage,
}

impl KeyRow {
    pub(super) fn new(key: Key, is_enabled: bool, session: &Session) -> Self {
        let ends = key.retires_at.unwrap_or(key.expires_at);
        Self {
            ends: TimeText::new(ends, session.now()),
            state: match key.state {
                KeyState::Expired => ("bad", "Expired"),
                KeyState::Retired => ("bad", "Rotated"),
                KeyState::Active | KeyState::Retiring if !is_enabled => ("bad", "Disabled"),
                KeyState::Retiring => ("warn", "Grace period"),
                KeyState::Active => ("good", "Active"),
            },
            uses: KeyUsage::new(key.usage.recent, key.usage.last_use, session.now()),
            key,
        }
    }

    /// The keys of `account`, newest first.
    pub(super) fn all(keys: Vec<Key>, account: &ServiceAccount, session: &Session) -> Vec<Self> {
        keys.into_iter().rev().map(|key| Self::new(key, account.enabled, session)).collect()
    }

    /// Reads an account and one of its keys. `None` if the account has no such key.
    pub(super) async fn find(
        session: &Session,
        account: AccountId,
        key: KeyId,
    ) -> PageResult<Option<(ServiceAccount, Self)>> {
        let ServiceAccountWithKeys { account, keys, .. } = session.api().account(account).await?;
        let key = keys.into_iter().find(|live| live.id == key);
        let row = key.map(|key| Self::new(key, account.enabled, session));
        Ok(row.map(|row| (account, row)))
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.key.state, KeyState::Active)
    }

    /// The key that replaces this key, during the grace period.
    pub(super) fn successor(&self) -> Option<KeyId> {
        self.key.replaced_by.filter(|_| matches!(self.key.state, KeyState::Retiring))
    }
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    page: Page,
    account: ServiceAccount,
    role: Option<RoleChoice>,
    /// Whether the role could be read. If so, `None` in `role` means that it does not exist.
    is_role_known: bool,
    /// For example, `3 of 12 permissions used in the last 90 days`. Empty if it could not be read.
    role_usage: String,
    /// Newest first.
    keys: Vec<KeyRow>,
    /// Newest first.
    identities: Vec<IdentityRow>,
    /// Newest first.
    ended: Vec<EndedRow>,
    /// How many more ended identities the account has.
    more_ended: usize,
    retired: Excerpt<RetiredRow>,
    /// The number of retired keys that were used after retirement.
    used_after_end: usize,
    unverified: UnverifiedCounts,
    events: Vec<HistoryEntry>,
    has_more_events: bool,
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let (read, events, usage) = tokio::join!(
        session.api().account(id),
        session.api().events(id, "", RECENT),
        session.api().role_usage(id)
    );
    let read = read?;
    // The page works without the history, the role and its use, so that an admin can always disable the account.
    let (events, more) = events.map_or((Vec::new(), None), |list| (list.items, list.next_cursor));
    let now = session.now();
    let account = read.account;
    let names = KeyNames::new(&read.keys, &read.retired_keys);
    let keys = KeyRow::all(read.keys, &account, &session);
    let mut retired: Vec<_> = read.retired_keys.into_iter().map(|key| RetiredRow::new(key, now)).collect();
    let used_after_end = retired.iter().filter(|row| row.uses.used_after_end.is_some()).count();
    retired.sort_by_key(|row| row.uses.used_after_end.is_none());
    let identities = IdentityRow::all(read.federated_identities, &account, &session);
    let ended = Excerpt::first(read.ended_federated_identities, RETIRED);
    let role = role_chooser::find(&session, account.role.as_str()).await;
    let page = AccountPage {
        page: session.page(),
        is_role_known: role.is_ok(),
        role_usage: usage.as_ref().map(role_usage::summary).unwrap_or_default(),
        role: role.ok().flatten(),
        keys,
        identities,
        ended: ended.items.into_iter().map(|identity| EndedRow::new(identity, now)).collect(),
        more_ended: ended.more,
        retired: Excerpt::first(retired, RETIRED),
        used_after_end,
        unverified: read.unverified,
        events: events.into_iter().map(|event| HistoryEntry::for_account(event, &names, now)).collect(),
        has_more_events: more.is_some(),
        account,
    };
    session.show(page)
}

/// Redirects a reload of a form's address to a page.
pub(super) async fn redirect(Path(id): Path<AccountId>) -> Redirect {
    Redirect::to(&format!("/accounts/{id}"))
}
