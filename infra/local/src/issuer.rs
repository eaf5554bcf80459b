//! An OpenID Connect issuer with two users: an admin, and a visitor without access.
//!
//! The issuer signs access tokens like Cognito's for three clients: one for the IAM API,
//! one for business APIs, and the console. The first two exchange the admin's password
//! for a token (RFC 6749, section 4.3). The console uses a sign-in page ([`sign_in`]).
//!
//! The issuer also signs JWTs for a CI job ([`workload`]).

mod sign_in;
mod workload;

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::domain::{Clock, OsEntropy};

use crate::StartError;
use crate::account::{self, ADMIN_EMAIL};

/// The client whose tokens are for the IAM API only.
pub const IAM_CLIENT: &str = "keyward-iam";
/// The client whose tokens are for business APIs.
pub const API_CLIENT: &str = "keyward-api";
/// The console, whose tokens are for the IAM API only.
pub const CONSOLE_CLIENT: &str = "keyward-console";
/// A user who is not an admin, with the admin's password. Use it to see what the
/// console shows users without access.
pub const VISITOR_EMAIL: &str = "visitor@keyward.local";
/// The group of admin users.
pub const ADMIN_GROUP: &str = "keyward-admins";
/// The claim that lists groups.
pub const GROUPS_CLAIM: &str = "cognito:groups";
/// The admin's `sub`.
pub const ADMIN_SUB: &str = "5c9d3b1e-7f42-4a86-9b0d-2e6f8a1c4d70";

const KEY_ID: &str = "local-1";
/// The lifetime of a token, in seconds.
pub const TOKEN_LIFETIME_SECONDS: i64 = 3600;

/// A user who can sign in.
struct User {
    sub: &'static str,
    email: &'static str,
    groups: &'static [&'static str],
}

const ADMIN: User = User { sub: ADMIN_SUB, email: ADMIN_EMAIL, groups: &[ADMIN_GROUP] };
const VISITOR: User = User { sub: "0b7f4a52-3d1c-4e69-8a57-91c2d4e6f803", email: VISITOR_EMAIL, groups: &[] };

/// The issuer's key.
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// Generates a key.
    ///
    /// # Errors
    /// When the key cannot be generated.
    pub fn generate() -> Result<Self, StartError> {
        KeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| StartError::Issuer)
    }

    /// Signs a token with this header and these claims (RS256).
    ///
    /// # Errors
    /// When the signature fails.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, StartError> {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| StartError::Issuer)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public key as a JWK set (RFC 7517).
    pub fn jwks(&self) -> Value {
        let public = self.0.public_key();
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        }] })
    }
}

/// The issuer.
#[derive(Clone)]
pub struct Issuer {
    url: String,
    key: Arc<SigningKey>,
    clock: Arc<dyn Clock>,
    password: String,
    /// The credential with which the CI job asks for its JWT.
    workload_bearer: String,
    console: Arc<ConsoleClient>,
}

/// The console as a client of the issuer.
pub(crate) struct ConsoleClient {
    /// The client secret.
    secret: String,
    /// The only redirect URI.
    redirect_uri: String,
    codes: sign_in::Codes,
}

impl ConsoleClient {
    /// The console at the origin `url`.
    pub(crate) fn new(url: &str, secret: String) -> Self {
        Self { secret, redirect_uri: format!("{url}/callback"), codes: sign_in::Codes::default() }
    }
}

