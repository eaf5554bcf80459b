//! Roles and their permissions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{BuiltInRole, RoleName};

use super::{PathPrefix, Permission, Target};

/// A role with its permissions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Role {
    pub name: RoleName,
    /// The permissions. Requests that no permission covers are refused.
    pub permissions: Vec<Permission>,
}

impl Role {
    /// A role that permits nothing. Stands in for a role that does not exist.
    pub fn empty(name: RoleName) -> Self {
        Self { name, permissions: Vec::new() }
    }

    /// The first permission that covers `target`.
    pub fn permission_for(&self, target: &Target<'_>) -> Option<&Permission> {
        self.permissions.iter().find(|permission| permission.covers(target))
    }
}

/// The built-in roles of a deployment, which depend on its data prefixes.
#[derive(Clone, Debug)]
pub struct BuiltInRoles {
    data_prefixes: Vec<PathPrefix>,
    admin: Arc<Role>,
    writer: Arc<Role>,
    reader: Arc<Role>,
}

impl BuiltInRoles {
    /// The roles for data below `data_prefixes`.
    ///
    /// - Admin: all requests. Requests below the reserved `/iam` are refused before roles
    ///   are checked.
    /// - Writer: all methods on each prefix and below it.
    /// - Reader: `GET`, `HEAD` and `OPTIONS` on each prefix and below it.
    pub fn new(data_prefixes: &[PathPrefix]) -> Self {
        let data = |methods: &str| {
            data_prefixes
                .iter()
                .flat_map(|prefix| {
                    [
                        format!("{methods} {}", prefix.as_str()),
                        format!("{methods} {}/{{proxy+}}", prefix.as_str()),
                    ]
                })
                .collect()
        };
        let role = |role: BuiltInRole, permissions: Vec<String>| {
            Arc::new(Role {
                name: role.into(),
                // Permissions with a valid prefix always parse. If one did not, the role
                // would permit less, never more.
                permissions: permissions.iter().filter_map(|text| Permission::parse(text).ok()).collect(),
            })
        };
        Self {
            data_prefixes: data_prefixes.to_vec(),
            admin: role(BuiltInRole::Admin, vec!["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]),
            writer: role(BuiltInRole::Writer, data("ANY")),
            reader: role(BuiltInRole::Reader, data("GET,HEAD,OPTIONS")),
        }
    }

    /// The prefixes of the data paths, to which Writer and Reader give access.
    pub fn data_prefixes(&self) -> &[PathPrefix] {
        &self.data_prefixes
    }

    /// The permissions of `role`.
    pub fn get(&self, role: BuiltInRole) -> &Arc<Role> {
        match role {
            BuiltInRole::Admin => &self.admin,
            BuiltInRole::Writer => &self.writer,
            BuiltInRole::Reader => &self.reader,
        }
    }
}
