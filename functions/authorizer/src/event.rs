//! The four kinds of event that API Gateway sends to an authorizer. Only the members
//! that a decision needs are read.
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html>,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>)

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use shared::policy::PathPrefix;

/// A request, as API Gateway describes it to an authorizer.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    /// The kind of event, which decides the form of a refusal.
    pub(crate) shape: Shape,
    /// The invoked method's ARN.
    pub(crate) arn: MethodArn<'a>,
    /// The request's id, if the event has one.
    pub(crate) request_id: Option<Cow<'a, str>>,
    /// The `Authorization` header.
    pub(crate) authorization: Authorization<'a>,
    /// The method and path that the client sent. A TOKEN event has neither.
    sent: Option<Sent<'a>>,
    /// Where the request came from, if the event says so.
    pub(crate) source: Option<IpAddr>,
    /// The route that API Gateway chose, if the event names it: `GET /teams/{id}`, `$default`,
    /// or only the path of a resource.
    route: Option<Cow<'a, str>>,
}

/// A method and path, as the client sent them.
#[derive(Debug)]
struct Sent<'a> {
    method: Cow<'a, str>,
    path: Cow<'a, str>,
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// REST API, TOKEN authorizer.
    Token,
    /// REST API, REQUEST authorizer.
    Rest,
    /// HTTP API, payload format 1.0.
    HttpV1,
    /// HTTP API, payload format 2.0.
    HttpV2,
}

/// The event does not come from a request to a REST or HTTP API. The messages quote no
/// part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedEvent {
    #[error("the event is not one of an API Gateway authorizer")]
    Form,
    #[error("WebSocket APIs are not supported: a revocation could not close an open socket")]
    WebSocket,
    #[error("the event's payload format version is unknown")]
    Version,
    #[error("the event has no well-formed method ARN")]
    Arn,
}

/// The `Authorization` header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorization<'a> {
    /// The request has no such header.
    Absent,
    /// The request has one such header, with this value.
    One(Cow<'a, str>),
    /// The request has several such headers.
    Repeated,
}

impl<'a> Authorization<'a> {
    /// Combines what two maps of the same headers contain.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent, only) | (only, Self::Absent) => only,
            (Self::One(one), Self::One(same)) if one == same => Self::One(one),
            (Self::One(_) | Self::Repeated, Self::One(_) | Self::Repeated) => Self::Repeated,
        }
    }

    fn add(&mut self, value: Cow<'a, str>) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Repeated => Self::Repeated,
        };
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text", rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    authorization_token: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    method_arn: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    route_arn: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    http_method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    path: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    raw_path: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    route_key: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    resource: Option<Cow<'a, str>>,
    #[serde(borrow)]
    headers: Option<AuthorizationHeader<'a>>,
    #[serde(borrow)]
    multi_value_headers: Option<AuthorizationHeader<'a>>,
    #[serde(borrow)]
    request_context: Option<RawContext<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContext<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    request_id: Option<Cow<'a, str>>,
    event_type: Option<IgnoredAny>,
    #[serde(borrow)]
    http: Option<RawHttp<'a>>,
    #[serde(borrow)]
    identity: Option<RawIdentity<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHttp<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    source_ip: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIdentity<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    source_ip: Option<Cow<'a, str>>,
}

/// Text that is borrowed from the event unless it contains an escape. (An
/// `Option<Cow<str>>` would always be copied.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0))
}

