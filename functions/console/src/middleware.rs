//! What holds for every request: where forms may come from, what a browser may
//! do with a page, one line in the log, and a page for each error.

use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::domain::KEY_PREFIX;

use crate::auth::oidc::CALLBACK;
use crate::error::PageError;
use crate::pages::{self, leaked};
use crate::request_id::REQUEST_ID;
use crate::site::Site;

/// How long a page may take: the function has 29 s.
const DEADLINE: Duration = Duration::from_secs(27);

const ORIGIN: &str = "origin";
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// On every answer.
///
/// `Referrer-Policy` is `same-origin` and not `no-referrer`: under the latter a
/// browser sends `Origin: null` with a page's own forms (Fetch, "append a
/// request `Origin` header").
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

/// `router`, guarded.
pub(crate) fn around(router: Router<Site>, console: Site) -> Router {
    router
        .fallback(|| async { PageError::NoPage })
        .method_not_allowed_fallback(|| async { PageError::WrongMethod })
        .layer(middleware::from_fn_with_state(console.clone(), guard))
        .with_state(console)
}

async fn guard(State(console): State<Site>, request: Request, next: Next) -> Response {
    let mut random = [0; 12];
    let request_id = match console.entropy.fill(&mut random) {
        Ok(()) => URL_SAFE_NO_PAD.encode(random),
        Err(_) => "-".to_owned(),
    };
    let method = request.method().clone();
    // The page, and not the path or the query: the issuer's answer has a code in
    // it, and somebody may have pasted a key.
    let page = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let retry = match request.uri().path() {
        _ if method != Method::GET => None,
        // Its code is spent.
        CALLBACK => Some("/sign-in".to_owned()),
        path => Some(request.uri().path_and_query().map_or(path, PathAndQuery::as_str).to_owned()),
    };
    let has_leaked_key = method == Method::POST && request.uri().path() == leaked::PATH;
    // A key that somebody has pasted into a filter has no place in an address.
    let has_key = request.uri().query().is_some_and(|query| query.contains(KEY_PREFIX));
    let mut response = if method == Method::GET && has_key {
        Redirect::to("/leaked").into_response()
    } else if is_from_here(&method, request.headers(), console.url.origin()) {
        let late = |_| PageError::unavailable(format!("it took longer than {} s", DEADLINE.as_secs()));
        tokio::time::timeout(DEADLINE, REQUEST_ID.scope(request_id.clone(), next.run(request)))
            .await
            .unwrap_or_else(|elapsed| late(elapsed).into_response())
    } else {
        PageError::Forged.into_response()
    };
    // What axum says of a path or a query that cannot be one of the console's.
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if response.status() == StatusCode::BAD_REQUEST && is_text {
        response = PageError::NoPage.into_response();
    }
    let (mut reason, mut cause, mut is_ours) = ("shown", String::new(), false);
    if let Some(trouble) = response.extensions_mut().remove::<PageError>() {
        let said = trouble.reason();
        (reason, cause, is_ours) = (said.0, said.1.to_owned(), trouble.status().is_server_error());
        response = if has_leaked_key {
            leaked::instead_of(&trouble).into_response()
        } else {
            pages::error::page(trouble, &console, &request_id, retry)
        };
    }
    let status = response.status().as_u16();
    let method = method.as_str();
    if is_ours || status >= 500 {
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
    // An asset says for itself how long it may be kept.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a request that may change something comes from a page of `origin`:
/// by `Origin`, which every browser sends with a form, else by
/// `Sec-Fetch-Site`. One that says neither does not.
fn is_from_here(method: &Method, headers: &HeaderMap, origin: &str) -> bool {
    if *method == Method::GET || *method == Method::HEAD {
        return true;
    }
    match headers.get(ORIGIN) {
        Some(value) => value == origin,
        None => headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin"),
    }
}
