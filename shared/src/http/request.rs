//! Requests, parsed once.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use http::{HeaderMap, header};
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;
use serde::de::DeserializeOwned;

use super::body::{self, MAX_BODY_BYTES};
use super::{Failure, caller};
use crate::domain::{
    AccountId, Actor, ApiName, Caller, ChangeRequest, IdempotencyKey, IdentityId, IssuerName, KeyId, RoleName,
};
use crate::store::{DEFAULT_LIMIT, InvalidCursor, MAX_LIMIT, PageRequest, Precondition, StoreError};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request to the IAM API.
#[derive(Debug)]
pub struct Request {
    id: String,
    route: String,
    caller: Option<Caller>,
    parameters: lambda_http::aws_lambda_events::query_map::QueryMap,
    query: String,
    /// The API's host, as API Gateway knows it.
    domain: Option<String>,
    source: Option<IpAddr>,
    headers: HeaderMap,
    body: lambda_http::Body,
}

/// The paging parameters of a list. They are the whole query of a list without
/// filters.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The `nextCursor` of the previous page. Omit it to get the first page.
    pub cursor: Option<String>,
    /// The maximum number of items on the page.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 25)]
    pub limit: Option<String>,
}

impl Paging {
    /// The page that the parameters ask for.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if `limit` or `cursor` is malformed.
    pub fn page<C>(
        self,
        decode: impl FnOnce(&str) -> Result<C, InvalidCursor>,
    ) -> Result<PageRequest<C>, Failure> {
        let limit = query_parameter("limit", self.limit.as_deref(), |text| {
            let number = text.parse().ok().filter(|number: &u8| number.to_string() == text);
            let number = number.filter(|number| (1..=MAX_LIMIT).contains(number));
            number.ok_or_else(|| format!("must be a whole number from 1 to {MAX_LIMIT}"))
        })?;
        Ok(PageRequest {
            limit: i32::from(limit.unwrap_or(DEFAULT_LIMIT)),
            cursor: query_parameter("cursor", self.cursor.as_deref(), decode)?,
        })
    }
}

