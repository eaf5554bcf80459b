//! The registered APIs and their tools.
//!
//! Each request reads the API's item consistently, so that a change or deletion takes effect on
//! the next request. The tools of a build never change, so they are kept in memory.

use std::sync::{Arc, Mutex, PoisonError};

use shared::domain::{ApiName, BuildId};
use shared::policy::{Permission, Role, can_permit};
use shared::store::{ApiChoices, Store, StoreError, StoredApi};
use shared::tools::Tool;

/// The maximum number of APIs whose tools are kept.
const MAX_APIS: usize = 8;

/// The maximum number of tools that are kept. More than an API can have.
const MAX_TOOLS: usize = 4000;

/// The maximum number of validators that are kept. Each can have 20 regular expressions of 256 KB.
const MAX_VALIDATORS: usize = 32;

/// An API with its tools.
pub(crate) struct RegisteredApi {
    pub(crate) choices: ApiChoices,
    pub(crate) build: BuildId,
    pub(crate) tools: Arc<Vec<ApiTool>>,
}

/// A tool, and the permissions that could allow its requests.
pub(crate) struct ApiTool {
    pub(crate) tool: Tool,
    pub(crate) permissions: Vec<Permission>,
}

impl ApiTool {
    /// Whether the roles together permit a request of the tool.
    pub(crate) fn is_permitted(&self, roles: &[&Role]) -> bool {
        self.permissions.iter().any(|permission| can_permit(roles, permission))
    }
}

impl RegisteredApi {
    /// The tool with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&ApiTool> {
        self.tools.iter().find(|tool| tool.tool.name.as_str() == name)
    }

    /// The tools that the roles together permit, with their positions among all tools.
    pub(crate) fn permitted<'a>(&'a self, roles: &'a [Role]) -> impl Iterator<Item = (usize, &'a ApiTool)> {
        let roles: Vec<&Role> = roles.iter().collect();
        self.tools.iter().enumerate().filter(move |(_, tool)| tool.is_permitted(&roles))
    }
}

/// Reads APIs and keeps tools.
pub(crate) struct Catalog {
    store: Store,
    /// The builds that were used last, the latest at the end.
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    build: BuildId,
    /// The tools' permissions contain the prefix.
    route_prefix: String,
    tools: Arc<Vec<ApiTool>>,
}

impl Catalog {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, kept: Mutex::default() }
    }

    /// Opens the connection to the table.
    pub(crate) async fn warm(&self) {
        self.store.warm_apis().await;
    }

    /// The API with this name, if it is registered.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn find(&self, name: &ApiName) -> Result<Option<RegisteredApi>, StoreError> {
        match self.read(name).await {
            // The API was changed between the two reads.
            Err(StoreError::BuildMissing(_)) => self.read(name).await,
            found => found,
        }
    }

    async fn read(&self, name: &ApiName) -> Result<Option<RegisteredApi>, StoreError> {
        let Some(api) = self.store.find_api(name).await? else {
            return Ok(None);
        };
        let tools = match self.take(&api) {
            Some(tools) => tools,
            None => Arc::new(with_permissions(self.store.get_tools(&api).await?, &api)),
        };
        self.keep(&api, Arc::clone(&tools));
        Ok(Some(RegisteredApi { choices: api.choices, build: api.build, tools }))
    }

    /// Takes the tools of the API's build out of memory.
    fn take(&self, api: &StoredApi) -> Option<Arc<Vec<ApiTool>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = api.choices.route_prefix.as_str();
        let at = kept.iter().position(|kept| kept.build == api.build && kept.route_prefix == prefix)?;
        Some(kept.remove(at).tools)
    }

    /// Keeps tools as the most recently used ones, and drops the least recently used ones. Drops
    /// even these tools if they have too many validators. Reading them again is cheaper than keeping
    /// the memory.
    fn keep(&self, api: &StoredApi, tools: Arc<Vec<ApiTool>>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.build != api.build);
        kept.push(Kept { build: api.build, route_prefix: api.choices.route_prefix.to_string(), tools });
        while kept.len() > MAX_APIS
            || tools_of(&kept).count() > MAX_TOOLS
            || tools_of(&kept).filter(|tool| tool.tool.has_validator()).count() > MAX_VALIDATORS
        {
            kept.remove(0);
        }
    }
}

fn tools_of(kept: &[Kept]) -> impl Iterator<Item = &ApiTool> {
    kept.iter().flat_map(|kept| kept.tools.iter())
}

fn with_permissions(tools: Vec<Tool>, api: &StoredApi) -> Vec<ApiTool> {
    let prefix = &api.choices.route_prefix;
    tools.into_iter().map(|tool| ApiTool { permissions: tool.permissions(prefix), tool }).collect()
}
