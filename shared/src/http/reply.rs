//! Responses.

use http::{HeaderName, HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

/// The response to a successful request.
#[derive(Debug)]
pub struct Reply(Response<Body>);

impl Reply {
    /// 200 with a body.
    pub fn ok(body: &impl Serialize) -> Self {
        Self(json(StatusCode::OK, "application/json", body))
    }

    /// 201 with a body and a `Location`.
    pub fn created(location: &str, body: &impl Serialize) -> Self {
        let mut response = json(StatusCode::CREATED, "application/json", body);
        if let Ok(location) = HeaderValue::from_str(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Self(response)
    }

    /// 201 with a body, without a `Location`: the new resource has the request's URL.
    pub fn created_here(body: &impl Serialize) -> Self {
        Self(json(StatusCode::CREATED, "application/json", body))
    }

    /// The response with this status and body. For statuses that are part of a protocol, such
    /// as the errors of OAuth. All other errors are a [`Failure`](super::Failure).
    pub fn with_status(status: StatusCode, body: &impl Serialize) -> Self {
        Self(json(status, "application/json", body))
    }

    /// The response with this status and plain text, for people who follow a link.
    pub fn text(status: StatusCode, text: &'static str) -> Self {
        Self(with_text(status, "text/plain; charset=utf-8", text.to_owned()))
    }

    /// 204.
    pub fn no_content() -> Self {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self(response)
    }

    /// Adds the resource's version as an `ETag`.
    #[must_use]
    pub fn with_version(mut self, version: u64) -> Self {
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
            self.0.headers_mut().insert(header::ETAG, tag);
        }
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.0.headers_mut().insert(name, HeaderValue::from_static(value));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub(super) fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// A response with a JSON body, which no cache may store.
pub(super) fn json(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response<Body> {
    // Our own types always serialize. If one does not, the body is empty rather
    // than incomplete.
    with_text(status, media_type, serde_json::to_string(body).unwrap_or_default())
}

/// A response that no cache may store.
fn with_text(status: StatusCode, media_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
