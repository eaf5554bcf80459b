//! Changes a service account, and records reviews of its access. Each operation has its own
//! module.

pub mod review_service_account;
pub mod update_service_account;

use std::sync::Arc;

use shared::config::{ConfigError, Setup};
use shared::domain::Clock;
use shared::http::{Admin, Failure, Operation, Reply, Request};
use shared::store::Store;

pub struct UpdateServiceAccount {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Operation for UpdateServiceAccount {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, clock: Arc::clone(&setup.clock) })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "PATCH /iam/v1/service-accounts/{id}" => {
                update_service_account::update_service_account(self, admin, request).await
            }
            "POST /iam/v1/service-accounts/{id}/reviews" => {
                review_service_account::review_service_account(self, admin, request).await
            }
            _ => Err(Failure::RouteNotFound),
        }
    }
}
