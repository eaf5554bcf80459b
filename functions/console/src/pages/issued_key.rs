//! The one page that shows a key's secret, whichever form made the key, and what
//! there is instead when that form is sent again.
//!
//! The page is the answer to the form and no redirect, since the secret is kept
//! nowhere: sending the form again asks the API for the same attempt, which it
//! does not do twice and never shows again.

use askama::Template;
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};
use shared::api::{IssuedKey, Key, ReplacedKey};
use shared::domain::{AccountId, KeyId};

use crate::auth::session::Visit;
use crate::view::formatting::When;
use crate::view::layout::{Page, Shown};

/// A key that this one replaces.
struct Replaced {
    id: KeyId,
    ends: When,
    /// Whether it is refused already.
    is_over: bool,
}

#[derive(Template)]
#[template(path = "issued_key.html")]
struct Issued {
    page: Page,
    account: AccountId,
    key: Key,
    expires: When,
    secret: SecretString,
    api: String,
    replaces: Option<Replaced>,
}

/// Shows a key that was just made.
pub(super) fn show(
    visit: Visit,
    account: AccountId,
    issued: IssuedKey,
    replaces: Option<ReplacedKey>,
) -> Response {
    let now = visit.now();
    let replaces = replaces.map(|replaced| Replaced {
        ends: When::of(replaced.retires_at, now),
        is_over: replaced.retires_at <= now,
        id: replaced.id,
    });
    let page = Issued {
        page: visit.page(),
        account,
        expires: When::of(issued.key.expires_at, now),
        key: issued.key,
        secret: issued.secret,
        api: visit.console.api.base().to_owned(),
        replaces,
    };
    visit.show(Shown(page))
}
