//! The response to a form that already issued its key. A key is shown only once.

use askama::Template;
use shared::domain::AccountId;

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::{Page, with_status};

#[derive(Template)]
#[template(path = "issued_before.html")]
struct IssuedBefore {
    page: Page,
    account: AccountId,
}

pub(super) fn show(session: &Session, account: AccountId) -> PageResult {
    with_status(409, IssuedBefore { page: session.page(), account })
}
