//! Reads service accounts, audit events and the activity of keys. Each operation has its own module.

pub mod get_activity;
pub mod get_attention;
pub mod get_federated_identity;
pub mod get_federated_identity_activity;
pub mod get_key_activity;
pub mod get_role_usage;
pub mod get_service_account;
pub mod list_access_review;
pub mod list_all_events;
pub mod list_events;
pub mod list_federated_identities;
pub mod list_service_accounts;
pub mod search;

use std::collections::HashSet;
use std::sync::Arc;

use shared::config::{ConfigError, Setup};
use shared::domain::{Account, Clock, IssuerName};
use shared::http::{Admin, Failure, Operation, Reply, Request};
use shared::store::{Roles, Store, StoreError};

pub struct ListServiceAccounts {
    store: Store,
    roles: Roles,
    clock: Arc<dyn Clock>,
}

impl ListServiceAccounts {
    /// The names of all trusted issuers, if the account has federated identities.
    async fn trusted_issuers(&self, account: &Account) -> Result<HashSet<IssuerName>, StoreError> {
        if account.identities.is_empty() {
            return Ok(HashSet::new());
        }
        self.store.trusted_issuer_names().await
    }
}

impl Operation for ListServiceAccounts {
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

    async fn handle(&self, _: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "GET /iam/v1/service-accounts" => {
                list_service_accounts::list_service_accounts(self, request).await
            }
            "GET /iam/v1/service-accounts/{id}" => {
                get_service_account::get_service_account(self, request).await
            }
            "GET /iam/v1/service-accounts/{id}/events" => list_events::list_events(self, request).await,
            "GET /iam/v1/service-accounts/{id}/keys/{keyId}/activity" => {
                Box::pin(get_key_activity::get_key_activity(self, request)).await
            }
            "GET /iam/v1/service-accounts/{id}/federated-identities" => {
                list_federated_identities::list_federated_identities(self, request).await
            }
            "GET /iam/v1/service-accounts/{id}/federated-identities/{identityId}" => {
                get_federated_identity::get_federated_identity(self, request).await
            }
            "GET /iam/v1/service-accounts/{id}/federated-identities/{identityId}/activity" => {
                Box::pin(get_federated_identity_activity::get_federated_identity_activity(self, request))
                    .await
            }
            "GET /iam/v1/service-accounts/{id}/role-usage" => {
                Box::pin(get_role_usage::get_role_usage(self, request)).await
            }
            "GET /iam/v1/access-review" => {
                Box::pin(list_access_review::list_access_review(self, request)).await
            }
            "GET /iam/v1/activity" => get_activity::get_activity(self, request).await,
            "GET /iam/v1/attention" => Box::pin(get_attention::get_attention(self, request)).await,
            "GET /iam/v1/search" => search::search(self, request).await,
            "GET /iam/v1/events" => list_all_events::list_all_events(self, request).await,
            _ => Err(Failure::RouteNotFound),
        }
    }
}
