//! `POST /iam/v1/token`: exchanges a credential for a token.

use std::net::IpAddr;
use std::time::Duration;

use http::{StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use shared::api::{TokenError, TokenErrorCode, TokenRequest, TokenResponse, oauth};
use shared::authentication::Authenticated;
use shared::domain::{ApiKey, DisplayedToken, KEY_PREFIX, KeyError, SealedToken, TokenClaims};
use shared::http::{Reply, Request};
use shared::policy::{ExchangeReason, Source};

use crate::ExchangeToken;
use crate::follow_up::FollowUp;
use crate::form::{Style, Subject, TokenForm};
use crate::log::{Exchange, Kind, Success, Trace};
use crate::refusal::Refusal;
use crate::token::Parent;

/// The time limit of an exchange: three calls to AWS with their retries, or fewer and the
/// issuer's limit.
const TIME_LIMIT: Duration = Duration::from_secs(9);

/// The description of every refused credential.
const REFUSED: &str =
    "The credential was refused. An admin can find the reason in the log of the token endpoint.";

/// The description of every error that a retry can fix.
const UNAVAILABLE: &str = "The token endpoint cannot check the credential right now. Retry later.";

/// Exchange a credential for a token
///
/// Issues a short-lived token for a service account. The request authenticates itself with one
/// of these credentials:
///
/// - The JWT of a workload, such as a CI job, which a federated identity of the account trusts.
/// - A key of the account.
/// - A token of the account. The new token is its child.
///
/// A token stops working when its credential ends, works from the same networks, and permits at most what
/// its credential permits. `scope` narrows it to one more role.
///
/// All refusals of a credential look the same. The function's log has the reason of each.
#[utoipa::path(
    post,
    path = "/iam/v1/token",
    operation_id = "exchangeToken",
    tag = "Tokens",
    security(()),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token.", body = TokenResponse),
        (
            status = 400,
            description = "`invalid_grant`: the credential was refused. `invalid_request`, `unsupported_grant_type`, `invalid_scope`, `invalid_target`: the request is wrong, and `error_description` says what to change.",
            body = TokenError,
        ),
        (
            status = 401,
            description = "`invalid_client`: the client credentials were refused.",
            body = TokenError,
        ),
        (
            status = 503,
            description = "`temporarily_unavailable`: a service that Keyward depends on, or the issuer of the JWT, is unavailable. Retry after the time in `Retry-After`.",
            body = TokenError,
        ),
    )
)]
pub async fn exchange_token(function: &ExchangeToken, request: &Request) -> Reply {
    let (mut style, mut trace) = (Style::default(), Trace::default());
    let outcome = {
        let exchanging = exchange(function, request, &mut style, &mut trace);
        // Boxed, because the futures of SDK calls are large.
        tokio::time::timeout(TIME_LIMIT, Box::pin(exchanging)).await
    };
    let outcome = outcome.unwrap_or_else(|_| Err(Refusal::timeout()));
    let (reply, outcome) = match outcome {
        Ok((token, claims)) => (issued(&token, &claims), Ok(Success::Issued(Box::new(claims)))),
        Err(refusal) => (refused(&refusal, style), Err(refusal)),
    };
    let source = request.source();
    let kind = Kind::TokenEndpoint { grant_type: style.grant_type };
    let exchange = Exchange { request_id: request.id().to_owned(), kind, source };
    function.finish(FollowUp { exchange, trace, outcome });
    reply
}

async fn exchange(
    function: &ExchangeToken,
    request: &Request,
    style: &mut Style,
    trace: &mut Trace,
) -> Result<(DisplayedToken, TokenClaims), Refusal> {
    let TokenForm { subject, role, lifetime_seconds } = TokenForm::parse(request, style)?;
    let source = request.source().map_or(Source::Unknown, Source::Address);
    let (parent, single_use) = match &subject {
        Subject::Jwt { jwt, account, identity } => {
            trace.named = Some((*account, (*identity).into()));
            function.check_jwt(jwt.expose_secret(), *account, *identity, trace).await?
        }
        Subject::Key(key) => (function.check_key(key.expose_secret(), source, trace).await?.into(), None),
        Subject::Client { account, key } => {
            let found = function.check_key(key.expose_secret(), source, trace).await?;
            if found.account != *account {
                return Err(ExchangeReason::Client.into());
            }
            (Parent::from(found), None)
        }
        Subject::Token(token) => {
            (function.check_token(token.expose_secret(), source, trace).await?.into(), None)
        }
    };
    let token = function.prepare(parent, role, lifetime_seconds, None).await?;
    if let Some(single_use) = single_use
        && !function.use_once(&single_use, &token).await?
    {
        return Err(ExchangeReason::Replayed.into());
    }
    Ok((function.seal(&token)?, token.claims))
}