/// Reads an event.
pub(crate) fn read(json: &[u8]) -> Result<Event<'_>, MalformedEvent> {
    // One check of the whole text is faster than one of each string.
    let json = std::str::from_utf8(json).map_err(|_| MalformedEvent::Form)?;
    // serde_json's messages can quote the input, so they are dropped.
    let raw: RawEvent<'_> = serde_json::from_str(json).map_err(|_| MalformedEvent::Form)?;
    let context = raw.request_context.unwrap_or_default();
    // Only API Gateway writes this member. A path that ends in `/$connect` proves
    // nothing, because a client can send one.
    if context.event_type.is_some() {
        return Err(MalformedEvent::WebSocket);
    }
    let headers = raw.headers.map_or(Authorization::Absent, |header| header.0);
    let authorization = headers.and(raw.multi_value_headers.map_or(Authorization::Absent, |header| header.0));
    let identity = context.identity.and_then(|identity| identity.source_ip);
    match (raw.kind.as_deref(), raw.version.as_deref()) {
        (Some("TOKEN"), None) => {
            let arn = MethodArn::parse(raw.method_arn)?;
            Ok(Event {
                shape: Shape::Token,
                request_id: None,
                authorization: raw.authorization_token.map_or(Authorization::Absent, Authorization::One),
                sent: None,
                source: None,
                route: None,
                arn,
            })
        }
        (Some("REQUEST"), None) => Ok(Event {
            shape: Shape::Rest,
            arn: MethodArn::parse(raw.method_arn)?,
            request_id: context.request_id,
            authorization,
            sent: Some(Sent::new(raw.http_method, raw.path)?),
            source: address(identity),
            route: raw.resource,
        }),
        (Some("REQUEST"), Some("1.0")) => Ok(Event {
            shape: Shape::HttpV1,
            arn: MethodArn::parse(raw.method_arn)?,
            request_id: context.request_id,
            authorization,
            sent: Some(Sent::new(raw.http_method, raw.path)?),
            source: address(identity),
            route: raw.resource,
        }),
        (Some("REQUEST"), Some("2.0")) => {
            let http = context.http.ok_or(MalformedEvent::Form)?;
            Ok(Event {
                shape: Shape::HttpV2,
                arn: MethodArn::parse(raw.route_arn)?,
                request_id: context.request_id,
                authorization,
                sent: Some(Sent::new(http.method, raw.raw_path)?),
                source: address(http.source_ip),
                route: raw.route_key,
            })
        }
        (Some("TOKEN" | "REQUEST"), Some(_)) => Err(MalformedEvent::Version),
        _ => Err(MalformedEvent::Form),
    }
}

impl<'a> Sent<'a> {
    fn new(method: Option<Cow<'a, str>>, path: Option<Cow<'a, str>>) -> Result<Self, MalformedEvent> {
        let (method, path) = method.zip(path).ok_or(MalformedEvent::Form)?;
        Ok(Self { method, path })
    }
}

impl Event<'_> {
    /// The method and path that the client sent, if the event has them.
    pub(crate) fn sent(&self) -> Option<(&str, &str)> {
        self.sent.as_ref().map(|sent| (&*sent.method, &*sent.path))
    }

    /// The route that API Gateway chose, with the request's method, such as
    /// `GET /teams/{id}`. `$default` is the route of an HTTP API for requests that match no
    /// other route.
    pub(crate) fn route(&self) -> Option<String> {
        let route = self.route.as_deref()?;
        let path = route.strip_prefix("ANY ").unwrap_or(route);
        Some(if path.starts_with('/') { format!("{} {path}", self.arn.method()) } else { path.to_owned() })
    }

    /// Whether the method and path that the client sent match those in the ARN,
    /// which API Gateway routed and which the decision is about.
    ///
    /// The path from the client can have a prefix: the stage (HTTP APIs, payload format
    /// 2.0, unless the stage is `$default`) or a base path under which a custom
    /// domain maps the API (REST APIs; for HTTP APIs the documents and reports
    /// disagree). Whether the two are percent-encoded alike is not documented,
    /// so both are decoded once for the comparison.
    pub(crate) fn agrees_with_arn(&self, base_paths: &[PathPrefix]) -> bool {
        let Some(Sent { method, path }) = &self.sent else {
            return true;
        };
        if method != self.arn.method() {
            return false;
        }
        let is_at = |prefix: &str| {
            let routed = prefix.bytes().chain(percent_decode_str(self.arn.path()));
            percent_decode_str(path).eq(routed) || (self.arn.path() == "/" && path == prefix)
        };
        let stage = self.arn.stage();
        is_at("")
            || (path.strip_prefix('/').is_some_and(|rest| rest.starts_with(stage))
                && is_at(path.get(..=stage.len()).unwrap_or_default()))
            || base_paths.iter().any(|base| is_at(base.as_str()))
    }
}

