//! Direct invocations: a request token for one request, if the authorizer would allow it.

use secrecy::ExposeSecret as _;
use shared::api::{RequestTokenAnswer, RequestTokenEvent};
use shared::domain::{BoundRequest, DisplayedToken, KEY_PREFIX, REQUEST_TOKEN_SECONDS, TokenClaims};
use shared::policy::{Api, ExchangeReason, Source, Target};

use crate::ExchangeToken;
use crate::exchange_token::{Trace, log};
use crate::refusal::Refusal;

/// The time limit of an invocation.
const TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// The name of this kind of exchange in the log.
const GRANT_TYPE: &str = "request_token";

/// Checks a credential like the authorizer, and makes a token for the event's request if the
/// roles permit the request.
pub(crate) async fn request_token(function: &ExchangeToken, event: &RequestTokenEvent) -> RequestTokenAnswer {
    let mut trace = Trace::default();
    let outcome = {
        let requesting = request(function, event, &mut trace);
        tokio::time::timeout(TIME_LIMIT, Box::pin(requesting)).await
    };
    let outcome = outcome.unwrap_or_else(|_| Err(Refusal::timeout()));
    let source = event.source.filter(|_| function.records_addresses);
    log("-", Some(GRANT_TYPE), source, &trace, outcome.as_ref().map(|(_, claims)| claims));
    match outcome {
        Ok((token, claims)) => RequestTokenAnswer::Issued {
            token: token.expose().to_owned(),
            expires_in: claims.lifetime_seconds,
        },
        Err(refusal) => RequestTokenAnswer::Refused {
            reason: refusal.reason(),
            missing_permission: match refusal {
                Refusal::Role { missing_permission } => Some(missing_permission),
                Refusal::Request { .. } | Refusal::Credential(_) | Refusal::Unavailable { .. } => None,
            },
        },
    }
}

async fn request(
    function: &ExchangeToken,
    event: &RequestTokenEvent,
    trace: &mut Trace,
) -> Result<(DisplayedToken, TokenClaims), Refusal> {
    let target = Target::parse(&event.method, &event.path).map_err(|_| ExchangeReason::AmbiguousPath)?;
    let source = event.source.map_or(Source::Unknown, Source::Address);
    let credential = event.credential.expose_secret();
    let credential = if credential.starts_with(KEY_PREFIX) {
        function.check_key(credential, source, trace).await?
    } else {
        function.check_token(credential, source, trace).await?
    };
    let roles = credential.find_roles(&function.roles).await?;
    roles.decide(Api::Business, &target)?;
    let bound = BoundRequest::new(&event.method, &event.path);
    let token = function.prepare(credential.into(), None, REQUEST_TOKEN_SECONDS, Some(bound)).await?;
    Ok((function.seal(&token)?, token.claims))
}