impl Issuer {
    /// The issuer at `url` whose admin has `password`, and whose CI job has
    /// `workload_bearer`.
    pub(crate) fn new(
        url: String,
        key: Arc<SigningKey>,
        clock: Arc<dyn Clock>,
        password: String,
        workload_bearer: String,
        console: ConsoleClient,
    ) -> Self {
        Self { url, key, clock, password, workload_bearer, console: Arc::new(console) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the issuer's public keys.
    pub fn jwks_uri(&self) -> String {
        format!("{}/.well-known/jwks.json", self.url)
    }

    /// The URL at which the CI job asks for its JWT. A job adds `&audience=` and a value.
    pub fn workload_token_url(&self) -> String {
        format!("{}{}?api-version=2.0", self.url, workload::PATH)
    }

    /// The credential with which the CI job asks for its JWT.
    pub fn workload_bearer(&self) -> &str {
        &self.workload_bearer
    }

    /// The header of the issuer's tokens.
    pub fn header(&self) -> Value {
        json!({ "alg": "RS256", "kid": KEY_ID })
    }

    /// The claims of the admin's token for `client`, issued now.
    pub fn claims(&self, client: &str) -> Value {
        self.user_claims(&ADMIN, client)
    }

    fn user_claims(&self, user: &User, client: &str) -> Value {
        let now = self.clock.now().as_second();
        json!({
            "iss": self.url,
            "sub": user.sub,
            "username": user.email,
            "email": user.email,
            "client_id": client,
            "token_use": "access",
            "scope": "openid",
            GROUPS_CLAIM: user.groups,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_SECONDS,
        })
    }

    /// The admin's token for `client`.
    ///
    /// # Errors
    /// When the signature fails.
    pub fn token(&self, client: &str) -> Result<String, StartError> {
        self.issue(&self.header(), self.claims(client))
    }

    /// Signs a token with this header, these claims and a unique id (`jti`: RFC 7519,
    /// section 4.1.7).
    fn issue(&self, header: &Value, mut claims: Value) -> Result<String, StartError> {
        let id = account::text(&OsEntropy, 26)?;
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("jti".to_owned(), id.into());
        }
        self.key.sign(header, &claims)
    }

    /// The issuer's endpoints.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route(
                "/.well-known/jwks.json",
                get(|State(issuer): State<Self>| async move { Json(issuer.key.jwks()) }),
            )
            .route("/authorize", get(sign_in::page).post(sign_in::submit))
            .route("/token", post(token))
            .route(workload::PATH, get(workload::token))
            .with_state(self)
    }
}

async fn configuration(State(issuer): State<Issuer>) -> Json<Value> {
    Json(json!({
        "issuer": issuer.url,
        "jwks_uri": issuer.jwks_uri(),
        "authorization_endpoint": format!("{}/authorize", issuer.url),
        "token_endpoint": format!("{}/token", issuer.url),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "password"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
    }))
}

/// A token request, with the parameters of all grants.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenRequest {
    grant_type: String,
    client_id: String,
    username: String,
    password: String,
    code: String,
    code_verifier: String,
    redirect_uri: String,
}

async fn token(
    State(issuer): State<Issuer>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Response {
    let granted = match request.grant_type.as_str() {
        "password" => by_password(&issuer, &request),
        "authorization_code" => sign_in::by_code(&issuer, &headers, &request),
        _ => Err("unsupported_grant_type"),
    };
    match granted {
        Ok(tokens) => ([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response(),
        Err(SERVER_ERROR) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

/// A successful token response (RFC 6749, section 5.1).
#[derive(Serialize)]
struct Tokens {
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    token_type: &'static str,
    expires_in: i64,
}

impl Tokens {
    fn new(access_token: String, id_token: Option<String>) -> Self {
        Self { access_token, id_token, token_type: "Bearer", expires_in: TOKEN_LIFETIME_SECONDS }
    }
}

/// The error of a request that failed inside the issuer. All other errors have the
/// names of RFC 6749, section 5.2.
const SERVER_ERROR: &str = "server_error";

fn by_password(issuer: &Issuer, request: &TokenRequest) -> Result<Tokens, &'static str> {
    if ![IAM_CLIENT, API_CLIENT].contains(&request.client_id.as_str()) {
        return Err("invalid_client");
    }
    if request.username != ADMIN_EMAIL || request.password != issuer.password {
        return Err("invalid_grant");
    }
    let token = issuer.token(&request.client_id).map_err(|_| SERVER_ERROR)?;
    Ok(Tokens::new(token, None))
}