fn address(text: Option<Cow<'_, str>>) -> Option<IpAddr> {
    text?.parse().ok()
}

/// An invoked method's ARN:
/// `arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/path…`.
///
/// The ARN is well-formed and has no wildcard or variable of IAM before the method.
/// (`$default` is the name of a stage, and only `${` starts a variable.)
#[derive(Clone, Debug)]
pub(crate) struct MethodArn<'a> {
    text: Cow<'a, str>,
    api_at: usize,
    stage_at: usize,
    method_at: usize,
    path_at: usize,
}

impl<'a> MethodArn<'a> {
    fn parse(text: Option<Cow<'a, str>>) -> Result<Self, MalformedEvent> {
        let text = text.ok_or(MalformedEvent::Arn)?;
        let [api_at, stage_at, method_at, path_at] = Self::positions(&text).ok_or(MalformedEvent::Arn)?;
        Ok(Self { text, api_at, stage_at, method_at, path_at })
    }

    /// Where the API's id, the stage, the method and the path begin, if the ARN is well-formed.
    fn positions(text: &str) -> Option<[usize; 4]> {
        let mut parts = text.splitn(6, ':');
        let prefix = parts.next()? == "arn";
        let partition = parts.next()?;
        let service = parts.next()? == "execute-api";
        let region = parts.next()?;
        let account = parts.next()?;
        let resource = parts.next()?;
        let mut resource_parts = resource.splitn(4, '/');
        let api = resource_parts.next()?;
        let stage = resource_parts.next()?;
        let method = resource_parts.next()?;
        resource_parts.next()?;
        let word = |text: &str, also: &[u8]| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
        };
        let form = prefix
            && partition.starts_with("aws")
            && word(partition, b"-")
            && service
            && word(region, b"-")
            && word(account, b"")
            && word(api, b"")
            && (stage == "$default" || word(stage, b"_-"))
            // Any token: a client can send any method (RFC 9110, section 5.6.2).
            && word(method, b"!#$%&'*+-.^_`|~");
        let api_at = text.len() - resource.len();
        let stage_at = api_at + api.len() + 1;
        let method_at = stage_at + stage.len() + 1;
        form.then_some([api_at, stage_at, method_at, method_at + method.len()])
    }

    /// The whole ARN.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The API's id in API Gateway.
    pub(crate) fn api(&self) -> &str {
        self.text.get(self.api_at..self.stage_at.saturating_sub(1)).unwrap_or_default()
    }

    /// The stage, such as `$default`.
    fn stage(&self) -> &str {
        self.text.get(self.stage_at..self.method_at.saturating_sub(1)).unwrap_or_default()
    }

    /// The method.
    pub(crate) fn method(&self) -> &str {
        self.text.get(self.method_at..self.path_at).unwrap_or_default()
    }

    /// The path, with its leading slash.
    pub(crate) fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }

    /// Whether the path contains nothing that IAM reads as a wildcard or variable.
    pub(crate) fn is_exact(&self) -> bool {
        !self.path().bytes().any(|b| matches!(b, b'*' | b'?' | b'$'))
    }
}

/// Finds the `Authorization` header in a map of headers, whatever the case of its name.
/// The map's values are texts or lists of texts.
struct AuthorizationHeader<'a>(Authorization<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for AuthorizationHeader<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = AuthorizationHeader<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of headers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut headers: A) -> Result<Self::Value, A::Error> {
        let mut found = Authorization::Absent;
        while let Some(name) = headers.next_key::<Text<'de>>()? {
            if name.0.eq_ignore_ascii_case("authorization") {
                for value in headers.next_value::<Values<'de>>()?.0 {
                    found.add(value);
                }
            } else {
                headers.next_value::<IgnoredAny>()?;
            }
        }
        Ok(AuthorizationHeader(found))
    }
}

/// A header's value: one text or a list of texts.
struct Values<'a>(Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a header's value")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Values(vec![Cow::Borrowed(value)]))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Values(vec![Cow::Owned(value.to_owned())]))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Values(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Text(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Values(values))
    }
}
