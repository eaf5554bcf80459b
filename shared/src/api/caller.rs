//! The caller, as `whoami` shows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use crate::domain::{KeyId, PrincipalType, RoleName};

/// A caller, as it is to itself.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoamiResponse {
    /// `serviceAccount` or `admin`.
    #[schema(value_type = String)]
    pub principal_type: PrincipalType,
    /// The account's id, or the person's.
    pub principal_id: String,
    /// The account's name, or the person's.
    pub principal_name: String,
    /// The environment that this is.
    pub environment: String,
    /// How to read the rest, in plain words: what is permitted, and what is not.
    pub summary: String,
    /// What the account's role permits; of an admin, what this token may do.
    pub permissions: Vec<String>,
    /// What a service account's key is and may do.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = KeyDetails)]
    pub key: Option<KeyDetails>,
}

/// What a key is and may do. An admin's answer has none of it, so nothing of it
/// is required.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyDetails {
    /// The key.
    #[schema(value_type = String, required = false)]
    pub key_id: KeyId,
    /// From this instant on it is refused.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub expires_at: Timestamp,
    /// Another key replaces it: from this instant on it is refused already.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub retires_at: Option<Timestamp>,
    /// The account's role.
    #[schema(value_type = String, required = false)]
    pub role: RoleName,
    /// The key's own role. Both must permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub key_role: Option<RoleName>,
    /// What the key's own role permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub key_permissions: Option<Vec<String>>,
    /// The networks that it may be used from. Empty: from anywhere.
    #[schema(required = false)]
    pub allowed_cidrs: Vec<String>,
}
