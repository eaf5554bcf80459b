//! The only page that shows a key's secret, after a key is issued or rotated.
//!
//! The page is the direct response to the form, because the secret is not stored anywhere.
//! If the form is sent again, the API recognizes the attempt, and
//! [`issued_before`](super::issued_before) is shown.

use askama::Template;
use secrecy::{ExposeSecret as _, SecretString};
use shared::api::{IssuedKey, Key, ReplacedKey};
use shared::domain::AccountId;

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::Page;
use crate::view::snippets::{self, Tab, VARIABLE};

#[derive(Template)]
#[template(path = "issued_key.html")]
struct Issued {
    page: Page,
    account: AccountId,
    key: Key,
    secret: SecretString,
    tabs: Vec<Tab>,
    replaces: Option<ReplacedKey>,
}

/// Shows a new key.
pub(super) fn show(
    session: Session,
    account: AccountId,
    issued: IssuedKey,
    replaces: Option<ReplacedKey>,
) -> PageResult {
    let IssuedKey { key, secret, .. } = issued;
    let tabs = snippets::tabs(&session.console.api.base);
    let page = Issued { page: session.page(), account, key, secret, tabs, replaces };
    session.show(page)
}
