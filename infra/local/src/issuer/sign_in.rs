//! The page on which a person signs in to the console, and the code that the
//! console then exchanges: authorization code with PKCE (RFC 7636), once, for
//! one client.

use std::collections::HashMap;
use std::sync::Mutex;

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
    ADMIN, CONSOLE_CLIENT, Granted, Issuer, TOKEN_LIFETIME_SECONDS, TokenRequest, Tokens, User, VISITOR,
};
use crate::account::{self, ADMIN_EMAIL};

/// How long a code waits to be exchanged, in seconds.
const CODE_SECONDS: i64 = 60;

/// Codes that were not exchanged yet.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<String, Code>>);

/// What a code stands for.
struct Code {
    user: &'static User,
    challenge: String,
    nonce: String,
    expires_at: i64,
}

/// What the console asks for.
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

/// What a person typed, beside it.
#[derive(Deserialize)]
pub(super) struct SignIn {
    #[serde(flatten)]
    request: AuthorizationRequest,
    email: String,
    password: String,
}

impl AuthorizationRequest {
    /// Whether it is the console that asks, for what this issuer does.
    fn is_acceptable(&self, issuer: &Issuer) -> bool {
        self.client_id == CONSOLE_CLIENT
            && self.redirect_uri == issuer.console.redirect_uri
            && self.response_type == "code"
            && self.code_challenge_method == "S256"
            && !self.code_challenge.is_empty()
    }
}

/// The page.
pub(super) async fn page(
    State(issuer): State<Issuer>,
    Query(request): Query<AuthorizationRequest>,
) -> Response {
    show(&issuer, &request, ADMIN_EMAIL, false)
}

/// Takes what was typed, and sends the browser back with a code.
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
    let stands_for = Code {
        user,
        challenge: request.code_challenge,
        nonce: request.nonce,
        expires_at: issuer.clock.now().as_second() + CODE_SECONDS,
    };
    if let Ok(mut codes) = issuer.console.codes.0.lock() {
        codes.insert(code, stands_for);
    }
    Redirect::to(&back).into_response()
}

/// Exchanges a code.
pub(super) fn by_code(issuer: &Issuer, headers: &HeaderMap, request: &TokenRequest) -> Granted {
    let console = &issuer.console;
    let basic = STANDARD.encode(format!("{CONSOLE_CLIENT}:{}", console.secret));
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if authorization.and_then(|value| value.strip_prefix("Basic ")) != Some(&basic) {
        return Err("invalid_client");
    }
    // Whatever is wrong with the request, the code is spent.
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
    let issue = |claims| issuer.issue(claims);
    Ok(issue(access).and_then(|access| issue(id).map(|id| Tokens::new(access, Some(id)))))
}

fn show(issuer: &Issuer, request: &AuthorizationRequest, email: &str, is_wrong: bool) -> Response {
    if !request.is_acceptable(issuer) {
        let text = "This page signs people in to the local console, and was asked for something else.";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let status = if is_wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let wrong = if is_wrong {
        "<p id=\"wrong\" role=\"alert\">That is not the password that the terminal shows.</p>"
    } else {
        ""
    };
    let described = if is_wrong { " aria-invalid=\"true\" aria-describedby=\"wrong\"" } else { "" };
    let hidden = [
        ("response_type", &request.response_type),
        ("client_id", &request.client_id),
        ("redirect_uri", &request.redirect_uri),
        ("code_challenge_method", &request.code_challenge_method),
        ("code_challenge", &request.code_challenge),
        ("state", &request.state),
        ("nonce", &request.nonce),
    ];
    let hidden = hidden.map(|(name, value)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", escape(value))
    });
    let page = include_str!("sign_in.html")
        .replace("{hidden}", &hidden.concat())
        .replace("{email}", &escape(email))
        .replace("{wrong}", wrong)
        .replace("{described}", described);
    let headers: [(HeaderName, &str); 2] =
        [(header::CACHE_CONTROL, "no-store"), (header::X_FRAME_OPTIONS, "DENY")];
    (status, headers, Html(page)).into_response()
}

/// Text as it stands in an attribute of HTML, and is none of the page's places.
fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('{', "&#123;")
}
