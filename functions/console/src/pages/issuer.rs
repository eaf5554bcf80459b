//! `GET /issuers/{name}`: a trusted issuer.

use askama::Template;
use axum::extract::Path;
use shared::api::TrustedIssuer;
use shared::domain::IssuerName;

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::Page;
use crate::view::platform;

#[derive(Template)]
#[template(path = "issuer.html")]
struct IssuerPage {
    page: Page,
    issuer: TrustedIssuer,
    /// The JWK set that is registered for the issuer.
    jwks: Option<String>,
}

pub(super) async fn show(session: Session, Path(name): Path<IssuerName>) -> PageResult {
    let (issuer, _) = session.api().issuer_with_version(&name).await?;
    let jwks = jwks(&issuer);
    let page = IssuerPage { page: session.page(), issuer, jwks };
    session.show(page)
}

/// The JWK set of an issuer as text, on several lines.
pub(super) fn jwks(issuer: &TrustedIssuer) -> Option<String> {
    let set = issuer.jwks.as_ref()?;
    Some(serde_json::to_string_pretty(set).unwrap_or_default())
}
