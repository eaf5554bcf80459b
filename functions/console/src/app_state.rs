//! The state that all pages share: configuration and clients.

use std::sync::Arc;

use shared::domain::{Clock, Entropy, Environment};
use shared::policy::BuiltInRoles;

use crate::api::Api;
use crate::auth::oidc::Provider;
use crate::auth::secret::ConsoleSecret;
use crate::console_url::ConsoleUrl;

/// The state that all pages share.
#[derive(Clone)]
pub(crate) struct AppState(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) url: ConsoleUrl,
    pub(crate) environment: Environment,
    pub(crate) built_in_roles: BuiltInRoles,
    pub(crate) max_key_lifetime_days: u32,
    pub(crate) api: Api,
    pub(crate) provider: Provider,
    pub(crate) secret: ConsoleSecret,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl std::ops::Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
