//! Protected APIs: their registrations, and the tools and documents of their builds.

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::domain::{Actor, ApiId, ApiName, ApiTitle, BaseUrl, BuildId, Confirmation, RoutePrefix};
use crate::policy::Permission;

/// The maximum number of protected APIs. Admins who register APIs at the same moment can exceed
/// it: the limit only bounds the size of the list.
pub const MAX_APIS: usize = 50;

/// What an admin chooses about a protected API, except its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiChoices {
    pub title: ApiTitle,
    pub base_url: BaseUrl,
    pub api_id: ApiId,
    pub route_prefix: RoutePrefix,
    /// The operations that can be tools. `None` if all operations can.
    pub include: Option<Vec<Permission>>,
    /// The operations that are not tools.
    pub exclude: Vec<Permission>,
    pub confirmation: Confirmation,
}

/// A protected API. Its tools and document are in the items of its build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApi {
    pub name: ApiName,
    pub choices: ApiChoices,
    /// The build. Another build has other tools, and the same build always has the same ones.
    pub build: BuildId,
    /// The version, which increases with each change. The first version is random, so that it
    /// differs from the versions of an earlier API with the same name.
    pub version: u64,
    pub created_at: Timestamp,
    pub created_by: Actor,
    pub updated_at: Timestamp,
    pub updated_by: Actor,
}

impl Store {
    /// Finds a protected API with a consistent read.
    pub async fn find_api(&self, name: &ApiName) -> Result<Option<StoredApi>, StoreError> {
        Err(StoreError::Unavailable(format!("protected API {name} cannot be read yet")))
    }
}
