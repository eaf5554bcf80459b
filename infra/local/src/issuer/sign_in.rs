//! The sign-in page of the local console, and the single-use authorization codes
//! that the console exchanges for tokens, with PKCE (RFC 7636).

use std::collections::HashMap;
use std::sync::Mutex;

use askama::Template;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared::domain::OsEntropy;

use super::{
    ADMIN, CONSOLE_CLIENT, Issuer, SERVER_ERROR, TOKEN_LIFETIME_SECONDS, TokenRequest, Tokens, User, VISITOR,
};
use crate::account::{self, ADMIN_EMAIL};

/// The lifetime of a code, in seconds.
const CODE_SECONDS: i64 = 60;

/// Codes that have not been exchanged.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<String, Code>>);

/// The sign-in that a code represents.
struct Code {
    user: &'static User,
    challenge: String,
    nonce: String,
    expires_at: i64,
}

/// The console's authorization request (RFC 6749, section 4.1.1).
#[derive(Deserialize)]
pub(super) struct AuthorizationRequest {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    code_challenge_method: String,
    code_challenge: String,
    state: String,
    nonce: String,
}

/// The submitted form: the authorization request, and the user's credentials.
#[derive(Deserialize)]
pub(super) struct SignIn {
    #[serde(flatten)]
    request: AuthorizationRequest,
    email: String,
    password: String,
}

impl AuthorizationRequest {
    /// Whether the console sent the request, and this issuer supports it.
    fn is_acceptable(&self, issuer: &Issuer) -> bool {
        self.client_id == CONSOLE_CLIENT
            && self.redirect_uri == issuer.console.redirect_uri
            && self.response_type == "code"
            && self.code_challenge_method == "S256"
            && !self.code_challenge.is_empty()
    }
}

/// Shows the page.
pub(super) async fn page(
    State(issuer): State<Issuer>,
    Query(request): Query<AuthorizationRequest>,
) -> Response {
    show(&issuer, &request, ADMIN_EMAIL, false)
}

/// Checks the credentials, and redirects the browser to the console with a code.
pub(super) async fn submit(State(issuer): State<Issuer>, Form(form): Form<SignIn>) -> Response {
    let SignIn { request, email, password } = form;
    let user = [&ADMIN, &VISITOR].into_iter().find(|user| user.email == email);
    let user = user.filter(|_| password.trim() == issuer.password && request.is_acceptable(&issuer));
    let Some(user) = user else {
        return show(&issuer, &request, &email, true);
    };
    let Ok(code) = account::text(&OsEntropy, 40) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let back = format!("{}?code={code}&state={}", request.redirect_uri, encode(&request.state));
    let sign_in = Code {
        user,
        challenge: request.code_challenge,
        nonce: request.nonce,
        expires_at: issuer.clock.now().as_second() + CODE_SECONDS,
    };
    if let Ok(mut codes) = issuer.console.codes.0.lock() {
        codes.insert(code, sign_in);
    }
    Redirect::to(&back).into_response()
}

/// Exchanges a code for tokens.
pub(super) fn by_code(
    issuer: &Issuer,
    headers: &HeaderMap,
    request: &TokenRequest,
) -> Result<Tokens, &'static str> {
    let console = &issuer.console;
    let basic = STANDARD.encode(format!("{CONSOLE_CLIENT}:{}", console.secret));
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if authorization.and_then(|value| value.strip_prefix("Basic ")) != Some(&basic) {
        return Err("invalid_client");
    }
    // A code can be used once, even in a request that is refused.
    let code = console.codes.0.lock().ok().and_then(|mut codes| codes.remove(&request.code));
    let code = code.ok_or("invalid_grant")?;
    let now = issuer.clock.now().as_second();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(request.code_verifier.as_bytes()));
    if now >= code.expires_at || challenge != code.challenge || request.redirect_uri != console.redirect_uri {
        return Err("invalid_grant");
    }
    let access = issuer.user_claims(code.user, CONSOLE_CLIENT);
    let id = json!({
        "iss": issuer.url,
        "sub": code.user.sub,
        "aud": CONSOLE_CLIENT,
        "token_use": "id",
        "nonce": code.nonce,
        "iat": now,
        "exp": now + TOKEN_LIFETIME_SECONDS,
    });
    let issue = |claims| issuer.issue(&issuer.header(), claims).map_err(|_| SERVER_ERROR);
    Ok(Tokens::new(issue(access)?, Some(issue(id)?)))
}

/// The sign-in page.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page<'a> {
    hidden: [(&'static str, &'a str); 7],
    email: &'a str,
    is_wrong: bool,
}

fn show(issuer: &Issuer, request: &AuthorizationRequest, email: &str, is_wrong: bool) -> Response {
    if !request.is_acceptable(issuer) {
        let text = "This page only signs people in to the local console. Open the console to sign in.";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let status = if is_wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let hidden = [
        ("response_type", &*request.response_type),
        ("client_id", &request.client_id),
        ("redirect_uri", &request.redirect_uri),
        ("code_challenge_method", &request.code_challenge_method),
        ("code_challenge", &request.code_challenge),
        ("state", &request.state),
        ("nonce", &request.nonce),
    ];
    let Ok(page) = (Page { hidden, email, is_wrong }).render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers: [(HeaderName, &str); 2] =
        [(header::CACHE_CONTROL, "no-store"), (header::X_FRAME_OPTIONS, "DENY")];
    (status, headers, Html(page)).into_response()
}
