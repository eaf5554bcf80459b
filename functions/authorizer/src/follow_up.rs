//! The work after API Gateway has its answer: logging the decision, and counting
//! the use of the key. The client does not wait for it, so every refusal of a key
//! takes the same time.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::domain::{ApiKey, Verifier, is_control, is_invisible};
use shared::policy::Reason;

use crate::authorize::{Authorizer, Denial, Scope, Subject};
use crate::event::Event;
use crate::usage::UsageKind;

/// The time limit for reading a retired key's record. The instance's next request
/// waits for it.
const RECORD_LIMIT: Duration = Duration::from_millis(500);

/// The most records of retired keys that an instance reads in a second. Without
/// this limit, every well-formed forged key would cost a second read.
const RECORDS_PER_SECOND: u32 = 5;

/// The most characters of a path that are logged.
const MAX_PATH: usize = 256;
/// The most characters of a method that are logged.
const MAX_METHOD: usize = 32;

/// The work that remains after the answer to a request.
#[must_use = "without it, a decision is not logged"]
pub struct FollowUp {
    pub(crate) request_id: String,
    pub(crate) request: Option<RequestLine>,
    pub(crate) subject: Subject,
    pub(crate) decided: Result<(), Denial>,
}

/// The method and path of a request, as they came. They can contain a credential:
/// only [`loggable`] makes them fit for the log.
pub(crate) struct RequestLine {
    source: Option<IpAddr>,
    method: String,
    path: String,
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
            sent: sent.map(|(method, path)| (method.to_owned(), path.to_owned())),
        }
    }
}

/// At most `max` characters of `text`. Characters that could mislead a terminal
/// or a reader are escaped, and keys and tokens are redacted.
fn loggable(text: &str, max: usize) -> Cow<'_, str> {
    let text = shared::domain::redact_credentials(text);
    if text.len() <= max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let mut line = String::with_capacity(text.len().min(max));
    for (count, character) in text.chars().enumerate() {
        if count == max {
            line.push('…');
            break;
        }
        if must_be_escaped(character) {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line.into()
}

/// A method and a path, each as [`loggable`].
fn line<'a>(method: &'a str, path: &'a str) -> (Cow<'a, str>, Cow<'a, str>) {
    (loggable(method, MAX_METHOD), loggable(path, MAX_PATH))
}

/// Control characters, joiners, line and paragraph separators, and other
/// characters that are invisible or change the direction of text.
fn must_be_escaped(character: char) -> bool {
    is_control(character) || is_invisible(character) || matches!(character, '\u{200c}' | '\u{200d}')
}

/// Allows up to [`RECORDS_PER_SECOND`] reads in each second.
pub(crate) struct PerSecond(Mutex<(i64, u32)>);

impl PerSecond {
    pub(crate) fn new() -> Self {
        Self(Mutex::new((0, 0)))
    }

    /// Whether one more read is allowed in this second.
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
    /// Logs the decision in one line, and counts the use of its key. Takes at most
    /// 0.7 s, and cannot change the decision.
    pub async fn follow_up(&self, follow_up: FollowUp) {
        let FollowUp { request_id, request, subject: Subject { principal, key }, decided } = follow_up;
        let (reason, scope, cause) = match decided {
            Ok(()) => (Reason::Allowed, None, None),
            Err(Denial::Refused(reason, scope)) => (reason, scope, None),
            Err(Denial::NotLive(key)) => {
                let (reason, cause) = Box::pin(self.why_not_live(&key)).await;
                (reason, None, cause)
            }
            Err(Denial::Unverifiable(cause)) => (Reason::WrongSecret, None, Some(cause)),
            Err(Denial::Outage(cause)) => (Reason::Outage, None, Some(cause)),
        };
        let (name, api, refused_by) = (reason.name(), self.api.name(), scope.map(Scope::name));
        let key_id = key.map(|(_, key)| key.to_string());
        let request = request.as_ref();
        let source = request.and_then(|request| request.source).map(|source| source.to_string());
        let (method, path) = request.map(|request| line(&request.method, &request.path)).unzip();
        let sent = request.and_then(|request| request.sent.as_ref());
        let (sent_method, sent_path) = sent.map(|(method, path)| line(method, path)).unzip();
        macro_rules! decision {
            ($level:ident) => {
                tracing::$level!(
                    request_id,
                    reason = name,
                    refused_by,
                    api,
                    source,
                    method = method.as_deref(),
                    path = path.as_deref(),
                    sent_method = sent_method.as_deref(),
                    sent_path = sent_path.as_deref(),
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
            Box::pin(self.usage.note(account, key, noted)).await;
        }
    }

    /// Why a key is not live. The record of a retired key counts only if the
    /// presented key matches its verifier.
    async fn why_not_live(&self, key: &ApiKey) -> (Reason, Option<String>) {
        if !self.record_reads.take(self.clock.now().as_second()) {
            let cause = "too many unknown keys in this second to look up each one";
            return (Reason::Unknown, Some(cause.to_owned()));
        }
        let reason = match tokio::time::timeout(RECORD_LIMIT, self.reason_on_record(key)).await {
            Ok(reason) => reason.map_err(|cause| format!("its record could not be read: {cause}")),
            Err(_) => Err("its record could not be read in time".to_owned()),
        };
        match reason {
            Ok(reason) => (reason, None),
            Err(cause) => (Reason::Unknown, Some(cause)),
        }
    }

    /// Why the record of `key` says that it was retired. The cause, if that is not
    /// known.
    async fn reason_on_record(&self, key: &ApiKey) -> Result<Reason, String> {
        let record = self.store.find_retired(key).await.map_err(|error| error.to_string())?;
        let Some(retired) = record else {
            return Ok(Reason::Unknown);
        };
        let pepper = self.keyring.get(&retired.verifier.pepper).await;
        let pepper = pepper.map_err(|error| error.to_string())?;
        let matches = Verifier::compute(&pepper, key, &retired.spec).matches(&retired.verifier.verifier);
        Ok(if matches { retired.reason } else { Reason::WrongSecret })
    }
}

/// What to count for a decision about a key. A key that is presented with its
/// correct secret after its end is counted too.
fn noted(reason: Reason) -> Option<UsageKind> {
    match reason {
        Reason::Allowed => Some(UsageKind::Use),
        Reason::Revoked | Reason::Retired | Reason::Expired => Some(UsageKind::UseAfterEnd),
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
