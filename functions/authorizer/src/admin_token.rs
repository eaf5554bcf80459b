//! Admin users' access tokens, from an OpenID Connect issuer.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use shared::config::{ConfigError, Setup, variable};
use shared::domain::{Actor, Clock};

use crate::Reason;
use crate::jwks::{Jwks, JwksUnavailable};

/// The maximum number of seconds by which the issuer's clock can be ahead of ours.
const MAX_SKEW_SECONDS: i64 = 60;

/// The maximum age of a token, in seconds, even if its `exp` is later, because a token
/// cannot be revoked.
const MAX_LIFETIME_SECONDS: i64 = 3600;

/// The claims that name a token's client: `client_id` (RFC 9068, and Cognito),
/// `azp` (OpenID Connect Core, section 2) and `cid` (Okta).
const CLIENT_CLAIMS: [&str; 3] = ["client_id", "azp", "cid"];

/// The scope that lets the holder of a token change the user's own attributes,
/// password and MFA. Cognito adds it to every access token that does not come
/// from the code flow.
/// (<https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-define-resource-servers.html>)
const ADMIN_SCOPE: &str = "aws.cognito.signin.user.admin";

/// Checks admin users' tokens.
pub(crate) struct AdminTokens {
    jwks: Jwks,
    clock: Arc<dyn Clock>,
    issuer: String,
    groups_claim: String,
    admin_group: String,
    iam: Lane,
    api: Lane,
}

/// The tokens that one kind of API accepts.
struct Lane {
    /// The clients that these tokens are issued to.
    clients: Vec<String>,
    /// The audience of these tokens. `None` with Cognito, whose access tokens have no
    /// audience: there, only the client shows what a token is for.
    audience: Option<String>,
}

impl Lane {
    fn has_client(&self, client: &str) -> bool {
        self.clients.iter().any(|known| known == client)
    }

    /// Whether a token with this `aud` claim, a string or a list of strings, is
    /// for this audience (RFC 9068, section 4).
    fn has_audience(&self, aud: Option<&Value>) -> bool {
        let Some(audience) = &self.audience else {
            return true;
        };
        let is_ours = |one: &Value| one.as_str() == Some(audience);
        aud.is_some_and(|aud| is_ours(aud) || aud.as_array().is_some_and(|list| list.iter().any(is_ours)))
    }
}

/// What a token is for. API Gateway hands it to the backend, so a token that
/// can manage keys must not be one that a business backend ever sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenUse {
    /// Only the IAM API.
    Iam,
    /// Only business APIs.
    Api,
}

/// Why a token is not accepted.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// The token is not valid, for this reason.
    Refused(Reason),
    /// The issuer's keys are unavailable, so the token cannot be checked.
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
        let lane = |clients, audience| {
            let audience = Some(variables.text_or_empty(audience)?).filter(|audience| !audience.is_empty());
            Ok(Lane { clients: variables.list(clients)?, audience })
        };
        Ok(Self {
            jwks: Jwks::new(variables.text(variable::OIDC_JWKS_URI)?, Arc::clone(&setup.clock)),
            clock: Arc::clone(&setup.clock),
            issuer: variables.text(variable::OIDC_ISSUER)?,
            groups_claim: variables.text(variable::OIDC_GROUPS_CLAIM)?,
            admin_group: variables.text(variable::ADMIN_GROUP)?,
            iam: lane(variable::IAM_CLIENT_IDS, variable::OIDC_IAM_AUDIENCE)?,
            api: lane(variable::API_CLIENT_IDS, variable::OIDC_API_AUDIENCE)?,
        })
    }

    /// Checks `token`, and returns its user and what it is for.
    pub(crate) async fn check(&self, token: &str) -> Result<(Actor, TokenUse), TokenError> {
        let header = decode_header(token).map_err(|_| Reason::Malformed)?;
        // The algorithm is pinned, whatever the token names. No critical extension is
        // supported (RFC 7515, section 4.1.11).
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

    /// Checks the claims of a token whose signature is valid.
    fn judge(
        &self,
        claims: &Map<String, Value>,
        token_type: Option<&str>,
    ) -> Result<(Actor, TokenUse), Reason> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let now = self.clock.now().as_second();
        if text("iss") != Some(&self.issuer) {
            return Err(Reason::Unknown);
        }
        // An instant must be a number. A text with digits is not accepted.
        let instant =
            |name: &str| claims.get(name).map(|at| at.as_i64().ok_or(Reason::Malformed)).transpose();
        let expires_at = instant("exp")?.ok_or(Reason::Malformed)?;
        let issued_at = instant("iat")?.ok_or(Reason::Malformed)?;
        if now >= expires_at.min(issued_at.saturating_add(MAX_LIFETIME_SECONDS)) {
            return Err(Reason::Expired);
        }
        let latest = issued_at.max(instant("nbf")?.unwrap_or(issued_at));
        if latest > now.saturating_add(MAX_SKEW_SECONDS) {
            return Err(Reason::Malformed);
        }
        // Cognito names the kind of a token in `token_use`, RFC 9068 in the header's type.
        // An ID token is not an access token.
        let is_access_token = match claims.get("token_use") {
            Some(token_use) => token_use == "access",
            None => token_type.is_some_and(|kind| {
                kind.eq_ignore_ascii_case("at+jwt") || kind.eq_ignore_ascii_case("application/at+jwt")
            }),
        };
        if !is_access_token {
            return Err(Reason::Malformed);
        }
        let client = client(claims).ok_or(Reason::Unknown)?;
        let (token_use, lane) = match (self.iam.has_client(client), self.api.has_client(client)) {
            (true, false) => (TokenUse::Iam, &self.iam),
            (false, true) => (TokenUse::Api, &self.api),
            // With a client in both lists, the two uses would not be separate.
            (true, true) | (false, false) => return Err(Reason::Unknown),
        };
        if !lane.has_audience(claims.get("aud")) {
            return Err(Reason::Audience);
        }
        if token_use == TokenUse::Api && has_admin_scope(claims.get("scope")) {
            return Err(Reason::Scope);
        }
        let groups = claims.get(&self.groups_claim).and_then(Value::as_array);
        if !groups.is_some_and(|groups| groups.iter().any(|group| group == self.admin_group.as_str())) {
            return Err(Reason::Role);
        }
        let id = text("sub").filter(|sub| !sub.is_empty()).ok_or(Reason::Malformed)?;
        let name = ["email", "username"].iter().find_map(|name| text(name).filter(|name| !name.is_empty()));
        Ok((Actor { id: id.to_owned(), name: name.unwrap_or(id).to_owned() }, token_use))
    }
}

/// The client that a token was issued to. If several claims name it, they must
/// agree.
fn client(claims: &Map<String, Value>) -> Option<&str> {
    let mut named = CLIENT_CLAIMS.iter().filter_map(|name| claims.get(*name));
    let client = named.next()?.as_str()?;
    named.all(|other| other.as_str() == Some(client)).then_some(client)
}

/// Whether a `scope` claim, a space-separated string (RFC 8693, section 4.2) or
/// a list of strings, contains [`ADMIN_SCOPE`].
fn has_admin_scope(scope: Option<&Value>) -> bool {
    let is_among = |text: &str| text.split_ascii_whitespace().any(|word| word == ADMIN_SCOPE);
    scope.is_some_and(|scope| match scope {
        Value::String(text) => is_among(text),
        Value::Array(words) => words.iter().filter_map(Value::as_str).any(is_among),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    })
}

/// Makes the library check only the signature, with the pinned algorithm. The claims are
/// checked in this module, strictly and by our clock.
fn signature_alone() -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}
