//! What is left to do once API Gateway has its answer: the log line of the
//! decision, and the count of the key's use. The client waits for none of it,
//! and every refusal of a key takes the same time.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::domain::{AccountId, ApiKey, KeyId, Verifier};
use shared::policy::Reason;

use crate::authorize::{Authorizer, Scope};
use crate::event::Event;
use crate::usage::Noted;

/// The time limit for reading a retired key's record. The next request waits.
const RECORD_LIMIT: Duration = Duration::from_millis(500);

/// How many retired keys' records an instance reads in a second, at most. A
/// forged key that names an existing account would otherwise cost a second read.
const RECORDS_PER_SECOND: u32 = 5;

/// The most characters of a path that are logged.
const MAX_PATH: usize = 256;
/// The most characters of a method that are logged.
const MAX_METHOD: usize = 32;

/// What a decision leaves to be done after its answer.
#[must_use = "without it, a decision is not logged"]
pub struct FollowUp {
    pub(crate) request_id: String,
    pub(crate) request: Option<RequestLine>,
    pub(crate) principal: Option<String>,
    pub(crate) key: Option<(AccountId, KeyId)>,
    pub(crate) outcome: Outcome,
}

/// What came of a decision.
pub(crate) enum Outcome {
    /// The request was allowed.
    Allowed,
    /// It was refused.
    Refused {
        reason: Reason,
        /// The part of a valid key's scope that refused it.
        scope: Option<Scope>,
        /// More about the reason, for the log.
        cause: Option<String>,
    },
    /// The key is not one of its account's keys. Its record says why, if there
    /// is one.
    NotLive(ApiKey),
    /// No decision could be made, for this cause.
    Outage(String),
}

/// What a request asked for, as the log has it: of bounded length and with
/// control characters escaped.
pub(crate) struct RequestLine {
    source: Option<IpAddr>,
    method: String,
    path: String,
    /// What the client sent, where that is not what the ARN says.
    sent: Option<(String, String)>,
}

impl RequestLine {
    /// What `event` asks for.
    pub(crate) fn new(event: &Event<'_>, reason: Option<Reason>) -> Self {
        let sent = event.sent().filter(|_| reason == Some(Reason::PathMismatch));
        Self {
            source: event.source,
            method: loggable(event.arn.method(), MAX_METHOD),
            path: loggable(event.arn.path(), MAX_PATH),
            sent: sent.map(|(method, path)| (loggable(method, MAX_METHOD), loggable(path, MAX_PATH))),
        }
    }
}

/// At most `max` characters of `text`. Characters that a terminal or a reader
/// could mistake for something else are escaped, and a key or token is left out.
fn loggable(text: &str, max: usize) -> String {
    let text = shared::domain::redact_credentials(text);
    let mut line = String::with_capacity(text.len().min(max));
    for (count, character) in text.chars().enumerate() {
        if count == max {
            line.push('…');
            break;
        }
        if character.is_control() || is_invisible(character) {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line
}

/// Line and paragraph separators, zero-width characters and those that change
/// the direction of writing.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Allows a number of events in each second.
pub(crate) struct PerSecond(Mutex<(i64, u32)>);

impl PerSecond {
    pub(crate) fn new() -> Self {
        Self(Mutex::new((0, 0)))
    }

    /// Whether one more event may happen in this second.
    fn take(&self, second: i64) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != second {
            *state = (second, 0);
        }
        let may = state.1 < RECORDS_PER_SECOND;
        state.1 += u32::from(may);
        may
    }
}

impl Authorizer {
    /// Logs the decision, in one line, and counts the use of its key. It changes
    /// no decision, and takes 0.7 s at most.
    pub async fn follow_up(&self, follow_up: FollowUp) {
        let FollowUp { request_id, request, principal, key, outcome } = follow_up;
        let (reason, scope, cause) = match outcome {
            Outcome::Allowed => (Reason::Allowed, None, None),
            Outcome::Refused { reason, scope, cause } => (reason, scope, cause),
            Outcome::NotLive(key) => {
                let (reason, cause) = self.why_not_live(&key).await;
                (reason, None, cause.map(Cow::into_owned))
            }
            Outcome::Outage(cause) => (Reason::Outage, None, Some(cause)),
        };
        let key_id = key.map(|(_, key)| key.to_string());
        let (source, method, path, sent) = request.map_or_else(Default::default, |request| {
            (
                request.source.map(|source| source.to_string()),
                Some(request.method),
                Some(request.path),
                request.sent,
            )
        });
        let (sent_method, sent_path) = sent.unzip();
        let (name, api, refused_by) = (reason.name(), self.api().name(), scope.map(Scope::name));
        macro_rules! decision {
            ($level:ident) => {
                tracing::$level!(
                    request_id,
                    reason = name,
                    refused_by,
                    api,
                    source,
                    method,
                    path,
                    sent_method,
                    sent_path,
                    principal,
                    key_id,
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
        if let (Some((account, key)), Some(noted)) = (key, noted(reason)) {
            self.usage().note(account, key, noted).await;
        }
    }

    /// Why a key is not one of its account's keys. The record of a retired key
    /// counts only if the presented key matches its verifier.
    async fn why_not_live(&self, key: &ApiKey) -> (Reason, Option<Cow<'static, str>>) {
        if !self.record_reads().take(self.now().as_second()) {
            return (
                Reason::Unknown,
                Some("too many unknown keys in this second to look up each one".into()),
            );
        }
        let looked_up = async {
            let record = self.store().find_retired(key).await.map_err(|error| error.to_string())?;
            let Some(retired) = record else {
                return Ok(Reason::Unknown);
            };
            let pepper = self.keyring().get(&retired.verifier.pepper).await;
            let pepper = pepper.map_err(|error| error.to_string())?;
            let matches = Verifier::compute(&pepper, key, &retired.spec).matches(&retired.verifier.verifier);
            Ok(if matches { retired.reason } else { Reason::WrongSecret })
        };
        match tokio::time::timeout(RECORD_LIMIT, looked_up).await {
            Ok(Ok(reason)) => (reason, None),
            Ok(Err(cause)) => {
                let cause: String = cause;
                (Reason::Unknown, Some(format!("its record could not be read: {cause}").into()))
            }
            Err(_) => (Reason::Unknown, Some("its record could not be read in time".into())),
        }
    }
}

/// What to count for a decision about a key. Someone who presents a key after
/// its end, and knows its secret, is counted too.
fn noted(reason: Reason) -> Option<Noted> {
    match reason {
        Reason::Allowed => Some(Noted::Use),
        Reason::Revoked | Reason::Retired | Reason::Expired => Some(Noted::Presentation),
        Reason::Missing
        | Reason::Malformed
        | Reason::ForeignEnvironment
        | Reason::Unknown
        | Reason::Disabled
        | Reason::WrongSecret
        | Reason::Audience
        | Reason::Scope
        | Reason::Role
        | Reason::Network
        | Reason::AmbiguousPath
        | Reason::PathMismatch
        | Reason::Reserved
        | Reason::Outage => None,
    }
}
