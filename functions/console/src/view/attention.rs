//! What wants an admin's attention, of accounts as the API lists them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use shared::api::ListedServiceAccount;
use shared::domain::AccountId;
use tokio::time::{Instant, timeout_at};

use crate::api::{AccountsQuery, ApiError, Caller, MOST};
use crate::view::formatting::{When, count};

/// A key that was presented after its end wants attention for so long.
const RECENTLY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why an account wants attention. The most pressing first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// A key came again after its end.
    Presented,
    Expiring,
    Unused,
    Disabled,
}

/// What wants attention.
pub(crate) struct Attention {
    pub(crate) why: Why,
    /// Among those of one reason, what comes first.
    order: String,
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) when: Option<When>,
}

/// What was found of it.
#[derive(Default)]
pub(crate) struct Found {
    /// The most pressing first.
    pub(crate) all: Vec<Attention>,
    /// How many accounts were looked at.
    pub(crate) accounts: usize,
    /// Whether there are more.
    pub(crate) is_cut: bool,
}

impl Why {
    /// In a word, with the class of its badge.
    pub(crate) fn badge(self) -> (&'static str, &'static str) {
        match self {
            Self::Presented => ("bad", "Retired key used"),
            Self::Expiring => ("warn", "Expires soon"),
            Self::Unused => ("warn", "Unused"),
            Self::Disabled => ("bad", "Disabled"),
        }
    }
}

/// Looks at all accounts in turn, or for so long.
///
/// # Errors
/// The API's, if it answered nothing at all. What it does not answer behind that
/// is left out, like what comes too late.
pub(crate) async fn look(api: Caller<'_>, now: Timestamp, limit: Duration) -> Result<Found, ApiError> {
    let until = Instant::now() + limit;
    let mut found = Found::default();
    let mut query = AccountsQuery { limit: Some(MOST), ..AccountsQuery::default() };
    loop {
        let page = match timeout_at(until, api.accounts(&query)).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) if found.accounts == 0 => return Err(error),
            Ok(Err(_)) | Err(_) => break found.is_cut = true,
        };
        found.accounts += page.items.len();
        found.all.extend(page.items.iter().flat_map(|account| of(account, now)));
        match page.next_cursor {
            Some(next) => query.cursor = next,
            None => break,
        }
    }
    found.all.sort_by(|a, b| (a.why, &a.order).cmp(&(b.why, &b.order)));
    Ok(found)
}

/// When one of the keys of `account` came again after its end, if it did lately.
pub(crate) fn presented(account: &ListedServiceAccount, now: Timestamp) -> Option<Timestamp> {
    let at = account.used_after_end_at?;
    (now.duration_since(at) < RECENTLY).then_some(at)
}

/// What of an account wants attention.
fn of(listed: &ListedServiceAccount, now: Timestamp) -> impl Iterator<Item = Attention> {
    let account = &listed.account;
    let presented = presented(listed, now).map(|at| {
        let text = "A retired key is still being used. The requests are refused. Last used";
        // The latest first.
        let ago = now.duration_since(at).as_secs();
        let when = When::of(at, now);
        attention(Why::Presented, listed, format!("{ago:020}"), text, Some(when))
    });
    let expires = account.next_key_expires_at.map(|at| When::of(at, now));
    let expiring = expires
        .filter(|at| at.is_soon)
        .map(|at| attention(Why::Expiring, listed, at.machine.clone(), "A key expires", Some(at)));
    let unused = (listed.unused_key_count > 0).then(|| {
        let text = format!("{} not used for 90 days.", live_keys(listed.unused_key_count));
        attention(Why::Unused, listed, account.name.clone(), text, None)
    });
    let disabled = (!account.enabled).then(|| {
        let text = match account.live_key_count {
            0 => "The account has no active keys.".to_owned(),
            keys => format!("{} refused.", live_keys(keys)),
        };
        attention(Why::Disabled, listed, account.name.clone(), text, None)
    });
    [presented, expiring, unused, disabled].into_iter().flatten()
}

fn attention(
    why: Why,
    listed: &ListedServiceAccount,
    order: String,
    text: impl Into<String>,
    when: Option<When>,
) -> Attention {
    let (account, name) = (listed.account.id, listed.account.name.clone());
    Attention { why, order, account, name, text: text.into(), when }
}

fn live_keys(number: usize) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX), "active key")
}
