//! Events that API Gateway sends to an authorizer. They are made from the samples in `events/`.
//! AWS's own samples, unchanged, are in `events/aws/`.

use authorizer::{Answer, FunctionError};
use serde_json::{Value, json};

/// The id of the API in the events.
pub const API_ID: &str = "abcdef123";

/// The shape of an authorizer event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// REST API, TOKEN authorizer.
    RestToken,
    /// REST API, REQUEST authorizer.
    RestRequest,
    /// HTTP API, payload format 1.0.
    HttpV1,
    /// HTTP API, payload format 2.0.
    HttpV2,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 4] = [Self::RestToken, Self::RestRequest, Self::HttpV1, Self::HttpV2];

    /// The shapes that contain a whole request.
    pub const REQUESTS: [Self; 3] = [Self::RestRequest, Self::HttpV1, Self::HttpV2];

    /// The name of the shape in snapshots.
    pub fn name(self) -> &'static str {
        match self {
            Self::RestToken => "rest_token",
            Self::RestRequest => "rest_request",
            Self::HttpV1 => "http_v1",
            Self::HttpV2 => "http_v2",
        }
    }

    /// `GET /organizations/42` from 203.0.113.7 with this Authorization header.
    pub fn with(self, authorization: &str) -> Value {
        self.event("GET", "/organizations/42", authorization)
    }

    /// `GET /organizations/42` with this key or token.
    pub fn bearer(self, credential: &str) -> Value {
        self.request("GET", "/organizations/42", credential)
    }

    /// A request with this key or token.
    pub fn request(self, method: &str, path: &str, credential: &str) -> Value {
        self.event(method, path, &format!("Bearer {credential}"))
    }

    /// A request with this Authorization header.
    pub fn event(self, method: &str, path: &str, authorization: &str) -> Value {
        let mut event = self.sample();
        let arn_of = |stage: &str| {
            format!("arn:aws:execute-api:eu-central-1:123456789012:{API_ID}/{stage}/{method}{path}").into()
        };
        match self {
            Self::RestToken => {
                event["methodArn"] = arn_of("prod");
                event["authorizationToken"] = authorization.into();
            }
            Self::RestRequest | Self::HttpV1 => {
                event["methodArn"] = arn_of(if self == Self::HttpV1 { "$default" } else { "prod" });
                event["httpMethod"] = method.into();
                event["path"] = path.into();
                event["headers"]["Authorization"] = authorization.into();
                event["multiValueHeaders"]["Authorization"] = json!([authorization]);
            }
            Self::HttpV2 => {
                event["routeArn"] = arn_of("$default");
                event["rawPath"] = path.into();
                event["requestContext"]["http"]["method"] = method.into();
                event["requestContext"]["http"]["path"] = path.into();
                event["headers"]["authorization"] = authorization.into();
                event["identitySource"] = json!([authorization]);
            }
        }
        event
    }

    /// A request without an Authorization header.
    pub fn without_authorization(self) -> Value {
        let mut event = self.sample();
        for map in ["headers", "multiValueHeaders"] {
            if let Some(headers) = event.get_mut(map).and_then(Value::as_object_mut) {
                headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
            }
        }
        for member in ["authorizationToken", "identitySource"] {
            event.as_object_mut().unwrap().remove(member);
        }
        event
    }

    /// Sets the request's source address.
    ///
    /// # Panics
    /// On a TOKEN event, which has none.
    pub fn set_source(self, event: &mut Value, address: &str) {
        match self {
            Self::RestToken => panic!("a TOKEN event has no source address"),
            Self::RestRequest | Self::HttpV1 => {
                event["requestContext"]["identity"]["sourceIp"] = address.into();
            }
            Self::HttpV2 => event["requestContext"]["http"]["sourceIp"] = address.into(),
        }
    }

    /// The member with the ARN of the invoked method.
    pub fn arn_member(self) -> &'static str {
        if self == Self::HttpV2 { "routeArn" } else { "methodArn" }
    }

    /// The verdict on an invalid credential in this shape.
    pub fn unauthorized(self) -> Verdict {
        if self == Self::HttpV2 { Verdict::Deny } else { Verdict::Failed(FunctionError::Unauthorized) }
    }

    fn sample(self) -> Value {
        let text = match self {
            Self::RestToken => include_str!("../events/rest_token.json"),
            Self::RestRequest => include_str!("../events/rest_request.json"),
            Self::HttpV1 => include_str!("../events/http_v1.json"),
            Self::HttpV2 => include_str!("../events/http_v2.json"),
        };
        serde_json::from_str(text).unwrap()
    }
}

/// The decision in an authorizer's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is allowed.
    Allow,
    /// The request is denied.
    Deny,
    /// A function error.
    Failed(FunctionError),
}

impl From<Result<Answer, FunctionError>> for Verdict {
    fn from(result: Result<Answer, FunctionError>) -> Self {
        match result {
            Ok(response) if response.is_allow() => Self::Allow,
            Ok(_) => Self::Deny,
            Err(error) => Self::Failed(error),
        }
    }
}
