//! `GET /signed-in`: the page in the tab in which an admin signed in to continue in another tab.
//!
//! A session ends with its access token and cannot be extended. To keep a form that is open
//! in one tab, the admin signs in again in a second tab, which ends on this page. While the
//! identity provider's own session lasts, this takes no input.
//!
//! The CSRF token of the open form belongs to the earlier session. With scripts, each page
//! sends its CSRF token, its user and the end of the session to the other tabs of the same
//! origin (a `BroadcastChannel`). A page of the same user puts the token into its forms, so
//! that they can be sent, and this page closes its tab. Without scripts, the console asks the
//! admin to confirm the form of the earlier session ([`crate::error::PageError::StalePage`]).
//! In both cases, the input stays in the first tab and is stored nowhere else.

use askama::Template;

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::Page;

pub(crate) const PATH: &str = "/signed-in";

#[derive(Template)]
#[template(path = "signed_in.html")]
struct SignedIn {
    page: Page,
}

pub(super) async fn show(session: Session) -> PageResult {
    let page = session.page();
    session.show(SignedIn { page })
}
