//! API Gateway's HTTP API with a Lambda authorizer: decodes the path, finds the route,
//! invokes the authorizer, evaluates its IAM policy, and invokes the function with
//! payload format 2.0.
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>)

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use http_body_util::LengthLimitError;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use shared::domain::{ApiId, Clock, Entropy, OsEntropy};

use crate::backend::Backend;
use crate::functions::Functions;
use crate::template::Route;

/// API Gateway's limit for a request body, in bytes.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// The logical id of the authorizer for business APIs.
pub(crate) const BUSINESS_AUTHORIZER: &str = "Authorizer";

/// The part of an ARN before the API's id.
const ARN: &str = "arn:aws:execute-api:local-1:000000000000";

/// The gateway.
pub(crate) struct Gateway {
    pub(crate) routes: Vec<Route>,
    pub(crate) functions: Functions,
    pub(crate) backend: Backend,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A received request.
pub(crate) struct Call {
    pub(crate) id: String,
    /// The path as API Gateway decodes it.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) source: SocketAddr,
    pub(crate) body: Bytes,
}

/// A route that matches a path, with the values of its parameters.
pub(crate) struct Matched<'a> {
    route: &'a Route,
    parameters: BTreeMap<String, String>,
}

impl Gateway {
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(receive).with_state(Arc::new(self))
    }

    async fn handle(&self, call: Call) -> Response {
        let matched = self.find(call.method.as_str(), &call.path);
        // A path outside `/iam` without a route belongs to the business API, which exists
        // only in local mode and has the authorizer for business APIs.
        if matched.is_none() && (call.path == "/iam" || call.path.starts_with("/iam/")) {
            return message(StatusCode::NOT_FOUND, "Not Found");
        }
        let route_key = matched.as_ref().map_or_else(|| "$default".to_owned(), |matched| matched.route.key());
        let authorizer = match &matched {
            Some(matched) => matched.route.authorizer.as_deref(),
            None => Some(BUSINESS_AUTHORIZER),
        };
        let context = match authorizer {
            Some(authorizer) => match self.authorize(authorizer, &call, &route_key).await {
                Ok(context) => Some(context),
                Err(refusal) => return refusal,
            },
            None => None,
        };
        match matched {
            Some(matched) => self.invoke(&matched, &call, context).await,
            None => {
                self.backend
                    .call(call.method, &call.path, &call.query, call.headers, call.body, context)
                    .await
            }
        }
    }

    /// Asks the authorizer with this logical id. Returns its context, or the response
    /// to the client.
    async fn authorize(
        &self,
        authorizer: &str,
        call: &Call,
        route_key: &str,
    ) -> Result<Map<String, Value>, Response> {
        // API Gateway does not invoke the authorizer if the identity source is missing.
        let event = self.authorizer_event(call, route_key);
        let event = event.ok_or_else(|| message(StatusCode::UNAUTHORIZED, "Unauthorized"))?;
        let authorizer = self.functions.authorizers.get(authorizer).ok_or_else(internal_error)?;
        let answer = authorizer.answer(&event, &call.id).await;
        // On Lambda, the counts of a busy key are written every ten seconds. Here, they are
        // written at once.
        Box::pin(authorizer.flush_activity()).await;
        let answer = answer.map_err(|_| internal_error())?;
        let mut answer = serde_json::to_value(answer).unwrap_or_default();
        if is_allowed(&answer, &arn_of(call)) {
            Ok(answer
                .get_mut("context")
                .and_then(Value::as_object_mut)
                .map(std::mem::take)
                .unwrap_or_default())
        } else {
            Err(message(StatusCode::FORBIDDEN, "Forbidden"))
        }
    }

    /// The event for an authorizer. `None` if the request has no `Authorization` header.
    pub(crate) fn authorizer_event(&self, call: &Call, route_key: &str) -> Option<String> {
        let identity = joined(&call.headers, header::AUTHORIZATION.as_str())?;
        let mut event = self.event(call, route_key, &BTreeMap::new());
        event.insert("type".to_owned(), "REQUEST".into());
        event.insert("routeArn".to_owned(), arn_of(call).into());
        event.insert("identitySource".to_owned(), json!([identity]));
        Some(Value::Object(event).to_string())
    }

    /// Invokes a function with an event like API Gateway's. A panic is a function error,
    /// as on Lambda.
    pub(crate) async fn invoke(
        &self,
        matched: &Matched<'_>,
        call: &Call,
        context: Option<Map<String, Value>>,
    ) -> Response {
        let Some(handler) = self.functions.get(&matched.route.function) else {
            return internal_error();
        };
        let mut event = self.event(call, &matched.route.key(), &matched.parameters);
        if let (Some(context), Some(request_context)) =
            (context, event.get_mut("requestContext").and_then(Value::as_object_mut))
        {
            request_context.insert("authorizer".to_owned(), json!({ "lambda": context }));
        }
        let (body, is_base64) = match std::str::from_utf8(&call.body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (STANDARD.encode(&call.body), true),
        };
        event.insert("isBase64Encoded".to_owned(), is_base64.into());
        if !body.is_empty() {
            event.insert("body".to_owned(), body.into());
        }
        let event = Value::Object(event).to_string();
        let answered = AssertUnwindSafe(async {
            let request = lambda_http::request::from_str(&event).ok()?;
            Some(handler(request).await)
        });
        match answered.catch_unwind().await {
            Ok(Some(response)) => {
                let (parts, body) = response.into_parts();
                Response::from_parts(parts, Body::from(body.to_vec()))
            }
            Ok(None) | Err(_) => internal_error(),
        }
    }

    /// The members that the events of authorizers and functions share.
    fn event(
        &self,
        call: &Call,
        route_key: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Map<String, Value> {
        let mut headers = Map::new();
        for name in call.headers.keys() {
            if let Some(value) = joined(&call.headers, name.as_str()) {
                headers.insert(name.as_str().to_owned(), value.into());
            }
        }
        let now = self.clock.now();
        let host = joined(&call.headers, "host").unwrap_or_default();
        let user_agent = joined(&call.headers, "user-agent").unwrap_or_default();
        let event = json!({
            "version": "2.0",
            "routeKey": route_key,
            "rawPath": call.path,
            "rawQueryString": call.query,
            "headers": headers,
            "pathParameters": parameters,
            "requestContext": {
                "accountId": "000000000000",
                "apiId": ApiId::LOCAL,
                "domainName": host,
                "domainPrefix": "keyward",
                "http": {
                    "method": call.method.as_str(),
                    "path": call.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": call.source.ip().to_string(),
                    "userAgent": user_agent,
                },
                "requestId": call.id,
                "routeKey": route_key,
                "stage": "$default",
                "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                "timeEpoch": now.as_millisecond(),
            },
        });
        if let Value::Object(event) = event { event } else { Map::new() }
    }

    /// The matching route with the most literal segments.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<Matched<'_>> {
        let with_method = self.routes.iter().filter(|route| route.method == method || route.method == "ANY");
        with_method
            .filter_map(|route| match_path(&route.path, path).map(|parameters| Matched { route, parameters }))
            .min_by_key(|matched| matched.parameters.len())
    }
}

