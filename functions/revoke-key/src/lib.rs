//! Revokes keys, and deletes federated identities and service accounts. Each operation has
//! its own module.

pub mod delete_federated_identity;
pub mod delete_service_account;
pub mod revoke_all_keys;
pub mod revoke_key;

use shared::config::{ConfigError, Setup};
use shared::http::{Admin, Failure, Operation, Reply, Request};
use shared::store::Store;

pub struct RevokeKey {
    store: Store,
}

impl Operation for RevokeKey {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()? })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "DELETE /iam/v1/service-accounts/{id}/keys/{keyId}" => {
                revoke_key::revoke_key(self, admin, request).await
            }
            "DELETE /iam/v1/service-accounts/{id}/keys" => {
                revoke_all_keys::revoke_all_keys(self, admin, request).await
            }
            "DELETE /iam/v1/service-accounts/{id}/federated-identities/{identityId}" => {
                delete_federated_identity::delete_federated_identity(self, admin, request).await
            }
            "DELETE /iam/v1/service-accounts/{id}" => {
                delete_service_account::delete_service_account(self, admin, request).await
            }
            _ => Err(Failure::RouteNotFound),
        }
    }
}
