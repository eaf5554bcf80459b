//! An OpenID Connect issuer with one admin.
//!
//! It signs access tokens in the form that Cognito gives them, for two clients:
//! one for the IAM API and one for every other API. A fresh token can be had
//! with the admin's password (RFC 6749, section 4.3).

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::domain::Clock;

use crate::StartError;
use crate::account::ADMIN_EMAIL;

/// The client whose tokens are for the IAM API alone.
pub const IAM_CLIENT: &str = "keyward-console";
/// The client whose tokens are for every other API.
pub const API_CLIENT: &str = "keyward-api";
/// The group of admin users.
pub const ADMIN_GROUP: &str = "keyward-admins";
/// The claim that lists groups.
pub const GROUPS_CLAIM: &str = "cognito:groups";
/// The admin's `sub`.
pub const ADMIN_SUB: &str = "5c9d3b1e-7f42-4a86-9b0d-2e6f8a1c4d70";

const KEY_ID: &str = "local-1";
/// How long a token counts, in seconds.
pub const TOKEN_LIFETIME_SECONDS: i64 = 3600;

/// The issuer's key.
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// A new one.
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

    /// The public key as a set (RFC 7517).
    #[must_use]
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
}

impl Issuer {
    /// The issuer at `url` whose admin has `password`.
    #[must_use]
    pub fn new(url: String, key: Arc<SigningKey>, clock: Arc<dyn Clock>, password: String) -> Self {
        Self { url, key, clock, password }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its public keys are.
    #[must_use]
    pub fn jwks_uri(&self) -> String {
        format!("{}/.well-known/jwks.json", self.url)
    }

    /// The header of its tokens.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({ "alg": "RS256", "kid": KEY_ID })
    }

    /// The claims of a token of the admin for `client`, from now on.
    #[must_use]
    pub fn claims(&self, client: &str) -> Value {
        let now = self.clock.now().as_second();
        json!({
            "iss": self.url,
            "sub": ADMIN_SUB,
            "username": ADMIN_EMAIL,
            "email": ADMIN_EMAIL,
            "client_id": client,
            "token_use": "access",
            "scope": "openid",
            GROUPS_CLAIM: [ADMIN_GROUP],
            "iat": now,
            "exp": now + TOKEN_LIFETIME_SECONDS,
        })
    }

    /// A token of the admin for `client`.
    ///
    /// # Errors
    /// When the signature fails.
    pub fn token(&self, client: &str) -> Result<String, StartError> {
        self.key.sign(&self.header(), &self.claims(client))
    }

    /// The issuer's endpoints.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route(
                "/.well-known/jwks.json",
                get(|State(issuer): State<Self>| async move { Json(issuer.key.jwks()) }),
            )
            .route("/token", post(token))
            .with_state(self)
    }
}

async fn configuration(State(issuer): State<Issuer>) -> Json<Value> {
    Json(json!({
        "issuer": issuer.url,
        "jwks_uri": issuer.jwks_uri(),
        "token_endpoint": format!("{}/token", issuer.url),
        "grant_types_supported": ["password"],
        "token_endpoint_auth_methods_supported": ["none"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
    }))
}

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    client_id: String,
    username: String,
    password: String,
}

async fn token(State(issuer): State<Issuer>, Form(request): Form<TokenRequest>) -> Response {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    if request.grant_type != "password" {
        return refuse("unsupported_grant_type");
    }
    if ![IAM_CLIENT, API_CLIENT].contains(&request.client_id.as_str()) {
        return refuse("invalid_client");
    }
    if request.username != ADMIN_EMAIL || request.password != issuer.password {
        return refuse("invalid_grant");
    }
    match issuer.token(&request.client_id) {
        Ok(token) => {
            let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME_SECONDS });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