/// Parses a query parameter, if the request has it. The error of `parse` completes a
/// sentence that starts with the parameter's name.
///
/// # Errors
/// [`Failure::MalformedRequest`] if the parameter is malformed.
pub fn query_parameter<T, E: Display>(
    name: &str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Failure> {
    text.map(parse).transpose().map_err(|error| Failure::invalid_parameter(name, error))
}

/// The failure for serde's message about an unknown parameter, such as ``unknown field `a`,
/// expected `b` or `c` ``.
fn unknown_parameter(message: &str) -> Option<Failure> {
    let (unknown, known) = message.strip_prefix("unknown field `")?.split_once("`, expected ")?;
    let known = known.split('`').skip(1).step_by(2);
    let known = known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let problem = format!("is not a parameter of this operation. Its parameters are {known}");
    Some(Failure::invalid_parameter(unknown, problem))
}

impl Request {
    /// Parses an event of an HTTP API.
    pub(super) fn read(event: lambda_http::Request) -> Result<Self, Failure> {
        let RequestContext::ApiGatewayV2(context) = event.request_context() else {
            return Err(Failure::Internal(
                "the event is not one of an HTTP API (payload format 2.0)".to_owned(),
            ));
        };
        let parameters = event.path_parameters();
        let (parts, body) = event.into_parts();
        Ok(Self {
            id: context.request_id.unwrap_or_default(),
            route: context.route_key.unwrap_or_default(),
            caller: context.authorizer.and_then(|authorizer| caller::read(&authorizer.fields)),
            parameters,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            domain: context.domain_name,
            source: context.http.source_ip.and_then(|address| address.parse().ok()),
            headers: parts.headers,
            body,
        })
    }

    /// The request's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The route's key, such as `GET /iam/v1/service-accounts/{id}`.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The host of the API, with the port if it is not the scheme's default.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The client's address, as API Gateway knows it.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// The caller.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// The id of the service account in the path.
    ///
    /// # Errors
    /// [`Failure::MalformedId`] if it is malformed.
    pub fn account_id(&self) -> Result<AccountId, Failure> {
        self.path_parameter("id")
    }

    /// The id of the key in the path.
    ///
    /// # Errors
    /// [`Failure::MalformedId`] if it is malformed.
    pub fn key_id(&self) -> Result<KeyId, Failure> {
        self.path_parameter("keyId")
    }

    /// The id of the federated identity in the path.
    ///
    /// # Errors
    /// [`Failure::MalformedId`] if it is malformed.
    pub fn identity_id(&self) -> Result<IdentityId, Failure> {
        self.path_parameter("identityId")
    }

    /// The name of the trusted issuer in the path.
    ///
    /// # Errors
    /// [`Failure::MalformedId`] if it is malformed.
    pub fn issuer_name(&self) -> Result<IssuerName, Failure> {
        self.path_parameter("name")
    }

    /// The name of the protected API in the path.
    ///
    /// # Errors
    /// [`Failure::MalformedId`] if it is malformed.
    pub fn api_name(&self) -> Result<ApiName, Failure> {
        self.path_parameter("name")
    }

    /// The name of the role in the path.
    ///
    /// # Errors
    /// [`Failure::MalformedId`] if it is malformed.
    pub fn role_name(&self) -> Result<RoleName, Failure> {
        self.path_parameter("name")
    }

    fn path_parameter<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failure> {
        let text = self.parameters.first(name).unwrap_or_default();
        text.parse().map_err(|error| Failure::MalformedId(format!("In the path, `{name}` {error}.")))
    }

    /// Whether there is a query.
    pub fn has_query(&self) -> bool {
        !self.query.is_empty()
    }

    /// Checks that there is no query, for operations without query parameters.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if there is a query.
    pub fn has_no_query(&self) -> Result<(), Failure> {
        if self.query.is_empty() {
            return Ok(());
        }
        Err(Failure::MalformedRequest("This operation takes no query parameters.".to_owned()))
    }

    /// Parses the query parameters. `T` must refuse unknown parameters.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if a parameter is unknown or malformed.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let query = serde_html_form::Deserializer::from_bytes(self.query.as_bytes());
        serde_path_to_error::deserialize(query).map_err(|error| {
            let (parameter, message) = (error.path(), error.inner().to_string());
            // The parser's message for a parameter that is given twice.
            if message == "unsupported value" {
                return Failure::invalid_parameter(&parameter.to_string(), "must be given only once");
            }
            if let Some(problem) = unknown_parameter(&message) {
                return problem;
            }
            Failure::MalformedRequest(format!("In the query, `{parameter}`: {message}."))
        })
    }

    /// Parses the body. `T` must refuse unknown fields.
    ///
    /// # Errors
    /// [`Failure::UnsupportedMediaType`], [`Failure::BodyTooLarge`],
    /// [`Failure::MalformedJson`], or [`Failure::InvalidFields`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        body::read(&self.headers, &self.body, MAX_BODY_BYTES)
    }

    /// Parses a body of at most `most` bytes, as [`Self::json`] does.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn json_up_to<T: DeserializeOwned>(&self, most: usize) -> Result<T, Failure> {
        body::read(&self.headers, &self.body, most)
    }

    /// The names and values of a form in the body (`application/x-www-form-urlencoded`), in
    /// their order.
    ///
    /// # Errors
    /// [`Failure::UnsupportedMediaType`], [`Failure::BodyTooLarge`], or
    /// [`Failure::MalformedRequest`].
    pub fn form(&self) -> Result<Vec<(String, String)>, Failure> {
        body::read_form(&self.headers, &self.body)
    }

    /// The value of `Authorization`, if the request has the header.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if there are several, or one is not visible ASCII.
    pub fn authorization(&self) -> Result<Option<&str>, Failure> {
        self.header(header::AUTHORIZATION.as_str())
    }

    /// The origin of a change: the admin, the request's id and its `Idempotency-Key`.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if the `Idempotency-Key` is malformed, or if there is
    /// a query, because ignored parameters could change the meaning of the request.
    pub fn change_request(&self, actor: Actor) -> Result<ChangeRequest, Failure> {
        self.has_no_query()?;
        self.change_request_with_query(actor)
    }

    /// The same as [`Self::change_request`], for a change that has query parameters.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if the `Idempotency-Key` is malformed.
    pub fn change_request_with_query(&self, actor: Actor) -> Result<ChangeRequest, Failure> {
        let key = self.header(IDEMPOTENCY_KEY)?.map(IdempotencyKey::parse).transpose();
        let idempotency_key =
            key.map_err(|error| Failure::MalformedRequest(format!("The Idempotency-Key {error}.")))?;
        Ok(ChangeRequest { actor, request_id: self.id.clone(), idempotency_key })
    }

    /// Refuses preconditions, for operations on keys and federated identities: they have no
    /// version, so a precondition would be ignored.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if there is `If-Match` or `If-None-Match`.
    pub fn has_no_condition(&self) -> Result<(), Failure> {
        if [header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|name| self.headers.contains_key(name)) {
            return Err(Failure::MalformedRequest(
                "This operation takes neither If-Match nor If-None-Match: keys and federated identities have no ETag.".to_owned(),
            ));
        }
        Ok(())
    }

    /// The version in `If-Match`, if there is one.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`] if the header is not one `ETag` of this API, and
    /// [`StoreError::Stale`] if no version can have the tag.
    pub fn if_match(&self) -> Result<Option<u64>, Failure> {
        let Some(text) = self.header(header::IF_MATCH.as_str())?.filter(|text| *text != "*") else {
            return Ok(None);
        };
        let tag =
            text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|tag| !tag.contains('"'));
        let tag = tag.ok_or_else(|| {
            Failure::MalformedRequest(
                "If-Match must be one ETag from a response of this API, with its quotes.".to_owned(),
            )
        })?;
        // `01` and `+1` are not the tag `1`.
        let version = tag.parse().ok().filter(|version: &u64| version.to_string() == tag);
        version.map(Some).ok_or(Failure::Store(StoreError::Stale))
    }

    /// The precondition of a PUT, from `If-Match` or `If-None-Match`.
    ///
    /// # Errors
    /// As [`Request::if_match`], and [`Failure::MalformedRequest`] if
    /// `If-None-Match` is not `*`, or both headers are sent.
    pub fn precondition(&self) -> Result<Precondition, Failure> {
        match (self.header(header::IF_MATCH.as_str())?, self.header(header::IF_NONE_MATCH.as_str())?) {
            (None, None) => Ok(Precondition::None),
            (Some(_), None) => Ok(self.if_match()?.map_or(Precondition::Exists, Precondition::Version)),
            (None, Some("*")) => Ok(Precondition::Absent),
            (None, Some(_)) => Err(Failure::MalformedRequest(
                "If-None-Match must be `*`, which creates the resource only if it does not exist.".to_owned(),
            )),
            (Some(_), Some(_)) => {
                Err(Failure::MalformedRequest("Send either If-Match or If-None-Match, not both.".to_owned()))
            }
        }
    }

    /// The value of a header that can be sent only once.
    fn header(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next();
        let text = first.map(|value| value.to_str()).transpose();
        match (text, values.next()) {
            (Ok(text), None) => Ok(text),
            _ => Err(Failure::MalformedRequest(format!(
                "Send the header `{name}` only once, in visible ASCII."
            ))),
        }
    }
}