/// The ARN of the method that a request invokes.
fn arn_of(call: &Call) -> String {
    format!("{ARN}:{}/$default/{}{}", ApiId::LOCAL, call.method, call.path)
}

/// The values of the parameters in `pattern`, if `path` matches.
fn match_path(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    let (mut expected, mut actual) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return Some(parameters),
            (Some(expected), Some(actual)) => {
                let parameter = expected.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
                match parameter {
                    Some(name) if !actual.is_empty() => {
                        parameters.insert(name.to_owned(), actual.to_owned());
                    }
                    None if expected == actual => {}
                    Some(_) | None => return None,
                }
            }
            (Some(_), None) | (None, Some(_)) => return None,
        }
    }
}

async fn receive(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let Some(path) = decode(uri.path()) else {
        return message(StatusCode::BAD_REQUEST, "Bad Request");
    };
    let body = match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(error) if is_too_long(&error) => {
            return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        Err(_) => return message(StatusCode::BAD_REQUEST, "Bad Request"),
    };
    let Some(id) = request_id() else {
        return internal_error();
    };
    let query = uri.query().unwrap_or_default().to_owned();
    let mut response =
        gateway.handle(Call { id: id.clone(), path, query, method, headers, source, body }).await;
    if let Ok(id) = id.parse() {
        response.headers_mut().insert("apigw-requestid", id);
    }
    response
}

/// Whether a body exceeded the limit, rather than being cut off or malformed.
fn is_too_long(error: &axum::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<LengthLimitError>)
}

/// Percent-decodes everything except `%25`, as an HTTP API does.
fn decode(path: &str) -> Option<String> {
    let parts: Option<Vec<String>> =
        path.split("%25").map(|part| percent_decode_str(part).decode_utf8().ok().map(Into::into)).collect();
    parts.map(|parts| parts.join("%25"))
}

/// The values of a header, joined by commas.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    if values.is_empty() { None } else { Some(values.join(",")) }
}

/// Evaluates the authorizer's response, an IAM policy: a matching Deny takes precedence
/// over a matching Allow. Everything else is denied.
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>)
fn is_allowed(response: &Value, arn: &str) -> bool {
    let statements = response.pointer("/policyDocument/Statement").and_then(Value::as_array);
    let has_matching = |effect: &str| {
        statements.into_iter().flatten().any(|statement| {
            statement.get("Effect").and_then(Value::as_str) == Some(effect)
                && any_matches(statement.get("Action"), "execute-api:Invoke")
                && any_matches(statement.get("Resource"), arn)
        })
    };
    !has_matching("Deny") && has_matching("Allow")
}

fn any_matches(patterns: Option<&Value>, text: &str) -> bool {
    match patterns {
        Some(Value::String(pattern)) => matches_wildcards(pattern.as_bytes(), text.as_bytes()),
        Some(Value::Array(patterns)) => patterns.iter().any(|pattern| any_matches(Some(pattern), text)),
        _ => false,
    }
}

/// IAM's wildcards: `*` matches any text and `?` any character, including slashes.
fn matches_wildcards(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches_wildcards(rest, text)
                || text.split_first().is_some_and(|(_, text)| matches_wildcards(pattern, text))
        }
        (Some((expected, pattern)), Some((actual, text))) if *expected == b'?' || expected == actual => {
            matches_wildcards(pattern, text)
        }
        _ => false,
    }
}

/// The response to a request that API Gateway could not complete.
fn internal_error() -> Response {
    message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

/// A response of API Gateway itself.
pub(crate) fn message(status: StatusCode, message: &str) -> Response {
    let body = json!({ "message": message }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A new request id.
pub(crate) fn request_id() -> Option<String> {
    let mut bytes = [0; 12];
    OsEntropy.fill(&mut bytes).ok()?;
    Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}
