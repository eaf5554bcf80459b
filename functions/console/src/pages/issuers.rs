//! `GET /issuers`: the trusted issuers.

use askama::Template;
use shared::api::TrustedIssuer;
use shared::domain::Platform;

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::Page;
use crate::view::platform;

#[derive(Template)]
#[template(path = "issuers.html")]
struct Issuers {
    page: Page,
    /// In the order of their names.
    issuers: Vec<TrustedIssuer>,
}

pub(super) async fn show(session: Session) -> PageResult {
    let issuers = session.api().issuers().await?;
    let page = Issuers { page: session.page(), issuers };
    session.show(page)
}

/// Where the keys of an issuer come from.
pub(super) fn source(issuer: &TrustedIssuer) -> &'static str {
    if issuer.jwks.is_some() {
        "Inline JWK set"
    } else if issuer.jwks_uri.is_some() {
        "JWK set URL"
    } else {
        "Discovery"
    }
}
