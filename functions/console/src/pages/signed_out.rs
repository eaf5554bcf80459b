//! `GET /signed-out`: the page after signing out.

use askama::Template;
use axum::extract::State;

use crate::app_state::AppState;
use crate::error::PageResult;
use crate::view::layout::{Page, with_status};

pub(super) const PATH: &str = "/signed-out";

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOut {
    page: Page,
    provider: Option<String>,
}

/// Links to the issuer's own sign-out. This is a link and not a redirect, because the
/// Content-Security-Policy does not let a form lead to another site.
pub(super) async fn show(State(console): State<AppState>) -> PageResult {
    let here = format!("{}{PATH}", console.url.origin());
    // Without the issuer's metadata, the page has no link.
    let provider = console.provider.sign_out_url(&here).await.unwrap_or_default();
    with_status(200, SignedOut { page: Page::new(&console, None, None), provider })
}
