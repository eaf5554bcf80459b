//! Exchanges keys, tokens and the JWTs of workloads for short-lived tokens. Requests
//! authenticate themselves, so the routes have no authorizer.
//!
//! [`exchange_token`] is the token endpoint. [`form`] parses a request. A key or token is
//! checked as by the authorizer, and [`workload`] checks a JWT. [`token`] makes the token.
//! [`permissions`] and [`request_token`] answer direct invocations, which the MCP server makes.
//! After each answer, [`follow_up`] logs the exchange, and counts a refused credential.

pub mod authorize;
pub mod exchange_token;
mod follow_up;
mod form;
pub mod get_metadata;
mod issuer_keys;
mod jwt;
mod key_set;
mod log;
mod permissions;
mod refusal;
mod request_token;
mod single_use;
mod strict_json;
mod token;
mod workload;

use std::sync::Arc;

use shared::api::{DirectAnswer, DirectEvent};
use shared::authentication::Authentication;
use shared::config::{ConfigError, Setup};
use shared::domain::{Clock, Entropy, Environment, UrlHosts};
use shared::http::{Anyone, Failure, Invocable, Operation, Reply, Request};
use shared::keyring::{Keyring, TokenKeyring};
use shared::store::{ActivityRecorder, Roles, Store};

use follow_up::FollowUps;
use issuer_keys::AllIssuerKeys;

pub struct ExchangeToken {
    store: Store,
    authentication: Authentication,
    /// The peppers, which seal federated identities and issuers.
    keyring: Keyring,
    token_keyring: TokenKeyring,
    roles: Roles,
    issuer_keys: AllIssuerKeys,
    issuer_hosts: UrlHosts,
    environment: Environment,
    /// Whether the log and the activity contain source addresses.
    records_addresses: bool,
    /// Counts refused keys and tokens, and calls of tools that the roles do not permit.
    activity: ActivityRecorder,
    follow_ups: FollowUps,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Operation for ExchangeToken {
    type Caller = Anyone;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let store = setup.store()?;
        let issuer_hosts = setup.url_hosts()?;
        Ok(Self {
            authentication: Authentication::new(setup, store.clone())?,
            keyring: setup.keyring()?,
            token_keyring: setup.token_keyring()?,
            roles: Roles::new(store.clone(), setup.built_in_roles()?),
            issuer_keys: AllIssuerKeys::new(Arc::clone(&setup.clock), issuer_hosts),
            issuer_hosts,
            environment: setup.environment()?,
            records_addresses: setup.records_source_addresses()?,
            activity: ActivityRecorder::new(store.clone()),
            follow_ups: FollowUps::default(),
            clock: Arc::clone(&setup.clock),
            entropy: Arc::clone(&setup.entropy),
            store,
        })
    }

    async fn warm(&self) {
        self.authentication.warm().await;
    }

    async fn handle(&self, _: Anyone, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "POST /iam/v1/token" => Ok(exchange_token::exchange_token(self, request).await),
            "GET /.well-known/oauth-authorization-server" => get_metadata::get_metadata(self, request),
            "GET /iam/v1/authorize" => Ok(authorize::authorize()),
            _ => Err(Failure::RouteNotFound),
        }
    }
}

impl Invocable for ExchangeToken {
    type Event = DirectEvent;
    type Answer = DirectAnswer;

    async fn invoke(&self, event: DirectEvent) -> DirectAnswer {
        match event {
            DirectEvent::Permissions(event) => {
                DirectAnswer::Permissions(permissions::permissions(self, &event).await)
            }
            DirectEvent::RequestToken(event) => {
                DirectAnswer::RequestToken(request_token::request_token(self, event).await)
            }
        }
    }

    async fn follow_up(&self) {
        Box::pin(self.follow_up_all()).await;
    }

    async fn flush(&self) {
        self.follow_up().await;
        self.activity.flush().await;
    }
}
