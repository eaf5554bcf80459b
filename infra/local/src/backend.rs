//! The business API behind the authorizer: an echo, the demo's API, or the user's own API.
//!
//! The API gets the caller in `x-keyward-*` headers. It never gets the credential or an
//! `x-keyward-*` header that the client sent.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};
use shared::domain::context;

use crate::gateway::message;
use crate::{StartError, demo};

/// The prefix of the headers that name the caller.
const PREFIX: &str = "x-keyward-";

/// Each member of the authorizer's context, the header that carries it, and its name in
/// the response of the echo.
const PRINCIPAL: [(&str, &str, &str); 11] = [
    (context::PRINCIPAL_TYPE, "x-keyward-principal-type", "type"),
    (context::PRINCIPAL_ID, "x-keyward-principal-id", "id"),
    (context::PRINCIPAL_NAME, "x-keyward-principal-name", "name"),
    (context::KEY_ID, "x-keyward-key-id", "keyId"),
    (context::IDENTITY_ID, "x-keyward-identity-id", "identityId"),
    (context::TOKEN_ID, "x-keyward-token-id", "tokenId"),
    (context::TOKEN_EXPIRES_AT, "x-keyward-token-expires-at", "tokenExpiresAt"),
    (context::ACTORS, "x-keyward-actors", "actors"),
    (context::ROLE, "x-keyward-role", "role"),
    (context::KEY_ROLE, "x-keyward-key-role", "keyRole"),
    (context::TOKEN_ROLES, "x-keyward-token-roles", "tokenRoles"),
];

/// Hop-by-hop headers (RFC 9110, section 7.6.1), and headers that the HTTP client
/// sets.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The time limit for a connection to the upstream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for each read from the upstream: the maximum integration timeout of an
/// HTTP API.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Characters that must be escaped in a path (RFC 3986, section 3.3).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'\\')
    .add(b'^');

/// The business API.
pub(crate) enum Backend {
    /// Responds with the request that it received.
    Echo,
    /// Responds as the API of the demo's company, and to all other requests as the echo.
    Demo,
    /// The user's own API.
    Upstream { base: String, client: reqwest::Client },
}

impl Backend {
    /// The user's API at `url`, or else the demo's API or the echo.
    pub(crate) fn new(url: Option<&str>, is_demo: bool) -> Result<Self, StartError> {
        let Some(url) = url else {
            return Ok(if is_demo { Self::Demo } else { Self::Echo });
        };
        let parsed = reqwest::Url::parse(url).map_err(|error| StartError::Upstream(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(StartError::Upstream(format!("the scheme of `{url}` is neither")));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(StartError::Upstream(format!("`{url}` must not have a query or a fragment")));
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let client = client.map_err(|error| StartError::Upstream(error.to_string()))?;
        Ok(Self::Upstream { base: url.trim_end_matches('/').to_owned(), client })
    }

    /// Forwards a request. `path` is the path that the authorizer decided on.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
        context: Option<Map<String, Value>>,
    ) -> Response {
        let headers = with_principal(headers, context.as_ref());
        match self {
            Self::Echo => echo(method.as_str(), path, query, &headers),
            Self::Demo => match demo::answer(method.as_str(), path, query, &body) {
                Some((status, Some(body))) => (status, axum::Json(body)).into_response(),
                Some((status, None)) => status.into_response(),
                None => echo(method.as_str(), path, query, &headers),
            },
            Self::Upstream { base, client } => {
                let mut url = format!("{base}{}", utf8_percent_encode(path, PATH));
                if !query.is_empty() {
                    url = format!("{url}?{query}");
                }
                match client.request(method, url).headers(headers).body(body).send().await {
                    Ok(response) => forward_response(response),
                    Err(error) => {
                        tracing::warn!(cause = %error.without_url(), "the upstream did not respond");
                        message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
                    }
                }
            }
        }
    }
}

/// The client's headers without the credential, hop-by-hop headers, console cookies
/// and forged principals, plus the real principal.
fn with_principal(mut headers: HeaderMap, context: Option<&Map<String, Value>>) -> HeaderMap {
    let hop_headers = named_by_connection(&headers);
    let is_dropped = |name: &HeaderName| {
        // A CGI upstream reads `x_keyward_role` and `x-keyward-role` as one variable.
        let forged = name.as_str().replace('_', "-").starts_with(PREFIX);
        forged
            || name == header::AUTHORIZATION
            || HOP_BY_HOP.contains(&name.as_str())
            || hop_headers.iter().any(|other| other.eq_ignore_ascii_case(name.as_str()))
    };
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| is_dropped(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    drop_console_cookies(&mut headers);
    for (member, name, _) in PRINCIPAL {
        let value = context.and_then(|context| context.get(member)?.as_str());
        // Escapes the characters of a name that a header cannot contain.
        let value = value.map(|value| utf8_percent_encode(value, CONTROLS).to_string());
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// Drops the cookies of consoles, which a browser sends to every port of this host.
fn drop_console_cookies(headers: &mut HeaderMap) {
    let is_foreign = |cookie: &&[u8]| {
        let name = cookie.split(|byte| *byte == b'=').next().unwrap_or_default();
        !std::str::from_utf8(name).is_ok_and(|name| console::is_own_cookie(name.trim()))
    };
    let values: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for value in values {
        let cookies = value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let kept = cookies.filter(is_foreign).collect::<Vec<_>>().join(&b"; "[..]);
        if let Ok(kept) = HeaderValue::from_bytes(&kept)
            && !kept.is_empty()
        {
            headers.append(header::COOKIE, kept);
        }
    }
}

/// The hop-by-hop headers that `Connection` lists.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned()).collect()
}

fn echo(method: &str, path: &str, query: &str, headers: &HeaderMap) -> Response {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut principal = Map::new();
    for (_, name, echoed) in PRINCIPAL {
        if let Some(value) = headers.get(name) {
            principal.insert(echoed.to_owned(), text(value).into());
        }
    }
    let headers: Map<String, Value> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value).into())).collect();
    let body =
        json!({ "method": method, "path": path, "query": query, "principal": principal, "headers": headers });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn forward_response(response: reqwest::Response) -> Response {
    let status = response.status();
    let mut headers = response.headers().clone();
    for name in named_by_connection(&headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    let mut answer = Response::new(Body::from_stream(response.bytes_stream()));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}
