//! The four shapes of event that API Gateway sends to an authorizer, read as
//! far as the decision needs.
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html>,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>)

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A request, as an authorizer sees it.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    /// Which shape it came in: that decides the form of a refusal.
    pub(crate) shape: Shape,
    /// The invoked method's ARN.
    pub(crate) arn: MethodArn<'a>,
    /// The request's id, if the event has one.
    pub(crate) request_id: Option<Cow<'a, str>>,
    /// The `Authorization` header.
    pub(crate) authorization: Authorization<'a>,
    /// The method.
    pub(crate) method: Cow<'a, str>,
    /// The path without the stage.
    pub(crate) path: Cow<'a, str>,
    /// Whether base paths of custom domains may stand before it. They cannot in
    /// an ARN, nor where the API was called at its own address: there a path
    /// that begins like one is a route of that name, and the backend sees all
    /// of it.
    pub(crate) may_have_base_path: bool,
    /// Where the request came from, if the event says so.
    pub(crate) source: Option<IpAddr>,
}

/// The shapes.
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

/// An event that no request to a REST or HTTP API makes. The message quotes
/// nothing of it.
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
    /// There is none.
    Absent,
    /// There is one.
    One(Cow<'a, str>),
    /// There are several.
    Repeated,
}

impl<'a> Authorization<'a> {
    /// What two maps of the same headers say together.
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
    #[serde(borrow, default, deserialize_with = "text")]
    stage: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    domain_name: Option<Cow<'a, str>>,
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

/// Text that is borrowed from the event where it holds no escape. (An
/// `Option<Cow<str>>` would always be copied.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0))
}

/// Reads an event.
pub(crate) fn read(text: &str) -> Result<Event<'_>, MalformedEvent> {
    // serde_json's messages can quote the input: none of them is kept.
    let raw: RawEvent<'_> = serde_json::from_str(text).map_err(|_| MalformedEvent::Form)?;
    let context = raw.request_context.unwrap_or_default();
    // Told by this member, which API Gateway alone writes, and never by a path
    // that ends in `/$connect`: a client can send that.
    if context.event_type.is_some() {
        return Err(MalformedEvent::WebSocket);
    }
    let headers = raw.headers.map_or(Authorization::Absent, |header| header.0);
    let authorization = headers.and(raw.multi_value_headers.map_or(Authorization::Absent, |header| header.0));
    let identity = context.identity.and_then(|identity| identity.source_ip);
    let may_have_base_path = !context.domain_name.as_deref().is_some_and(is_own_address);
    match (raw.kind.as_deref(), raw.version.as_deref()) {
        (Some("TOKEN"), None) => {
            let arn = MethodArn::parse(raw.method_arn)?;
            Ok(Event {
                shape: Shape::Token,
                request_id: None,
                authorization: raw.authorization_token.map_or(Authorization::Absent, Authorization::One),
                method: arn.method().to_owned().into(),
                path: arn.path().to_owned().into(),
                may_have_base_path: false,
                source: None,
                arn,
            })
        }
        (Some("REQUEST"), None) => Ok(Event {
            shape: Shape::Rest,
            arn: MethodArn::parse(raw.method_arn)?,
            request_id: context.request_id,
            authorization,
            method: raw.http_method.ok_or(MalformedEvent::Form)?,
            path: raw.path.ok_or(MalformedEvent::Form)?,
            may_have_base_path,
            source: address(identity),
        }),
        (Some("REQUEST"), Some("1.0")) => {
            let arn = MethodArn::parse(raw.method_arn)?;
            let path = raw.path.ok_or(MalformedEvent::Form)?;
            Ok(Event {
                shape: Shape::HttpV1,
                request_id: context.request_id,
                authorization,
                method: raw.http_method.ok_or(MalformedEvent::Form)?,
                path: without_stage(path, context.stage.as_deref(), &arn),
                may_have_base_path,
                source: address(identity),
                arn,
            })
        }
        (Some("REQUEST"), Some("2.0")) => {
            let http = context.http.ok_or(MalformedEvent::Form)?;
            let raw_path = raw.raw_path.ok_or(MalformedEvent::Form)?;
            let arn = MethodArn::parse(raw.route_arn)?;
            Ok(Event {
                shape: Shape::HttpV2,
                request_id: context.request_id,
                authorization,
                method: http.method.ok_or(MalformedEvent::Form)?,
                path: without_stage(raw_path, context.stage.as_deref(), &arn),
                may_have_base_path,
                source: address(http.source_ip),
                arn,
            })
        }
        (Some("TOKEN" | "REQUEST"), Some(_)) => Err(MalformedEvent::Version),
        _ => Err(MalformedEvent::Form),
    }
}

/// Whether a domain is the one that API Gateway itself gives an API:
/// `API.execute-api.REGION.amazonaws.com`, or a VPC endpoint's. Custom domains
/// are somebody's own, and API Gateway writes this member, not the client.
fn is_own_address(domain: &str) -> bool {
    domain.split('.').nth(1).is_some_and(|label| label.eq_ignore_ascii_case("execute-api"))
}

fn address(text: Option<Cow<'_, str>>) -> Option<IpAddr> {
    text?.parse().ok()
}

/// An HTTP API's path includes the stage unless that is `$default`, or the
/// request came by a custom domain, or (undocumented) the payload format is
/// 1.0. The ARN's path never does: where both are the same, it is not there.
fn without_stage<'a>(path: Cow<'a, str>, stage: Option<&str>, arn: &MethodArn<'_>) -> Cow<'a, str> {
    let Some(stage) = stage.filter(|stage| *stage != "$default" && path != arn.path()) else {
        return path;
    };
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(stage));
    match rest {
        Some("") => "/".into(),
        Some(rest) if rest.starts_with('/') => rest.to_owned().into(),
        Some(_) | None => path,
    }
}

/// An invoked method's ARN:
/// `arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/path…`.
///
/// It is well-formed, and nothing in it is a wildcard or variable to IAM: in a
/// policy it means itself and nothing else. (`$default` is a stage's name, and
/// only `${` begins a variable.)
#[derive(Clone, Debug)]
pub(crate) struct MethodArn<'a> {
    text: Cow<'a, str>,
    method_at: usize,
}

impl<'a> MethodArn<'a> {
    fn parse(text: Option<Cow<'a, str>>) -> Result<Self, MalformedEvent> {
        let text = text.ok_or(MalformedEvent::Arn)?;
        let method_at = Self::method_at(&text).ok_or(MalformedEvent::Arn)?;
        Ok(Self { text, method_at })
    }

    /// Where the method begins, if all before it is of its form.
    fn method_at(text: &str) -> Option<usize> {
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
            && word(method, b"");
        form.then_some(text.len() - resource.len() + api.len() + 1 + stage.len() + 1)
    }

    /// The whole ARN.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn method(&self) -> &str {
        self.tail().split('/').next().unwrap_or_default()
    }

    /// The path, with its leading slash.
    pub(crate) fn path(&self) -> &str {
        self.tail().find('/').and_then(|at| self.tail().get(at..)).unwrap_or_default()
    }

    fn tail(&self) -> &str {
        self.text.get(self.method_at..).unwrap_or_default()
    }

    /// Whether its path holds nothing that IAM reads as wildcard or variable.
    pub(crate) fn is_exact(&self) -> bool {
        !self.path().bytes().any(|b| matches!(b, b'*' | b'?' | b'$'))
    }
}

/// Picks the `Authorization` header out of a map of headers, of single values
/// or of lists, whatever the case of its name.
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

/// A header's value: one text, or a list of them.
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
