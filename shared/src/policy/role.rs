//! Roles: what they permit.

use std::sync::Arc;

use crate::domain::{BuiltInRole, RoleName};

use super::{PathPrefix, Permission, Target};

/// A role and what it permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// Everything else is refused.
    pub permissions: Vec<Permission>,
}

impl Role {
    /// A role that permits nothing, for a name that no role has.
    #[must_use]
    pub fn empty(name: RoleName) -> Self {
        Self { name, permissions: Vec::new() }
    }

    /// The first permission that covers `target`.
    #[must_use]
    pub fn permission_for(&self, target: &Target<'_>) -> Option<&Permission> {
        self.permissions.iter().find(|permission| permission.covers(target))
    }
}

/// The built-in roles of a deployment, which depend on its data prefixes.
#[derive(Clone, Debug)]
pub struct BuiltInRoles {
    admin: Arc<Role>,
    writer: Arc<Role>,
    reader: Arc<Role>,
}

impl BuiltInRoles {
    /// The roles for data below `data_prefixes`.
    ///
    /// - Admin: everything (the reserved `/iam/` is refused before any role).
    /// - Writer: any method on each prefix and below it.
    /// - Reader: `GET`, `HEAD` and `OPTIONS` there.
    #[must_use]
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
                // A prefix is plain text, so a permission with it always parses. If one
                // did not, the role would permit less, never more.
                permissions: permissions.iter().filter_map(|text| Permission::parse(text).ok()).collect(),
            })
        };
        Self {
            admin: role(BuiltInRole::Admin, vec!["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]),
            writer: role(BuiltInRole::Writer, data("ANY")),
            reader: role(BuiltInRole::Reader, data("GET,HEAD,OPTIONS")),
        }
    }

    /// What `role` permits.
    #[must_use]
    pub fn get(&self, role: BuiltInRole) -> &Arc<Role> {
        match role {
            BuiltInRole::Admin => &self.admin,
            BuiltInRole::Writer => &self.writer,
            BuiltInRole::Reader => &self.reader,
        }
    }
}
