//! Manages trusted issuers, whose workloads can exchange their JWTs. Each operation has its
//! own module.

pub mod delete_issuer;
pub mod get_issuer;
pub mod list_issuers;
pub mod put_issuer;

use shared::config::{ConfigError, Setup};
use shared::domain::UrlHosts;
use shared::http::{Admin, Failure, Operation, Reply, Request};
use shared::keyring::Keyring;
use shared::store::Store;

pub struct ManageIssuers {
    store: Store,
    keyring: Keyring,
    hosts: UrlHosts,
}

impl Operation for ManageIssuers {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, keyring: setup.keyring()?, hosts: setup.url_hosts()? })
    }

    async fn warm(&self) {
        // The function has no right to the items that open the connection to the table.
        self.keyring.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "GET /iam/v1/issuers" => list_issuers::list_issuers(self, request).await,
            "GET /iam/v1/issuers/{name}" => get_issuer::get_issuer(self, request).await,
            "PUT /iam/v1/issuers/{name}" => put_issuer::put_issuer(self, admin, request).await,
            "DELETE /iam/v1/issuers/{name}" => delete_issuer::delete_issuer(self, admin, request).await,
            _ => Err(Failure::RouteNotFound),
        }
    }
}
