//! `GET /signed-out`: says that the session has ended.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::site::Site;
use crate::view::layout::{Page, Shown};

pub(super) const PATH: &str = "/signed-out";

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOut {
    page: Page,
    provider: Option<String>,
}

/// Says that it has ended, and how to end the one at the issuer. That is a link
/// and no redirect: a form of the console may not lead to another site.
pub(super) async fn show(State(console): State<Site>) -> Response {
    let here = format!("{}{PATH}", console.url.origin());
    // Without an answer there is just no such link.
    let provider = console.provider.sign_out_url(&here).await.unwrap_or_default();
    Shown(SignedOut { page: Page::new(&console, None, None), provider }).into_response()
}
