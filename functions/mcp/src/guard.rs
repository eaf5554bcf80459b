//! What happens before and after rmcp: hosts, credentials, time limits, refusals, and the log
//! line.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use shared::domain::ApiName;
use shared::http::Gateway;
use tokio::time::Instant;

use crate::Server;
use crate::credential;
use crate::metadata::{MetadataUrl, api_name};
use crate::record::{Outcome, Record};
use crate::refusal::Refusal;

/// The time limit of a request. API Gateway's is 30 s.
const TIME_LIMIT: Duration = Duration::from_secs(25);

/// The time that is kept for the response after an API's answer.
const RESPONSE_TIME: Duration = Duration::from_secs(1);

/// The largest response of rmcp, in bytes. Lists are pages, and results of calls are cut, so
/// that no response comes close.
const MAX_RESPONSE_BYTES: usize = 5 * 1024 * 1024;

/// The text that replaces a credential.
const REDACTED: &str = "[redacted]";

/// The scheme, host and port of this server, as the request names them.
#[derive(Clone)]
pub(crate) struct Origin(pub(crate) String);

/// The agent that sent a request.
pub(crate) struct Caller {
    pub(crate) api: ApiName,
    pub(crate) credential: SecretString,
    pub(crate) gateway: Gateway,
    pub(crate) record: Arc<Record>,
    /// The end of the request's time.
    pub(crate) deadline: Instant,
    /// Set by a handler whose response must be replaced. A handler cannot choose an HTTP status
    /// itself.
    refusal: OnceLock<Refusal>,
}

impl Caller {
    /// The end of the time for the API's answer. The rest is for this function's response.
    pub(crate) fn upstream_deadline(&self) -> Instant {
        self.deadline.checked_sub(RESPONSE_TIME).unwrap_or(self.deadline)
    }

    /// Replaces the response by `refusal`.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        // Only the first refusal counts.
        let _ = self.refusal.set(refusal);
    }

    /// `text` without the credential.
    fn redact(&self, text: String) -> String {
        let credential = self.credential.expose_secret();
        if text.contains(credential) { text.replace(credential, REDACTED) } else { text }
    }
}

/// The hosts of this server.
pub(crate) struct Hosts {
    pub(crate) scheme: &'static str,
    pub(crate) names: Vec<String>,
}

impl Hosts {
    /// The origin that a request names, if it is one of this server and, behind API Gateway, the
    /// domain that received the request.
    fn origin_of(&self, headers: &HeaderMap, gateway: &Gateway) -> Option<Origin> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return None;
        };
        let host = host.to_str().ok()?;
        let is_received = gateway.domain.as_ref().is_none_or(|domain| domain.eq_ignore_ascii_case(host));
        let name = self.names.iter().find(|name| is_received && name.eq_ignore_ascii_case(host))?;
        Some(Origin(format!("{}://{name}", self.scheme)))
    }

    /// The origins of pages that may call this server from a browser. Behind API Gateway, there
    /// are none.
    pub(crate) fn page_origins(&self) -> Vec<String> {
        let origins = self.names.iter().map(|name| format!("{}://{name}", self.scheme));
        origins.filter(|origin| origin.starts_with("http://")).collect()
    }
}

/// Middleware of every route: checks the host, enforces the time limit, renders refusals, and
/// writes the log line.
pub(crate) async fn finish(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let gateway = Gateway::find(request.extensions());
    let request_id = gateway.request_id.clone().unwrap_or_else(|| "-".to_owned());
    let record = Arc::<Record>::default();
    let origin = server.hosts.origin_of(request.headers(), &gateway);
    let extensions = request.extensions_mut();
    extensions.insert(Arc::clone(&record));
    extensions.insert(gateway);
    let mut response = match &origin {
        Some(origin) => {
            extensions.insert(origin.clone());
            let response = tokio::time::timeout_at(start + TIME_LIMIT, next.run(request)).await;
            response.unwrap_or_else(|_| Refusal::Timeout.into_response())
        }
        None => Refusal::WrongHost.into_response(),
    };
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let api = record.entry().api.clone();
        let origin = origin.as_ref().map_or("", |origin| &origin.0);
        response = refusal.render(MetadataUrl { origin, api: api.as_ref() }, &request_id);
        record.end(refusal.outcome());
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    record.log(&request_id, response.status().as_u16(), milliseconds);
    response
}

/// `/mcp/{name}`: takes the credential off the request and passes the rest to rmcp.
pub(crate) async fn serve(
    State(server): State<Arc<Server>>,
    Extension(record): Extension<Arc<Record>>,
    Extension(gateway): Extension<Gateway>,
    name: Result<Path<String>, PathRejection>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let api = api_name(name)?;
    record.entry().api = Some(api.clone());
    let credential = credential::take(request.headers_mut(), &server.environment)?;
    record.entry().named = Some(credential.named);
    let deadline = Instant::now() + TIME_LIMIT;
    let caller =
        Caller { api, credential: credential.text, gateway, record, deadline, refusal: OnceLock::new() };
    let caller = Arc::new(caller);
    request.extensions_mut().insert(Arc::clone(&caller));
    let response = server.protocol.handle(request).await.map(Body::new);
    match caller.refusal.get() {
        Some(refusal) => Err(*refusal),
        None => without_credential(response, &caller).await,
    }
}

/// Removes the credential from a response. A message can contain the credential elsewhere than in
/// `Authorization`, for example as the version of the protocol, which errors repeat.
async fn without_credential(response: Response, caller: &Caller) -> Result<Response, Refusal> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_RESPONSE_BYTES).await.map_err(|_| Refusal::Unavailable)?;
    let body = match String::from_utf8(body.into()) {
        Ok(text) => Bytes::from(caller.redact(text)),
        Err(_) => return Err(Refusal::Unavailable),
    };
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// The response to a path without a route.
pub(crate) async fn no_route() -> Refusal {
    Refusal::NoRoute
}

/// The response to a method that a route does not have.
pub(crate) async fn wrong_method(Extension(record): Extension<Arc<Record>>) -> http::StatusCode {
    record.end(Outcome::Protocol);
    http::StatusCode::METHOD_NOT_ALLOWED
}
