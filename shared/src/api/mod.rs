//! The requests and responses of the IAM API. The functions, the console and the tests
//! share these types.
//!
//! JSON members are in camelCase, and instants are in RFC 3339. Requests have strings
//! where a function checks the field, so that one response can list all field errors.
//! Responses have parsed types.

mod accounts;
mod activity;
mod apis;
mod attention;
mod caller;
mod events;
mod federated_identities;
mod instant;
mod issuers;
mod keys;
mod problem;
mod reviews;
mod role_usage;
mod roles;
mod search;
mod token;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::Page;

pub use accounts::{
    CreateServiceAccountRequest, ListedServiceAccount, ServiceAccount, ServiceAccountList,
    ServiceAccountWithKeys, UpdateServiceAccountRequest,
};
pub use activity::{
    Activity, CountsByReason, DayCounts, HourCounts, KeyActivity, LastUse, RecentCounts, RefusalRecord,
    RequestCounts, RequestRecord, RouteUse, UnverifiedCounts,
};
pub use apis::{ApiList, ApiSettings, PutApiRequest, RegisteredApi, SkippedOperation, ToolSummary};
pub use attention::{
    AccountSummary, Attention, AttentionCounts, AttentionItem, AttentionReason, EndReason, IdentitySummary,
    KeySummary, MinimumCount,
};
pub use caller::{CredentialDetails, RequestCheck, TokenDetails, TokenRole, WhoamiResponse};
pub use events::{AuditEvent, FoundEvents};
pub use federated_identities::{
    CreateFederatedIdentityRequest, EndedFederatedIdentity, FederatedIdentity, FederatedIdentityList,
    IdentityRule, IdentityState,
};
pub use issuers::{PutIssuerRequest, TrustedIssuer, TrustedIssuerList};
pub use keys::{
    IssueKeyRequest, IssuedKey, Key, KeyLookup, KeyState, LookupKeyRequest, ReplacedKey, RetiredKey,
    RevokedKeys, RotateKeyRequest, RotatedKey, SHOWN_DAYS, Usage,
};
pub use problem::{FieldError, Problem, ProblemCode, RoleUse};
pub use reviews::{Review, ReviewServiceAccountRequest, ReviewedServiceAccount};
pub use role_usage::{MAX_LISTED_ROUTES, Observation, ObservationGap, PermissionUse, RoleUsage};
pub use roles::{
    ExplainRequest, ExplainedRole, Explanation, ListedRoleUse, PutRoleRequest, Role, RoleHolder,
    RoleUserList, permissions,
};
pub use search::{FoundAccount, FoundIdentity, FoundKey, FoundKeyAccount, MatchedField, SearchResults};
pub use token::{
    AuthorizationServer, ConfirmationRefusal, CredentialPermissions, DirectAnswer, DirectEvent,
    PermissionsAnswer, PermissionsEvent, RequestConfirmation, RequestTokenAnswer, RequestTokenEvent,
    TokenError, TokenErrorCode, TokenRequest, TokenResponse, oauth,
};

/// A page of a list.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// The `cursor` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    pub next_cursor: Option<String>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next_cursor: None }
    }
}

impl<T> List<T> {
    /// Converts a page of the store. `show` converts each item.
    pub fn new<U>(page: Page<U, impl ToString>, show: impl FnMut(U) -> T) -> Self {
        Self {
            next_cursor: page.next.map(|cursor| cursor.to_string()),
            items: page.items.into_iter().map(show).collect(),
        }
    }
}
