//! Manages custom roles, lists all roles and their users, and explains the authorizer's
//! decisions. Each operation has its own module.

pub mod delete_role;
pub mod explain;
pub mod get_role;
pub mod list_role_users;
pub mod list_roles;
pub mod put_role;

use std::sync::Arc;

use shared::config::{ConfigError, Setup};
use shared::domain::{Clock, CustomRoleName};
use shared::http::{Admin, Failure, Operation, Reply, Request};
use shared::store::{Roles, Store};

pub struct ManageRoles {
    store: Store,
    roles: Roles,
    clock: Arc<dyn Clock>,
}

impl Operation for ManageRoles {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let store = setup.store()?;
        Ok(Self {
            roles: Roles::new(store.clone(), setup.built_in_roles()?),
            store,
            clock: Arc::clone(&setup.clock),
        })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "GET /iam/v1/roles" => list_roles::list_roles(self, request).await,
            "GET /iam/v1/roles/{name}" => get_role::get_role(self, request).await,
            "GET /iam/v1/roles/{name}/users" => list_role_users::list_role_users(self, request).await,
            "PUT /iam/v1/roles/{name}" => put_role::put_role(self, admin, request).await,
            "DELETE /iam/v1/roles/{name}" => delete_role::delete_role(self, admin, request).await,
            "POST /iam/v1/roles/explain" => explain::explain(self, request).await,
            _ => Err(Failure::RouteNotFound),
        }
    }
}

/// The role name in the path, which must not be the name of a built-in role.
fn custom_role_name(request: &Request) -> Result<CustomRoleName, Failure> {
    CustomRoleName::new(request.role_name()?).map_err(Failure::RoleBuiltIn)
}