impl ExchangeToken {
    /// Checks a key or token as the authorizer does. Refuses request tokens.
    pub(crate) async fn check_credential(
        &self,
        text: &SecretString,
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<Authenticated, Refusal> {
        let (text, source) = (text.expose_secret(), source.map_or(Source::Unknown, Source::Address));
        if text.starts_with(KEY_PREFIX) {
            self.check_key(text, source, trace).await
        } else {
            self.check_token(text, source, trace).await
        }
    }

    /// Checks a key as the authorizer does.
    async fn check_key(
        &self,
        text: &str,
        source: Source,
        trace: &mut Trace,
    ) -> Result<Authenticated, Refusal> {
        let key = ApiKey::parse(text, &self.environment).map_err(malformed)?;
        trace.named = Some((key.account, key.id.into()));
        Ok(self.authentication.check_key(key, source).await?)
    }

    /// Checks a token as the authorizer does. Refuses request tokens.
    async fn check_token(
        &self,
        text: &str,
        source: Source,
        trace: &mut Trace,
    ) -> Result<Authenticated, Refusal> {
        let token = SealedToken::parse(text, &self.environment).map_err(malformed)?;
        trace.named = Some(token.named());
        Ok(self.authentication.check_token(token, source, None).await?)
    }
}

fn malformed(error: KeyError) -> Refusal {
    match error {
        KeyError::Malformed => ExchangeReason::Malformed.into(),
        KeyError::ForeignEnvironment => ExchangeReason::ForeignEnvironment.into(),
    }
}

/// The response with a token.
fn issued(token: &DisplayedToken, claims: &TokenClaims) -> Reply {
    let roles: Vec<_> = claims.roles.iter().map(shared::domain::RoleName::as_str).collect();
    let response = TokenResponse {
        access_token: token.expose(),
        issued_token_type: oauth::ACCESS_TOKEN_TYPE,
        token_type: "Bearer",
        expires_in: claims.lifetime_seconds,
        scope: (!roles.is_empty()).then(|| roles.join(" ")),
    };
    Reply::ok(&response).with_header(header::PRAGMA, "no-cache")
}

/// The response without a token. All refusals of a credential look the same.
fn refused(refusal: &Refusal, style: Style) -> Reply {
    let (status, error, description) = match refusal {
        Refusal::Request { error, description, .. } => (StatusCode::BAD_REQUEST, *error, *description),
        Refusal::Credential(_)
        | Refusal::Rejected(_)
        | Refusal::NotPermitted { .. }
        | Refusal::Confirmation(_) => {
            if style.is_client() {
                (StatusCode::UNAUTHORIZED, TokenErrorCode::InvalidClient, REFUSED)
            } else {
                (StatusCode::BAD_REQUEST, TokenErrorCode::InvalidGrant, REFUSED)
            }
        }
        Refusal::Unavailable { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, TokenErrorCode::TemporarilyUnavailable, UNAVAILABLE)
        }
    };
    let body = TokenError { error, error_description: description.to_owned() };
    let reply = Reply::with_status(status, &body).with_header(header::PRAGMA, "no-cache");
    match error {
        TokenErrorCode::InvalidClient if style.is_basic => {
            reply.with_header(header::WWW_AUTHENTICATE, "Basic realm=\"Keyward\"")
        }
        TokenErrorCode::TemporarilyUnavailable => reply.with_header(header::RETRY_AFTER, "1"),
        TokenErrorCode::InvalidRequest
        | TokenErrorCode::UnsupportedGrantType
        | TokenErrorCode::InvalidGrant
        | TokenErrorCode::InvalidClient
        | TokenErrorCode::InvalidScope
        | TokenErrorCode::InvalidTarget => reply,
    }
}
