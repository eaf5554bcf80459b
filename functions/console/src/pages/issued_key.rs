//! The only page that shows a key's secret, after a key is issued or rotated.
//!
//! The page is the direct response to the form, because the secret is not stored anywhere.
//! If the form is sent again, the API recognizes the attempt, and
//! [`issued_before`](super::issued_before) is shown.

use askama::Template;
use secrecy::{ExposeSecret as _, SecretString};
use shared::api::{IssuedKey, Key, ReplacedKey};
use shared::domain::{AccountId, KeyId};

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::TimeText;
use crate::view::layout::Page;

/// The key that the new key replaces.
struct Replaced {
    id: KeyId,
    ends: TimeText,
    /// Whether the replaced key no longer works.
    is_over: bool,
}

#[derive(Template)]
#[template(path = "issued_key.html")]
struct Issued {
    page: Page,
    account: AccountId,
    key: Key,
    expires: TimeText,
    secret: SecretString,
    api: String,
    replaces: Option<Replaced>,
}

/// Shows a new key.
pub(super) fn show(
    session: Session,
    account: AccountId,
    issued: IssuedKey,
    replaces: Option<ReplacedKey>,
) -> PageResult {
    let now = session.now();
    let replaces = replaces.map(|replaced| Replaced {
        ends: TimeText::new(replaced.retires_at, now),
        is_over: replaced.retires_at <= now,
        id: replaced.id,
    });
    let page = Issued {
        page: session.page(),
        account,
        expires: TimeText::new(issued.key.expires_at, now),
        key: issued.key,
        secret: issued.secret,
        api: session.console.api.base().to_owned(),
        replaces,
    };
    session.show(page)
}
