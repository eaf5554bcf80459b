//! `GET /signed-out`: the page after signing out.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::app_state::AppState;
use crate::view::layout::{Page, Rendered};

pub(super) const PATH: &str = "/signed-out";

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOut {
    page: Page,
    provider: Option<String>,
}

/// Links to the issuer's own sign-out. This is a link and not a redirect, because the
/// Content-Security-Policy does not let a form lead to another site.
pub(super) async fn show(State(console): State<AppState>) -> Response {
    let here = format!("{}{PATH}", console.url.origin());
    // Without the issuer's metadata, the page has no link.
    let provider = console.provider.sign_out_url(&here).await.unwrap_or_default();
    Rendered(SignedOut { page: Page::new(&console, None, None), provider }).into_response()
}
