//! The work after API Gateway has its answer: logging the decision, and counting
//! the request. The client does not wait for it, so every refusal of a key
//! takes the same time.

use std::borrow::Cow;
use std::net::IpAddr;

use shared::activity::RecordedRequest;
use shared::authentication::NotLive;
use shared::domain::GrantId;
use shared::policy::Reason;
use shared::store::Observation;
use shared::telemetry::loggable;

use crate::authorize::{Authorizer, Denial, Scope, Subject};
use crate::event::Event;

/// The most characters of a path that are logged.
const MAX_PATH: usize = 256;
/// The most characters of a method that are logged.
const MAX_METHOD: usize = 32;
/// The most characters of a request id that are logged. A client of a REST API can choose
/// the id.
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html>)
const MAX_REQUEST_ID: usize = 128;

/// The work that remains after the answer to a request.
#[must_use = "without it, a decision is not logged"]
pub struct FollowUp {
    pub(crate) request_id: String,
    pub(crate) request: Option<RequestLine>,
    pub(crate) subject: Subject,
    pub(crate) decided: Result<(), Denial>,
}

/// The method, path and route of a request, as received. They can contain a credential, so
/// they must pass through [`loggable`] before they are logged or stored.
pub(crate) struct RequestLine {
    source: Option<IpAddr>,
    method: String,
    path: String,
    route: Option<String>,
    /// The method and path that the client sent, if they do not match the ARN.
    sent: Option<(String, String)>,
}

impl RequestLine {
    /// Describes the request of `event`, which may not match its ARN.
    pub(crate) fn new(event: &Event<'_>, is_mismatch: bool) -> Self {
        let sent = event.sent().filter(|_| is_mismatch);
        Self {
            source: event.source,
            method: event.arn.method().to_owned(),
            path: event.arn.path().to_owned(),
            route: event.route(),
            sent: sent.map(|(method, path)| (method.to_owned(), path.to_owned())),
        }
    }
}

/// A method and a path, each made safe by [`loggable`].
fn line<'a>(method: &'a str, path: &'a str) -> (Cow<'a, str>, Cow<'a, str>) {
    (loggable(method, MAX_METHOD), loggable(path, MAX_PATH))
}

impl Authorizer {
    /// Logs the decision in one line, and counts the request. Cannot change the decision.
    /// Each call to AWS has its own time limit: 500 ms for a read, and 200 ms for a write.
    pub async fn follow_up(&self, follow_up: FollowUp) {
        let FollowUp { request_id, request, subject, decided } = follow_up;
        let Subject { principal, grant, token, account_exists, mut is_verified } = subject;
        let (reason, refused, cause) = match decided {
            Ok(()) => (Reason::Allowed, None, None),
            Err(Denial::Refused(refused)) => (refused.reason, Some(refused), None),
            Err(Denial::NotLive(credential)) => {
                let why = Box::pin(self.authentication.why_not_live(&credential)).await;
                let NotLive { reason, is_genuine, cause } = why;
                is_verified = is_genuine;
                (reason, None, cause)
            }
            Err(Denial::Unverifiable(cause)) => (Reason::WrongSecret, None, Some(cause)),
            Err(Denial::Outage(cause)) => (Reason::Outage, None, Some(cause)),
        };
        let refused_by = refused.as_ref().and_then(|refused| refused.scope).map(Scope::name);
        let missing_permission = refused.and_then(|refused| refused.missing_permission);
        let missing_permission = missing_permission.map(|permission| permission.to_string());
        let request_id = loggable(&request_id, MAX_REQUEST_ID);
        let request = request.as_ref();
        let source = request.and_then(|request| request.source).filter(|_| self.records_addresses);
        let (method, path) = request.map(|request| line(&request.method, &request.path)).unzip();
        let route = request.and_then(|request| request.route.as_deref());
        let route = route.map(|route| loggable(route, MAX_PATH));
        let sent = request.and_then(|request| request.sent.as_ref());
        let (sent_method, sent_path) = sent.map(|(method, path)| line(method, path)).unzip();
        let grant_id = grant.map(|(_, grant)| grant);
        macro_rules! decision {
            ($level:ident) => {
                tracing::$level!(
                    request_id = &*request_id,
                    reason = reason.name(),
                    refused_by,
                    missing_permission,
                    api = self.api.name(),
                    source = source.map(|source| source.to_string()),
                    method = method.as_deref(),
                    path = path.as_deref(),
                    route = route.as_deref(),
                    sent_method = sent_method.as_deref(),
                    sent_path = sent_path.as_deref(),
                    principal,
                    key_id = grant_id.and_then(GrantId::key).map(|key| key.to_string()),
                    identity_id = grant_id.and_then(GrantId::identity).map(|identity| identity.to_string()),
                    token_id = token.map(|token| token.to_string()),
                    cause,
                    "decision"
                )
            };
        }
        if reason == Reason::Outage {
            decision!(error);
        } else {
            decision!(info);
        }
        let Some((account, grant)) = grant.filter(|_| reason != Reason::Outage) else { return };
        let at = self.clock.now();
        if is_verified {
            let request = RecordedRequest {
                at,
                request_id: request_id.into_owned(),
                method: method.map(Cow::into_owned),
                path: path.map(Cow::into_owned),
                route: route.map(Cow::into_owned),
                source,
            };
            let observation = Observation::Verified { account, grant, reason, request, missing_permission };
            Box::pin(self.activity.record(observation, at)).await;
        } else if account_exists && matches!(reason, Reason::WrongSecret | Reason::Unknown) {
            Box::pin(self.activity.record(Observation::Unverified { account, reason }, at)).await;
        }
    }
}
