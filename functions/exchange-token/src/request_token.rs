//! Direct invocations that ask for a request token: a token for one request, if the authorizer
//! would allow the request.

use std::time::Duration;

use shared::api::{ConfirmationRefusal, RequestConfirmation, RequestTokenAnswer, RequestTokenEvent};
use shared::authentication::Authenticated;
use shared::domain::{
    BoundRequest, ConfirmationDigest, ConfirmationState, ConfirmedRequest, DisplayedToken, EventId,
    REQUEST_TOKEN_SECONDS, TokenClaims,
};
use shared::keyring::KeyringError;
use shared::policy::{Api, Reason, Target};

use crate::ExchangeToken;
use crate::follow_up::FollowUp;
use crate::log::{Exchange, Kind, Success, Trace};
use crate::refusal::Refusal;
use crate::single_use::SingleUse;

/// The time limit of an invocation.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// An outcome other than a refusal.
enum Outcome {
    Issued(DisplayedToken, Box<TokenClaims>),
    /// The request has to be confirmed first.
    Unconfirmed(ConfirmationState),
}

/// Checks a credential like the authorizer, and makes a token for the event's request if the
/// roles permit the request and, if necessary, the request is confirmed.
pub(crate) async fn request_token(function: &ExchangeToken, event: RequestTokenEvent) -> RequestTokenAnswer {
    let mut trace = Trace::default();
    let outcome = {
        let requesting = request(function, &event, &mut trace);
        tokio::time::timeout(TIME_LIMIT, Box::pin(requesting)).await
    };
    let outcome = outcome.unwrap_or_else(|_| Err(Refusal::timeout()));
    let (answer, outcome) = match outcome {
        Ok(Outcome::Issued(token, claims)) => {
            let (token, expires_in) = (token.into_secret(), claims.lifetime_seconds);
            (RequestTokenAnswer::Issued { token, expires_in }, Ok(Success::Issued(claims)))
        }
        Ok(Outcome::Unconfirmed(state)) => {
            (RequestTokenAnswer::Unconfirmed { state: state.to_string() }, Ok(Success::Unconfirmed))
        }
        Err(refusal) => (refused(&refusal), Err(refusal)),
    };
    let source = event.source;
    let kind = Kind::RequestToken(Box::new(event));
    let exchange = Exchange { request_id: function.invocation_id(), kind, source };
    function.finish(FollowUp { exchange, trace, outcome });
    answer
}

fn refused(refusal: &Refusal) -> RequestTokenAnswer {
    match refusal {
        Refusal::NotPermitted { missing_permission, .. } => {
            RequestTokenAnswer::NotPermitted { missing_permission: missing_permission.clone() }
        }
        Refusal::Confirmation(reason) => RequestTokenAnswer::ConfirmationRefused { reason: *reason },
        Refusal::Unavailable { .. } => RequestTokenAnswer::Unavailable {},
        Refusal::Credential(_) | Refusal::Rejected(_) | Refusal::Request { .. } => {
            RequestTokenAnswer::Refused { reason: refusal.reason() }
        }
    }
}

async fn request(
    function: &ExchangeToken,
    event: &RequestTokenEvent,
    trace: &mut Trace,
) -> Result<Outcome, Refusal> {
    let credential = function.check_credential(&event.credential, event.source, trace).await?;
    let target = Target::parse(&event.method, &event.path)
        .map_err(|_| Refusal::NotPermitted { reason: Reason::AmbiguousPath, missing_permission: None })?;
    let roles = credential.find_roles(&function.roles).await?;
    roles.decide(Api::Business, &target)?;
    let confirmed = match &event.confirmation {
        None => None,
        Some(RequestConfirmation { digest, state: None }) => {
            return Ok(Outcome::Unconfirmed(function.ask(*digest, &credential).await?));
        }
        Some(RequestConfirmation { digest, state: Some(state) }) => {
            Some(function.check_state(state, *digest, &credential).await?)
        }
    };
    let bound = BoundRequest::new(event.api.as_str(), &event.method, &event.path);
    let token = function.prepare(credential.into(), None, REQUEST_TOKEN_SECONDS, Some(bound)).await?;
    if let Some(confirmed) = confirmed
        && !function.use_once(&confirmed, &token).await?
    {
        return Err(Refusal::Confirmation(ConfirmationRefusal::Used));
    }
    Ok(Outcome::Issued(function.seal(&token)?, Box::new(token.claims)))
}

impl ExchangeToken {
    /// An id of this invocation, for the log and the activity. Direct invocations have none.
    pub(crate) fn invocation_id(&self) -> String {
        let id = EventId::generate(self.clock.now(), &*self.entropy);
        id.map_or_else(|_| "-".to_owned(), |id| id.to_string())
    }

    /// Makes the state of a confirmation of `digest`.
    async fn ask(
        &self,
        digest: ConfirmationDigest,
        credential: &Authenticated,
    ) -> Result<ConfirmationState, Refusal> {
        let (version, key) = self.token_keyring.current().await?;
        let request = self.confirmed_request(digest, credential);
        Ok(ConfirmationState::new(&request, self.clock.now(), &*self.entropy, (&version, &key))?)
    }

    /// Checks that `text` is an unexpired state that was made for the same grant and digest.
    async fn check_state(
        &self,
        text: &str,
        digest: ConfirmationDigest,
        credential: &Authenticated,
    ) -> Result<SingleUse, Refusal> {
        let invalid = || Refusal::Confirmation(ConfirmationRefusal::Invalid);
        let state = ConfirmationState::parse(text).ok_or_else(invalid)?;
        let key = self.token_keyring.get(state.key_version()).await.map_err(|error| match error {
            KeyringError::UnknownVersion(..) => invalid(),
            KeyringError::Unavailable(..) | KeyringError::Malformed(..) => error.into(),
        })?;
        let is_right = state.matches(&self.confirmed_request(digest, credential), &key);
        if !is_right || self.clock.now() >= state.expires_at() {
            return Err(invalid());
        }
        Ok(SingleUse::new(state.hash(), state.expires_at()))
    }

    fn confirmed_request(
        &self,
        digest: ConfirmationDigest,
        credential: &Authenticated,
    ) -> ConfirmedRequest<'_> {
        ConfirmedRequest {
            environment: &self.environment,
            account: credential.account,
            grant: credential.grant.id(),
            digest,
        }
    }
}
