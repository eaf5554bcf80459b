//! The response to API Gateway: always in the IAM form, for exactly the invoked
//! ARN.
//!
//! A *simple* response names no resource, so one cached allow would open every
//! route to that credential. The IAM form fails closed.

use std::borrow::Cow;

use lambda_runtime::Diagnostic;
use serde::Serialize;
use shared::domain::context;
use shared::policy::{Allowed, Reason};

use crate::event::MethodArn;

/// An answer in the IAM form.
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html>)
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    principal_id: String,
    policy_document: PolicyDocument,
    /// Omitted if empty, because API Gateway does not accept `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyDocument {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: Effect,
    resource: String,
}

/// Has no default, so that each statement names its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Effect {
    Allow,
    Deny,
}

/// Describes the caller to the backend, or explains a refusal to the client of a REST API.
/// Contains strings under the names in [`context`].
#[derive(Debug)]
pub(crate) struct Context(Vec<(&'static str, Cow<'static, str>)>);

impl Context {
    /// An empty context with space for a token's members.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(11))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// The value of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| &**value)
    }
}

impl Serialize for Context {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Answer {
    /// Allows the request. The first argument proves that the policy permits it.
    pub(crate) fn allow(_: Allowed<'_>, arn: &MethodArn<'_>, context: Context) -> Self {
        let principal_id = context.get(context::PRINCIPAL_ID).unwrap_or_default().to_owned();
        Self::new(principal_id, Effect::Allow, arn, Some(context))
    }

    /// Denies the request. The answer contains a reason only if there is a context.
    pub(crate) fn deny(arn: &MethodArn<'_>, context: Option<Context>) -> Self {
        Self::new("anonymous".to_owned(), Effect::Deny, arn, context)
    }

    fn new(principal_id: String, effect: Effect, arn: &MethodArn<'_>, context: Option<Context>) -> Self {
        let statement = Statement { action: "execute-api:Invoke", effect, resource: arn.as_str().to_owned() };
        Self {
            principal_id,
            policy_document: PolicyDocument { version: "2012-10-17", statement: [statement] },
            context,
        }
    }

    /// Whether this allows the request.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        let [statement] = &self.policy_document.statement;
        statement.effect == Effect::Allow
    }
}

/// A response that is a function error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// The credential is not valid. REST APIs, and HTTP APIs with payload format
    /// 1.0, turn exactly this message into 401.
    #[error("Unauthorized")]
    Unauthorized,
    /// There is no decision. The client gets 500, as for any other message.
    #[error("Unavailable")]
    Unavailable,
    /// The event does not come from an API. The client gets 500.
    #[error("MalformedEvent")]
    MalformedEvent,
}

impl From<FunctionError> for Diagnostic {
    fn from(failed: FunctionError) -> Self {
        let message = failed.to_string();
        Self { error_type: message.clone(), error_message: message }
    }
}

/// All that a client learns about a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientOutcome {
    /// The request is allowed.
    Allowed,
    /// The credential is not valid. All reasons for this look the same.
    Unauthorized,
    /// The credential can be valid, but does not permit the request.
    Forbidden,
    /// There is no decision. The client can try again later.
    Failed,
}

impl From<Reason> for ClientOutcome {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Allowed => Self::Allowed,
            Reason::Missing
            | Reason::Malformed
            | Reason::ForeignEnvironment
            | Reason::Unknown
            | Reason::Revoked
            | Reason::Retired
            | Reason::Expired
            | Reason::Disabled
            | Reason::WrongSecret
            | Reason::Issuer
            | Reason::Audience
            | Reason::Scope => Self::Unauthorized,
            Reason::Role
            | Reason::Network
            | Reason::AmbiguousPath
            | Reason::PathMismatch
            | Reason::Request
            | Reason::Reserved => Self::Forbidden,
            Reason::Outage => Self::Failed,
        }
    }
}
