//! The admin console: server-rendered pages to manage service accounts, keys and
//! roles.
//!
//! The console signs an admin in through OpenID Connect ([`auth::oidc`]), stores the
//! access token in an encrypted cookie ([`auth::session`]) and calls the IAM API with
//! the token ([`api`]). It has no permissions of its own. A page is one file in
//! [`pages`] and one template of the same name in `templates/`.

mod api;
mod app_state;
mod auth;
mod console_url;
mod error;
mod middleware;
mod pages;
mod problem;
mod request_id;
mod secret_text;
mod view;

use std::sync::Arc;
use std::time::Duration;

pub use auth::session::is_own_cookie;

use axum::Router;
use shared::config::{ConfigError, Setup, variable};
use shared::http_client::HttpClient;

use crate::api::Api;
use crate::app_state::{AppState, Inner};
use crate::auth::oidc::Provider;
use crate::auth::secret::ConsoleSecret;
use crate::console_url::ConsoleUrl;

/// The time limit of one call to the IAM API or the issuer. The API's
/// functions have 15 s. [`middleware`] limits a whole page.
const CALL_TIMEOUT: Duration = Duration::from_secs(14);
/// The largest response, in bytes. A function's response has at most 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>),
/// and a page of roles or events can come close to that.
const MAX_RESPONSE_BYTES: usize = 7 * 1024 * 1024;

/// The console.
pub struct Console(AppState);

impl Console {
    /// Creates the console from its setup, without any calls.
    ///
    /// # Errors
    /// When a required variable is missing or invalid.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let variables = &setup.variables;
        let url = variables.read(variable::CONSOLE_URL, ConsoleUrl::parse)?;
        let http_client = HttpClient::new(CALL_TIMEOUT, MAX_RESPONSE_BYTES);
        Ok(Self(AppState(Arc::new(Inner {
            environment: setup.environment()?,
            built_in_roles: setup.built_in_roles()?,
            base_paths: setup.base_paths()?,
            max_key_lifetime_days: setup.max_key_lifetime_days()?,
            api: Api { base: variables.text(variable::API_URL)?, http_client: http_client.clone() },
            mcp_url: variables.text(variable::MCP_URL)?,
            provider: Provider::new(setup, &url, http_client)?,
            secret: ConsoleSecret::new(setup.secret(variable::CONSOLE_SECRET)?, Arc::clone(&setup.clock)),
            clock: Arc::clone(&setup.clock),
            entropy: Arc::clone(&setup.entropy),
            url,
        }))))
    }

    /// Reads the secret, so that the first request does not wait for it. A failure is
    /// logged, and the next request reads the secret again.
    pub async fn warm(&self) {
        if let Err(error) = self.0.secret.get().await {
            tracing::warn!(cause = %error, "the console's secret could not be read at start-up");
        }
    }

    /// All pages, with middleware.
    pub fn router(&self) -> Router {
        middleware::router(self.0.clone())
    }
}
