//! Signing in through OpenID Connect: authorization code with PKCE, state and
//! nonce (RFC 9700, section 2.1).
//!
//! `openidconnect` 4.1 is not used: it wraps the same `oauth2`, and adds a second
//! cryptography stack (`rsa`, `p256`, `p384`, `ed25519-dalek`) beside aws-lc.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::url::Url;
use oauth2::{
    AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, StandardRevocableToken,
    StandardTokenResponse, TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::config::{ConfigError, Setup, variable};
use shared::domain::{Clock, Entropy, EntropyError};
use shared::http_client::HttpClient;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::auth::token::AccessToken;
use crate::console_url::ConsoleUrl;

/// The path that the issuer redirects the browser to.
pub(crate) const CALLBACK: &str = "/callback";

/// How long the issuer's configuration is cached. Issuers rarely change an endpoint, and
/// then keep the old one working for a while.
const CONFIGURATION_LIFETIME: Duration = Duration::from_mins(15);
/// How long a failure to fetch the configuration is cached, so that callers do not wait for
/// a hanging issuer one after another.
const FAILURE_LIFETIME: Duration = Duration::from_secs(2);

/// Why a sign-in failed, for the log. The message contains no credential.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// The issuer did not respond, or its response is malformed.
    #[error("the issuer: {0}")]
    Issuer(String),
    /// The issuer's response does not belong to this attempt.
    #[error("{0}")]
    Refused(&'static str),
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// A sign-in in progress. A cookie stores it until the issuer redirects the browser to
/// [`CALLBACK`].
#[derive(Deserialize, Serialize)]
pub(crate) struct Attempt {
    pub(crate) state: Zeroizing<String>,
    nonce: Zeroizing<String>,
    verifier: Zeroizing<String>,
    /// The path to open after the sign-in.
    pub(crate) return_to: String,
}

/// The OpenID Connect issuer and this console's client of it.
pub(crate) struct Provider {
    issuer: String,
    client_id: String,
    redirect_uri: String,
    /// The audience to request for the access token. Can be empty.
    audience: String,
    configuration: Mutex<Option<Fetched>>,
    http_client: HttpClient,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// The last attempt to fetch the issuer's configuration.
struct Fetched {
    at: Timestamp,
    result: Result<Arc<Configuration>, SignInError>,
}

impl Fetched {
    fn is_fresh(&self, now: Timestamp) -> bool {
        let lifetime = if self.result.is_ok() { CONFIGURATION_LIFETIME } else { FAILURE_LIFETIME };
        now.duration_since(self.at).unsigned_abs() < lifetime
    }
}

/// The issuer's metadata (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    authorization_endpoint: AuthUrl,
    token_endpoint: TokenUrl,
    jwks_uri: String,
    end_session_endpoint: Option<AuthUrl>,
}

#[derive(Debug, Deserialize, Serialize)]
struct WithIdToken {
    // The library requires `Serialize`. The response is never serialized.
    #[serde(skip_serializing)]
    id_token: Option<SecretString>,
}

impl ExtraTokenFields for WithIdToken {}

type OidcClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<WithIdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// The claims of an ID token that are checked besides its issuer and audience.
#[derive(Deserialize)]
struct IdClaims {
    exp: i64,
    nonce: Zeroizing<String>,
}

impl Provider {
    pub(crate) fn new(setup: &Setup, url: &ConsoleUrl, http_client: HttpClient) -> Result<Self, ConfigError> {
        Ok(Self {
            issuer: setup.variables.text(variable::OIDC_ISSUER)?,
            client_id: setup.variables.text(variable::CONSOLE_CLIENT_ID)?,
            redirect_uri: format!("{}{CALLBACK}", url.origin()),
            audience: setup.variables.text_or_empty(variable::CONSOLE_AUDIENCE)?,
            configuration: Mutex::default(),
            http_client,
            clock: Arc::clone(&setup.clock),
            entropy: Arc::clone(&setup.entropy),
        })
    }

    /// Begins a sign-in. Returns the attempt to keep, and the address to send the
    /// browser to. With `another_user`, the issuer asks for a user even if one is
    /// signed in.
    pub(crate) async fn begin(
        &self,
        return_to: String,
        another_user: bool,
    ) -> Result<(Attempt, String), SignInError> {
        let attempt =
            Attempt { state: self.random()?, nonce: self.random()?, verifier: self.random()?, return_to };
        let configuration = self.configuration().await?;
        let client = self.client(&configuration)?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.to_string());
        let mut request = client.authorize_url(|| CsrfToken::new(attempt.state.to_string()));
        if another_user {
            request = request.add_extra_param("prompt", "login");
        }
        if !self.audience.is_empty() {
            request = request.add_extra_param("audience", &self.audience);
        }
        if let Some(resource) = self.resource() {
            request = request.add_extra_param("resource", resource);
        }
        let (url, _) = request
            .add_scope(Scope::new("openid".to_owned()))
            .add_extra_param("nonce", attempt.nonce.as_str())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok((attempt, url.into()))
    }

    /// Exchanges the authorization code for an access token.
    pub(crate) async fn finish(
        &self,
        attempt: &Attempt,
        code: String,
        secret: &ClientSecret,
    ) -> Result<AccessToken, SignInError> {
        let configuration = self.configuration().await?;
        let client = self.client(&configuration)?.set_client_secret(secret.clone());
        let mut request = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.to_string()));
        if let Some(resource) = self.resource() {
            request = request.add_extra_param("resource", resource);
        }
        let send = |request| {
            let http_client = self.http_client.clone();
            async move { http_client.send(request).await }
        };
        let response = request
            .request_async(&send)
            .await
            // The error's source can quote the response, which contains tokens.
            .map_err(|error| {
                SignInError::Issuer(format!("the authorization code could not be exchanged: {error}"))
            })?;
        let id_token = response.extra_fields().id_token.as_ref();
        let id_token = id_token.ok_or(SignInError::Refused("the issuer returned no ID token"))?;
        self.check_id_token(&configuration, id_token.expose_secret(), &attempt.nonce).await?;
        Ok(AccessToken::new(Zeroizing::new(response.access_token().secret().clone())))
    }

    /// The address that signs the user out of the issuer itself, if the issuer has one.
    pub(crate) async fn sign_out_url(&self, return_to: &str) -> Result<Option<String>, SignInError> {
        let Some(endpoint) = &self.configuration().await?.end_session_endpoint else {
            return Ok(None);
        };
        let mut url = endpoint.url().clone();
        // `post_logout_redirect_uri` is the standard's name, `logout_uri` is Cognito's.
        url.query_pairs_mut()
            .append_pair("client_id", &self.client_id)
            .append_pair("post_logout_redirect_uri", return_to)
            .append_pair("logout_uri", return_to);
        Ok(Some(url.into()))
    }

    /// Checks that the ID token belongs to this attempt (OpenID Connect Core 1.0,
    /// section 3.1.3.7).
    async fn check_id_token(
        &self,
        configuration: &Configuration,
        id_token: &str,
        nonce: &str,
    ) -> Result<(), SignInError> {
        let refused = SignInError::Refused;
        let header = decode_header(id_token).map_err(|_| refused("the ID token is malformed"))?;
        let keys: JwkSet = self.get(&configuration.jwks_uri).await?;
        let key = header.kid.and_then(|id| keys.find(&id).map(DecodingKey::from_jwk));
        let key = key.ok_or(refused("the ID token's key is unknown"))?;
        let key = key.map_err(|_| refused("the ID token's key is unusable"))?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.client_id]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        // Checked below, with the injected clock.
        validation.validate_exp = false;
        let claims = decode::<IdClaims>(id_token, &key, &validation);
        let claims = claims
            .map_err(|_| refused("the ID token has another issuer or audience, or an invalid signature"))?
            .claims;
        if claims.exp <= self.clock.now().as_second() {
            return Err(refused("the ID token has expired"));
        }
        if !is_same(&claims.nonce, nonce) {
            return Err(refused("the ID token has another nonce"));
        }
        Ok(())
    }

    /// The audience as the standard parameter `resource`, for both requests of the
    /// authorization code flow (RFC 8707, sections 2.1 and 2.2). `None` unless the audience is an
    /// absolute URI without a fragment: an issuer can refuse any other value
    /// (`invalid_target`).
    ///
    /// Auth0 reads `audience`, and `resource` only if there is no `audience`
    /// (<https://auth0.com/ai/docs/mcp/guides/resource-param-compatibility-profile>).
    /// If an issuer ignores both, its own settings must put the audience into the
    /// token.
    fn resource(&self) -> Option<&str> {
        let url = Url::parse(&self.audience).ok()?;
        url.fragment().is_none().then_some(&*self.audience)
    }

    fn client(&self, configuration: &Configuration) -> Result<OidcClient, SignInError> {
        let redirect_uri = RedirectUrl::new(self.redirect_uri.clone());
        Ok(Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(configuration.authorization_endpoint.clone())
            .set_token_uri(configuration.token_endpoint.clone())
            .set_redirect_uri(redirect_uri.map_err(|error| SignInError::Issuer(error.to_string()))?))
    }

    /// The issuer's configuration. Concurrent callers wait for one fetch.
    async fn configuration(&self) -> Result<Arc<Configuration>, SignInError> {
        let mut last = self.configuration.lock().await;
        let now = self.clock.now();
        if let Some(fetched) = last.as_ref().filter(|fetched| fetched.is_fresh(now)) {
            return fetched.result.clone();
        }
        let result = self.fetch_configuration().await.map(Arc::new);
        *last = Some(Fetched { at: self.clock.now(), result: result.clone() });
        result
    }

    async fn fetch_configuration(&self) -> Result<Configuration, SignInError> {
        // Discovery removes a trailing slash (OpenID Connect Discovery 1.0, section 4).
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let configuration: Configuration = self.get(&url).await?;
        if configuration.issuer != self.issuer {
            return Err(SignInError::Issuer(format!("{url} describes another issuer")));
        }
        Ok(configuration)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, SignInError> {
        let failed = |error: &dyn std::error::Error| SignInError::Issuer(format!("{url}: {error}"));
        let request = http::Request::get(url).body(Vec::new()).map_err(|error| failed(&error))?;
        let response = self.http_client.send(request).await.map_err(|error| failed(&error))?;
        if !response.status().is_success() {
            return Err(SignInError::Issuer(format!("{url} returned {}", response.status())));
        }
        serde_json::from_slice(response.body()).map_err(|error| failed(&error))
    }

    /// 256 random bits.
    fn random(&self) -> Result<Zeroizing<String>, EntropyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut *bytes)?;
        Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
    }
}

/// Whether two secret texts are equal, in constant time.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    subtle::ConstantTimeEq::ct_eq(one.as_bytes(), other.as_bytes()).into()
}
