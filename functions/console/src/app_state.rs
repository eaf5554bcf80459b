//! The state that all pages share: configuration and clients.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::domain::{Clock, Entropy, EntropyError, Environment};
use shared::policy::{BuiltInRoles, PathPrefix};

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
    /// The base paths of custom domains.
    pub(crate) base_paths: Vec<PathPrefix>,
    pub(crate) max_key_lifetime_days: u32,
    pub(crate) api: Api,
    /// The URL of the MCP server of an API is this URL, a slash and the API's name.
    pub(crate) mcp_url: String,
    pub(crate) provider: Provider,
    pub(crate) secret: ConsoleSecret,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Inner {
    /// `N` random bytes as text.
    pub(crate) fn random_text<const N: usize>(&self) -> Result<String, EntropyError> {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl std::ops::Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
