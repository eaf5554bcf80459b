//! `GET /iam/v1/authorize`: says that there is no sign-in page.

use http::StatusCode;
use shared::http::Reply;

const NO_SIGN_IN: &str = "There is no sign-in page here. Use client credentials at the token endpoint: the service \
                          account's id is the client_id, and the key is the client_secret. Or send the key itself as \
                          a Bearer token.\n";

/// Refuse an authorization request
///
/// Always returns 400. The metadata of the token endpoint names this operation only because
/// some OAuth clients refuse metadata without an authorization endpoint.
#[utoipa::path(
    get,
    path = "/iam/v1/authorize",
    operation_id = "authorize",
    tag = "Tokens",
    security(()),
    responses((
        status = 400,
        description = "There is no sign-in page. The text says what to use instead.",
        body = String,
        content_type = "text/plain",
    ))
)]
pub fn authorize() -> Reply {
    Reply::text(StatusCode::BAD_REQUEST, NO_SIGN_IN)
}
