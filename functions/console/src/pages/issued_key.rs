//! The only page that shows a key's secret, after a key is issued or rotated.
//!
//! The page is the direct response to the form, because the secret is not stored anywhere.
//! If the form is sent again, the API recognizes the attempt, and
//! [`issued_before`](super::issued_before) is shown.

use std::time::Duration;

use askama::Template;
use secrecy::{ExposeSecret as _, SecretString};
use shared::api::{ApiSettings, IssuedKey, Key, ReplacedKey};
use shared::domain::AccountId;

use super::protected_api::mcp_url;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::Page;
use crate::view::snippets::{self, Tab, VARIABLE};

/// The time limit for reading the protected APIs.
const APIS_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Template)]
#[template(path = "issued_key.html")]
struct Issued {
    page: Page,
    account: AccountId,
    key: Key,
    secret: SecretString,
    tabs: Vec<Tab>,
    /// The first protected API and the configuration of MCP clients for it. `None` if there is no
    /// API, or if the APIs are not available.
    agent: Option<(ApiSettings, Vec<Tab>)>,
    /// The other protected APIs.
    other_apis: Vec<ApiSettings>,
    replaces: Option<ReplacedKey>,
}

/// Shows a new key.
pub(super) async fn show(
    session: Session,
    account: AccountId,
    issued: IssuedKey,
    replaces: Option<ReplacedKey>,
) -> PageResult {
    let IssuedKey { key, secret, .. } = issued;
    let tabs = snippets::tabs(&session.console.api.base);
    // The page must not fail or wait for long: nothing else shows the key.
    let apis = tokio::time::timeout(APIS_TIMEOUT, session.api().protected_apis()).await;
    let mut apis = apis.ok().and_then(Result::ok).unwrap_or_default().into_iter();
    let agent = apis.next().map(|api| {
        let tabs = snippets::agent_tabs(&api.name, &mcp_url(&session, &api.name));
        (api, tabs)
    });
    let (page, other_apis) = (session.page(), apis.collect());
    let page = Issued { page, account, key, secret, tabs, agent, other_apis, replaces };
    session.show(page)
}
