//! The page frame, and responses from templates.

use std::sync::LazyLock;

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::app_state::AppState;
use crate::auth::session::{Session, User};
use crate::error::PageError;
use crate::view::assets;

/// The data of the frame around every page.
pub(crate) struct Page {
    pub(crate) environment: String,
    pub(crate) user: Option<User>,
    pub(crate) notice: Option<String>,
    /// The version of the assets, which is in their addresses.
    pub(crate) assets: &'static str,
}

impl Page {
    pub(crate) fn new(console: &AppState, user: Option<User>, notice: Option<String>) -> Self {
        static ASSETS: LazyLock<String> = LazyLock::new(assets::version);
        Self { environment: console.environment.as_str().to_owned(), user, notice, assets: &ASSETS }
    }

    /// The CSRF token for the forms on the page.
    pub(crate) fn csrf(&self) -> &str {
        self.user.as_ref().map_or("", |user| &user.csrf)
    }
}

impl Session {
    /// The frame of a page in this session.
    pub(crate) fn page(&self) -> Page {
        Page::new(&self.console, Some(self.user.clone()), self.notice.clone())
    }
}

/// A response that renders a template.
pub(crate) struct Rendered<T>(pub(crate) T);

impl<T: Template> IntoResponse for Rendered<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => Html(html).into_response(),
            Err(error) => {
                PageError::Unavailable { request_id: None, cause: error.to_string() }.into_response()
            }
        }
    }
}

/// A template with a status.
pub(crate) fn with_status(status: u16, template: impl Template) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(header::CACHE_CONTROL, "no-store")], Rendered(template)).into_response()
}
