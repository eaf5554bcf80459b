//! `GET /shortcuts`, `POST /shortcuts`: lists the keyboard shortcuts, and turns them on and off.
//!
//! Shortcuts that consist of single characters must be possible to turn off, because speech
//! input can type them by mistake (WCAG 2.1, success criterion 2.1.4).

use askama::Template;
use serde::Deserialize;

use crate::auth::session::{CookieName, Posted, Session};
use crate::error::PageResult;
use crate::view::layout::Page;
use crate::view::navigation;

pub(super) const PATH: &str = "/shortcuts";

/// The lifetime of the setting, in seconds: a year.
const SETTING_SECONDS: i64 = 365 * 86_400;

#[derive(Template)]
#[template(path = "shortcuts.html")]
struct Shortcuts {
    page: Page,
}

#[derive(Deserialize)]
pub(super) struct Form {
    enabled: bool,
}

pub(super) async fn show(session: Session) -> PageResult {
    let page = session.page();
    session.show(Shortcuts { page })
}

pub(super) async fn submit(Posted(mut session, form): Posted<Form>) -> PageResult {
    let notice = if form.enabled {
        session.cookies = session.cookies.remove(CookieName::NoShortcuts);
        "Keyboard shortcuts are on."
    } else {
        session.cookies = session.cookies.set(CookieName::NoShortcuts, "true", SETTING_SECONDS);
        "Keyboard shortcuts are off in this browser."
    };
    session.redirect(PATH, notice)
}
