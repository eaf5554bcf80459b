//! The page frame, and responses from templates.

use std::sync::LazyLock;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _};
use jiff::Timestamp;

use crate::app_state::AppState;
use crate::auth::session::{CookieName, Session, User};
use crate::error::{PageError, PageResult};
use crate::view::assets;
use crate::view::formatting::TimeText;
use crate::view::navigation::{self, Link};

/// The data of the frame around every page.
pub(crate) struct Page {
    pub(crate) environment: String,
    pub(crate) user: Option<User>,
    pub(crate) notice: Option<String>,
    pub(crate) now: Timestamp,
    /// The path of the request. Empty for a page without the navigation.
    path: String,
    pub(crate) has_shortcuts: bool,
    /// The version of the assets, which is in their addresses.
    pub(crate) assets: &'static str,
}

impl Page {
    pub(crate) fn new(console: &AppState, user: Option<User>, notice: Option<String>) -> Self {
        static ASSETS: LazyLock<String> = LazyLock::new(assets::version);
        let environment = console.environment.as_str().to_owned();
        let now = console.clock.now();
        Self { environment, user, notice, now, path: String::new(), has_shortcuts: false, assets: &ASSETS }
    }

    /// The instant `at`, relative to now.
    pub(crate) fn time(&self, at: &Timestamp) -> TimeText {
        TimeText::new(*at, self.now)
    }

    /// The links of the main navigation.
    pub(crate) fn navigation(&self) -> impl Iterator<Item = (Link, bool)> {
        navigation::links(&self.path)
    }

    /// The seconds until the session of `user` ends.
    pub(crate) fn seconds_left(&self, user: &User) -> i64 {
        user.signed_in_until.duration_since(self.now).as_secs()
    }

    /// The CSRF token for the forms on the page.
    pub(crate) fn csrf(&self) -> &str {
        self.user.as_ref().map_or("", |user| &user.csrf)
    }
}

impl Session {
    /// The frame of a page in this session.
    pub(crate) fn page(&self) -> Page {
        let page = Page::new(&self.console, Some(self.user.clone()), self.notice.clone());
        let has_shortcuts = self.cookies.get(CookieName::NoShortcuts).is_none();
        Page { path: self.path.clone(), has_shortcuts, ..page }
    }

    /// Responds with a page, which has shown the notice.
    pub(crate) fn show(self, template: impl Template) -> PageResult {
        let page = with_status(200, template)?;
        let cookies = match self.notice {
            Some(_) => self.cookies.remove(CookieName::Notice),
            None => self.cookies,
        };
        Ok(cookies.on(page))
    }
}

/// Responds with a page that has a status.
pub(crate) fn with_status(status: u16, template: impl Template) -> PageResult {
    let html = template.render().map_err(PageError::unavailable)?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Ok((status, Html(html)).into_response())
}
