//! Middleware for every request, in three layers:
//!
//! - [`check`], the inner layer, checks the origin of a form and enforces the deadline.
//! - [`leaked::redirect_errors`] applies only to the routes whose forms contain a secret.
//! - [`finish`], the outer layer, renders error pages, sets response headers and
//!   writes the log line.

use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use shared::domain::{KEY_PREFIX, TOKEN_PREFIX};

use crate::app_state::AppState;
use crate::auth::oidc::CALLBACK;
use crate::error::PageError;
use crate::pages::{self, leaked};
use crate::request_id::REQUEST_ID;

/// The time limit of a page. The function's own timeout is 29 s.
const DEADLINE: Duration = Duration::from_secs(27);

const ORIGIN: &str = "origin";
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Headers of every response.
///
/// `Referrer-Policy` is `same-origin` and not `no-referrer`, because with
/// `no-referrer` a browser sends `Origin: null` with a page's own forms (Fetch,
/// "append a request `Origin` header").
const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=()"),
    (header::X_DNS_PREFETCH_CONTROL, "off"),
];
const HSTS: &str = "max-age=63072000";

/// All routes with their middleware.
pub(crate) fn router(console: AppState) -> Router {
    let check = from_fn_with_state(console.clone(), check);
    let secret_forms = pages::secret_forms()
        .method_not_allowed_fallback(|| async { PageError::WrongMethod })
        .layer(check.clone())
        .layer(from_fn(leaked::redirect_errors));
    pages::router()
        .fallback(|| async { PageError::PageNotFound })
        .method_not_allowed_fallback(|| async { PageError::WrongMethod })
        .layer(check)
        .merge(secret_forms)
        .layer(from_fn_with_state(console.clone(), finish))
        .with_state(console)
}

/// Refuses a form from another origin, and replaces a response that misses the deadline.
async fn check(State(console): State<AppState>, request: Request, next: Next) -> Response {
    // A key or token that was pasted into a filter must not stay in the address.
    let has_credential = |query: &str| query.contains(KEY_PREFIX) || query.contains(TOKEN_PREFIX);
    if request.method() == Method::GET && request.uri().query().is_some_and(has_credential) {
        return Redirect::to(leaked::PATH).into_response();
    }
    if !is_same_origin(request.method(), request.headers(), console.url.origin()) {
        return PageError::Forged.into_response();
    }
    let Ok(response) = tokio::time::timeout(DEADLINE, next.run(request)).await else {
        let cause = format!("the page took longer than {} s", DEADLINE.as_secs());
        return PageError::unavailable(cause).into_response();
    };
    // axum's own response to a path or query that cannot be parsed.
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_text = content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if response.status() == StatusCode::BAD_REQUEST && is_text {
        return PageError::PageNotFound.into_response();
    }
    response
}

/// Renders the page of a [`PageError`], sets the headers of every response and logs
/// one line.
async fn finish(State(console): State<AppState>, request: Request, next: Next) -> Response {
    let request_id = console.random_text::<12>().unwrap_or_else(|_| "-".to_owned());
    let method = request.method().clone();
    // The route, not the path or the query: the query of the callback contains an
    // authorization code, and a pasted address can contain a key.
    let page = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let retry = match request.uri().path() {
        _ if method != Method::GET => None,
        // An authorization code works only once.
        CALLBACK => Some("/sign-in".to_owned()),
        path => Some(request.uri().path_and_query().map_or(path, PathAndQuery::as_str).to_owned()),
    };
    let mut response = REQUEST_ID.scope(request_id.clone(), next.run(request)).await;
    let error = response.extensions_mut().remove::<PageError>();
    let (error_status, reason, cause) =
        error.as_ref().map_or((StatusCode::OK, "shown", ""), PageError::summary);
    // `redirect_errors` replaces the error page with a redirect, and keeps the error for this
    // log line.
    if let Some(error) = &error
        && !response.headers().contains_key(header::LOCATION)
    {
        response = pages::error::page(error.clone(), &console, request_id.clone(), retry);
    }
    let is_server_error = error_status.is_server_error() || response.status().is_server_error();
    let status = response.status().as_u16();
    let method = method.as_str();
    if is_server_error {
        tracing::error!(request_id, method, page, status, reason, cause, "answered");
    } else {
        tracing::info!(request_id, method, page, status, reason, cause, "answered");
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if console.url.is_secure() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    // Assets set their own cache lifetime.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a request that can change something comes from a page of `origin`. The
/// `Origin` header decides. Every browser sends it with a form. Without `Origin`, the
/// `Sec-Fetch-Site` header decides. A request with neither header is refused.
fn is_same_origin(method: &Method, headers: &HeaderMap, origin: &str) -> bool {
    if *method == Method::GET || *method == Method::HEAD {
        return true;
    }
    match headers.get(ORIGIN) {
        Some(value) => value == origin,
        None => headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin"),
    }
}
