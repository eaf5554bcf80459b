//! The admin console: the pages on which people manage service accounts, and
//! the only place where a person sees a key.
//!
//! It is a backend for a frontend: it signs an admin in through OpenID Connect
//! ([`auth::oidc`]), keeps the access token in an encrypted cookie ([`auth::session`]),
//! and calls the IAM API with it ([`api`]). It has no rights of its own: what it
//! shows and changes is what the admin's token may. A page is one file in
//! [`pages`] and one in `templates/`.

mod api;
mod auth;
mod console_url;
mod error;
mod middleware;
mod outgoing;
mod pages;
mod problem;
mod request_id;
mod site;
mod view;

use std::sync::Arc;

pub use auth::session::is_own_cookie;

use axum::Router;
use shared::config::{ConfigError, Setup, variable};

use crate::api::Api;
use crate::auth::oidc::Provider;
use crate::auth::secret::OwnSecret;
use crate::console_url::ConsoleUrl;
use crate::outgoing::Outgoing;
use crate::site::{Parts, Site};

/// The console.
pub struct Console(Site);

impl Console {
    /// Makes it from its setup. Nothing is called yet.
    ///
    /// # Errors
    /// When a variable that it needs is missing or not acceptable.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let variables = &setup.variables;
        let url = variables.read(variable::CONSOLE_URL, ConsoleUrl::parse)?;
        let outgoing = Outgoing::new();
        Ok(Self(Site(Arc::new(Parts {
            environment: setup.environment()?,
            built_in_roles: setup.built_in_roles()?,
            max_key_lifetime_days: setup.max_key_lifetime_days()?,
            api: Api::new(variables.text(variable::API_URL)?, outgoing.clone()),
            provider: Provider::new(setup, &url, outgoing)?,
            secret: OwnSecret::new(setup.secret(variable::CONSOLE_SECRET)?, Arc::clone(&setup.clock)),
            clock: Arc::clone(&setup.clock),
            entropy: Arc::clone(&setup.entropy),
            url,
        }))))
    }

    /// Reads its secret, so that the first request does not wait for it. A
    /// failure is logged and changes nothing: the next use tries again.
    pub async fn warm(&self) {
        if let Err(error) = self.0.secret.get().await {
            tracing::warn!(cause = %error, "the console's secret could not be read at start-up");
        }
    }

    /// All of its pages.
    pub fn router(&self) -> Router {
        middleware::router(self.0.clone())
    }
}
