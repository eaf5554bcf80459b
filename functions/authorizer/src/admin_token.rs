//! Admin users' access tokens, from an OpenID Connect issuer.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use shared::config::{ConfigError, Setup, variable};
use shared::domain::{Actor, Clock};

use crate::Reason;
use crate::jwks::{Jwks, JwksUnavailable};

/// Seconds by which the issuer's clock may be ahead of ours.
const MAX_SKEW_SECONDS: i64 = 60;

/// Checks admin users' tokens.
pub(crate) struct AdminTokens {
    jwks: Jwks,
    clock: Arc<dyn Clock>,
    issuer: String,
    groups_claim: String,
    admin_group: String,
    iam_clients: Vec<String>,
    api_clients: Vec<String>,
}

/// What a token is for. API Gateway hands it to the backend, so a token that
/// can manage keys must not be one that a business backend ever sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The IAM API, and nothing else.
    Iam,
    /// Everything but the IAM API.
    Api,
}

/// Why a token is not good.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// It is not good, for this reason.
    Refused(Reason),
    /// We could not find out.
    Unavailable(JwksUnavailable),
}

impl From<Reason> for TokenError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl AdminTokens {
    pub(crate) fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let variables = &setup.variables;
        Ok(Self {
            jwks: Jwks::new(variables.text(variable::OIDC_JWKS_URI)?, Arc::clone(&setup.clock)),
            clock: Arc::clone(&setup.clock),
            issuer: variables.text(variable::OIDC_ISSUER)?,
            groups_claim: variables.text(variable::OIDC_GROUPS_CLAIM)?,
            admin_group: variables.text(variable::ADMIN_GROUP)?,
            iam_clients: variables.list(variable::IAM_CLIENT_IDS)?,
            api_clients: variables.list(variable::API_CLIENT_IDS)?,
        })
    }

    /// Who holds `token`, and what it is for.
    pub(crate) async fn check(&self, token: &str) -> Result<(Actor, Use), TokenError> {
        let header = decode_header(token).map_err(|_| Reason::Malformed)?;
        // Pinned: what the token says of its own algorithm does not count. Of
        // critical extensions we understand none (RFC 7515, section 4.1.11).
        if header.alg != Algorithm::RS256 || header.crit.is_some() {
            return Err(Reason::Malformed.into());
        }
        let key_id = header.kid.ok_or(Reason::Malformed)?;
        let key = self.jwks.find(&key_id).await.map_err(TokenError::Unavailable)?.ok_or(Reason::Unknown)?;
        let claims = decode::<Map<String, Value>>(token, &key, &signature_alone());
        let claims = claims.map_err(|error| {
            let is_forged = matches!(error.kind(), ErrorKind::InvalidSignature);
            if is_forged { Reason::WrongSecret } else { Reason::Malformed }
        })?;
        Ok(self.judge(&claims.claims, header.typ.as_deref())?)
    }

    /// Judges the claims of a token whose signature is good.
    fn judge(&self, claims: &Map<String, Value>, token_type: Option<&str>) -> Result<(Actor, Use), Reason> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let now = self.clock.now().as_second();
        if text("iss") != Some(&self.issuer) {
            return Err(Reason::Unknown);
        }
        // An instant is a number: a text that looks like one is not.
        let expires_at = claims.get("exp").and_then(Value::as_i64).ok_or(Reason::Malformed)?;
        if now >= expires_at {
            return Err(Reason::Expired);
        }
        for name in ["nbf", "iat"] {
            if let Some(at) = claims.get(name) {
                let at = at.as_i64().ok_or(Reason::Malformed)?;
                if at > now.saturating_add(MAX_SKEW_SECONDS) {
                    return Err(Reason::Malformed);
                }
            }
        }
        // Cognito says what a token is for in `token_use`; RFC 9068 says it in
        // the header's type. An ID token is no access token.
        let is_access_token = match claims.get("token_use") {
            Some(token_use) => token_use == "access",
            None => token_type.is_some_and(|kind| {
                kind.eq_ignore_ascii_case("at+jwt") || kind.eq_ignore_ascii_case("application/at+jwt")
            }),
        };
        if !is_access_token {
            return Err(Reason::Malformed);
        }
        let client = text("client_id").ok_or(Reason::Unknown)?;
        let is_of = |clients: &[String]| clients.iter().any(|known| known == client);
        let token_use = match (is_of(&self.iam_clients), is_of(&self.api_clients)) {
            (true, false) => Use::Iam,
            (false, true) => Use::Api,
            // A client in both lists would break what keeps them apart.
            (true, true) | (false, false) => return Err(Reason::Unknown),
        };
        let groups = claims.get(&self.groups_claim).and_then(Value::as_array);
        if !groups.is_some_and(|groups| groups.iter().any(|group| group == self.admin_group.as_str())) {
            return Err(Reason::Role);
        }
        let id = text("sub").filter(|sub| !sub.is_empty()).ok_or(Reason::Malformed)?;
        let name = ["email", "username"].iter().find_map(|name| text(name).filter(|name| !name.is_empty()));
        Ok((Actor { id: id.to_owned(), name: name.unwrap_or(id).to_owned() }, token_use))
    }
}

/// The library checks the signature, with the pinned algorithm. The claims are
/// judged here, strictly and by our clock.
fn signature_alone() -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}
