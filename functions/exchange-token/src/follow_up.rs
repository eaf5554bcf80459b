//! The work after the answer to an exchange: finding out why a key or token is not live,
//! logging the exchange, and counting a refused credential. The client does not wait for it,
//! so every refusal of a key takes the same time.

use std::mem;
use std::sync::{Mutex, PoisonError};

use shared::activity::RecordedRequest;
use shared::authentication::NotLive;
use shared::domain::{AccountId, GrantId};
use shared::store::Observation;
use shared::telemetry::loggable;

use crate::ExchangeToken;
use crate::log::{Exchange, Success, Trace};
use crate::refusal::{Refusal, RefusedCredential};

/// The maximum numbers of characters of a method and of a path that are recorded.
const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 256;

/// The work that remains after the answer to an exchange.
pub(crate) struct FollowUp {
    pub(crate) exchange: Exchange,
    pub(crate) trace: Trace,
    pub(crate) outcome: Result<Success, Refusal>,
}

/// The work that remains after the answers that are being sent.
#[derive(Default)]
pub(crate) struct FollowUps(Mutex<Vec<FollowUp>>);

impl FollowUps {
    pub(crate) fn add(&self, follow_up: FollowUp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(follow_up);
    }

    fn take(&self) -> Vec<FollowUp> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ExchangeToken {
    /// Logs a success at once, so that no token leaves without its line, and leaves everything about
    /// a refusal for the time after the answer. Drops the source address if none may be recorded.
    pub(crate) fn finish(&self, mut follow_up: FollowUp) {
        follow_up.exchange.source = follow_up.exchange.source.filter(|_| self.records_addresses);
        match &follow_up.outcome {
            Ok(success) => follow_up.exchange.log(&follow_up.trace, Ok(success)),
            Err(_) => self.follow_ups.add(follow_up),
        }
    }

    /// Does all work that remains after answers. Each call to AWS has its own time limit: 500 ms
    /// for a read, and 200 ms for a write.
    pub(crate) async fn follow_up_all(&self) {
        for FollowUp { exchange, trace, mut outcome } in self.follow_ups.take() {
            if let Err(Refusal::Rejected(refused)) = &mut outcome {
                self.explain(refused).await;
            }
            exchange.log(&trace, outcome.as_ref());
            if let (Some(grant), Err(refusal)) = (trace.named, &outcome) {
                self.count(&exchange, grant, refusal).await;
            }
        }
    }

    /// Sets the reason if the credential's grant is not live.
    async fn explain(&self, refused: &mut RefusedCredential) {
        if let Some(credential) = refused.not_live.take() {
            let why = self.authentication.why_not_live(&credential).await;
            let NotLive { reason, is_genuine, cause } = why;
            (refused.reason, refused.is_genuine, refused.cause) = (reason, is_genuine, cause);
        }
    }

    /// Counts a refused key or token as the authorizer would. The authorizer does not see these
    /// requests. An accepted key or token is not counted here: the authorizer counts the requests
    /// that use it.
    async fn count(&self, exchange: &Exchange, (account, grant): (AccountId, GrantId), refusal: &Refusal) {
        let (reason, missing_permission) = match refusal {
            Refusal::NotPermitted { reason, missing_permission } => (*reason, missing_permission.as_ref()),
            Refusal::Rejected(refused) if refused.is_genuine => (refused.reason, None),
            Refusal::Rejected(refused) => {
                if refused.account_exists {
                    let observation = Observation::Unverified { account, reason: refused.reason };
                    self.activity.record(observation, self.clock.now()).await;
                }
                return;
            }
            Refusal::Request { .. }
            | Refusal::Credential(_)
            | Refusal::Unavailable { .. }
            | Refusal::Confirmation(_) => return,
        };
        let (method, path) = exchange.kind.line().unzip();
        let at = self.clock.now();
        let request = RecordedRequest {
            at,
            request_id: exchange.request_id.clone(),
            method: method.map(|method| loggable(method, MAX_METHOD).into_owned()),
            path: path.map(|path| loggable(path, MAX_PATH).into_owned()),
            route: None,
            source: exchange.source,
        };
        let missing_permission = missing_permission.map(ToString::to_string);
        let observation = Observation::Verified { account, grant, reason, request, missing_permission };
        self.activity.record(observation, at).await;
    }
}
