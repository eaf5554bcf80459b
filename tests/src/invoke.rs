//! Invokes a function of the IAM API directly, with events that API Gateway would not send.

use authorizer::Authorizer;
use console::Console;
use mcp::Mcp;
use rotate_secret::RotateSecret;
use serde_json::{Value, json};
use shared::config::{ConfigError, Setup};
use shared::http::{Operation, answer};
use sweep_keys::SweepKeys;

use crate::{Harness, Reply};

/// An event of an HTTP API (payload format 2.0).
pub struct Event {
    /// The route's key, such as `GET /iam/v1/service-accounts/{id}`. A query can follow it.
    pub route: String,
    /// The values of the path's parameters.
    pub parameters: Value,
    /// The body, if the request has one.
    pub body: Option<Value>,
    /// The authorizer's context, if the route has an authorizer.
    pub context: Option<Value>,
}

impl Event {
    fn to_json(&self) -> Value {
        let (route, query) = self.route.split_once('?').unwrap_or((&self.route, ""));
        let (method, path) = route.split_once(' ').unwrap();
        let path =
            self.parameters.as_object().unwrap().iter().fold(path.to_owned(), |path, (name, value)| {
                path.replace(&format!("{{{name}}}"), value.as_str().unwrap())
            });
        let mut event = json!({
            "version": "2.0",
            "routeKey": route,
            "rawPath": path,
            "rawQueryString": query,
            "headers": { "content-type": "application/json" },
            "pathParameters": self.parameters,
            "requestContext": {
                "http": { "method": method, "path": path, "sourceIp": "127.0.0.1" },
                "requestId": "request-1",
                "routeKey": route,
                "stage": "$default",
            },
            "isBase64Encoded": false,
        });
        if let Some(context) = &self.context {
            event["requestContext"]["authorizer"] = json!({ "lambda": context });
        }
        if let Some(body) = &self.body {
            event["body"] = body.to_string().into();
        }
        event
    }
}

/// Evaluates `$then` with `$operation` as the type of the function with this logical id.
macro_rules! with_operation {
    ($function:expr, $operation:ident => $then:expr) => {
        with_operation!($function, $operation => $then,
            "CreateServiceAccount" => create_service_account::CreateServiceAccount,
            "ListServiceAccounts" => list_service_accounts::ListServiceAccounts,
            "UpdateServiceAccount" => update_service_account::UpdateServiceAccount,
            "IssueKey" => issue_key::IssueKey,
            "ExchangeToken" => exchange_token::ExchangeToken,
            "ManageApis" => manage_apis::ManageApis,
            "ManageIssuers" => manage_issuers::ManageIssuers,
            "ManageRoles" => manage_roles::ManageRoles,
            "RevokeKey" => revoke_key::RevokeKey,
            "Whoami" => whoami::Whoami,
        )
    };
    ($function:expr, $operation:ident => $then:expr, $($name:literal => $type:ty,)*) => {
        match $function {
            $($name => {
                type $operation = $type;
                $then
            })*
            other => panic!("add the function {other} to this macro"),
        }
    };
}

/// Constructs and drops the function with this logical id.
///
/// # Errors
/// When a variable that the function needs is missing or invalid.
pub fn construct(function: &str, setup: &Setup) -> Result<(), ConfigError> {
    match function {
        "IamAuthorizer" | "Authorizer" => return Authorizer::new(setup).map(drop),
        "Console" => return Console::new(setup).map(drop),
        "Mcp" => return Mcp::new(setup).map(drop),
        "RotateSecret" => return RotateSecret::new(setup).map(drop),
        "SweepKeys" => return SweepKeys::new(setup).map(drop),
        _ => {}
    }
    with_operation!(function, O => O::new(setup).map(drop))
}

impl Harness {
    /// Sends `event` to the function with this logical id.
    pub async fn invoke(&self, function: &str, event: &Event) -> Reply {
        self.invoke_with(function, &self.system.setup_for(function).unwrap(), event).await
    }

    /// Sends `event` to the function with this logical id, with another setup.
    pub async fn invoke_with(&self, function: &str, setup: &Setup, event: &Event) -> Reply {
        with_operation!(function, O => Self::run::<O>(setup, event).await)
    }

    async fn run<O: Operation>(setup: &Setup, event: &Event) -> Reply {
        let operation = O::new(setup).unwrap();
        let request = lambda_http::request::from_str(&event.to_json().to_string()).unwrap();
        let (parts, body) = answer(&operation, request).await.into_parts();
        let headers = parts.headers.iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        Reply { status: parts.status.as_u16(), headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }
}
