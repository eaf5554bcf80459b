//! Sends each change to the function that makes it, and each request to the authorizer, with
//! the events of the gateway.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use axum::body::{Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use shared::api::{IssuedKey, RotatedKey, ServiceAccount};
use shared::domain::{AccountId, PrincipalType, context};

use super::company::{API, API_TITLE, Admin, FIRST_ACCOUNT, SHOWN_KEY, Update};
use super::schedule::{Action, KeyName, Request};
use super::{Demo, DemoError, REQUEST_TIME};
use crate::gateway::{self, BUSINESS_AUTHORIZER, Call, Gateway};

/// The source address of admins' requests.
const ADMINS: &str = "203.0.113.2";

/// The company's API.
const API_DOCUMENT: &str = include_str!("openapi.yaml");

/// The limit for a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

pub(super) struct Player<'a> {
    gateway: &'a Gateway,
    url: &'a str,
    accounts: HashMap<&'static str, AccountId>,
    keys: HashMap<KeyName, IssuedKey>,
}

impl<'a> Player<'a> {
    pub(super) fn new(gateway: &'a Gateway, url: &'a str) -> Self {
        Self { gateway, url, accounts: HashMap::new(), keys: HashMap::new() }
    }

    pub(super) async fn act(&mut self, action: &Action) -> Result<(), DemoError> {
        match action {
            Action::PutRole { role, permissions, by } => {
                let body = json!({ "description": role.description, "permissions": permissions });
                self.change(*by, "PUT", &format!("/iam/v1/roles/{}", role.name), &body).await?;
            }
            Action::RegisterApi { by } => {
                let body = json!({ "title": API_TITLE, "baseUrl": self.url, "openapi": API_DOCUMENT });
                self.change(*by, "PUT", &format!("/iam/v1/apis/{API}"), &body).await?;
            }
            Action::CreateAccount { account } => {
                let tags: HashMap<_, _> = account.tags.iter().copied().collect();
                let body = json!({
                    "name": account.name, "description": account.description, "owner": account.owner,
                    "tags": tags, "role": account.role,
                });
                let path = "/iam/v1/service-accounts";
                let created = self.change(account.created.by, "POST", path, &body).await?;
                let created: ServiceAccount = parse(path, &created)?;
                self.accounts.insert(account.name, created.id);
            }
            Action::UpdateAccount { account, update, by } => {
                let path = self.path(account)?;
                let (method, body) = match update {
                    Update::Owner(owner) => ("PATCH", json!({ "owner": owner })),
                    Update::Description(text) => ("PATCH", json!({ "description": text })),
                    Update::Disable => ("PATCH", json!({ "enabled": false })),
                    Update::Delete => ("DELETE", Value::Null),
                };
                self.change(*by, method, &path, &body).await?;
            }
            Action::IssueKey { name, key } => {
                let path = format!("{}/keys", self.path(name.account)?);
                let mut body = json!({
                    "name": key.name, "expiresInDays": key.lifetime_days, "allowedCidrs": key.networks,
                });
                if let (Some(role), Some(body)) = (key.role, body.as_object_mut()) {
                    body.insert("role".to_owned(), role.into());
                }
                let issued = self.change(key.issued.by, "POST", &path, &body).await?;
                self.keys.insert(*name, parse(&path, &issued)?);
            }
            Action::RotateKey { name, grace_hours, by } => {
                let path = format!("{}/rotation", self.key_path(name)?);
                let body = json!({ "graceSeconds": grace_hours * 3600 });
                let rotated = self.change(*by, "POST", &path, &body).await?;
                let rotated: RotatedKey = parse(&path, &rotated)?;
                self.keys.insert(KeyName { is_successor: true, ..*name }, rotated.issued);
            }
            Action::RevokeKey { name, by } => {
                self.change(*by, "DELETE", &self.key_path(name)?, &Value::Null).await?;
            }
            Action::SweepKeys => {
                let swept = self.gateway.functions.sweep_keys.sweep(Timestamp::MAX).await;
                swept.map_err(|error| failed("the sweep of keys", error))?;
            }
        }
        Ok(())
    }

    /// Sends the requests of each key in their order, and those of several keys at once.
    pub(super) async fn send(
        &self,
        requests: BTreeMap<KeyName, Vec<(Timestamp, Request)>>,
    ) -> Result<(), DemoError> {
        let send = async |requests: Vec<(Timestamp, Request)>| {
            for (at, request) in requests {
                REQUEST_TIME.scope(at, Box::pin(self.request(&request))).await?;
            }
            Ok(())
        };
        futures::future::try_join_all(requests.into_values().map(send)).await.map(|_: Vec<()>| ())
    }

