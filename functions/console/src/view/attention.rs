//! Finds accounts that need attention.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use shared::api::ListedServiceAccount;
use shared::domain::AccountId;
use tokio::time::{Instant, timeout_at};

use crate::api::{AccountsQuery, AdminApi, ApiError, MAX_PAGE_SIZE};
use crate::view::formatting::{TimeText, count};

/// How long an account needs attention after a retired key was used.
const RECENTLY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why an account needs attention, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AttentionReason {
    /// A retired key was used.
    UseAfterEnd,
    Expiring,
    Unused,
    Disabled,
}

/// An account that needs attention.
pub(crate) struct AttentionItem {
    pub(crate) reason: AttentionReason,
    /// The sort key among items with the same reason.
    order: String,
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) when: Option<TimeText>,
}

/// The accounts that need attention.
#[derive(Default)]
pub(crate) struct AttentionList {
    /// Most urgent first.
    pub(crate) all: Vec<AttentionItem>,
    /// How many accounts were checked.
    pub(crate) accounts: usize,
    /// Whether the check stopped early.
    pub(crate) is_truncated: bool,
}

impl AttentionReason {
    /// The CSS class and the label of the badge.
    pub(crate) fn badge(self) -> (&'static str, &'static str) {
        match self {
            Self::UseAfterEnd => ("bad", "Retired key used"),
            Self::Expiring => ("warn", "Expires soon"),
            Self::Unused => ("warn", "Unused"),
            Self::Disabled => ("bad", "Disabled"),
        }
    }
}

/// Checks all accounts. Stops after `limit`.
///
/// # Errors
/// An error of the API for the first page of accounts. After that page, an error or the
/// time limit only ends the check early.
pub(crate) async fn find(
    api: AdminApi<'_>,
    now: Timestamp,
    limit: Duration,
) -> Result<AttentionList, ApiError> {
    let deadline = Instant::now() + limit;
    let mut found = AttentionList::default();
    let mut query = AccountsQuery { limit: Some(MAX_PAGE_SIZE), ..AccountsQuery::default() };
    loop {
        let page = match timeout_at(deadline, api.accounts(&query)).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) if found.accounts == 0 => return Err(error),
            Ok(Err(_)) | Err(_) => break found.is_truncated = true,
        };
        found.accounts += page.items.len();
        found.all.extend(page.items.iter().flat_map(|account| items(account, now)));
        match page.next_cursor {
            Some(next) => query.cursor = next,
            None => break,
        }
    }
    found.all.sort_by(|a, b| (a.reason, &a.order).cmp(&(b.reason, &b.order)));
    Ok(found)
}

/// When a retired key of `account` was last used, if that was recently.
pub(crate) fn used_after_end(account: &ListedServiceAccount, now: Timestamp) -> Option<Timestamp> {
    let at = account.used_after_end_at?;
    (now.duration_since(at) < RECENTLY).then_some(at)
}

fn items(listed: &ListedServiceAccount, now: Timestamp) -> impl Iterator<Item = AttentionItem> {
    let account = &listed.account;
    let item = |reason, order, text: &str, when| {
        let (account, name) = (account.id, account.name.clone());
        AttentionItem { reason, order, account, name, text: text.to_owned(), when }
    };
    let used_after_end = used_after_end(listed, now).map(|at| {
        let text = "A retired key is still being used. The requests are refused. Last used";
        // The latest use comes first.
        let ago = now.duration_since(at).as_secs();
        item(AttentionReason::UseAfterEnd, format!("{ago:020}"), text, Some(TimeText::new(at, now)))
    });
    let expires = account.next_key_expires_at.map(|at| TimeText::new(at, now));
    let expiring = expires
        .filter(|at| at.is_soon)
        .map(|at| item(AttentionReason::Expiring, at.machine.clone(), "A key expires", Some(at)));
    let unused = (listed.unused_key_count > 0).then(|| {
        let text = format!("{} not used for 90 days.", active_keys(listed.unused_key_count));
        item(AttentionReason::Unused, account.name.clone(), &text, None)
    });
    let disabled = (!account.enabled).then(|| {
        let text = match account.live_key_count {
            0 => "The account has no active keys.".to_owned(),
            keys => format!("{} refused.", active_keys(keys)),
        };
        item(AttentionReason::Disabled, account.name.clone(), &text, None)
    });
    [used_after_end, expiring, unused, disabled].into_iter().flatten()
}

fn active_keys(number: usize) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX), "active key")
}
