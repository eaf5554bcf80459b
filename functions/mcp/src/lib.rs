//! The MCP server: registered APIs as tools for agents.
//!
//! A request takes this path:
//!
//! 1. [`guard`] checks the host and takes the credential off the request.
//! 2. rmcp parses the JSON-RPC message, checks it, and calls a method of [`handler`].
//! 3. The method reads the API and its tools ([`catalog`]), and invokes `exchange-token` with the
//!    credential ([`exchange`]), which returns what the roles permit or a token for one request.
//! 4. A [`call`] sends one request to the API ([`upstream`]), whose answer becomes the [`result`].
//! 5. [`guard`] replaces the response if the credential was refused or Keyward failed, and logs
//!    one line.
//!
//! This function handles schemas, messages and responses that can be hostile, so it has no secret
//! and no access to accounts.

mod call;
mod catalog;
mod confirm;
mod credential;
mod exchange;
mod guard;
mod handler;
mod list;
mod metadata;
mod published;
mod record;
mod refusal;
mod result;
mod search;
mod services;
mod upstream;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use shared::config::{ConfigError, Setup, variable};
use shared::domain::{Environment, UrlHosts};

use crate::catalog::Catalog;
use crate::exchange::ExchangeFunction;
use crate::guard::Hosts;
use crate::handler::Handler;
use crate::services::Services;
use crate::upstream::Upstream;

/// The largest message of a client, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The MCP server.
pub struct Mcp {
    server: Arc<Server>,
    services: Arc<Services>,
}

/// The state of the HTTP server.
struct Server {
    hosts: Hosts,
    environment: Environment,
    /// The URL of the IAM API, whose token endpoint issues tokens.
    iam_url: String,
    protocol: StreamableHttpService<Handler, NeverSessionManager>,
}

impl Mcp {
    /// Creates the server from its setup, without any calls.
    ///
    /// # Errors
    /// A required variable is missing or invalid.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        // API Gateway serves only https. Local mode serves http.
        let url_hosts = setup.url_hosts()?;
        let scheme = match url_hosts {
            UrlHosts::Public => "https",
            UrlHosts::PublicAndLoopback => "http",
        };
        let hosts = Hosts { scheme, names: setup.variables.list(variable::MCP_HOSTS)? };
        let services = Arc::new(Services {
            exchange: ExchangeFunction::new(setup)?,
            catalog: Catalog::new(setup.store()?),
            upstream: Upstream { hosts: url_hosts },
        });
        let server = Arc::new(Server {
            protocol: protocol(Handler(Arc::clone(&services)), &hosts),
            hosts,
            environment: setup.environment()?,
            iam_url: setup.variables.text(variable::IAM_URL)?,
        });
        Ok(Self { server, services })
    }

    /// Opens the connection to the table, so that the first request does not wait for it.
    pub async fn warm(&self) {
        self.services.catalog.warm().await;
    }

    /// All routes, with middleware. The client's address is taken from the event of API Gateway
    /// or, in local mode, from a [`Gateway`](shared::http::Gateway) in the request's extensions.
    /// Without an address, keys with networks are refused.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/mcp/{name}", any(guard::serve))
            .route(metadata::ROOT, get(metadata::server_metadata))
            .route(&format!("{}/mcp/{{name}}", metadata::ROOT), get(metadata::api_metadata))
            .fallback(guard::no_route)
            .method_not_allowed_fallback(guard::wrong_method)
            .layer(from_fn_with_state(Arc::clone(&self.server), guard::finish))
            .with_state(Arc::clone(&self.server))
    }
}

/// The protocol without sessions, with JSON responses.
fn protocol(handler: Handler, hosts: &Hosts) -> StreamableHttpService<Handler, NeverSessionManager> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(hosts.names.clone())
        .with_allowed_origins(hosts.page_origins())
        // Without this, an empty list would allow all origins.
        .enforce_origin_validation()
        .with_sse_keep_alive(None)
        .with_max_request_body_bytes(MAX_MESSAGE_BYTES);
    StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config)
}