    /// Writes the activity that is pending.
    pub(super) async fn finish(mut self) -> Result<Demo, DemoError> {
        for authorizer in self.gateway.functions.authorizers.values() {
            Box::pin(authorizer.flush_activity()).await;
        }
        let account = self.account(FIRST_ACCOUNT)?;
        let name = KeyName { account: FIRST_ACCOUNT, key: SHOWN_KEY, is_successor: false };
        let key = self.keys.remove(&name).ok_or_else(|| failed(SHOWN_KEY, "the key is missing"))?;
        Ok(Demo { account, key: key.secret })
    }

    /// Sends a change to the IAM API. Returns the response body.
    async fn change(&self, by: Admin, method: &str, path: &str, body: &Value) -> Result<Bytes, DemoError> {
        let matched =
            self.gateway.find(method, path).ok_or_else(|| failed(path, "no route matches the request"))?;
        let context = [
            (context::PRINCIPAL_TYPE, PrincipalType::Admin.name()),
            (context::PRINCIPAL_ID, by.id),
            (context::PRINCIPAL_NAME, by.email),
        ];
        let context: Map<_, _> =
            context.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let json = HeaderValue::from_static("application/json");
        let call = call(method, path, ADMINS, (header::CONTENT_TYPE, json), body)?;
        let response = self.gateway.invoke(&matched, &call, Some(context)).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), MAX_RESPONSE_BYTES).await;
        let body = body.map_err(|error| failed(path, error))?;
        if status.is_success() {
            Ok(body)
        } else {
            // The response to a request that failed contains no secret.
            Err(failed(path, format!("{status}: {}", String::from_utf8_lossy(&body))))
        }
    }

    /// Sends a request to the authorizer of business APIs, which can refuse it.
    async fn request(&self, request: &Request) -> Result<(), DemoError> {
        let Request { key, route, id, source } = request;
        let (method, path) = route.split_once(' ').ok_or_else(|| failed(route, "the route has no path"))?;
        let bearer = format!("Bearer {}", self.key(key)?.secret.expose_secret());
        let mut bearer = HeaderValue::try_from(bearer).map_err(|error| failed(route, error))?;
        bearer.set_sensitive(true);
        let path = path.replace("{id}", &id.to_string());
        let call = call(method, &path, source, (header::AUTHORIZATION, bearer), Bytes::new())?;
        let event = self.gateway.authorizer_event(&call, route).unwrap_or_default();
        let authorizer = self.gateway.functions.authorizers.get(BUSINESS_AUTHORIZER);
        let authorizer = authorizer.ok_or_else(|| failed(route, "there is no authorizer"))?;
        let answer = authorizer.answer(&event, &call.id).await;
        answer.map(|_| ()).map_err(|error| failed(route, format!("{error:?}")))
    }

    fn account(&self, name: &str) -> Result<AccountId, DemoError> {
        self.accounts.get(name).copied().ok_or_else(|| failed(name, "the account is missing"))
    }

    fn key(&self, name: &KeyName) -> Result<&IssuedKey, DemoError> {
        self.keys.get(name).ok_or_else(|| failed(name.key, "the key is missing"))
    }

    fn path(&self, account: &str) -> Result<String, DemoError> {
        Ok(format!("/iam/v1/service-accounts/{}", self.account(account)?))
    }

    fn key_path(&self, name: &KeyName) -> Result<String, DemoError> {
        Ok(format!("{}/keys/{}", self.path(name.account)?, self.key(name)?.key.id))
    }
}

fn call(
    method: &str,
    path: &str,
    source: &str,
    (name, value): (header::HeaderName, HeaderValue),
    body: Bytes,
) -> Result<Call, DemoError> {
    let source: IpAddr = source.parse().map_err(|error| failed(source, error))?;
    Ok(Call {
        id: gateway::request_id().ok_or_else(|| failed(path, "the random source failed"))?,
        path: path.to_owned(),
        query: String::new(),
        method: Method::from_bytes(method.as_bytes()).map_err(|error| failed(method, error))?,
        headers: HeaderMap::from_iter([(name, value)]),
        source: SocketAddr::new(source, 0),
        body,
    })
}

fn parse<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, DemoError> {
    // The cause could quote a secret, and names only the position.
    serde_json::from_slice(body).map_err(|error| {
        failed(path, format!("the response is malformed at line {}, column {}", error.line(), error.column()))
    })
}

fn failed(step: &str, cause: impl ToString) -> DemoError {
    DemoError { step: step.to_owned(), cause: cause.to_string() }
}
