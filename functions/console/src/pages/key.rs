//! `GET /accounts/{id}/keys/{key_id}`: a live or retired key, with its activity and history.

use askama::Template;
use axum::extract::Path;
use jiff::Timestamp;
use shared::api::{ServiceAccount, ServiceAccountWithKeys};
use shared::domain::{AccountId, GrantId, KeyId, RoleName};

use super::account::KeyRow;
use super::retired_keys::RetiredRow;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::{HistoryEntry, KeyNames, KeyReference, TimeText};
use crate::view::grant_activity::GrantActivity;
use crate::view::grant_history::GrantHistory;
use crate::view::layout::Page;
use crate::view::tool_names::ToolNames;
use crate::view::usage::KeyUsage;

/// What is known about the key.
struct KeyDetails {
    id: KeyId,
    /// The name and the last characters. `None` if the record contains only how the key ended,
    /// or the account no longer lists the key.
    name: Option<String>,
    hint: Option<String>,
    /// The CSS class and the label of the key's state.
    state: (&'static str, &'static str),
    role: Option<RoleName>,
    /// Empty if the key can be used from anywhere.
    allowed_cidrs: Vec<String>,
    created: Option<TimeText>,
    created_by: Option<String>,
    expires: Option<TimeText>,
    /// The end of the grace period of a live key.
    retires: Option<TimeText>,
    /// When a retired key ended.
    retired: Option<TimeText>,
    retired_by: Option<String>,
    replaced_by: Option<KeyReference>,
    replaces: Option<KeyReference>,
    /// Whether the account lists the key.
    is_listed: bool,
    is_rotatable: bool,
    is_revocable: bool,
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage {
    page: Page,
    account_id: AccountId,
    /// `None` if the account was deleted.
    account: Option<ServiceAccount>,
    key: KeyDetails,
    uses: KeyUsage,
    activity: GrantActivity,
    events: Vec<HistoryEntry>,
    /// How many of the account's events were searched, if not all. `None` also if the history
    /// is not available.
    cut: Option<usize>,
    is_history_known: bool,
}

pub(super) async fn show(session: Session, Path((id, key)): Path<(AccountId, KeyId)>) -> PageResult {
    let api = session.api();
    let (activity, read, history, tools) = tokio::join!(
        api.grant_activity(id, GrantId::Key(key)),
        api.account(id),
        GrantHistory::read(api, id, GrantId::Key(key)),
        ToolNames::read(&session)
    );
    let activity = activity?;
    // A deleted account has no keys, but the activity of its keys remains.
    let read = match read {
        Ok(read) => Some(read),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let now = session.now();
    let names = read.as_ref().map(|read| KeyNames::new(&read.keys, &read.retired_keys)).unwrap_or_default();
    let (account, details) = KeyDetails::find(key, read, &names, &session);
    let cut = history.as_ref().and_then(GrantHistory::cut);
    let is_history_known = history.is_some();
    let events = history.map(|history| history.events).unwrap_or_default().into_iter();
    let page = KeyPage {
        page: session.page(),
        account_id: id,
        key: details,
        uses: KeyUsage::new(activity.activity.recent, activity.last_use, now),
        activity: GrantActivity::new((id, GrantId::Key(key)), account.is_some(), activity, tools, now),
        account,
        events: events.map(|event| HistoryEntry::for_account(event, &names, now)).collect(),
        cut,
        is_history_known,
    };
    session.show(page)
}

impl KeyDetails {
    /// The account, and the details of its key `id`. `read` is `None` if the account was deleted.
    fn find(
        id: KeyId,
        read: Option<ServiceAccountWithKeys>,
        names: &KeyNames,
        session: &Session,
    ) -> (Option<ServiceAccount>, Self) {
        let Some(ServiceAccountWithKeys { account, keys, retired_keys, .. }) = read else {
            return (None, Self::unlisted(id));
        };
        let reference = |id| names.reference(account.id, id);
        let live = keys.iter().map(|key| (key.id, key.replaced_by));
        let mut all = live.chain(retired_keys.iter().map(|key| (key.id, key.replaced_by)));
        let replaces = all.find(|(_, successor)| *successor == Some(id)).map(|(old, _)| reference(old));
        let details = if let Some(key) = keys.into_iter().find(|key| key.id == id) {
            let replaced_by = key.replaced_by.map(reference);
            let row = KeyRow::new(key, account.enabled, session);
            Self { replaced_by, ..Self::live(row, account.enabled, session.now()) }
        } else if let Some(key) = retired_keys.into_iter().find(|key| key.id == id) {
            let replaced_by = key.replaced_by.map(reference);
            Self { replaced_by, ..Self::retired(RetiredRow::new(key, session.now()), session.now()) }
        } else {
            Self::unlisted(id)
        };
        (Some(account), Self { replaces, ..details })
    }

    fn live(row: KeyRow, is_enabled: bool, now: Timestamp) -> Self {
        let time = |at| TimeText::new(at, now);
        Self {
            is_rotatable: row.is_active() && is_enabled,
            is_revocable: true,
            is_listed: true,
            state: row.state,
            retires: row.key.retires_at.map(time),
            name: Some(row.key.name),
            hint: Some(row.key.hint),
            role: row.key.role,
            allowed_cidrs: row.key.allowed_cidrs,
            created: Some(time(row.key.created_at)),
            created_by: Some(row.key.created_by.name),
            expires: Some(time(row.key.expires_at)),
            ..Self::unlisted(row.key.id)
        }
    }

    fn retired(row: RetiredRow, now: Timestamp) -> Self {
        let time = |at| TimeText::new(at, now);
        Self {
            state: ("bad", row.reason()),
            is_listed: true,
            retired: Some(row.ended),
            retired_by: row.key.retired_by.map(|actor| actor.name),
            name: row.key.name,
            hint: row.key.hint,
            role: row.key.role,
            allowed_cidrs: row.key.allowed_cidrs,
            created: row.key.created_at.map(time),
            created_by: row.key.created_by.map(|actor| actor.name),
            expires: row.key.expires_at.map(time),
            ..Self::unlisted(row.key.id)
        }
    }

    /// A retired key that its account does not list, or whose account was deleted.
    fn unlisted(id: KeyId) -> Self {
        Self {
            id,
            name: None,
            hint: None,
            state: ("bad", "Retired"),
            role: None,
            allowed_cidrs: Vec::new(),
            created: None,
            created_by: None,
            expires: None,
            retires: None,
            retired: None,
            retired_by: None,
            replaced_by: None,
            replaces: None,
            is_listed: false,
            is_rotatable: false,
            is_revocable: false,
        }
    }

    /// The name or, if it is unknown, the ID.
    fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}
